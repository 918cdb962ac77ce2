//! Finds traffic that only kube-proxy's chains accept where a built-in chain drops by its policy.
//!
//! In modes iptables and ipvs kube-proxy accepts forwarded packets and health checks, so that they
//! pass a policy DROP (`syncProxyRules` of pkg/proxy/iptables/proxier.go, `writeIptablesRules` of
//! pkg/proxy/ipvs/proxier.go). A table of nftables has no such say, neither weir's nor that of
//! kube-proxy's mode nftables: a packet has to be accepted in every table.

use crate::kernel::foreign_tables::{ForeignChain, Policy};

/// Something that a built-in chain's policy may drop from now on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unaccepted {
    /// The built-in chain.
    chain: String,
    /// kube-proxy's chain, which accepted it.
    by: String,
    what: AcceptedTraffic,
}

/// What one of kube-proxy's chains accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AcceptedTraffic {
    Forwarded,
    HealthChecks,
}

impl Unaccepted {
    /// What goes with the rule that leads from a chain of this table to this one of kube-proxy's.
    pub(super) fn without(
        table: &str,
        (name, chain): (&str, &ForeignChain),
        target: &str,
    ) -> Option<Self> {
        let what = match target {
            "KUBE-FORWARD" => AcceptedTraffic::Forwarded,
            // Of mode iptables and of mode ipvs; those of table nat accept nothing.
            "KUBE-NODEPORTS" | "KUBE-NODE-PORT" => AcceptedTraffic::HealthChecks,
            _ => return None,
        };
        let is_dropped = table == "filter" && chain.policy == Some(Policy::Drop);
        is_dropped.then(|| Self { chain: name.to_owned(), by: target.to_owned(), what })
    }

    /// What to tell the operator; `place` names the table, `program` is the iptables that adds
    /// rules to it.
    pub(super) fn message(&self, place: &str, program: &str) -> String {
        let Self { chain, by, what } = self;
        let (accepted, consequence, remedy) = match what {
            AcceptedTraffic::Forwarded => (
                "forwarded packets with the mark for masquerade and those of established connections",
                "connections through this node's node ports fail",
                format!(
                    "run `{program} -I {chain} -m mark --mark 0x4000/0x4000 -j ACCEPT` (bit 14, or \
                     what masqueradeBit says) and `{program} -I {chain} -m conntrack --ctstate \
                     RELATED,ESTABLISHED -j ACCEPT`, and see that it lasts"
                ),
            ),
            AcceptedTraffic::HealthChecks => (
                "health checks of load balancers",
                "load balancers take this node for dead",
                format!(
                    "run `{program} -I {chain} -p tcp --dport PORT -j ACCEPT` for the \
                     healthCheckNodePort of each Service that has one, and see that it lasts"
                ),
            ),
        };
        format!(
            "chain {chain} of {place} has policy DROP, and kube-proxy's chain {by}, which accepted \
             {accepted}, is no longer asked: unless another rule there accepts these, \
             {consequence}: {remedy}"
        )
    }
}
