//! What one Service adds to the maps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::affinity::{self, Affinity};
use super::balancer::{AffinityId, Balancer, Choice, Destination, LOCAL_SLOTS};
use super::firewall::Firewall;
use super::names;
use super::program::REJECT;
use crate::cluster::{EndpointSlice, Family, NamespacedName, Service, ServicePort, TrafficPolicy};
use crate::endpoints::{Place, PortEndpoint, PortEndpoints, choose};
use crate::nft::{self, Data, Element, Elements, Name, RawKey, Statement, Table, Verdict};

/// What a Service's rules depend on beside the Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The family of the table.
    pub(super) family: Family,
    /// Where the proxy is.
    pub(super) place: Place<'a>,
    /// The node's primary address of the family.
    pub(super) node_address: Option<IpAddr>,
}

/// Elements of all maps, for any number of Services in one family.
#[derive(Default)]
pub(super) struct ServiceElements {
    cluster_ips: Elements,
    hairpin_connections: Elements,
    addresses: Destinations,
    node_ports: Destinations,
    firewall_ips: Elements,
    firewalls: Vec<Firewall>,
    balancers: BTreeMap<Balancer, Name>,
    affinities: BTreeMap<AffinityId, Affinity>,
}

/// A verdict map, its endpoints, and the verdict map of those that have none to go to.
#[derive(Default)]
struct Destinations {
    verdicts: Elements,
    endpoints: Elements,
    without_endpoints: Elements,
    /// The verdict map of those whose clients' endpoints are learned, by original destination.
    learning: Elements,
}

/// Where traffic comes from, which decides on the policy.
#[derive(Clone, Copy)]
enum Side {
    /// From inside the cluster: ClusterIPs.
    Internal,
    /// From outside: all other addresses, and node ports.
    External,
}

impl ServiceElements {
    /// Adds a Service. It is served in a family in which it has a ClusterIP.
    pub(super) fn add(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        slices: &[&EndpointSlice],
        around: Surroundings<'_>,
    ) {
        let family = around.family;
        let of_family = |addresses: &[IpAddr]| -> Vec<IpAddr> {
            addresses.iter().copied().filter(|&a| Family::of(a) == family).collect()
        };
        let cluster_ips = of_family(&service.cluster_ips);
        if cluster_ips.is_empty() {
            return;
        }
        let external_ips = of_family(&service.external_ips);
        let load_balancer_ips = of_family(&service.load_balancer_ips);
        let firewall = Firewall::new(name, service, &load_balancer_ips, around);
        for &address in &cluster_ips {
            self.cluster_ips.insert(RawKey::new().address(address), Element::new(Data::Nothing));
        }
        let mut is_guarded = false;
        for port in &service.ports {
            let endpoints = choose(service, port, family, slices, around.place);
            let comment = port_comment(name, port);
            let internal = Traffic::new(service, Side::Internal, &endpoints);
            let external = Traffic::new(service, Side::External, &endpoints);
            let key = |address: &IpAddr| {
                RawKey::new().address(*address).protocol(port.protocol).port(port.port)
            };
            // Two entries of one port are not possible in a Service that the API server has seen.
            let affinity = Affinity::new(name, service, port, &endpoints)
                .filter(|affinity| !self.affinities.contains_key(&affinity.id));
            let balancers = &mut self.balancers;
            let mut is_chosen_from = false;
            let mut serve = |address, traffic: &Traffic<'_>| {
                let way = Way { destination: Destination::Address, affinity: affinity.as_ref() };
                is_chosen_from |=
                    self.addresses.add(key(address), way, traffic, &comment, balancers);
            };
            cluster_ips.iter().for_each(|address| serve(address, &internal));
            external_ips.iter().for_each(|address| serve(address, &external));
            load_balancer_ips.iter().for_each(|address| serve(address, &external));
            if let Some(node_port) = port.node_port {
                let key = RawKey::new().protocol(port.protocol).port(node_port);
                let way = Way { destination: Destination::NodePort, affinity: affinity.as_ref() };
                is_chosen_from |= self.node_ports.add(key, way, &external, &comment, balancers);
            }
            if let Some(firewall) = &firewall {
                let guard = || verdict_element(Verdict::Goto(firewall.chain.clone()), &comment);
                // Whose address it is says who may use it.
                let mine = load_balancer_ips.iter().map(key);
                let mine = mine.filter(|key| self.addresses.is_of(key, &comment));
                let before = self.firewall_ips.len();
                self.firewall_ips.extend(mine.map(|key| (key, guard())));
                is_guarded |= self.firewall_ips.len() > before;
            }
            self.add_hairpin(port, &endpoints);
            if let Some(affinity) = affinity.filter(|_| is_chosen_from) {
                self.affinities.insert(affinity.id.clone(), affinity);
            }
        }
        self.firewalls.extend(firewall.filter(|_| is_guarded));
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
            self.hairpin_connections.insert(key, Element::new(Data::Nothing));
        }
    }

    /// Puts the elements into the table's maps, and the chains that they go to beside them.
    pub(super) fn move_into(self, table: &mut Table, is_from_pod: Option<&Statement>) {
        let sets = [
            (names::CLUSTER_IPS, self.cluster_ips),
            (names::HAIRPIN_CONNECTIONS, self.hairpin_connections),
            (names::SERVICES, self.addresses.verdicts),
            (names::ENDPOINTS, self.addresses.endpoints),
            (names::NO_ENDPOINT_SERVICES, self.addresses.without_endpoints),
            (names::NODEPORTS, self.node_ports.verdicts),
            (names::NODEPORT_ENDPOINTS, self.node_ports.endpoints),
            (names::NO_ENDPOINT_NODEPORTS, self.node_ports.without_endpoints),
            (names::FIREWALL_IPS, self.firewall_ips),
        ];
        for (name, elements) in sets {
            table.sets.get_mut(name).expect("the program declares every set").elements = elements;
        }
        for (balancer, name) in self.balancers {
            table.chains.insert(name, balancer.chain(is_from_pod));
        }
        for firewall in self.firewalls {
            firewall.move_into(table);
        }
        let learning = (self.addresses.learning, self.node_ports.learning);
        affinity::move_into(table, self.affinities.into_values(), learning.0, learning.1);
    }
}

