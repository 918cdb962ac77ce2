//! Chooses the endpoints of a Service port (kube-proxy: pkg/proxy/topology.go: CategorizeEndpoints).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cluster::{
    Endpoint, EndpointSlice, Family, Protocol, Service, ServicePort, TrafficPolicy,
};

/// An address and port that a connection can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortEndpoint {
    /// The endpoint's address.
    pub address: IpAddr,
    /// Its port.
    pub port: NonZeroU16,
    /// Whether it is on the proxy's own node.
    pub local: bool,
}

/// The endpoints of one port of a Service in one family, each list sorted by address and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortEndpoints {
    /// For traffic of policy Cluster; empty if the port has none such.
    pub cluster: Vec<PortEndpoint>,
    /// For traffic of policy Local; empty if the port has none such.
    pub local: Vec<PortEndpoint>,
    /// Whether there is a usable endpoint anywhere: without one traffic is refused, with one that
    /// the policy excludes it is dropped.
    pub any: bool,
}

impl PortEndpoints {
    /// Keeps so many of each list, the first by address and port: the same on every node.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.cluster.truncate(count);
        self.local.truncate(count);
    }
}

/// Where the proxy is.
#[derive(Debug, Clone, Copy)]
pub struct Locality<'a> {
    /// The name of its node.
    pub node: &'a str,
    /// The zone that its node is in.
    pub zone: Option<&'a str>,
}

/// A Service's slices of one family, found by the ports that they have: asking for all ports of the
/// Service costs no more than the slices hold.
#[derive(Debug, Clone)]
pub struct PortSlices<'a> {
    /// Sorted by name and protocol; those of one port in the order of the slices.
    ports: Vec<(&'a str, Protocol, NonZeroU16, &'a EndpointSlice)>,
}

