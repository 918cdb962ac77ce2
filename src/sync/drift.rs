//! Tracks drift: foreign changes to weir's tables, and when they are repaired.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::kernel::{ForeignChanges, Suspects};

/// So many repairs in a row are made at once; from then on pauses grow.
const MAX_AT_ONCE: u32 = 5;
/// A repair so long after the last one, or after the pause behind it, is the first in a row again.
const QUIET: Duration = Duration::from_secs(60);
/// Longest pause between repairs.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What others have done to weir's tables and is not undone.
#[derive(Debug, Default)]
pub(super) struct Drift {
    suspects: Suspects,
    /// How many repairs there were in a row, and when the last one was.
    streak: (u32, Option<Instant>),
    backoff: Backoff,
    /// Foreign commits that were announced.
    announced: Suspicion,
    /// That something may have been missed: it may have been anything, or nothing.
    missed: Suspicion,
}

/// That something may differ, for a reason.
#[derive(Debug, Default)]
struct Suspicion {
    is_pending: bool,
    /// When to look again because of it, after nothing was found to differ. Each reason has a time of its own,
    /// so that announced commits need not wait for ones that may have been missed.
    next_check: Option<Instant>,
}

impl Suspicion {
    /// Nothing was found to differ, which took so long to find out.
    fn was_in_vain(&mut self, took: Duration) {
        if self.is_pending {
            // No more than a tenth of the time goes into looking for what is not there.
            self.next_check = Instant::now().checked_add(9 * took);
        }
    }
}

impl Drift {
    /// Records foreign changes.
    pub(super) fn note(&mut self, foreign: &ForeignChanges) {
        for commit in &foreign.commits {
            self.suspects.merge(commit.changed.clone());
        }
        self.announced.is_pending |= !foreign.commits.is_empty();
        self.missed.is_pending |= foreign.is_lossy;
    }

    /// What may differ; `None` if it may be anything.
    pub(super) fn suspects(&self) -> Option<&Suspects> {
        (!self.missed.is_pending).then_some(&self.suspects)
    }

    /// Whether something may differ.
    pub(super) fn is_pending(&self) -> bool {
        self.announced.is_pending || self.missed.is_pending
    }

    /// When to look, and repair what differs; `None` if there is no reason to. Not before now.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let pending = [&self.announced, &self.missed].into_iter().filter(|it| it.is_pending);
        let due = pending.map(|it| {
            let pauses = [self.backoff.until(), it.next_check];
            pauses.into_iter().flatten().fold(now, Instant::max)
        });
        due.min()
    }

    /// Records that nothing of this differs any more, and how long the repair took. If it changed
    /// something, returns the pause before the next repair, if there is one.
    pub(super) fn on_converged(&mut self, was_repaired: bool, took: Duration) -> Option<Duration> {
        self.suspects = Suspects::default();
        for suspicion in [&mut self.announced, &mut self.missed] {
            if !was_repaired {
                suspicion.was_in_vain(took);
            }
            suspicion.is_pending = false;
        }
        if !was_repaired {
            return None;
        }
        let now = Instant::now();
        let (count, last) = self.streak;
        let quiet_since = self.backoff.until().max(last);
        let is_in_streak =
            quiet_since.is_some_and(|since| now.saturating_duration_since(since) < QUIET);
        if !is_in_streak {
            self.backoff = Backoff::default();
        }
        let count = if is_in_streak { count.saturating_add(1) } else { 1 };
        self.streak = (count, Some(now));
        (count >= MAX_AT_ONCE).then(|| self.backoff.next(MAX_BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ForeignCommit;

    fn repair(drift: &mut Drift) -> Option<u64> {
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        drift.on_converged(true, Duration::ZERO).map(|pause| pause.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_keeps_deleting_is_answered_ever_more_slowly() {
        let mut drift = Drift::default();
        let pauses: Vec<_> = (0..12).map(|_| repair(&mut drift)).collect();
        let first = [None, None, None, None];
        let later = [1, 2, 4, 8, 16, 30, 30, 30].map(Some);
        assert_eq!(pauses, [&first[..], &later].concat());
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        assert_eq!(drift.due(), Some(Instant::now() + MAX_BACKOFF));
    }

    #[tokio::test(start_paused = true)]
    async fn looking_in_vain_takes_a_tenth_of_the_time() {
        let mut drift = Drift::default();
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        assert_eq!(drift.on_converged(false, Duration::from_millis(300)), None);
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        assert_eq!(drift.due(), Some(Instant::now() + Duration::from_millis(2700)));
    }

    /// A table that is really deleted does not wait for what may have been missed.
    #[tokio::test(start_paused = true)]
    async fn what_is_told_does_not_wait_because_something_else_was_looked_for_in_vain() {
        let mut drift = Drift::default();
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        drift.on_converged(false, Duration::from_secs(1));
        drift.note(&ForeignChanges { is_lossy: true, ..ForeignChanges::default() });
        let foreign = ForeignCommit { by: None, changed: Suspects::default() };
        drift.note(&ForeignChanges { commits: vec![foreign], ..ForeignChanges::default() });
        assert_eq!(drift.due(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_of_quiet_it_is_answered_at_once() {
        let mut drift = Drift::default();
        (0..8).for_each(|_| assert!(repair(&mut drift) < Some(60)));
        tokio::time::advance(MAX_BACKOFF + QUIET).await;
        assert_eq!(repair(&mut drift), None);
        assert_eq!(drift.due(), None, "nothing is left to repair");
    }
}
