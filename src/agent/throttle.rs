//! Limits how often changes of the cluster are programmed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// kube-proxy's default of `minSyncPeriod`. weir's changes cost little, and so none waits for
/// another by default; who has set more than this wants fewer.
const DEFAULT_MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Holds changes back where that is asked for.
pub(super) struct SyncThrottle {
    /// From the end of one sync to the start of the next.
    pause: Duration,
    last: Option<Instant>,
}

impl SyncThrottle {
    /// Keeps to this `minSyncPeriod`.
    pub(super) fn new(min_sync_period: Duration) -> Self {
        let mut throttle = Self { pause: Duration::ZERO, last: None };
        throttle.set(min_sync_period);
        throttle
    }

    /// Keeps to this `minSyncPeriod` from now on.
    pub(super) fn set(&mut self, min_sync_period: Duration) {
        let is_asked_for = min_sync_period > DEFAULT_MIN_SYNC_PERIOD;
        self.pause = if is_asked_for { min_sync_period } else { Duration::ZERO };
    }

    /// Changes have just been programmed.
    pub(super) fn synced(&mut self) {
        self.last = Some(Instant::now());
    }

    /// Whether changes have to wait.
    pub(super) fn is_deferring(&self) -> bool {
        self.next().is_some_and(|next| next > Instant::now())
    }

    /// Waits until changes may be programmed.
    pub(super) async fn wait(&self) {
        if let Some(next) = self.next() {
            sleep_until(next).await;
        }
    }

    fn next(&self) -> Option<Instant> {
        self.last.and_then(|last| last.checked_add(self.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(throttle: &SyncThrottle) -> Duration {
        let (start, is_deferring) = (Instant::now(), throttle.is_deferring());
        throttle.wait().await;
        assert_eq!(is_deferring, start.elapsed() > Duration::ZERO);
        assert!(!throttle.is_deferring());
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_wait_only_where_more_than_the_default_is_set() {
        for (period, pause) in [(0, 0), (1, 0), (5, 5)] {
            let mut throttle = SyncThrottle::new(Duration::from_secs(period));
            assert_eq!(waits(&throttle).await, Duration::ZERO, "the first does not wait");
            throttle.synced();
            assert_eq!(waits(&throttle).await, Duration::from_secs(pause), "{period} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_counts_from_the_last_sync_and_can_be_changed() {
        let mut throttle = SyncThrottle::new(Duration::from_secs(10));
        throttle.synced();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(waits(&throttle).await, Duration::from_secs(6));
        throttle.synced();
        throttle.set(Duration::from_secs(3));
        assert_eq!(waits(&throttle).await, Duration::from_secs(3));
    }
}
