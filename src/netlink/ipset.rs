//! Destroys ipsets.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_EXCL};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Connection, NetlinkError};

/// `NFNL_SUBSYS_IPSET` of linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u8 = 6;
/// `IPSET_CMD_DESTROY` of linux/netfilter/ipset/ip_set.h.
const DESTROY: u8 = 3;
/// `IPSET_ATTR_PROTOCOL`, and the version of it that kernels since 2.6.39 accept.
const ATTR_PROTOCOL: u16 = 1;
const PROTOCOL: u8 = 6;
/// `IPSET_ATTR_SETNAME`.
const ATTR_SETNAME: u16 = 2;
/// `IPSET_ERR_BUSY`, which is no number of errno.h: a rule refers to the set.
const BUSY: i32 = 4096 + 4;
/// `ENOENT` and `EINVAL` of errno.h.
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// What became of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destroyed {
    /// It is gone.
    Yes,
    /// There was none.
    WasNotThere,
    /// A rule refers to it.
    IsInUse,
}

/// The sets of one network namespace.
pub struct Sets {
    connection: Connection,
}

impl Sets {
    /// Opens a socket, in the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { connection: Connection::open(NETLINK_NETFILTER)? })
    }

    /// Destroys the set of this name. A set must have one: without, the kernel would destroy all.
    pub fn destroy(&mut self, name: &str) -> Result<Destroyed, NetlinkError> {
        assert!(!name.is_empty(), "a set has a name");
        let attributes = vec![
            DefaultNla::new(ATTR_PROTOCOL, vec![PROTOCOL]),
            DefaultNla::new(ATTR_SETNAME, [name.as_bytes(), &[0]].concat()),
        ];
        let subsys = NetfilterSubsystem::Other(SUBSYSTEM);
        let request = NetfilterMessageInner::Other { subsys, message_type: DESTROY, attributes };
        let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
        // Without NLM_F_EXCL, a set that is not there counts as destroyed.
        let flags = NLM_F_ACK | NLM_F_EXCL;
        let request = NetfilterMessage::new(header, request);
        match self.connection.exchange(request, flags, &mut |_: NetfilterMessage| {}) {
            Ok(_) => Ok(Destroyed::Yes),
            Err(NetlinkError::Refused(error)) => {
                meaning(&error).ok_or(NetlinkError::Refused(error))
            }
            Err(error) => Err(error),
        }
    }
}

fn meaning(error: &io::Error) -> Option<Destroyed> {
    match error.raw_os_error() {
        Some(ENOENT) => Some(Destroyed::WasNotThere),
        Some(BUSY) => Some(Destroyed::IsInUse),
        // So nfnetlink answers where the kernel has no ipset (`nfnetlink_rcv_msg`).
        Some(EINVAL) => Some(Destroyed::WasNotThere),
        _ => None,
    }
}
