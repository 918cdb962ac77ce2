//! Keeping the kernel equal to a ruleset that changes.

use std::time::Duration;

use tokio::time::Instant;
use weir_rules::nft::Ruleset;

use super::{Change, ReconcileError, Tables, reconcile};

/// Pause after the first failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Knows which generation of the kernel's ruleset was last seen equal to what was wanted.
#[derive(Debug)]
pub struct Follower<K> {
    kernel: K,
    equal_at: Option<u32>,
}

impl<K: Tables> Follower<K> {
    /// Nothing is known of the kernel yet.
    pub fn new(kernel: K) -> Self {
        Self { kernel, equal_at: None }
    }

    /// Makes the kernel equal to the ruleset.
    pub fn sync(&mut self, desired: &Ruleset) -> Result<Vec<Change>, ReconcileError> {
        self.equal_at = None;
        let reconciled = reconcile(&self.kernel, desired)?;
        self.equal_at = reconciled.generation;
        Ok(reconciled.changes)
    }

    /// Whether somebody has changed nf_tables since the kernel was last seen equal: not
    /// necessarily weir's tables. A kernel that cannot be asked may have.
    pub fn has_drifted(&self) -> bool {
        self.kernel.generation().map_or(true, |generation| Some(generation) != self.equal_at)
    }

    /// Forgets what is known of the kernel.
    pub fn distrust(&mut self) {
        self.equal_at = None;
    }
}

/// Pauses between attempts that double up to a bound.
#[derive(Debug, Default)]
pub struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Begins the next pause, which is at most `longest`; gives its length.
    pub fn next(&mut self, longest: Duration) -> Duration {
        self.pause = (2 * self.pause).max(SHORTEST_PAUSE).min(longest);
        self.until = Some(Instant::now() + self.pause);
        self.pause
    }

    /// Whether no pause lasts.
    pub fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_over());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            backoff.next(Duration::from_secs(30));
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(!backoff.is_over(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(backoff.is_over(), "{seconds} s");
        }
    }
}