impl<'a> PortSlices<'a> {
    /// Sorts the slices of a family by their ports.
    pub fn new(family: Family, slices: &[&'a EndpointSlice]) -> Self {
        let of_family = slices.iter().filter(|slice| slice.family == family);
        let ports = of_family.flat_map(|&slice| {
            slice.ports.iter().map(move |port| (&*port.name, port.protocol, port.port, slice))
        });
        let mut ports: Vec<_> = ports.collect();
        ports.sort_by_key(|(name, protocol, ..)| (*name, *protocol));
        Self { ports }
    }

    /// The slices that stand for a Service port, by name and protocol
    /// (kube-proxy: pkg/proxy/endpointslicecache.go), each with the port of its endpoints.
    fn of(&self, port: &ServicePort) -> impl Iterator<Item = (NonZeroU16, &'a EndpointSlice)> {
        let wanted = (&*port.name, port.protocol);
        let first = self.ports.partition_point(|(name, of, ..)| (*name, *of) < wanted);
        let rest = self.ports[first..].iter();
        rest.take_while(move |(name, of, ..)| (*name, *of) == wanted)
            .map(|(_, _, number, slice)| (*number, *slice))
    }
}

/// Chooses the endpoints of a port from all of its Service's slices of a family.
///
/// Ready endpoints are usable; where there is none, those that are serving while they terminate,
/// decided separately for each list. Topology hints narrow down the list of policy Cluster only.
pub fn choose(
    service: &Service,
    port: &ServicePort,
    slices: &PortSlices<'_>,
    place: Locality<'_>,
) -> PortEndpoints {
    let found = candidates(port, slices, place);
    let usable = |c: &&Candidate<'_>| c.endpoint.ready || is_draining(c.endpoint);
    let mut chosen =
        PortEndpoints { any: found.iter().any(|c| usable(&c)), ..PortEndpoints::default() };

    let external = service.is_externally_accessible(port);
    // Traffic from Pods and from the node itself is of policy Cluster at external addresses too.
    if external || service.internal_traffic_policy == TrafficPolicy::Cluster {
        let topology = Topology::of(&found, place);
        chosen.cluster = ready_or_draining(&found, |c| topology.allows(c.endpoint, place));
    }
    if service.internal_traffic_policy == TrafficPolicy::Local
        || external && service.external_traffic_policy == TrafficPolicy::Local
    {
        chosen.local = ready_or_draining(&found, |c| c.port_endpoint.local);
    }
    chosen
}

/// Whether a port has a usable endpoint anywhere: [`PortEndpoints::any`] without the choice, for
/// which mostly the first endpoint is enough.
pub fn has_usable(port: &ServicePort, slices: &PortSlices<'_>) -> bool {
    let mut endpoints = slices.of(port).flat_map(|(_, slice)| &slice.endpoints);
    if endpoints.any(|endpoint| endpoint.ready) {
        return true;
    }
    // Whether one drains, the slice decides that says most for it, and none says ready.
    let nowhere = Locality { node: "", zone: None };
    candidates(port, slices, nowhere).iter().any(|c| is_draining(c.endpoint))
}

/// Whether a port has more than so many endpoints that new connections may go to, wherever the proxy is.
/// Mostly it is enough to count what the slices hold.
pub(crate) fn has_more_usable(port: &ServicePort, slices: &PortSlices<'_>, count: usize) -> bool {
    let entries: usize = slices.of(port).map(|(_, slice)| slice.endpoints.len()).sum();
    if entries <= count {
        return false;
    }
    let nowhere = Locality { node: "", zone: None };
    ready_or_draining(&candidates(port, slices, nowhere), |_| true).len() > count
}

/// Every endpoint of a port that still answers, whether new connections go to it or not: also
/// those that terminate while others are ready, and those elsewhere or in another zone.
pub fn serving(
    port: &ServicePort,
    slices: &PortSlices<'_>,
    place: Locality<'_>,
) -> Vec<PortEndpoint> {
    let found = candidates(port, slices, place);
    // Ready without serving: publishNotReadyAddresses.
    let still = found.iter().filter(|c| c.endpoint.ready || c.endpoint.serving);
    still.map(|c| c.port_endpoint).collect()
}

/// The ready endpoints among those that may be, else those that drain. Hints allow every
/// endpoint where none is ready, so that they narrow down only the ready ones.
fn ready_or_draining(
    found: &[Candidate<'_>],
    may_be: impl Fn(&Candidate<'_>) -> bool,
) -> Vec<PortEndpoint> {
    let all = |is_usable: fn(&Endpoint) -> bool| -> Vec<PortEndpoint> {
        found
            .iter()
            .filter(|c| is_usable(c.endpoint) && may_be(c))
            .map(|c| c.port_endpoint)
            .collect()
    };
    let ready = all(|endpoint| endpoint.ready);
    if ready.is_empty() { all(is_draining) } else { ready }
}

fn is_draining(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}

/// An endpoint of a port, with its conditions.
struct Candidate<'a> {
    port_endpoint: PortEndpoint,
    endpoint: &'a Endpoint,
}

/// All endpoints of the port, sorted by address and port, each once.
///
/// Where slices contradict each other about an endpoint, the most favourable one wins, then the first
/// by name; it is local if one of them says so.
fn candidates<'a>(
    port: &ServicePort,
    slices: &PortSlices<'a>,
    place: Locality<'_>,
) -> Vec<Candidate<'a>> {
    let mut found: BTreeMap<(IpAddr, NonZeroU16), Candidate<'a>> = BTreeMap::new();
    for (port, slice) in slices.of(port) {
        for endpoint in &slice.endpoints {
            let address = endpoint.address;
            let local = endpoint.node() == Some(place.node);
            let new = Candidate { port_endpoint: PortEndpoint { address, port, local }, endpoint };
            let Some(known) = found.get_mut(&(address, port)) else {
                found.insert((address, port), new);
                continue;
            };
            let local = known.port_endpoint.local || local;
            if promise(endpoint) > promise(known.endpoint) {
                *known = new;
            }
            known.port_endpoint.local = local;
        }
    }
    found.into_values().collect()
}

/// How favourable a slice is to an endpoint.
fn promise(endpoint: &Endpoint) -> (bool, bool, bool) {
    (endpoint.ready, !endpoint.terminating, endpoint.serving)
}

/// Which hints count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    /// None.
    Any,
    /// `hints.forNodes`.
    SameNode,
    /// `hints.forZones`.
    SameZone,
}

impl Topology {
    /// Hints count if every ready endpoint has one of the kind, and one of them is for here.
    fn of(found: &[Candidate<'_>], place: Locality<'_>) -> Self {
        let ready = || found.iter().map(|c| c.endpoint).filter(|endpoint| endpoint.ready);
        let count = |hints: fn(&Endpoint) -> &[String], here: Option<&str>| {
            ready().all(|endpoint| !hints(endpoint).is_empty())
                && ready()
                    .any(|endpoint| hints(endpoint).iter().any(|hint| Some(hint.as_str()) == here))
        };
        if count(Endpoint::node_hints, Some(place.node)) {
            Topology::SameNode
        } else if count(Endpoint::zone_hints, place.zone) {
            Topology::SameZone
        } else {
            Topology::Any
        }
    }

    fn allows(self, endpoint: &Endpoint, place: Locality<'_>) -> bool {
        let has =
            |hints: &[String], here: Option<&str>| hints.iter().any(|hint| Some(&**hint) == here);
        match self {
            Topology::Any => true,
            Topology::SameNode => has(endpoint.node_hints(), Some(place.node)),
            Topology::SameZone => has(endpoint.zone_hints(), place.zone),
        }
    }
}
