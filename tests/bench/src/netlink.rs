//! Sockets of nf_tables.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use weir_testbed::Netns;

/// Room for what is told and not yet read.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

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
