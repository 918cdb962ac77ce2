//! Summaries of many measurements.

use std::fmt;
use std::time::Duration;

/// What is measured, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// Bytes.
    Memory,
    /// Parts of one core.
    Cores,
    /// A number.
    Count,
}

impl Unit {
    /// A value in this unit, as text.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Time => show_time(value),
            Unit::Memory if value.abs() < 1e5 => format!("{value:.0} B"),
            Unit::Memory => format!("{:.1} MB", value / 1e6),
            Unit::Cores => format!("{:.2} %", value * 100.0),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

fn show_time(seconds: f64) -> String {
    match seconds {
        ..1e-4 => format!("{:.1} µs", seconds * 1e6),
        ..1e-3 => format!("{:.0} µs", seconds * 1e6),
        ..1e-2 => format!("{:.2} ms", seconds * 1e3),
        ..1e-1 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

/// Measurements, in order of size.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    unit: Unit,
    values: Vec<f64>,
}

impl Sample {
    /// # Panics
    /// Of no measurement at all.
    pub(crate) fn new(unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self { unit, values }
    }

    pub(crate) fn times(values: &[Duration]) -> Self {
        Self::new(Unit::Time, values.iter().map(Duration::as_secs_f64))
    }

    pub(crate) fn one(unit: Unit, value: f64) -> Self {
        Self::new(unit, [value])
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// The value that this many per cent are not above (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.values.len() * percent).div_ceil(100).max(1);
        self.values[rank - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// A percentile as text.
    pub(crate) fn show(&self, percent: usize) -> String {
        self.unit.show(self.percentile(percent))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p10, p50, p90, p99] = [10, 50, 90, 99].map(|percent| self.show(percent));
        match self.count() {
            1 => f.write_str(&p50),
            count => write!(f, "{p50} (p10 {p10}, p90 {p90}, p99 {p99}, {count} runs)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_at_their_rank() {
        let sample = Sample::new(Unit::Count, (1..=200).rev().map(f64::from));
        let at = [1, 10, 50, 90, 99, 100].map(|percent| sample.percentile(percent));
        assert_eq!(at, [2.0, 20.0, 100.0, 180.0, 198.0, 200.0]);
        let few = Sample::new(Unit::Count, (1..=7).map(f64::from));
        assert_eq!([10, 50, 90].map(|percent| few.percentile(percent)), [1.0, 4.0, 7.0]);
        assert_eq!(Sample::one(Unit::Count, 7.0).percentile(1), 7.0);
    }

    #[test]
    fn times_have_three_figures_or_so() {
        let cases = [
            (9.87e-6, "9.9 µs"),
            (1.234e-4, "123 µs"),
            (1.234e-3, "1.23 ms"),
            (0.0456, "45.6 ms"),
            (0.4567, "457 ms"),
            (12.3456, "12.35 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Unit::Time.show(seconds), text);
        }
    }
}
