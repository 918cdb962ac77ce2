//! Sockets and messages of nf_tables.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use weir_testbed::Netns;

/// Room for what is told and not yet read.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// The bytes in front of the attributes: `struct nlmsghdr` and `struct nfgenmsg`.
pub(crate) const HEADERS: usize = 20;

/// A socket in the namespace that is told what these groups are, each a bit.
pub(crate) fn open(ns: &Netns, groups: u32) -> OwnedFd {
    ns.run(|| {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        );
        let socket = socket.expect("the kernel has nf_tables");
        // Only root itself may have more than the system's limit.
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES))
            .expect("room for what is told");
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).expect("the kernel gives a port");
        socket
    })
}

/// A message: of this type, with these flags beside `NLM_F_REQUEST`; family and resource of its
/// `struct nfgenmsg`; attributes.
pub(crate) fn message(
    kind: i32,
    flags: i32,
    family: i32,
    resource: i32,
    attributes: &[u8],
) -> Vec<u8> {
    let length = ((HEADERS + attributes.len()) as u32).to_ne_bytes();
    let (kind, resource) = ((kind as u16).to_ne_bytes(), (resource as u16).to_be_bytes());
    let flags = ((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes();
    // Neither a sequence number nor a port; then the family and the version.
    let headers = [&length[..], &kind, &flags, &[0; 8], &[family as u8, 0], &resource];
    [&headers.concat(), attributes].concat()
}

/// An attribute that is a text.
pub(crate) fn text(kind: i32, text: &str) -> Vec<u8> {
    let length = 4 + text.len() + 1;
    let header = [(length as u16).to_ne_bytes(), (kind as u16).to_ne_bytes()].concat();
    let mut attribute = [&header, text.as_bytes()].concat();
    // With the byte that ends it.
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}

/// The messages of a datagram.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|of| of.len() >= HEADERS)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The type of a message of nf_tables, without its subsystem.
pub(crate) fn kind(message: &[u8]) -> i32 {
    i32::from(message[4])
}
