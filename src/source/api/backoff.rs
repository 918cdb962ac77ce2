//! Exponential backoff with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that grow from under a second to half a minute on average.
///
/// Each is drawn between half and one and a half of its average, so that the nodes of a cluster do
/// not come back to a server all at once.
#[derive(Debug, Default)]
pub(super) struct JitteredBackoff {
    average: Duration,
}

const MIN_BACKOFF: Duration = Duration::from_millis(800);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

impl JitteredBackoff {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        self.average = (2 * self.average).clamp(MIN_BACKOFF, MAX_BACKOFF);
        self.average.mul_f64(0.5 + random())
    }

    /// The next pause is a short one again.
    pub(super) fn reset(&mut self) {
        self.average = Duration::ZERO;
    }
}

/// A number from 0 up to 1. Good enough to spread load, and for nothing else.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_spread() {
        let mut backoff = JitteredBackoff::default();
        for average in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] {
            let pause = backoff.next().as_secs_f64();
            assert!((0.5 * average..1.5 * average).contains(&pause), "{pause} around {average}");
        }
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(1200));
        let draws: std::collections::HashSet<u64> = (0..100).map(|_| random().to_bits()).collect();
        assert!(draws.len() > 90);
    }
}
