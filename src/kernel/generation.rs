//! Generations of the kernel's ruleset: a number that every commit increments, whoever makes it.
//!
//! The number wraps around: after the greatest comes 1 (`nf_tables_commit` of nf_tables_api.c skips 0). So of
//! two numbers the one that is ahead by less than half the range is the later.

/// The generation behind one.
pub(crate) fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

/// Whether a generation comes behind another.
pub(crate) fn is_later(generation: u32, than: u32) -> bool {
    let ahead = generation.wrapping_sub(than);
    ahead != 0 && ahead < 1 << 31
}

/// The later of two generations, as far as they are known.
pub(crate) fn latest(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if is_later(one, other) { one } else { other }),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_go_round_without_0() {
        assert_eq!(next_generation(7), 8);
        assert_eq!(next_generation(u32::MAX), 1);
    }

    #[test]
    fn the_later_of_two_is_known_also_where_they_go_round() {
        for (earlier, later) in
            [(1, 2), (7, 1000), (u32::MAX, 1), (u32::MAX - 5, 3), (0x7fff_ffff, 0x8000_0000)]
        {
            assert!(is_later(later, earlier) && !is_later(earlier, later), "{earlier} {later}");
            assert_eq!(latest(Some(earlier), Some(later)), Some(later));
            assert_eq!(latest(Some(later), Some(earlier)), Some(later));
        }
        assert!(!is_later(7, 7));
        assert_eq!((latest(Some(7), None), latest(None, Some(7))), (Some(7), Some(7)));
        assert_eq!(latest(None, None), None);
    }
}
