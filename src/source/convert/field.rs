//! Checks scalar fields of Kubernetes objects.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use weir_rules::cluster::Protocol;
use weir_rules::cluster::address::{parse_address, parse_network};

/// A field whose value means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidField {
    /// Its path within the object, such as `spec.ports[0].port`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl InvalidField {
    pub(in crate::source) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A name as the API server allows it for the objects that weir reads: lower-case letters, digits,
/// `-` and, in the names of objects, `.`. It gets into comments of the ruleset.
pub(crate) fn name(text: &str, field: &str, longest: usize) -> Result<(), InvalidField> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if text.len() <= longest && text.chars().all(is_allowed) {
        return Ok(());
    }
    let text = Quoted(text);
    let message =
        format!("{text} is not a name: at most {longest} lower-case letters, digits, `-` and `.`");
    Err(InvalidField::new(field, message))
}

/// An address, as Kubernetes reads it.
pub(super) fn address(text: &str, field: impl Fn() -> String) -> Result<IpAddr, InvalidField> {
    let bad = || InvalidField::new(field(), format!("{} is not an IP address", Quoted(text)));
    parse_address(text).ok_or_else(bad)
}

/// A network, as Kubernetes reads it.
pub(super) fn network(text: &str, field: impl Fn() -> String) -> Result<IpNet, InvalidField> {
    let bad =
        || InvalidField::new(field(), format!("{} is not a network in CIDR form", Quoted(text)));
    parse_network(text).ok_or_else(bad)
}

/// How much of a text that makes no sense is repeated, in bytes.
const MAX_QUOTED: usize = 64;

/// A text that somebody else has written, in quotes, escaped and cut.
pub(in crate::source) struct Quoted<'a>(pub(in crate::source) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..self.0.floor_char_boundary(MAX_QUOTED)] {
            all if all.len() == self.0.len() => write!(f, "{all:?}"),
            first => write!(f, "{first:?}… ({} bytes)", self.0.len()),
        }
    }
}

/// Entries of an object's lists, and settings of it, that make no sense. The rest of the object is used.
/// Of nearly all objects that is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(Option<Box<Entries>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entries {
    /// The first few.
    first: Vec<InvalidField>,
    count: usize,
}

/// How many bad entries of one object are named.
const MAX_NAMED: usize = 3;

impl LeftOut {
    /// Returns a valid value, or records why it is left out.
    pub(super) fn good<T>(&mut self, value: Result<T, InvalidField>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(bad) => {
                let entries = self.0.get_or_insert_default();
                entries.count += 1;
                if entries.first.len() < MAX_NAMED {
                    entries.first.push(bad);
                }
                None
            }
        }
    }

    /// The first entry that is left out, if any is.
    pub fn first(&self) -> Option<&InvalidField> {
        self.0.as_ref()?.first.first()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Entries { first, count }) = self.0.as_deref() else { return Ok(()) };
        let named: Vec<String> = first.iter().map(ToString::to_string).collect();
        f.write_str(&named.join("; "))?;
        match count - first.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A protocol; TCP when none is named.
pub(super) fn protocol(
    text: Option<&str>,
    field: impl Fn() -> String,
) -> Result<Protocol, InvalidField> {
    match text {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => {
            let message = format!("{} is none of TCP, UDP and SCTP", Quoted(other));
            Err(InvalidField::new(field(), message))
        }
    }
}

/// A port.
pub(super) fn port(number: i32, field: impl Fn() -> String) -> Result<NonZeroU16, InvalidField> {
    optional_port(Some(number), &field)?
        .ok_or_else(|| InvalidField::new(field(), "0 is not a port, expected 1 to 65535"))
}

/// A port; none when it is absent or 0.
pub(super) fn optional_port(
    number: Option<i32>,
    field: impl Fn() -> String,
) -> Result<Option<NonZeroU16>, InvalidField> {
    let number = number.unwrap_or(0);
    u16::try_from(number).map(NonZeroU16::new).map_err(|_| {
        InvalidField::new(field(), format!("{number} is not a port, expected 1 to 65535"))
    })
}