/// How a destination is reached beside what all do.
#[derive(Clone, Copy)]
struct Way<'a> {
    destination: Destination,
    affinity: Option<&'a Affinity>,
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

impl Destinations {
    /// Whether a destination is that of the Service port with this comment.
    fn is_of(&self, key: &RawKey, comment: &str) -> bool {
        let found = self.verdicts.get(key).or_else(|| self.without_endpoints.get(key));
        found.is_some_and(|element| element.comment.as_deref() == Some(comment))
    }

    /// Adds a destination, unless it is taken; says whether endpoints are chosen for it.
    fn add(
        &mut self,
        key: RawKey,
        way: Way<'_>,
        traffic: &Traffic<'_>,
        comment: &str,
        balancers: &mut BTreeMap<Balancer, Name>,
    ) -> bool {
        if self.verdicts.contains_key(&key) || self.without_endpoints.contains_key(&key) {
            return false;
        }
        if let Some(choice) = traffic.choice {
            let Way { destination, affinity } = way;
            if let Some(affinity) = affinity {
                self.learning
                    .insert(key, verdict_element(Verdict::Goto(affinity.chain()), comment));
            }
            let affinity = affinity.map(|affinity| affinity.id.clone());
            let chain = chain_for(Balancer { destination, choice, affinity }, balancers);
            self.verdicts.insert(key, verdict_element(Verdict::Goto(chain), comment));
            for (first, endpoints) in traffic.slots {
                for (slot, endpoint) in (first..).zip(endpoints) {
                    let target = RawKey::new().address(endpoint.address).port(endpoint.port);
                    self.endpoints.insert(key.slot(slot), Element::new(Data::Values(target)));
                }
            }
        }
        if let Some(verdict) = &traffic.without {
            self.without_endpoints.insert(key, verdict_element(verdict.clone(), comment));
        }
        traffic.choice.is_some()
    }
}

fn verdict_element(verdict: Verdict, comment: &str) -> Element {
    Element { data: Data::Verdict(verdict), comment: Some(comment.into()) }
}

/// The name of a balancer's chain, which from now on exists, as do those behind it.
fn chain_for(balancer: Balancer, balancers: &mut BTreeMap<Balancer, Name>) -> Name {
    if let Some(name) = balancers.get(&balancer) {
        return name.clone();
    }
    for successor in balancer.successors() {
        chain_for(successor, balancers);
    }
    let name = balancer.name();
    balancers.insert(balancer, name.clone());
    name
}

/// `namespace/name:port`, as kube-proxy writes a Service port.
fn port_comment(name: &NamespacedName, port: &ServicePort) -> String {
    if port.name.is_empty() {
        nft::comment(&name.to_string())
    } else {
        nft::comment(&format!("{name}:{}", port.name))
    }
}
