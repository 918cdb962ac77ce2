//! loadBalancerSourceRanges: which sources may reach a Service's load-balancer addresses (kube-proxy:
//! pkg/proxy/nftables/proxier.go: syncProxyRules).

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::program::{FIREWALL_DROP, goto, intervals};
use super::service::NodeContext;
use crate::cluster::claims::{Claim, Lost};
use crate::cluster::{Family, NamespacedName, Protocol, Service, ServicePort};
use crate::nft::{
    Chain, Elements, Name, Rule, Selector, Set, SetData, SetSpec, Statement, Table, Verdict,
};

/// Chains that drop what does not come from a set of networks.
pub(super) struct Firewall {
    /// The chain that lets pass what is to a node port, which may be another Service's.
    chain: Name,
    /// The chain for a port that is also the number of a node port of the same Service.
    node_port_chain: Name,
    /// The chains that are needed.
    used: BTreeSet<Name>,
    /// The node ports that the Service has.
    node_ports: HashSet<(Protocol, NonZeroU16)>,
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
        lost: Lost<'_>,
        around: NodeContext<'_>,
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
        let node_ports = service.ports.iter().filter_map(|port| {
            let claim = Claim::NodePort { protocol: port.protocol, port: port.node_port? };
            (!lost.contains(&claim)).then_some((port.protocol, port.node_port?))
        });
        Some(Self {
            chain: Name::new(format!("firewall-{name}")),
            node_port_chain: Name::new(format!("nodeport-firewall-{name}")),
            used: BTreeSet::new(),
            node_ports: node_ports.collect(),
            set: Name::new(format!("source-ranges-{name}")),
            sources: intervals(&ranges),
        })
    }

    /// The chain for a port of its load-balancer addresses.
    pub(super) fn chain(&mut self, port: &ServicePort) -> Name {
        let is_own = self.node_ports.contains(&(port.protocol, port.port));
        let chain = if is_own { &self.node_port_chain } else { &self.chain };
        self.used.insert(chain.clone());
        chain.clone()
    }

    /// Puts the chains that are needed and their set into the table, if any is.
    pub(super) fn move_into(self, table: &mut Table) {
        if self.used.is_empty() {
            return;
        }
        for name in self.used {
            let set = self.set.clone();
            let outside = Statement::InSet { key: vec![Selector::Saddr], set, negated: true };
            let verdict = if name == self.node_port_chain {
                Statement::Verdict(Verdict::Drop)
            } else {
                goto(FIREWALL_DROP)
            };
            let rules = vec![Rule::new([outside, verdict])];
            table.chains.insert(name, Chain { rules, ..Chain::default() });
        }
        table.sets.insert(self.set, Set { elements: self.sources, ..Set::new(sources_spec()) });
    }
}

/// What defines a set of those who may.
pub(super) fn sources_spec() -> SetSpec {
    SetSpec::new(vec![Selector::Saddr], SetData::Nothing).interval()
}
