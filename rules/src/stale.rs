//! Which connection-tracking entries hold a UDP flow away from where it should go.
//!
//! The kernel asks the ruleset about the first packet of a flow only, and a UDP client that does
//! not pause never has a second first packet. So entries have to go when what they say is no
//! longer true:
//!
//! - of a destination that is served: those that lead to an endpoint that no longer serves there,
//!   and, once it has an endpoint, those that lead to no endpoint because they are older;
//! - of a destination that was served until now: those that lead anywhere else than to it.
//!
//! What was served until now is read from what a commit removes, so that weir never has to guess
//! whose an entry is: entries of other software, such as of a container's hostPort, have
//! destinations that were never in weir's maps. An endpoint that is no longer ready but still
//! serving keeps its flows, as it does under kube-proxy (pkg/proxy/conntrack/cleanup.go).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;

use crate::cluster::{
    Cluster, EndpointSlice, Family, Protocol, Service, ServicePort, TrafficPolicy,
};
use crate::compile::{names, node_port_networks, pod_networks};
use crate::config::{Config, DetectLocal};
use crate::endpoints::{Place, PortEndpoint, serving};
use crate::nft::{RawKey, Table};
use crate::transaction::{Action, Operation, Transaction};

/// What an entry of the connection-tracking table says of a flow.
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
}

/// What UDP flows can be addressed to: a virtual address, or a node port of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A port at a virtual address.
    Address(IpAddr, NonZeroU16),
    /// A port at those of the node's own addresses that serve node ports.
    NodePort(Family, NonZeroU16),
}

/// What a transaction means for UDP flows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// Whether flows may have become stale.
    pub is_any: bool,
    /// Destinations that it removes. Some of them it may add again.
    pub removed: BTreeSet<Destination>,
}

/// Who may go on answering for each UDP destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    destinations: BTreeMap<Destination, Answerers>,
    node_port_networks: Vec<IpNet>,
    pods: Pods,
}

/// Who may answer at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answerers {
    /// All endpoints of the port that still serve.
    endpoints: Arc<[PortEndpoint]>,
    locality: Locality,
}

/// Whether an endpoint on another node may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locality {
    /// It may.
    Anywhere,
    /// It may not: internalTrafficPolicy Local.
    Local,
    /// It may if a Pod or the node itself asks: externalTrafficPolicy Local.
    LocalFromOutside,
}

/// Which sources are Pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Pods {
    /// An entry does not tell, for it has no interface. Any source could be one.
    #[default]
    Unknown,
    /// Those in these networks.
    Networks(Vec<IpNet>),
}

impl Serving {
    /// Who serves in this cluster. As in the ruleset, a destination that two Services claim
    /// belongs to the first by namespace and name.
    pub fn new(cluster: &Cluster, config: &Config) -> Self {
        let zone = cluster.node.as_ref().and_then(|node| node.zone.as_deref());
        let place = Place { node: &config.node_name, zone };
        let mut destinations = BTreeMap::new();
        for (name, service) in &cluster.services {
            let slices = cluster.slices.of(name);
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
                for family in Family::ALL {
                    add(&mut destinations, service, port, family, &slices, place);
                }
            }
        }
        let networks =
            Family::ALL.into_iter().flat_map(|family| node_port_networks(family, cluster, config));
        let pods = match config.detect_local {
            DetectLocal::BridgeInterface(_) | DetectLocal::InterfaceNamePrefix(_) => Pods::Unknown,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => {
                Pods::Networks(pod_networks(cluster, config).to_vec())
            }
        };
        Self { destinations, node_port_networks: networks.collect(), pods }
    }

    /// Whether a flow's entry has to go, on a node that has these addresses. `removed` are
    /// destinations that weir has served before; those that are served still do not count.
    pub fn is_stale(
        &self,
        flow: &Flow,
        own: &BTreeSet<IpAddr>,
        removed: &BTreeSet<Destination>,
    ) -> bool {
        if flow.protocol != Protocol::Udp {
            return false;
        }
        let candidates = self.destinations_of(flow, own);
        let served = candidates.iter().flatten().find_map(|d| self.destinations.get(d));
        let Some(answerers) = served else {
            return flow.is_translated && candidates.iter().flatten().any(|d| removed.contains(d));
        };
        if self.may_answer(answerers, flow, own) {
            return false;
        }
        // An entry from before the destination was served does no harm until there is an endpoint.
        flow.is_translated || !answerers.endpoints.is_empty()
    }

    /// What a change to these means.
    pub fn until(&self, later: &Serving) -> Effect {
        let is_gone = |destination: &&Destination| !later.destinations.contains_key(destination);
        let removed = self.destinations.keys().filter(is_gone).copied().collect();
        Effect { is_any: self != later, removed }
    }

    /// What a flow may be addressed to, in the order in which the ruleset looks: a virtual
    /// address, then a node port, which is one only at one of the node's own addresses.
    fn destinations_of(&self, flow: &Flow, own: &BTreeSet<IpAddr>) -> [Option<Destination>; 2] {
        let address = flow.destination.ip();
        let Some(port) = NonZeroU16::new(flow.destination.port()) else { return [None, None] };
        let serves_node_ports = !address.is_loopback()
            && own.contains(&address)
            && self.node_port_networks.iter().any(|network| network.contains(&address));
        let node_port = serves_node_ports.then(|| Destination::NodePort(Family::of(address), port));
        [Some(Destination::Address(address, port)), node_port]
    }

    fn may_answer(&self, answerers: &Answerers, flow: &Flow, own: &BTreeSet<IpAddr>) -> bool {
        let is_inside = || {
            let source = flow.source.ip();
            own.contains(&source)
                || source.is_loopback()
                || match &self.pods {
                    Pods::Unknown => true,
                    Pods::Networks(networks) => networks.iter().any(|net| net.contains(&source)),
                }
        };
        let only_local = match answerers.locality {
            Locality::Anywhere => false,
            Locality::Local => true,
            Locality::LocalFromOutside => !is_inside(),
        };
        answerers.endpoints.iter().any(|endpoint| {
            SocketAddr::new(endpoint.address, endpoint.port.get()) == flow.reply_source
                && (endpoint.local || !only_local)
        })
    }
}

