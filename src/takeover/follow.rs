//! Runs the take-over beside the agent, on a thread of its own, so that syncs never wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{IpvsConnections, TakeoverError, TakeoverReport, remove_leftovers};
use crate::backoff::Backoff;
use crate::error::chain;
use crate::kernel::{Kernel, OpenError};

/// How long after a removal weir looks whether something has come back.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Pauses after failures grow to this.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// A take-over that is going on, or is over.
#[derive(Debug)]
pub struct Takeover {
    has_removed: Arc<AtomicBool>,
}

impl Takeover {
    /// Removes kube-proxy's leftovers from the calling thread's network namespace, on a thread that
    /// tries again until they are gone and stay away. It ends with the process at any moment: what
    /// it does, it does in transactions.
    pub fn start() -> Self {
        let has_removed = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&has_removed);
        // A new thread is in the network namespace of the one that starts it.
        let started =
            thread::Builder::new().name("weir-takeover".to_owned()).spawn(move || run(&for_thread));
        if let Err(error) = started {
            warn!("cannot start the thread that removes what kube-proxy has left: {error}");
        }
        Self { has_removed }
    }

    /// Whether something was removed since this was last asked.
    pub fn has_removed(&self) -> bool {
        self.has_removed.swap(false, Ordering::AcqRel)
    }
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own, which nobody waits for")]
fn run(has_removed: &AtomicBool) {
    let mut progress = TakeoverProgress::default();
    loop {
        let mut report = TakeoverReport::default();
        let result = attempt(&mut report);
        if !report.is_nothing_removed() {
            has_removed.store(true, Ordering::Release);
        }
        let Some(pause) = progress.pause_after(&report, result.as_ref().err()) else { return };
        thread::sleep(pause);
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// The kernel cannot be talked to.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something may be left.
    #[error(transparent)]
    Remove(#[from] TakeoverError),
}

/// Opens a connection for each attempt, which are few.
fn attempt(report: &mut TakeoverReport) -> Result<(), AttemptError> {
    Ok(remove_leftovers(&Kernel::open()?, IpvsConnections::Keep, report)?)
}

/// What has come of the attempts, and what was said of them.
#[derive(Debug, Default)]
struct TakeoverProgress {
    /// The pauses after attempts that failed.
    backoff: Backoff,
    /// Whether all rules were gone once.
    was_done: bool,
    /// Whether something was left then that had to wait, so that its removal does not mean that
    /// kube-proxy is back.
    was_waiting: bool,
    said: BTreeSet<String>,
}

/// What an attempt reveals about kube-proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakeoverStatus {
    /// Nothing of it was there.
    Nothing,
    /// What it had left is removed.
    TookOver,
    /// It has made something anew.
    CameBack,
}

impl TakeoverProgress {
    /// Logs what is new after an attempt, and returns how long to wait before the next one; `None`
    /// if there is no need of one.
    fn pause_after(
        &mut self,
        report: &TakeoverReport,
        failure: Option<&AttemptError>,
    ) -> Option<Duration> {
        self.say(report);
        if let Some(failure) = failure {
            self.warn_once(&format!("{}; trying again", chain(failure)));
            return Some(self.backoff.next(MAX_BACKOFF));
        }
        self.backoff = Backoff::default();
        let is_over = report.is_nothing_removed() && !report.is_waiting;
        self.was_done = true;
        self.was_waiting = report.is_waiting;
        (!is_over).then_some(LOOK_AGAIN)
    }

    fn say(&mut self, report: &TakeoverReport) {
        match self.status(report) {
            TakeoverStatus::Nothing => debug!("nothing of kube-proxy's to remove"),
            TakeoverStatus::TookOver => info!("took over from kube-proxy: removed {report}"),
            TakeoverStatus::CameBack => warn!(
                "kube-proxy's rules were there again: removed {report}; if kube-proxy still runs on \
                 this node, stop it"
            ),
        }
        for line in &report.left {
            self.warn_once(line);
        }
    }

    fn status(&self, report: &TakeoverReport) -> TakeoverStatus {
        if report.is_nothing_removed() {
            TakeoverStatus::Nothing
        } else if self.was_done && (!self.was_waiting || report.has_removed_rules()) {
            TakeoverStatus::CameBack
        } else {
            TakeoverStatus::TookOver
        }
    }

    fn warn_once(&mut self, line: &str) {
        if self.said.insert(line.to_owned()) {
            warn!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed() -> TakeoverReport {
        TakeoverReport { tables: 2, ..TakeoverReport::default() }
    }

    #[test]
    fn where_nothing_is_it_looks_once() {
        assert_eq!(TakeoverProgress::default().pause_after(&TakeoverReport::default(), None), None);
    }

    #[test]
    fn it_looks_until_nothing_comes_back() {
        let mut progress = TakeoverProgress::default();
        for _ in 0..3 {
            assert_eq!(progress.pause_after(&removed(), None), Some(LOOK_AGAIN));
        }
        assert_eq!(progress.pause_after(&TakeoverReport::default(), None), None);
    }

    #[test]
    fn it_looks_while_something_has_yet_to_go() {
        let waiting = TakeoverReport { is_waiting: true, ..TakeoverReport::default() };
        assert_eq!(TakeoverProgress::default().pause_after(&waiting, None), Some(LOOK_AGAIN));
    }

    /// From mode ipvs: the interface goes when no connection needs it any more.
    #[test]
    fn what_had_to_wait_is_not_taken_for_kube_proxys_return() {
        let rules = TakeoverReport { rules: 2, is_waiting: true, ..TakeoverReport::default() };
        let interface = TakeoverReport { interfaces: 1, ..TakeoverReport::default() };
        let mut progress = TakeoverProgress::default();
        for (report, status) in [
            (&rules, TakeoverStatus::TookOver),
            (
                &TakeoverReport { is_waiting: true, ..TakeoverReport::default() },
                TakeoverStatus::Nothing,
            ),
            (&rules, TakeoverStatus::CameBack),
            (&interface, TakeoverStatus::TookOver),
            (&interface, TakeoverStatus::CameBack),
        ] {
            assert_eq!(progress.status(report), status, "{report:?}");
            progress.pause_after(report, None);
        }
    }

    #[test]
    fn failures_are_tried_again_with_pauses_that_grow() {
        let mut progress = TakeoverProgress::default();
        let failure = AttemptError::Open(OpenError::NotPermitted);
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                progress.pause_after(&TakeoverReport::default(), Some(&failure)).unwrap().as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(progress.said.len(), 1, "it is said once");
        progress.pause_after(&removed(), None);
        let pause = progress.pause_after(&TakeoverReport::default(), Some(&failure));
        assert_eq!(pause, Some(Duration::from_secs(1)), "a success starts over");
    }
}
