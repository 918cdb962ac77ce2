//! What others have done to weir's tables, and how soon it is undone.

use std::time::Duration;

use tokio::time::Instant;

use super::Backoff;
use crate::kernel::{Heard, Suspects};

/// So many repairs in a row are made at once; from then on pauses grow.
const MOST_AT_ONCE: u32 = 5;
/// A repair so long after the last one, or after the pause behind it, is the first in a row again.
const QUIET: Duration = Duration::from_secs(60);
/// Longest pause between repairs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What others have done to weir's tables and is not undone.
#[derive(Debug, Default)]
pub(super) struct Drift {
    suspects: Suspects,
    /// How many repairs there were in a row, and when the last one was.
    row: (u32, Option<Instant>),
    backoff: Backoff,
    /// When to look again, after nothing was found to differ.
    next_look: Option<Instant>,
    /// Whether there is something to repair.
    is_pending: bool,
    /// Whether it may be anything.
    is_anything: bool,
}

impl Drift {
    /// Takes note of what was heard.
    pub(super) fn note(&mut self, heard: &Heard) {
        for commit in &heard.commits {
            self.suspects.merge(commit.changed.clone());
        }
        self.is_anything |= heard.is_lossy;
        self.is_pending |= heard.is_lossy || !heard.commits.is_empty();
    }

    /// What may differ; `None` if it may be anything.
    pub(super) fn suspects(&self) -> Option<&Suspects> {
        (!self.is_anything).then_some(&self.suspects)
    }

    /// Whether there is something to repair.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// When to repair; `None` if nothing is to be repaired. Not before now.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let pauses = [self.backoff.until(), self.next_look];
        self.is_pending.then(|| pauses.into_iter().flatten().fold(now, Instant::max))
    }

    /// Takes note that nothing of what was noted differs any more, which took so long to find out. Of a
    /// repair that had something to do, gives the pause before the next one, if that has one.
    pub(super) fn settled(&mut self, was_repaired: bool, took: Duration) -> Option<Duration> {
        self.suspects = Suspects::default();
        self.is_pending = false;
        self.is_anything = false;
        let now = Instant::now();
        if !was_repaired {
            // No more than a tenth of the time goes into looking for what is not there.
            self.next_look = now.checked_add(9 * took);
            return None;
        }
        let (count, last) = self.row;
        let quiet_since = self.backoff.until().max(last);
        let is_in_row =
            quiet_since.is_some_and(|since| now.saturating_duration_since(since) < QUIET);
        if !is_in_row {
            self.backoff = Backoff::default();
        }
        let count = if is_in_row { count.saturating_add(1) } else { 1 };
        self.row = (count, Some(now));
        (count >= MOST_AT_ONCE).then(|| self.backoff.next(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repair(drift: &mut Drift) -> Option<u64> {
        drift.note(&Heard { is_lossy: true, ..Heard::default() });
        drift.settled(true, Duration::ZERO).map(|pause| pause.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_keeps_deleting_is_answered_ever_more_slowly() {
        let mut drift = Drift::default();
        let pauses: Vec<_> = (0..12).map(|_| repair(&mut drift)).collect();
        let first = [None, None, None, None];
        let later = [1, 2, 4, 8, 16, 30, 30, 30].map(Some);
        assert_eq!(pauses, [&first[..], &later].concat());
        drift.note(&Heard { is_lossy: true, ..Heard::default() });
        assert_eq!(drift.due(), Some(Instant::now() + LONGEST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn looking_in_vain_takes_a_tenth_of_the_time() {
        let mut drift = Drift::default();
        drift.note(&Heard { is_lossy: true, ..Heard::default() });
        assert_eq!(drift.settled(false, Duration::from_millis(300)), None);
        drift.note(&Heard { is_lossy: true, ..Heard::default() });
        assert_eq!(drift.due(), Some(Instant::now() + Duration::from_millis(2700)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_of_quiet_it_is_answered_at_once() {
        let mut drift = Drift::default();
        (0..8).for_each(|_| assert!(repair(&mut drift) < Some(60)));
        tokio::time::advance(LONGEST_PAUSE + QUIET).await;
        assert_eq!(repair(&mut drift), None);
        assert_eq!(drift.due(), None, "nothing is left to repair");
    }
}
