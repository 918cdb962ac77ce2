//! Limits how often the server is asked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::Limits;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Holds requests back until they may be made.
#[derive(Debug)]
pub(super) struct Limiter(Mutex<Bucket>);

/// Limits how often something happens (the generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Bucket {
    /// From one time to the next in the long run.
    interval: Duration,
    /// How far ahead of that they may be.
    allowance: Duration,
    /// When the next would come if they all came at their intervals.
    next: Instant,
}

impl Bucket {
    /// It may happen once in an interval, and as often as a burst says, which is 1 at least, at once.
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        let allowance = interval.saturating_mul(burst.saturating_sub(1));
        Self { interval, allowance, next: Instant::now() }
    }

    /// Takes the next place in line, which is this time.
    pub(crate) fn take(&mut self, now: Instant) -> Instant {
        let due = self.next.max(now);
        self.next = due.checked_add(self.interval).unwrap_or(due);
        due.checked_sub(self.allowance).unwrap_or(now).max(now)
    }

    /// Whether the next place in line is now.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.next.checked_sub(self.allowance).is_none_or(|due| due <= now)
    }

    /// Whether it has not happened for so long that nothing is left of that.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.next <= now
    }
}

impl Limiter {
    /// Nothing has been asked yet.
    pub(super) fn new(limits: Limits) -> Self {
        let Limits { qps, burst } = limits;
        let default = Limits::default();
        let interval = match qps {
            0.0 => Duration::from_secs_f64(1.0 / f64::from(default.qps)),
            qps if qps > 0.0 => {
                Duration::try_from_secs_f64(1.0 / f64::from(qps)).unwrap_or(FOREVER).min(FOREVER)
            }
            _ => Duration::ZERO,
        };
        let burst = if burst == 0 { default.burst } else { burst };
        Self(Mutex::new(Bucket::new(interval, burst)))
    }

    /// Waits until a request may be made; it then counts as made.
    pub(super) async fn wait(&self) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn times(limits: Limits, requests: usize) -> Vec<u128> {
        let limiter = Limiter::new(limits);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..requests {
            limiter.wait().await;
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_intervals() {
        assert_eq!(times(Limits { qps: 2.0, burst: 3 }, 5).await, [0, 0, 0, 500, 1000]);
        assert_eq!(times(Limits { qps: 0.0, burst: 0 }, 12).await[8..], [0, 0, 200, 400]);
        assert_eq!(times(Limits { qps: -1.0, burst: 1 }, 50).await, [0; 50]);
        let never = times(Limits { qps: f32::MIN_POSITIVE, burst: 2 }, 3);
        let in_a_year = Duration::from_secs(365 * 24 * 60 * 60);
        assert!(tokio::time::timeout(in_a_year, never).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_may_burst_again_and_no_more() {
        let limiter = Limiter::new(Limits { qps: 2.0, burst: 2 });
        for _ in 0..3 {
            limiter.wait().await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for waited in [0, 0, 500] {
            limiter.wait().await;
            assert_eq!(start.elapsed().as_millis(), waited);
        }
    }
}
