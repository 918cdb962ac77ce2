//! Reading all elements of weir's tables, as anybody must who is told them, and looking at none.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{MsgFlags, recv, send};
use weir_rules::cluster::Family;
use weir_rules::nft::Ruleset;
use weir_testbed::Netns;

use crate::netlink::{self, messages};

/// The table's name.
const TABLE: &str = "weir";
/// The kernel tells in datagrams of 32 KiB, if there is room for them (`netlink_dump`).
const DATAGRAM_BYTES: usize = 64 << 10;
/// `NFTA_SET_ELEM_LIST_TABLE` and `NFTA_SET_ELEM_LIST_SET` of linux/netfilter/nf_tables.h.
const LIST_TABLE: i32 = 1;
const LIST_SET: i32 = 2;

/// A request for all elements of each set.
#[derive(Debug)]
pub(crate) struct Dump {
    socket: OwnedFd,
    requests: Vec<Vec<u8>>,
}

impl Dump {
    /// Of the sets and maps that the ruleset has.
    pub(crate) fn new(ns: &Netns, ruleset: &Ruleset) -> Self {
        let sets = ruleset.tables.iter().flat_map(|(family, table)| {
            let family = match family {
                Family::Ipv4 => libc::NFPROTO_IPV4,
                Family::Ipv6 => libc::NFPROTO_IPV6,
            };
            table.sets.keys().map(move |set| (family, set))
        });
        let request = |(family, set): (i32, &weir_rules::nft::Name)| {
            let of = [netlink::text(LIST_TABLE, TABLE), netlink::text(LIST_SET, set.as_str())];
            let kind = libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_GETSETELEM;
            netlink::message(kind, libc::NLM_F_DUMP, family, 0, &of.concat())
        };
        Self { socket: netlink::open(ns, 0), requests: sets.map(request).collect() }
    }

    /// Reads all of them; gives how many bytes that were.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub(crate) fn read(&self) -> usize {
        self.requests.iter().map(|request| self.read_one(request)).sum()
    }

    fn read_one(&self, request: &[u8]) -> usize {
        let sent = send(self.socket.as_raw_fd(), request, MsgFlags::empty());
        assert_eq!(sent, Ok(request.len()));
        let (mut buffer, mut bytes) = (vec![0; DATAGRAM_BYTES], 0);
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
            let length = length.expect("the kernel answers");
            bytes += length;
            for message in messages(&buffer[..length]) {
                match netlink::kind(message) {
                    libc::NLMSG_ERROR => panic!("the kernel refuses: {message:?}"),
                    libc::NLMSG_DONE => return bytes,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir::kernel::Kernel;

    use super::*;

    #[test]
    fn all_elements_are_read() {
        let ns = Netns::new("elements");
        let addresses = |count| (0..count).map(|n| format!("10.0.{}.{}", n / 250, n % 250));
        let set = |name: &str, count| {
            let elements = addresses(count).collect::<Vec<_>>().join(", ");
            format!("set {name} {{ type ipv4_addr; elements = {{ {elements} }}; }}\n")
        };
        let read = |sets: &[String]| {
            ns.nft(&format!("flush ruleset\ntable ip weir {{\n{}}}\n", sets.concat()));
            let kernel = ns.run(|| Kernel::open().unwrap());
            Dump::new(&ns, &kernel.dump().unwrap().ruleset).read()
        };
        let bytes =
            [(1, 1), (5001, 1), (5001, 5001)].map(|(a, b)| read(&[set("a", a), set("b", b)]));
        // A key is an address in three attributes, beside which there is a header for each datagram.
        let added = [bytes[1] - bytes[0], bytes[2] - bytes[1]];
        assert!(added.iter().all(|bytes| (5000 * 16..5000 * 24).contains(bytes)), "{added:?}");
    }
}
