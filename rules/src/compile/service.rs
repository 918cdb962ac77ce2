//! Compiles one Service into map elements, and the chains and sets that it needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::affinity::Affinity;
use super::balancer::{Balancer, Choice, DestinationKind, LOCAL_SLOTS, chain_for};
use super::firewall::Firewall;
use super::fragment::{Entry, Fragment, Map};
use super::program::REJECT;
use crate::cluster::claims::{Claim, Lost};
use crate::cluster::{EndpointSlice, Family, NamespacedName, Service, ServicePort, TrafficPolicy};
use crate::endpoints::{Locality, PortEndpoint, PortEndpoints, PortSlices, choose};
use crate::nft::{self, Data, Element, Name, RawKey, RawValue, Table, Verdict};

/// What a Service's rules depend on beside the Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeContext<'a> {
    /// The family of the table.
    pub(super) family: Family,
    /// Where the proxy is.
    pub(super) place: Locality<'a>,
    /// The node's primary address of the family.
    pub(super) node_address: Option<IpAddr>,
    /// How many elements its endpoints take at most.
    pub(super) max_elements: usize,
}

/// Puts together what one Service adds.
struct Builder<'a> {
    name: &'a NamespacedName,
    service: &'a Service,
    around: NodeContext<'a>,
    /// How many endpoints each port has at most.
    max_endpoints: usize,
    addresses: ServiceAddresses,
    firewall: Option<Firewall>,
    /// What another Service has.
    lost: Lost<'a>,
    elements: Vec<Entry>,
    shared: BTreeSet<(Map, RawKey)>,
    balancers: BTreeMap<Balancer, Name>,
    own: Table,
    /// The ports whose clients stay.
    affinities: BTreeSet<Name>,
    /// The destinations that it has so far, each with the index of the port that it is of.
    taken: HashMap<(DestinationKind, RawKey), usize>,
}

/// Where traffic comes from, which decides on the policy.
#[derive(Clone, Copy)]
enum Side {
    /// From inside the cluster: ClusterIPs.
    Internal,
    /// From outside: all other addresses, and node ports.
    External,
}

/// A Service's fragment. It is served in a family in which it has a ClusterIP, at all that it claims
/// but what it has `lost` to others. The cost is linear in what is added.
pub(super) fn fragment(
    name: &NamespacedName,
    service: &Service,
    lost: Lost<'_>,
    slices: &[&EndpointSlice],
    around: NodeContext<'_>,
) -> Fragment {
    let of_family = |addresses: &[IpAddr]| -> Vec<IpAddr> {
        addresses.iter().copied().filter(|&a| Family::of(a) == around.family).collect()
    };
    let addresses = ServiceAddresses {
        cluster: of_family(&service.cluster_ips),
        external: of_family(&service.external_ips),
        load_balancer: of_family(&service.load_balancer_ips),
    };
    if addresses.cluster.is_empty() {
        return Fragment::default();
    }
    let slices = PortSlices::new(around.family, slices);
    let mut builder = Builder {
        name,
        service,
        around,
        max_endpoints: service.max_endpoints(around.family, around.max_elements),
        firewall: Firewall::new(name, service, &addresses.load_balancer, lost, around),
        addresses,
        lost,
        elements: Vec::new(),
        shared: BTreeSet::new(),
        balancers: BTreeMap::new(),
        own: Table::default(),
        affinities: BTreeSet::new(),
        taken: HashMap::new(),
    };
    for &address in &builder.addresses.cluster {
        builder.shared.insert((Map::ClusterIps, RawKey::new().address(address)));
    }
    for (index, port) in service.ports.iter().enumerate() {
        builder.add_port(index, port, &slices);
    }
    builder.finish()
}

/// A Service's virtual addresses of one family.
#[derive(Default)]
struct ServiceAddresses {
    cluster: Vec<IpAddr>,
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
}

