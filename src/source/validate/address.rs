//! Recognises addresses that cannot be a host or a Service.

use std::net::IpAddr;

use weir_rules::cluster::address::parse_address;

use crate::source::convert::{InvalidField, Quoted};

/// An address that endpoints and externalIPs may have (Kubernetes: `ValidateNonSpecialIP` of
/// pkg/apis/core/validation/validation.go). That it is an address at all is checked elsewhere.
pub(super) fn not_special(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    let reason = match parse_address(text) {
        Some(address) if address.is_unspecified() => "is unspecified",
        Some(address) if address.is_loopback() => "is a loopback address",
        Some(address) if is_link_local(address) => "is a link-local address",
        Some(address) if is_link_local_multicast(address) => "is a link-local multicast address",
        _ => return Ok(()),
    };
    Err(InvalidField::new(field(), format!("{} {reason}", Quoted(text))))
}

/// An address that a network of ClusterIPs may hold. The API server has no rule for it, because it takes
/// none but from its own networks.
pub(super) fn cluster_ip(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    let is_impossible = |address: IpAddr| {
        address.is_unspecified() || address.is_loopback() || address.is_multicast()
    };
    match parse_address(text) {
        Some(address) if is_impossible(address) => {
            Err(InvalidField::new(field(), format!("{} can be no ClusterIP", Quoted(text))))
        }
        _ => Ok(()),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// 224.0.0.0/24, and the scope 2 of IPv6, as Go's `IsLinkLocalMulticast` has it.
fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}
