//! loadBalancerSourceRanges: who may use a Service's load-balancer addresses
//! (kube-proxy: pkg/proxy/nftables/proxier.go: syncProxyRules).

use std::net::IpAddr;

use ipnet::IpNet;

use super::program::intervals;
use super::service::Surroundings;
use crate::cluster::{Family, NamespacedName, Service};
use crate::nft::{
    Chain, Elements, Name, Rule, Selector, Set, SetData, SetSpec, Statement, Table, Verdict,
};

/// A chain that drops what does not come from a set of networks.
pub(super) struct Firewall {
    /// The chain's name.
    pub(super) chain: Name,
    set: Name,
    sources: Elements,
}

impl Firewall {
    /// The firewall of a Service, if it restricts anybody in this family. Ranges of the other
    /// family alone do not.
    pub(super) fn new(
        name: &NamespacedName,
        service: &Service,
        load_balancer_ips: &[IpAddr],
        around: Surroundings<'_>,
    ) -> Option<Self> {
        let of_family = |net: &&IpNet| Family::of_net(net) == around.family;
        let mut ranges: Vec<IpNet> =
            service.source_ranges.iter().filter(of_family).copied().collect();
        let is_open = ranges.is_empty() && !service.has_bad_source_range
            || ranges.iter().any(|net| net.prefix_len() == 0);
        if is_open || load_balancer_ips.is_empty() || service.ports.is_empty() {
            return None;
        }
        // The node itself sends from the load-balancer address to which it sends.
        let node_may =
            around.node_address.is_some_and(|node| ranges.iter().any(|net| net.contains(&node)));
        if node_may {
            ranges.extend(load_balancer_ips.iter().copied().map(IpNet::from));
        }
        Some(Self {
            chain: Name::new(format!("firewall-{name}")),
            set: Name::new(format!("source-ranges-{name}")),
            sources: intervals(&ranges),
        })
    }

    /// Puts the chain and its set into the table.
    pub(super) fn move_into(self, table: &mut Table) {
        let outside =
            Statement::InSet { key: vec![Selector::Saddr], set: self.set.clone(), negated: true };
        let rules = vec![Rule::new([outside, Statement::Verdict(Verdict::Drop)])];
        table.sets.insert(self.set, Set { elements: self.sources, ..Set::new(sources_spec()) });
        table.chains.insert(self.chain, Chain { rules, ..Chain::default() });
    }
}

/// What defines a set of those who may.
pub(super) fn sources_spec() -> SetSpec {
    SetSpec::new(vec![Selector::Saddr], SetData::Nothing).interval()
}
