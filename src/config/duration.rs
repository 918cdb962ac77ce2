//! Go's durations, as `metav1.Duration` and kube-proxy's flags write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A duration with a sign, in whole nanoseconds, that reads and prints like Go's `time.Duration`:
/// `1h30m`, `250ms`, `-1.5s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration {
    nanoseconds: i64,
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// A number without a unit; only `0` needs none.
    #[error("missing unit in duration {0:?}")]
    MissingUnit(String),
    /// Another unit than ns, us, ms, s, m and h.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands in the unit's place.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Not numbers with units, or too large.
    #[error("invalid duration {0:?}")]
    Invalid(String),
}

impl GoDuration {
    /// No time.
    pub const ZERO: Self = Self { nanoseconds: 0 };

    /// Whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self { nanoseconds: seconds * SECOND }
    }

    /// Nanoseconds.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// The same, where it is not negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds).ok().map(Duration::from_nanos)
    }

    /// The same if it is more than 0: kube-proxy's way to leave a setting as it is.
    pub fn if_positive(self) -> Option<Duration> {
        self.to_std().filter(|duration| !duration.is_zero())
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        let invalid = || ParseDurationError::Invalid(text.to_owned());
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if unsigned == "0" {
            return Ok(Self::ZERO);
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        let mut total: u128 = 0;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return Err(ParseDurationError::MissingUnit(text.to_owned()));
            }
            let unit = unit(name).ok_or_else(|| ParseDurationError::UnknownUnit {
                unit: name.to_owned(),
                text: text.to_owned(),
            })?;
            total = amount(whole, fraction, unit)
                .and_then(|amount| total.checked_add(amount))
                .ok_or_else(invalid)?;
            rest = after;
        }
        let signed = i128::try_from(total).ok().map(|total| if negative { -total } else { total });
        let nanoseconds = signed.and_then(|total| i64::try_from(total).ok()).ok_or_else(invalid)?;
        Ok(Self { nanoseconds })
    }
}

/// The digits that a text begins with, and what follows.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Nanoseconds; what is less than one is cut off. `None` when there are too many.
fn amount(whole: &str, fraction: &str, unit: i64) -> Option<u128> {
    let unit = u128::try_from(unit).ok()?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // No unit has more than 13 digits, so that further ones of a fraction change nothing.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

fn unit(name: &str) -> Option<i64> {
    Some(match name {
        "ns" => 1,
        // U+00B5 and U+03BC, as Go has both.
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        let [us, ms, s, m, h] =
            [MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR].map(i64::unsigned_abs);
        match total {
            0 => f.write_str("0s"),
            _ if total < us => write!(f, "{total}ns"),
            _ if total < ms => write!(f, "{}µs", decimal(total, us)),
            _ if total < s => write!(f, "{}ms", decimal(total, ms)),
            _ => {
                if total >= h {
                    write!(f, "{}h", total / h)?;
                }
                if total >= m {
                    write!(f, "{}m", total % h / m)?;
                }
                write!(f, "{}s", decimal(total % m, s))
            }
        }
    }
}

/// A number of units, with as many digits after the point as it needs.
fn decimal(nanoseconds: u64, unit: u64) -> String {
    let (whole, part) = (nanoseconds / unit, nanoseconds % unit);
    if part == 0 {
        return whole.to_string();
    }
    // Units are powers of ten here: as many digits as there are zeros.
    let width = unit.to_string().len() - 1;
    format!("{whole}.{part:0width$}").trim_end_matches('0').to_owned()
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go's time.ParseDuration and Duration.String say of each.
    #[test]
    fn reads_and_prints_what_go_reads_and_prints() {
        let cases = [
            ("0", "0s", 0),
            ("-0", "0s", 0),
            ("0s", "0s", 0),
            ("5s", "5s", 5 * SECOND),
            ("30s", "30s", 30 * SECOND),
            ("15m0s", "15m0s", 15 * MINUTE),
            ("24h", "24h0m0s", 24 * HOUR),
            ("24h0m0s", "24h0m0s", 24 * HOUR),
            ("1h0m3.5s", "1h0m3.5s", HOUR + 3_500 * MILLISECOND),
            ("2h22m", "2h22m0s", 142 * MINUTE),
            ("90s", "1m30s", 90 * SECOND),
            ("1.5h", "1h30m0s", 90 * MINUTE),
            (".5s", "500ms", 500 * MILLISECOND),
            ("1.s", "1s", SECOND),
            ("250ms", "250ms", 250 * MILLISECOND),
            ("1.5ms", "1.5ms", 1_500 * MICROSECOND),
            ("10us", "10µs", 10 * MICROSECOND),
            ("10µs", "10µs", 10 * MICROSECOND),
            ("10μs", "10µs", 10 * MICROSECOND),
            ("1ns", "1ns", 1),
            ("1.000000001s", "1.000000001s", SECOND + 1),
            ("-1m30s", "-1m30s", -90 * SECOND),
            ("+5s", "5s", 5 * SECOND),
            ("3000000ns", "3ms", 3 * MILLISECOND),
            ("9223372036854775807ns", "2562047h47m16.854775807s", i64::MAX),
        ];
        for (text, printed, nanoseconds) in cases {
            let duration: GoDuration = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(duration.nanoseconds, nanoseconds, "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(duration), "{printed}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        let cases = [
            ("", "invalid duration \"\""),
            ("3", "missing unit in duration \"3\""),
            ("-", "invalid duration \"-\""),
            ("s", "invalid duration \"s\""),
            (".", "invalid duration \".\""),
            ("1d", "unknown unit \"d\" in duration \"1d\""),
            ("1 s", "unknown unit \" s\" in duration \"1 s\""),
            ("1s 2", "unknown unit \"s \" in duration \"1s 2\""),
            ("9223372036854775808ns", "invalid duration \"9223372036854775808ns\""),
            ("99999999999999999999h", "invalid duration \"99999999999999999999h\""),
        ];
        for (text, reason) in cases {
            let error = text.parse::<GoDuration>().map_err(|error| error.to_string());
            assert_eq!(error, Err(reason.to_owned()), "{text:?}");
        }
    }
}