impl Builder<'_> {
    fn add_port(&mut self, index: usize, port: &ServicePort, slices: &PortSlices<'_>) {
        let mut endpoints = choose(self.service, port, slices, self.around.place);
        endpoints.truncate(self.max_endpoints);
        let comment = port_comment(self.name, port);
        let internal = Traffic::new(self.service, Side::Internal, &endpoints);
        let external = Traffic::new(self.service, Side::External, &endpoints);
        // Two entries of one port are not possible in a Service that the API server has seen.
        let affinity = Affinity::new(self.name, self.service, port, &endpoints)
            .filter(|affinity| !self.affinities.contains(&affinity.id.id));
        let route = Route { affinity: affinity.as_ref(), index, comment: &comment };
        let mut has_backends = false;
        let protocol = port.protocol;
        let addresses = std::mem::take(&mut self.addresses);
        let targets = [
            (&addresses.cluster, &internal),
            (&addresses.external, &external),
            (&addresses.load_balancer, &external),
        ];
        for (addresses, traffic) in targets {
            for &address in addresses {
                let claim = Claim::Address { address, protocol, port: port.port };
                has_backends |= self.serve(claim, route, traffic);
            }
        }
        if let Some(port) = port.node_port {
            let claim = Claim::NodePort { protocol, port };
            has_backends |= self.serve(claim, route, &external);
        }
        for &address in &addresses.load_balancer {
            self.guard(address, port, route);
        }
        self.addresses = addresses;
        self.add_hairpin(port, &endpoints);
        if let Some(affinity) = affinity.filter(|_| has_backends) {
            self.affinities.insert(affinity.id.id.clone());
            self.elements.extend(affinity.members());
            affinity.move_into(&mut self.own);
        }
    }

    /// Puts the firewall in front of a load-balancer address and port.
    fn guard(&mut self, address: IpAddr, port: &ServicePort, route: Route<'_>) {
        let Some(firewall) = &mut self.firewall else { return };
        let claim = Claim::Address { address, protocol: port.protocol, port: port.port };
        let (destination, key) = destination(claim);
        // Whose address it is says who may use it.
        if self.taken.get(&(destination, key)) == Some(&route.index) {
            let verdict = Verdict::Goto(firewall.chain(port));
            self.elements.push((Map::FirewallIps, key, verdict_element(verdict, route.comment)));
        }
    }

    /// Serves what the Service claims, unless that is taken; returns whether it has endpoints.
    fn serve(&mut self, claim: Claim, route: Route<'_>, traffic: &Traffic<'_>) -> bool {
        let Route { affinity, index, comment } = route;
        let (destination, key) = destination(claim);
        if self.lost.contains(&claim) || self.taken.contains_key(&(destination, key)) {
            return false;
        }
        self.taken.insert((destination, key), index);
        let maps = match destination {
            DestinationKind::Address => {
                [Map::Services, Map::Endpoints, Map::NoEndpointServices, Map::AffinityServices]
            }
            DestinationKind::NodePort => [
                Map::NodePorts,
                Map::NodePortEndpoints,
                Map::NoEndpointNodePorts,
                Map::AffinityNodePorts,
            ],
        };
        let [verdicts, endpoints, without_endpoints, learning] = maps;
        if destination == DestinationKind::NodePort {
            let element = verdict_element(Verdict::Return, comment);
            self.elements.push((Map::NodePortsInUse, key, element));
        }
        if let Some(choice) = traffic.choice {
            if let Some(affinity) = affinity {
                // It comes back: that this is the address and port of one Service does not say that the
                // packet was another's, at the node port of the same number.
                let learn = Verdict::Jump(affinity.chain());
                self.elements.push((learning, key, verdict_element(learn, comment)));
            }
            let affinity = affinity.map(|affinity| affinity.id.clone());
            let chain = chain_for(Balancer { destination, choice, affinity }, &mut self.balancers);
            self.elements.push((verdicts, key, verdict_element(Verdict::Goto(chain), comment)));
            for (first, list) in traffic.slots {
                for (slot, endpoint) in (first..).zip(list) {
                    let target = RawValue::new().address(endpoint.address).port(endpoint.port);
                    let element = Element::new(Data::Values(target));
                    self.elements.push((endpoints, key.slot(slot), element));
                }
            }
        } else if destination == DestinationKind::NodePort {
            // Nobody else's address may take what nobody answers at a node port.
            self.elements.push((verdicts, key, verdict_element(Verdict::Return, comment)));
        }
        if let Some(verdict) = &traffic.without {
            let element = verdict_element(verdict.clone(), comment);
            self.elements.push((without_endpoints, key, element));
        }
        traffic.choice.is_some()
    }

    /// Only a local endpoint's own packets pass this node on both ways.
    fn add_hairpin(&mut self, port: &ServicePort, endpoints: &PortEndpoints) {
        let reachable = endpoints.cluster.iter().chain(&endpoints.local);
        for endpoint in reachable.filter(|endpoint| endpoint.local) {
            let key = RawKey::new()
                .address(endpoint.address)
                .address(endpoint.address)
                .protocol(port.protocol)
                .port(endpoint.port);
            self.shared.insert((Map::HairpinConnections, key));
        }
    }

    fn finish(mut self) -> Fragment {
        if let Some(firewall) = self.firewall {
            firewall.move_into(&mut self.own);
        }
        self.elements.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        // An address may be there twice.
        self.elements.dedup_by(|a, b| (a.0, a.1) == (b.0, b.1));
        let has_own = !self.own.sets.is_empty() || !self.own.chains.is_empty();
        Fragment {
            elements: self.elements.into(),
            shared: self.shared.into_iter().collect(),
            balancers: self.balancers.into_keys().collect(),
            own: has_own.then(|| Box::new(self.own)),
            learns: !self.affinities.is_empty(),
        }
    }
}

