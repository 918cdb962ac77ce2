//! The scalars of Kubernetes objects, checked.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use weir_rules::cluster::Protocol;

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
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
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
    let message = format!(
        "{text:?} is not a name: at most {longest} lower-case letters, digits, `-` and `.`"
    );
    Err(InvalidField::new(field, message))
}

/// An address. Leading zeros and IPv4-mapped IPv6 are refused: programs disagree about their meaning.
pub(super) fn address(text: &str, field: impl Fn() -> String) -> Result<IpAddr, InvalidField> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| InvalidField::new(field(), format!("{text:?} is not an IP address")))?;
    match mapped(address) {
        Some(v4) => {
            let message = format!("{text:?} is an IPv4-mapped IPv6 address, write {v4}");
            Err(InvalidField::new(field(), message))
        }
        None => Ok(address),
    }
}

/// A network.
pub(super) fn network(text: &str, field: impl Fn() -> String) -> Result<IpNet, InvalidField> {
    let network: IpNet = text.parse().map_err(|_| {
        InvalidField::new(field(), format!("{text:?} is not a network in CIDR form"))
    })?;
    match mapped(network.addr()) {
        Some(_) => {
            let message = format!("{text:?} is an IPv4-mapped IPv6 network");
            Err(InvalidField::new(field(), message))
        }
        None => Ok(network.trunc()),
    }
}

fn mapped(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
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
            Err(InvalidField::new(field(), format!("{other:?} is none of TCP, UDP and SCTP")))
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
