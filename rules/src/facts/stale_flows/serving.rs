//! The endpoints that may go on answering established UDP flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Destination, Flow, FlowImpact};
use crate::cluster::claims::{Claim, Lost};
use crate::cluster::{
    Cluster, EndpointSlice, Family, NamespacedName, Protocol, Service, ServicePort, TrafficPolicy,
};
use crate::compile::{node_port_networks, pod_networks};
use crate::config::{Config, DetectLocal};
use crate::endpoints::{Locality, PortEndpoint, PortSlices, serving};

/// Who may go on answering for each UDP destination. As in the ruleset, one that several Services
/// claim is that Service's which has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedDestinations {
    /// Those that have a destination, in order: who answers is the first's. Never empty, and more
    /// than one only while it passes from one Service to another.
    destinations: BTreeMap<Destination, Vec<(NamespacedName, Answerers)>>,
    /// The destinations of each Service that has any.
    of_service: BTreeMap<NamespacedName, Vec<Destination>>,
    /// What Services are to have of which a part is programmed.
    arriving: Option<Box<ServedDestinations>>,
    node_port_networks: Vec<IpNet>,
    pods: Pods,
}

/// Who may answer at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answerers {
    /// All endpoints of the port that still serve, sorted by address and port.
    endpoints: Arc<[PortEndpoint]>,
    locality: AnsweringPolicy,
}

/// Whether an endpoint on another node may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnsweringPolicy {
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
    /// An entry does not show that, because it has no interface. Any source could be one.
    #[default]
    Unknown,
    /// Those in these networks.
    Networks(Vec<IpNet>),
}

impl ServedDestinations {
    /// Who serves in this cluster.
    pub fn new(cluster: &Cluster, config: &Config) -> Self {
        let mut serving = Self::default();
        for (name, service) in &cluster.services {
            let slices = cluster.slices.of(name);
            let lost = cluster.services.lost(name);
            serving.update(name, Some(service), lost, &slices, &config.node_name);
        }
        serving.surround(cluster, config);
        serving
    }

    /// Records a Service as it is now, if one of this name still exists, without the claims that it
    /// has lost to others, on a node of that name; returns the effect of its changes on flows.
    pub(crate) fn update(
        &mut self,
        name: &NamespacedName,
        service: Option<&Service>,
        lost: Lost<'_>,
        slices: &[&EndpointSlice],
        node: &str,
    ) -> FlowImpact {
        let mut effect = FlowImpact { is_any: self.arrived(name), ..FlowImpact::default() };
        let found =
            service.map(|service| answerers(service, lost, slices, node)).unwrap_or_default();
        let before = self.of_service.remove_entry(name);
        if before.is_none() && found.is_empty() {
            return effect;
        }
        let (name, before) = before.unwrap_or_else(|| (name.clone(), Vec::new()));
        for destination in before.iter().filter(|it| !found.contains_key(it)) {
            self.put(*destination, &name, None, &mut effect);
        }
        let destinations: Vec<Destination> = found.keys().copied().collect();
        for (destination, answerers) in found {
            self.put(destination, &name, Some(answerers), &mut effect);
        }
        if !destinations.is_empty() {
            self.of_service.insert(name, destinations);
        }
        effect
    }

    /// Records the target state of a Service that is programmed in part: until it is
    /// [updated](Self::update), who may answer before or after may answer.
    pub(crate) fn arrive(
        &mut self,
        name: &NamespacedName,
        service: Option<&Service>,
        lost: Lost<'_>,
        slices: &[&EndpointSlice],
        node: &str,
    ) {
        self.arriving.get_or_insert_default().update(name, service, lost, slices, node);
    }

    /// Records that a Service is no longer programmed in part. Returns whether it was.
    fn arrived(&mut self, name: &NamespacedName) -> bool {
        let Some(arriving) = &mut self.arriving else { return false };
        let has_arrived = arriving.of_service.contains_key(name);
        if has_arrived {
            arriving.update(name, None, Lost::default(), &[], "");
        }
        self.arriving.take_if(|arriving| arriving.of_service.is_empty());
        has_arrived
    }

    /// Puts in who answers at a destination of a Service, or takes the Service out there.
    fn put(
        &mut self,
        destination: Destination,
        name: &NamespacedName,
        answerers: Option<Answerers>,
        effect: &mut FlowImpact,
    ) {
        let claims = self.destinations.entry(destination).or_insert_with(|| Vec::with_capacity(1));
        let before = claims.first().map(|(_, answerers)| answerers.clone());
        match (claims.binary_search_by(|(other, _)| other.cmp(name)), answerers) {
            (Ok(index), Some(answerers)) => claims[index].1 = answerers,
            (Err(index), Some(answerers)) => claims.insert(index, (name.clone(), answerers)),
            (Ok(index), None) => drop(claims.remove(index)),
            (Err(_), None) => {}
        }
        effect.is_any |= before.as_ref() != claims.first().map(|(_, answerers)| answerers);
        if claims.is_empty() {
            self.destinations.remove(&destination);
            effect.removed.insert(destination);
        }
    }

    /// Whether another Service claims a destination of this one.
    pub(crate) fn is_contested(&self, name: &NamespacedName) -> bool {
        let mut destinations = self.of_service.get(name).into_iter().flatten();
        destinations.any(|destination| self.destinations[destination].len() > 1)
    }

