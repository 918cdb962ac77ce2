//! Looks up routes.

use std::net::IpAddr;

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Connection, NetlinkError};

/// `EACCES`, `EINVAL`, `ENETUNREACH` and `EHOSTUNREACH` of errno.h: the errors of a lookup that finds a
/// route of type `prohibit` or `blackhole`, none, or one of type `unreachable`.
const NO_ROUTE: [i32; 4] = [13, 22, 101, 113];

/// Whether the calling thread's network namespace has a route for its own packets to this address.
pub fn has_route(to: IpAddr) -> Result<bool, NetlinkError> {
    let mut message = RouteMessage::default();
    let (family, bits, address) = match to {
        IpAddr::V4(address) => (AddressFamily::Inet, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(address)),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(address));
    let request = RouteNetlinkMessage::GetRoute(message);
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    match connection.exchange(request, NLM_F_ACK, &mut |_: RouteNetlinkMessage| {}) {
        Ok(_) => Ok(true),
        Err(NetlinkError::Refused(error))
            if error.raw_os_error().is_some_and(|error| NO_ROUTE.contains(&error)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
