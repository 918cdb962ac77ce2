//! Reproducible random numbers.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator of random numbers: SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    /// One whose seed is printed, or taken from `CRASH_SEED` where that is set. It repeats what is
    /// done, though not what the kernel's and the processes' threads make of it.
    pub(super) fn new() -> Self {
        let seed = match std::env::var("CRASH_SEED") {
            Ok(seed) => seed.parse().expect("CRASH_SEED is a number"),
            Err(_) => RandomState::new().hash_one(0),
        };
        println!("CRASH_SEED={seed} repeats this run");
        Self(seed)
    }

    /// Another one, for another thread.
    pub(super) fn another(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below this one.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Whether something happens that does once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A time of at most this.
    pub(super) fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(1000) as f64 / 1000.0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}