    /// Records the node and the settings as they are now; returns the effect of their changes on flows.
    pub(crate) fn surround(&mut self, cluster: &Cluster, config: &Config) -> FlowImpact {
        let networks =
            Family::ALL.into_iter().flat_map(|family| node_port_networks(family, cluster, config));
        let networks = networks.collect();
        let pods = match config.detect_local {
            DetectLocal::BridgeInterface(_) | DetectLocal::InterfaceNamePrefix(_) => Pods::Unknown,
            DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => {
                Pods::Networks(pod_networks(cluster, config).to_vec())
            }
        };
        let is_any = self.node_port_networks != networks || self.pods != pods;
        self.node_port_networks = networks;
        self.pods = pods;
        FlowImpact { is_any, ..FlowImpact::default() }
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
        let arriving = self.arriving.iter().flat_map(|arriving| {
            let claims = candidates.iter().flatten().filter_map(|it| arriving.destinations.get(it));
            claims.flatten()
        });
        for (_, answerers) in arriving {
            if self.may_answer(answerers, flow, own) {
                return false;
            }
        }
        let served = candidates.iter().flatten().find_map(|it| self.answerers(it));
        let Some(answerers) = served else {
            return flow.is_translated && candidates.iter().flatten().any(|d| removed.contains(d));
        };
        if self.may_answer(answerers, flow, own) {
            return false;
        }
        // An entry from before the destination was served does no harm until there is an endpoint.
        flow.is_translated || flow.is_in_default_zone && !answerers.endpoints.is_empty()
    }

    /// Who answers at a destination, if it is served.
    pub(super) fn answerers(&self, destination: &Destination) -> Option<&Answerers> {
        self.destinations.get(destination)?.first().map(|(_, answerers)| answerers)
    }

    /// What a flow may be addressed to, in the order in which the ruleset looks: a node port, which is
    /// one only at one of the node's own addresses, then a virtual address.
    fn destinations_of(&self, flow: &Flow, own: &BTreeSet<IpAddr>) -> [Option<Destination>; 2] {
        let address = flow.destination.ip();
        let Some(port) = NonZeroU16::new(flow.destination.port()) else { return [None, None] };
        let serves_node_ports = !address.is_loopback()
            && own.contains(&address)
            && self.node_port_networks.iter().any(|network| network.contains(&address));
        let node_port = serves_node_ports.then(|| Destination::NodePort(Family::of(address), port));
        [node_port, Some(Destination::Address(address, port))]
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
            AnsweringPolicy::Anywhere => false,
            AnsweringPolicy::Local => true,
            AnsweringPolicy::LocalFromOutside => !is_inside(),
        };
        answerers.find(&flow.reply_source).is_some_and(|endpoint| endpoint.local || !only_local)
    }
}

impl Answerers {
    /// The endpoint that has this address and port: there may be as many endpoints as flows to look at.
    fn find(&self, at: &SocketAddr) -> Option<&PortEndpoint> {
        let found = self.endpoints.binary_search_by(|endpoint| {
            count_step();
            (endpoint.address, endpoint.port.get()).cmp(&(at.ip(), at.port()))
        });
        found.ok().map(|index| &self.endpoints[index])
    }
}

#[cfg(test)]
thread_local! {
    /// How many endpoints this thread has compared with a flow.
    pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn count_step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// The UDP destinations of a Service on a node of this name, and who answers there.
fn answerers(
    service: &Service,
    lost: Lost<'_>,
    slices: &[&EndpointSlice],
    node: &str,
) -> BTreeMap<Destination, Answerers> {
    // Hints say where new connections go, and none of who answers.
    let place = Locality { node, zone: None };
    let mut destinations = BTreeMap::new();
    for family in Family::ALL.into_iter().filter(|family| service.serves(*family)) {
        let slices = PortSlices::new(family, slices);
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            add(&mut destinations, service, (port, family), lost, &slices, place);
        }
    }
    destinations
}

/// Adds the destinations of a port in one family.
fn add(
    destinations: &mut BTreeMap<Destination, Answerers>,
    service: &Service,
    (port, family): (&ServicePort, Family),
    lost: Lost<'_>,
    slices: &PortSlices<'_>,
    place: Locality<'_>,
) {
    let is_of_family = |address: &&IpAddr| Family::of(**address) == family;
    let endpoints: Arc<[PortEndpoint]> = serving(port, slices, place).into();
    let mut add = |destination, locality| {
        let protocol = port.protocol;
        let claim = match destination {
            Destination::Address(address, port) => Claim::Address { address, protocol, port },
            Destination::NodePort(_, port) => Claim::NodePort { protocol, port },
        };
        if lost.contains(&claim) {
            return;
        }
        let answerers = || Answerers { endpoints: Arc::clone(&endpoints), locality };
        destinations.entry(destination).or_insert_with(answerers);
    };
    let internal = match service.internal_traffic_policy {
        TrafficPolicy::Cluster => AnsweringPolicy::Anywhere,
        TrafficPolicy::Local => AnsweringPolicy::Local,
    };
    let external = match service.external_traffic_policy {
        TrafficPolicy::Cluster => AnsweringPolicy::Anywhere,
        TrafficPolicy::Local => AnsweringPolicy::LocalFromOutside,
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
