//! kube-proxy's leftovers in ipvs mode beside its chains: an interface that holds the virtual addresses,
//! ipsets, and virtual servers.
//!
//! The virtual servers stay: other software may have some too, and where weir serves an address no
//! new connection gets to them, because its nat chains come before IPVS at every hook. Connections
//! that go through IPVS need the interface, so that it goes when they have ended.

use std::io;

use super::names::{IPVS_INTERFACE, sets};
use super::{IpvsConnections, TakeoverReport};
use crate::netlink;
use crate::netlink::ipset::{Destroyed, Sets};
use crate::netlink::links::{delete_link, is_link};

/// Lists the virtual servers of the network namespace, and the connections that go through them
/// (net/netfilter/ipvs/ip_vs_ctl.c and ip_vs_conn.c of the kernel). Neither file is there while the
/// kernel has no IPVS.
const SERVERS: &str = "/proc/thread-self/net/ip_vs";
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";

/// Why something may be left.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// Netlink failed.
    #[error("cannot {step}")]
    Netlink {
        /// What was attempted.
        step: &'static str,
        /// Why it failed.
        source: netlink::NetlinkError,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Removes all of it. Without the interface, kube-proxy did not run in this mode, and nothing is
/// looked for.
pub(super) fn remove(
    connections: IpvsConnections,
    report: &mut TakeoverReport,
) -> Result<(), IpvsError> {
    let failed = |step| move |source| IpvsError::Netlink { step, source };
    if !is_link(IPVS_INTERFACE).map_err(failed("list the interfaces"))? {
        return Ok(());
    }
    remove_sets(report).map_err(failed("remove kube-proxy's sets of ipset"))?;
    let live = live_connections(&read(CONNECTIONS)?);
    if live > 0 && connections == IpvsConnections::Keep {
        report.left.push(still_used());
        report.is_waiting = true;
        return Ok(());
    }
    if delete_link(IPVS_INTERFACE).map_err(failed("remove the interface kube-ipvs0"))? {
        report.interfaces += 1;
    }
    let servers = virtual_servers(&read(SERVERS)?);
    if servers > 0 {
        report.left.push(servers_stay(servers));
    }
    Ok(())
}

fn remove_sets(report: &mut TakeoverReport) -> Result<(), netlink::NetlinkError> {
    let mut kernel = Sets::open()?;
    for name in sets() {
        match kernel.destroy(&name)? {
            Destroyed::Yes => report.sets += 1,
            Destroyed::WasNotThere => {}
            Destroyed::IsInUse => report.left.push(format!(
                "ipset {name} stays because a rule that is not kube-proxy's refers to it: delete \
                 that rule, then the set with `ipset destroy {name}`"
            )),
        }
    }
    Ok(())
}

fn read(path: &'static str) -> Result<String, IpvsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(IpvsError::Read { path, source }),
    }
}

/// The same text however many there are, so that it is said once.
fn still_used() -> String {
    "interface kube-ipvs0 stays as long as connections go through IPVS, which need it; new ones no \
     longer do; weir looks every minute (to end them now, run `weir cleanup --kube-proxy`)"
        .to_owned()
}

fn servers_stay(servers: usize) -> String {
    format!(
        "IPVS has {servers} virtual servers, to which no new connection gets where weir serves: if \
         nothing else on this node uses IPVS, remove them with `ipvsadm --clear`"
    )
}

/// How many connections still carry data. Others are being closed or were never opened.
fn live_connections(text: &str) -> usize {
    let state = |line: &str| line.split_whitespace().nth(7).map(str::to_owned);
    let is_live = |state: &String| state == "ESTABLISHED" || state == "UDP";
    text.lines().filter_map(state).filter(is_live).count()
}

/// How many virtual servers there are. Their destinations are lines that begin with an arrow.
fn virtual_servers(text: &str) -> usize {
    let protocols = ["TCP ", "UDP ", "SCTP ", "FWM "];
    text.lines().filter(|line| protocols.iter().any(|protocol| line.starts_with(protocol))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ip_vs_conn_seq_show` writes it.
    const CONNECTIONS: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0AF40009 9C42 0A60000A 0050 0AF40002 1F90 ESTABLISHED     899
TCP 0AF40009 9C44 0A60000A 0050 0AF40002 1F90 TIME_WAIT       101
UDP 0AF40009 8F01 0A60000A 0035 0AF40003 1F90 UDP             299
";

    /// As `ip_vs_info_seq_show` writes it.
    const SERVERS: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr
  -> 0AF40002:1F90      Masq    1      1          1
UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 rr
";

    #[test]
    fn connections_that_carry_data_are_counted() {
        assert_eq!(live_connections(CONNECTIONS), 2);
        assert_eq!(live_connections(""), 0);
    }

    #[test]
    fn virtual_servers_are_counted() {
        assert_eq!(virtual_servers(SERVERS), 2);
        assert_eq!(virtual_servers(""), 0);
    }
}
