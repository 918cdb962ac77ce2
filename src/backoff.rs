//! Exponential backoff.

use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// Pauses between attempts that double up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Starts the next pause, which is at most `longest`; returns its length.
    pub(crate) fn next(&mut self, longest: Duration) -> Duration {
        self.pause = (2 * self.pause).max(MIN_BACKOFF).min(longest);
        self.until = Some(Instant::now() + self.pause);
        self.pause
    }

    /// Whether no pause lasts.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    /// When the pause ends that began last.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
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
