//! Network namespaces, veth links, echo servers and clients for kernel tests and the demo.
//!
//! A [`Testbed`] is a Kubernetes node in small: a namespace that routes, pods joined to it by veth,
//! and hosts on the far side of a router. Everything is dual stack and everything is real: packets
//! pass the node's netfilter hooks, servers are sockets in a pod's namespace.
//!
//! ```no_run
//! use weir_testbed::{Outcome, Protocol, REFUSAL, Testbed, ask, tally};
//!
//! let mut bed = Testbed::new()
//!     .pod("client", "10.244.0.9", "fd00:10:244::9")
//!     .pod("b1", "10.244.0.2", "fd00:10:244::2")
//!     .outside("visitor", "198.51.100.7", "2001:db8:51::7");
//! bed.serve("b1", 8080); // TCP, UDP and SCTP, IPv4 and IPv6
//! bed.node().nft("table ip weir { … }");
//!
//! let virtual_address = "10.96.0.10:80".parse().unwrap();
//! let tally = tally(bed.ns("client"), Protocol::Tcp, virtual_address, 300);
//! assert_eq!(tally.counts(["b1"]), [300]);
//! let nobody = "10.96.0.11:80".parse().unwrap();
//! assert_eq!(ask(bed.ns("visitor"), Protocol::Udp, nobody, REFUSAL), Outcome::Refused);
//! ```
//!
//! It needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run as root, or as an ordinary user under
//! `unshare -rn`. Without them it panics, so that a test fails and does not pass unseen. A namespace
//! has no name in the file system and ends with its [`Netns`] and the sockets in it.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]
#![forbid(unsafe_code)]

mod ask;
mod echo;
mod netns;
mod process;
mod sctp;
mod spread;
mod tally;
mod topology;
mod wait;

pub use ask::{
    ANSWER, Outcome, Protocol, REFUSAL, SILENCE, ask, ask_all, ask_here, sctp_ask, tcp_ask, udp_ask,
};
pub use echo::EchoServer;
pub use netns::{Netns, nft_programs, tool};
pub use process::{Process, Signal};
pub use spread::{CRITICAL_1DF, CRITICAL_2DF, CRITICAL_3DF, assert_even, chi_squared, critical};
pub use tally::{Tally, tally};
pub use topology::{Family, Host, Testbed};
pub use wait::{eventually, wait_for};
