//! Records when the changes that are not programmed yet were made.

use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::Family;

/// So many are kept for as long as nothing can be programmed. They are measured, and nothing else
/// depends on them.
const MAX_TRIGGERS: usize = 10_000;

/// When the changes happened that are in what is desired and not programmed yet: the first of them, if
/// there are many.
#[derive(Debug, Default)]
pub(super) struct PendingTriggers(Vec<(Family, Timestamp)>);

impl PendingTriggers {
    /// Adds those of later changes, as far as there is room.
    pub(super) fn add(&mut self, later: impl Iterator<Item = (Family, Timestamp)>) {
        let room = MAX_TRIGGERS.saturating_sub(self.0.len());
        self.0.extend(later.take(room));
    }

    /// They are programmed.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Family, Timestamp)> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: usize) -> (Family, Timestamp) {
        (
            Family::Ipv4,
            Timestamp::from_second(second as i64).expect("a few seconds after 1970 are in range"),
        )
    }

    /// A kernel that refuses everything for days takes no memory for it.
    #[test]
    fn the_first_ten_thousand_are_kept_until_they_are_programmed() {
        let mut triggers = PendingTriggers::default();
        for first in (0..3 * MAX_TRIGGERS).step_by(700) {
            triggers.add((first..first + 700).map(at));
            assert!(triggers.0.len() <= MAX_TRIGGERS);
        }
        assert!(triggers.take().eq((0..MAX_TRIGGERS).map(at)));
        triggers.add([at(7)].into_iter());
        assert_eq!(triggers.take().collect::<Vec<_>>(), [at(7)]);
    }
}
