//! Chooses the pause after a list or a watch has ended: short, so that few changes are missed, without a
//! stampede on the server.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{JitteredBackoff, random};
use super::failure::WatchError;

/// A watch that ends sooner than this, and has brought nothing, has failed: client-go's "very short
/// watch" (`handleAnyWatch` of its tools/cache/reflector.go).
pub(super) const SHORT_WATCH: Duration = Duration::from_secs(1);
/// The longest pause before a watch that was cut is begun again: as long as it takes to spread the nodes
/// of a cluster a little, as all of them are cut when a server ends.
const LONGEST_SPREAD: Duration = Duration::from_millis(400);
/// After so long without a list, the next one is made at once (client-go's backoff is reset after as
/// long).
const LIST_REST: Duration = Duration::from_secs(120);
/// How long answered watches may say nothing, all together, until their version is doubted: a server
/// that has been set back to an older state is silent until it gets there again.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
/// The longest time for which a server may ask to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// What is known of the attempts so far.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Between attempts that nobody answers.
    unreachable: JitteredBackoff,
    /// Between attempts that are refused.
    refused: JitteredBackoff,
    /// Before lists, where one makes the next one necessary.
    lists: JitteredBackoff,
    /// When a list was last made because a version was lost.
    listed: Option<Instant>,
    silence: Duration,
}

impl Recovery {
    /// The server has sent something about the kind.
    pub(super) fn on_progress(&mut self) {
        self.silence = Duration::ZERO;
        self.answered();
    }

    fn answered(&mut self) {
        self.unreachable.reset();
        self.refused.reset();
    }

    /// The pause after a watch that has come to an end, as they all do. It was asked to last for so long,
    /// and has lasted for so long.
    pub(super) fn after_watch(&mut self, asked: Duration, lasted: Duration) -> Duration {
        self.answered();
        if lasted < SHORT_WATCH {
            self.refused.next()
        } else if lasted < asked {
            LONGEST_SPREAD.mul_f64(random())
        } else {
            // These are spread already.
            Duration::ZERO
        }
    }

    /// Whether the version is to be doubted after a watch that has said nothing for so long at its end.
    pub(super) fn is_silent(&mut self, silence: Duration) -> bool {
        self.silence += silence;
        self.silence >= SILENCE_LIMIT
    }

    /// The pause before a list that is necessary because the server does not go on from a version: none
    /// for the first.
    pub(super) fn before_list(&mut self) -> Duration {
        let now = Instant::now();
        let is_first = self.listed.is_none_or(|listed| listed + LIST_REST <= now);
        let pause = if is_first {
            self.lists.reset();
            Duration::ZERO
        } else {
            self.lists.next()
        };
        self.listed = Some(now + pause);
        pause
    }

    /// The pause after a failure.
    pub(super) fn after_failure(&mut self, failure: &WatchError) -> Duration {
        let pause = if failure.is_answer() {
            // Whoever was away is back.
            self.unreachable.reset();
            self.refused.next()
        } else {
            self.unreachable.next()
        };
        let asked = failure.retry_after().map(|time| time.min(LONGEST_RETRY_AFTER));
        pause.max(asked.unwrap_or_default().mul_f64(1.0 + 0.5 * random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(code: u16) -> WatchError {
        WatchError::Status { code, message: String::new(), retry_after: None, is_too_large: false }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_what_an_outage_has_grown_and_refusals_grow_by_themselves() {
        let mut recovery = Recovery::default();
        let long = |recovery: &mut Recovery, failure: &WatchError| {
            (0..8).map(|_| recovery.after_failure(failure)).last().expect("the range is not empty")
        };
        assert!(long(&mut recovery, &WatchError::Late(SECOND)) >= 15 * SECOND);
        assert!(recovery.after_failure(&status(500)) < 2 * SECOND);
        assert!(long(&mut recovery, &status(500)) >= 15 * SECOND);
        // A server that is there every other time is not asked every second.
        assert!(recovery.after_failure(&WatchError::Late(SECOND)) < 2 * SECOND);
        assert!(recovery.after_failure(&status(500)) >= 15 * SECOND);
        recovery.on_progress();
        assert!(recovery.after_failure(&status(500)) < 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_list_is_made_at_once_and_the_next_ones_ever_later() {
        let mut recovery = Recovery::default();
        for _ in 0..2 {
            assert_eq!(recovery.before_list(), Duration::ZERO);
            let mut last = Duration::ZERO;
            for _ in 0..8 {
                last = recovery.before_list();
                assert!(last > Duration::ZERO);
                tokio::time::advance(last).await;
                // However well the list itself goes.
                recovery.on_progress();
            }
            assert!(last >= 15 * SECOND, "{last:?}");
            tokio::time::advance(LIST_REST).await;
        }
    }

    #[test]
    fn a_watch_that_was_cut_is_begun_again_nearly_at_once() {
        let mut recovery = Recovery::default();
        let minute = 60 * SECOND;
        for _ in 0..100 {
            assert!(recovery.after_watch(minute, 2 * SECOND) <= LONGEST_SPREAD);
            assert!(recovery.after_watch(minute, SECOND / 2) <= 3 * LONGEST_SPREAD);
            assert_eq!(recovery.after_watch(minute, minute), Duration::ZERO);
        }
    }
}