/// What the destinations of one port have in common.
#[derive(Clone, Copy)]
struct Route<'a> {
    affinity: Option<&'a Affinity<'a>>,
    /// Which of the Service's ports it is.
    index: usize,
    comment: &'a str,
}

/// The kind of a destination, and its key in the maps of that kind.
fn destination(claim: Claim) -> (DestinationKind, RawKey) {
    match claim {
        Claim::Address { address, protocol, port } => {
            let key = RawKey::new().address(address).protocol(protocol).port(port);
            (DestinationKind::Address, key)
        }
        Claim::NodePort { protocol, port } => {
            (DestinationKind::NodePort, RawKey::new().protocol(protocol).port(port))
        }
    }
}

/// What becomes of traffic from one side.
struct Traffic<'a> {
    /// How an endpoint is chosen; `None` where there is none at all to choose.
    choice: Option<Choice>,
    /// Endpoints by slot, for that choice.
    slots: [(u32, &'a [PortEndpoint]); 2],
    /// What becomes of a packet that no endpoint was chosen for.
    without: Option<Verdict>,
}

impl<'a> Traffic<'a> {
    fn new(service: &Service, side: Side, endpoints: &'a PortEndpoints) -> Self {
        let (cluster, local) = (endpoints.cluster.len() as u32, endpoints.local.len() as u32);
        let all: (u32, &[_]) = (0, &endpoints.cluster);
        let near: (u32, &[_]) = (LOCAL_SLOTS, &endpoints.local);
        let none: (u32, &[_]) = (0, &[]);
        let policy = match side {
            Side::Internal => service.internal_traffic_policy,
            Side::External => service.external_traffic_policy,
        };
        if !endpoints.any {
            let reject = Verdict::Goto(Name::from(REJECT));
            return Self { choice: None, slots: [none, none], without: Some(reject) };
        }
        let (choice, slots) = match (side, policy) {
            (Side::Internal, TrafficPolicy::Cluster) => (Choice::Cluster(cluster), [all, none]),
            (Side::Internal, TrafficPolicy::Local) => (Choice::Local(local), [near, none]),
            (Side::External, TrafficPolicy::Cluster) => (Choice::External(cluster), [all, none]),
            (Side::External, TrafficPolicy::Local) => {
                (Choice::ExternalLocal { local, cluster }, [all, near])
            }
        };
        // There are endpoints, but not here: another node has them, so that it is no refusal.
        let excluded = policy == TrafficPolicy::Local && local == 0;
        let choice = (choice != Choice::Local(0)).then_some(choice);
        Self { choice, slots, without: excluded.then_some(Verdict::Drop) }
    }
}

fn verdict_element(verdict: Verdict, comment: &str) -> Element {
    Element { data: Data::Verdict(verdict), comment: Some(comment.into()) }
}

/// `namespace/name:port`, as kube-proxy writes a Service port.
fn port_comment(name: &NamespacedName, port: &ServicePort) -> String {
    if port.name.is_empty() {
        nft::comment(&name.to_string())
    } else {
        nft::comment(&format!("{name}:{}", port.name))
    }
}
