//! Takes a node over from kube-proxy: removes what it left behind once weir's own tables are programmed.
//!
//! In that order there is no gap. While both are there, a new connection is translated by whichever
//! comes first, and the other has no say any more (`nf_nat_inet_fn` of the kernel's
//! net/netfilter/nf_nat_core.c); at equal priority that is who came last (`nf_hook_entries_grow`
//! of net/netfilter/core.c). Established connections are the kernel's to translate as long as
//! somebody's nat chains are there, and so survive.
//!
//! Nothing else is changed: chains and tables are known by kube-proxy's names, rules that lead to
//! them by their place and comment.

mod accept;
mod follow;
mod ipvs;
mod legacy;
mod names;
mod nf_tables;
mod plan;
mod report;
mod saved;

pub use follow::Takeover;
pub use report::TakeoverReport;

use crate::kernel::Kernel;

/// Why something of kube-proxy's may be left.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// In nf_tables.
    #[error(transparent)]
    NfTables(#[from] nf_tables::NfTablesError),
    /// In the older iptables.
    #[error(
        "cannot remove kube-proxy's chains from iptables-legacy, whose programs need CAP_NET_RAW \
         beside CAP_NET_ADMIN"
    )]
    Legacy(#[from] legacy::LegacyError),
    /// Of ipvs mode.
    #[error(transparent)]
    Ipvs(#[from] ipvs::IpvsError),
}

/// What to do with connections that go through IPVS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvsConnections {
    /// What carries them stays until they have ended.
    Keep,
    /// They end.
    End,
}

/// Removes what kube-proxy has left in the calling thread's network namespace, and adds to the
/// report what that was. Each kind of leftovers is tried, whatever becomes of the others.
pub fn remove_leftovers(
    kernel: &Kernel,
    connections: IpvsConnections,
    report: &mut TakeoverReport,
) -> Result<(), TakeoverError> {
    let nf_tables = nf_tables::remove(kernel, report).map_err(TakeoverError::from);
    let legacy = legacy::remove(report).map_err(TakeoverError::from);
    // Behind the chains, whose rules refer to ipvs mode's sets.
    let ipvs = ipvs::remove(connections, report).map_err(TakeoverError::from);
    nf_tables.and(legacy).and(ipvs)
}