/// Adds the destinations of a port in one family.
fn add(
    destinations: &mut BTreeMap<Destination, Answerers>,
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &[&EndpointSlice],
    place: Place<'_>,
) {
    let is_of_family = |address: &&IpAddr| Family::of(**address) == family;
    if !service.cluster_ips.iter().any(|address| is_of_family(&address)) {
        return;
    }
    let endpoints: Arc<[PortEndpoint]> = serving(port, family, slices, place).into();
    let mut add = |destination, locality| {
        let answerers = || Answerers { endpoints: Arc::clone(&endpoints), locality };
        destinations.entry(destination).or_insert_with(answerers);
    };
    let internal = match service.internal_traffic_policy {
        TrafficPolicy::Cluster => Locality::Anywhere,
        TrafficPolicy::Local => Locality::Local,
    };
    let external = match service.external_traffic_policy {
        TrafficPolicy::Cluster => Locality::Anywhere,
        TrafficPolicy::Local => Locality::LocalFromOutside,
    };
    for &address in service.cluster_ips.iter().filter(is_of_family) {
        add(Destination::Address(address, port.port), internal);
    }
    let externals = service.external_ips.iter().chain(&service.load_balancer_ips);
    for &address in externals.filter(is_of_family) {
        add(Destination::Address(address, port.port), external);
    }
    if let Some(node_port) = port.node_port {
        add(Destination::NodePort(family, node_port), external);
    }
}

impl Effect {
    /// What a transaction means for UDP flows.
    pub fn of(transaction: &Transaction) -> Self {
        let mut effect = Effect::default();
        for Operation { family, action } in &transaction.operations {
            match action {
                Action::AddElements { set, elements, .. } => {
                    let mut found = destinations(*family, set.as_str(), elements.keys());
                    effect.is_any |= found.next().is_some();
                }
                Action::DeleteElements { set, elements, .. } => {
                    effect.remove(*family, set.as_str(), elements.keys());
                }
                Action::DeleteSet { name, set } => {
                    effect.remove(*family, name.as_str(), set.elements.keys());
                }
                Action::DeleteTable { table: Table { sets, .. } } => {
                    for (name, set) in sets {
                        effect.remove(*family, name.as_str(), set.elements.keys());
                    }
                }
                Action::AddTable { .. }
                | Action::AddSet { .. }
                | Action::AddChain { .. }
                | Action::DeleteChain { .. }
                | Action::ReplaceRules { .. } => {}
            }
        }
        effect
    }

    fn remove<'a>(&mut self, family: Family, set: &str, keys: impl Iterator<Item = &'a RawKey>) {
        self.removed.extend(destinations(family, set, keys));
        self.is_any |= !self.removed.is_empty();
    }

    /// Adds what a later transaction means.
    pub fn merge(&mut self, later: Effect) {
        self.is_any |= later.is_any;
        self.removed.extend(later.removed);
    }
}

/// The UDP destinations among the keys of a set.
fn destinations<'a>(
    family: Family,
    set: &str,
    keys: impl Iterator<Item = &'a RawKey>,
) -> impl Iterator<Item = Destination> {
    let kind = match set {
        names::SERVICES | names::ENDPOINTS | names::NO_ENDPOINT_SERVICES => Some(true),
        names::NODEPORTS | names::NODEPORT_ENDPOINTS | names::NO_ENDPOINT_NODEPORTS => Some(false),
        _ => None,
    };
    keys.filter_map(move |key| destination(family, kind?, key.as_bytes()))
}

/// The UDP destination that a key begins with: a protocol and port, after an address or not.
fn destination(family: Family, has_address: bool, key: &[u8]) -> Option<Destination> {
    let (address, rest): (Option<IpAddr>, _) = match (has_address, family) {
        (false, _) => (None, key),
        (true, Family::Ipv4) => {
            let (address, rest) = key.split_first_chunk::<4>()?;
            (Some((*address).into()), rest)
        }
        (true, Family::Ipv6) => {
            let (address, rest) = key.split_first_chunk::<16>()?;
            (Some((*address).into()), rest)
        }
    };
    let [protocol, _, _, _, high, low, ..] = *rest else { return None };
    let port = NonZeroU16::new(u16::from_be_bytes([high, low]))?;
    let destination = match address {
        Some(address) => Destination::Address(address, port),
        None => Destination::NodePort(family, port),
    };
    (protocol == Protocol::Udp.number()).then_some(destination)
}

#[cfg(test)]
#[path = "stale_tests.rs"]
mod tests;
