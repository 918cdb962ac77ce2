//! Finds stale UDP conntrack entries.
//!
//! The kernel asks the ruleset about the first packet of a flow only, and a UDP client that does
//! not pause never has a second first packet. So entries have to go when what they say is no
//! longer true:
//!
//! - of a destination that is served: those that lead to an endpoint that no longer serves there,
//!   and, once it has an endpoint, those that lead to no endpoint because they are older;
//! - of a destination that was served until now: those that lead anywhere else than to it.
//!
//! An entry of another conntrack zone than 0 that is not translated is somebody else's, whatever it is
//! addressed to: a virtual switch tracks packets in a zone of its own on their way to weir's maps, and
//! may know nothing of what comes of them there.
//!
//! What was served until now is read from what a commit removes, so that weir never has to guess
//! whose an entry is: entries of other software, such as of a container's hostPort, have
//! destinations that were never in weir's maps. An endpoint that is no longer ready but still
//! serving keeps its flows, as it does under kube-proxy (pkg/proxy/conntrack/cleanup.go).

mod effect;
mod serving;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

pub use effect::FlowImpact;
pub use serving::ServedDestinations;

use crate::cluster::{Family, Protocol};

/// A flow as a conntrack entry describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The protocol.
    pub protocol: Protocol,
    /// Who sent the first packet.
    pub source: SocketAddr,
    /// Where to, as the sender wrote it.
    pub destination: SocketAddr,
    /// Who answers: the endpoint, or the destination itself where nothing translates it.
    pub reply_source: SocketAddr,
    /// Whether the destination is translated (`IPS_DST_NAT`).
    pub is_translated: bool,
    /// Whether it is in conntrack zone 0 in both directions, as is all that nobody has put elsewhere.
    pub is_in_default_zone: bool,
}

/// What UDP flows can be addressed to: a virtual address, or a node port of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A port at a virtual address.
    Address(IpAddr, NonZeroU16),
    /// A port at those of the node's own addresses that serve node ports.
    NodePort(Family, NonZeroU16),
}

#[cfg(test)]
mod tests;
