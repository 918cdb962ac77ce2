//! The `logging` section: `LoggingConfiguration` of component-base's logs/api/v1.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::GoDuration;

/// How to log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoggingConfiguration {
    /// `text` (the default) or `json`.
    pub format: String,
    /// The longest time between two flushes; 5 s by default.
    pub flush_frequency: FlushFrequency,
    /// How much is logged: 0 (the default) is the least.
    pub verbosity: u32,
    /// Other verbosities for single source files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vmodule: Vec<VModuleItem>,
    /// Options of the formats.
    pub options: FormatOptions,
}

/// The verbosity of source files with a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VModuleItem {
    /// A file's name without `.go`, or a pattern of names.
    pub file_pattern: String,
    /// The verbosity.
    pub verbosity: u32,
}

/// Options of the formats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FormatOptions {
    /// Those of `text`.
    pub text: OutputOptions,
    /// Those of `json`.
    pub json: OutputOptions,
}

/// Where a format's lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutputOptions {
    /// Errors to standard error, all else to standard output.
    pub split_stream: bool,
    /// How many bytes to hold back, as a Kubernetes quantity; `"0"` by default.
    #[serde(deserialize_with = "quantity")]
    pub info_buffer_size: String,
}

/// A duration that may also be written as a number of nanoseconds, as component-base's
/// `TimeOrMetaDuration`. It is always written as a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushFrequency(pub GoDuration);

impl Serialize for FlushFrequency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for FlushFrequency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(nanoseconds) => GoDuration::from_nanos(nanoseconds),
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom)?,
        }))
    }
}

/// A quantity may be written as a number, too.
fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text,
    };
    match is_quantity(&text) {
        true => Ok(text),
        false => Err(de::Error::custom(format!("{text:?} is not a quantity"))),
    }
}

/// Whether a text is a number with one of the suffixes of apimachinery's api/resource.
pub(super) fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    number.parse::<f64>().is_ok() && (SUFFIXES.contains(&suffix) || suffix == "Ei")
}
