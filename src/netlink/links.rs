//! Interfaces.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Connection, Error};

/// Whether the calling thread's network namespace has an interface of this name.
pub fn is_link(name: &str) -> Result<bool, Error> {
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

/// Deletes an interface, with its addresses; false if there is none of this name.
pub fn delete_link(name: &str) -> Result<bool, Error> {
    let mut connection = Connection::open(NETLINK_ROUTE)?;
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match connection.request(RouteNetlinkMessage::DelLink(link)) {
        Ok(()) => Ok(true),
        Err(Error::Refused(error)) if error.raw_os_error() == Some(ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `ENODEV` of errno.h.
const ENODEV: i32 = 19;
