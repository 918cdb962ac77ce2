//! Lists the node's own addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Connection, NetlinkError};

/// Every address of every interface in the calling thread's network namespace.
pub fn own_addresses() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let addresses = connection.dump(&request, |message| match message {
        RouteNetlinkMessage::NewAddress(address) => own(&address.attributes),
        _ => None,
    })?;
    Ok(addresses.into_iter().collect())
}

/// `IFA_LOCAL` is the interface's own address where there is one, and `IFA_ADDRESS` then its
/// peer's (linux/if_addr.h).
fn own(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_point_to_point_link_is_not_an_own_address() {
        let [own_one, peer] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let peer = AddressAttribute::Address(peer);
        assert_eq!(own(&[peer.clone(), AddressAttribute::Local(own_one)]), Some(own_one));
        assert_eq!(own(&[AddressAttribute::Address(own_one)]), Some(own_one));
        assert_eq!(own(&[]), None);
    }
}
