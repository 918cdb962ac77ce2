//! Lists and deletes interfaces.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Connection, NetlinkError};

/// Whether the calling thread's network namespace has an interface of this name.
pub fn is_link(name: &str) -> Result<bool, NetlinkError> {
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let found = connection.dump(&request, |message| match message {
        RouteNetlinkMessage::NewLink(link) => is_called(&link, name).then_some(()),
        _ => None,
    })?;
    Ok(!found.is_empty())
}

fn is_called(link: &LinkMessage, name: &str) -> bool {
    link.attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::IfName(found) if found == name))
}

/// The names of bridges by which other interfaces reach this host: those that have an address, and others
/// that are ports of them.
pub fn bridges_with_ports() -> Result<Vec<String>, NetlinkError> {
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let links = connection.dump(&request, |message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    })?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let with_address = connection.dump(&request, |message| match message {
        RouteNetlinkMessage::NewAddress(address) => Some(address.header.index),
        _ => None,
    })?;
    let is_port_of = |index: u32| {
        let is_controller = |it: &LinkAttribute| *it == LinkAttribute::Controller(index);
        links.iter().any(|link| link.attributes.iter().any(is_controller))
    };
    let bridges = links.iter().filter(|link| {
        let index = link.header.index;
        is_bridge(link) && with_address.contains(&index) && is_port_of(index)
    });
    let name = |link: &LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    Ok(bridges.filter_map(name).collect())
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    })
}

/// Deletes an interface, with its addresses; false if there is none of this name.
pub fn delete_link(name: &str) -> Result<bool, NetlinkError> {
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match connection.request(RouteNetlinkMessage::DelLink(link)) {
        Ok(()) => Ok(true),
        Err(NetlinkError::Refused(error)) if error.raw_os_error() == Some(ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `ENODEV` of errno.h.
const ENODEV: i32 = 19;
