//! Whether connections spread evenly: Pearson's chi-squared test against the uniform distribution.

/// What [`chi_squared`] of two counts exceeds with a chance of one in a million.
pub const CRITICAL_1DF: f64 = 23.928;

/// What [`chi_squared`] of three counts exceeds with a chance of one in a million.
///
/// With two degrees of freedom the chance to exceed x is exactly e^(-x/2), so for a chance p
/// it is -2 ln p: here -2 ln 10^-6 = 27.631. A fair choice fails such a test once in a million
/// runs; one that gives an endpoint of three half of 300 connections (150, 75, 75: 37.5) fails it.
pub const CRITICAL_2DF: f64 = 27.631;

/// What [`chi_squared`] of four counts exceeds with a chance of one in a million.
pub const CRITICAL_3DF: f64 = 30.665;

/// The sum of (observed - expected)² / expected, where the same is expected of each.
///
/// Zero for nothing counted at all. Sound where at least some five are expected of each.
pub fn chi_squared(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let expected = total as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

/// The critical value for this many counts, at one in a million.
///
/// # Panics
/// For other than 2, 3 or 4 counts.
pub fn critical(counts: usize) -> f64 {
    match counts {
        2 => CRITICAL_1DF,
        3 => CRITICAL_2DF,
        4 => CRITICAL_3DF,
        _ => panic!("no critical value for {counts} counts"),
    }
}

/// Fails unless 2, 3 or 4 counts are as even as a fair choice makes them.
///
/// # Panics
/// If [`chi_squared`] exceeds [`critical`], or nothing was counted.
pub fn assert_even(counts: &[u64]) {
    assert!(counts.iter().any(|&count| count > 0), "nothing was counted: {counts:?}");
    let (found, limit) = (chi_squared(counts), critical(counts.len()));
    assert!(found <= limit, "{counts:?} is no even spread: chi-squared {found:.1} > {limit}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chi_squared_is_pearsons() {
        assert_eq!(chi_squared(&[100, 100, 100]), 0.0);
        assert_eq!(chi_squared(&[150, 75, 75]), 37.5);
        assert_eq!(chi_squared(&[10, 20]), 10.0 / 3.0);
        assert_eq!(chi_squared(&[0, 0, 0]), 0.0);
    }

    #[test]
    fn critical_value_of_two_degrees_of_freedom_follows_from_the_chance() {
        assert!((CRITICAL_2DF - -2.0 * 1e-6_f64.ln()).abs() < 1e-3);
    }

    #[test]
    fn even_counts_pass() {
        assert_even(&[90, 110, 100]);
        assert_even(&[140, 160]);
        assert_even(&[70, 80, 75, 75]);
    }

    #[test]
    #[should_panic(expected = "no even spread")]
    fn an_endpoint_that_gets_nothing_fails() {
        assert_even(&[150, 150, 0]);
    }

    #[test]
    #[should_panic(expected = "nothing was counted")]
    fn no_connection_at_all_fails() {
        assert_even(&[0, 0, 0]);
    }
}
