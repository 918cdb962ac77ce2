//! What one Service adds to the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::affinity::Affinity;
use super::balancer::{Balancer, Choice, Destination, LOCAL_SLOTS, chain_for};
use super::firewall::Firewall;
use super::fragment::{Entry, Fragment, Map};
use super::program::REJECT;
use crate::cluster::{EndpointSlice, Family, NamespacedName, Service, ServicePort, TrafficPolicy};
use crate::endpoints::{Place, PortEndpoint, PortEndpoints, choose};
use crate::nft::{self, Data, Element, Name, RawKey, RawValue, Table, Verdict};

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

/// Puts together what one Service adds.
struct Builder<'a> {
    around: Surroundings<'a>,
    elements: Vec<Entry>,
    shared: BTreeSet<(Map, RawKey)>,
    balancers: BTreeMap<Balancer, Name>,
    own: Table,
    /// The ports whose clients stay.
    affinities: BTreeSet<Name>,
    /// The destinations that it has so far, and the index of the port that they are of.
    taken: Vec<(Destination, RawKey, usize)>,
    /// Whether no other Service has a destination.
    is_free: &'a mut dyn FnMut(Destination, RawKey) -> bool,
}

/// Where traffic comes from, which decides on the policy.
#[derive(Clone, Copy)]
enum Side {
    /// From inside the cluster: ClusterIPs.
    Internal,
    /// From outside: all other addresses, and node ports.
    External,
}

/// What a Service adds. It is served in a family in which it has a ClusterIP, at those destinations
/// that `is_free` says no other Service has.
pub(super) fn fragment(
    name: &NamespacedName,
    service: &Service,
    slices: &[&EndpointSlice],
    around: Surroundings<'_>,
    is_free: &mut dyn FnMut(Destination, RawKey) -> bool,
) -> Fragment {
    let of_family = |addresses: &[IpAddr]| -> Vec<IpAddr> {
        addresses.iter().copied().filter(|&a| Family::of(a) == around.family).collect()
    };
    let addresses = Addresses {
        cluster: of_family(&service.cluster_ips),
        external: of_family(&service.external_ips),
        load_balancer: of_family(&service.load_balancer_ips),
    };
    if addresses.cluster.is_empty() {
        return Fragment::default();
    }
    let mut builder = Builder {
        around,
        elements: Vec::new(),
        shared: BTreeSet::new(),
        balancers: BTreeMap::new(),
        own: Table::default(),
        affinities: BTreeSet::new(),
        taken: Vec::new(),
        is_free,
    };
    for &address in &addresses.cluster {
        builder.shared.insert((Map::ClusterIps, RawKey::new().address(address)));
    }
    let firewall = Firewall::new(name, service, &addresses.load_balancer, around);
    let mut is_guarded = false;
    for (index, port) in service.ports.iter().enumerate() {
        is_guarded |=
            builder.add_port(name, service, index, port, slices, &addresses, firewall.as_ref());
    }
    if let Some(firewall) = firewall.filter(|_| is_guarded) {
        firewall.move_into(&mut builder.own);
    }
    builder.finish()
}

/// A Service's virtual addresses of one family.
struct Addresses {
    cluster: Vec<IpAddr>,
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
}

impl Builder<'_> {
    /// Adds a port; says whether the firewall is in front of it.
    #[allow(clippy::too_many_arguments)]
    fn add_port(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        index: usize,
        port: &ServicePort,
        slices: &[&EndpointSlice],
        addresses: &Addresses,
        firewall: Option<&Firewall>,
    ) -> bool {
        let endpoints = choose(service, port, self.around.family, slices, self.around.place);
        let comment = port_comment(name, port);
        let internal = Traffic::new(service, Side::Internal, &endpoints);
        let external = Traffic::new(service, Side::External, &endpoints);
        let key = |address: &IpAddr| {
            RawKey::new().address(*address).protocol(port.protocol).port(port.port)
        };
        // Two entries of one port are not possible in a Service that the API server has seen.
        let affinity = Affinity::new(name, service, port, &endpoints)
            .filter(|affinity| !self.affinities.contains(&affinity.id.id));
        let way = |destination| Way { destination, affinity: affinity.as_ref(), index };
        let mut is_chosen_from = false;
        let sides = [
            (&addresses.cluster, &internal),
            (&addresses.external, &external),
            (&addresses.load_balancer, &external),
        ];
        for (addresses, traffic) in sides {
            for address in addresses {
                is_chosen_from |=
                    self.serve(key(address), way(Destination::Address), traffic, &comment);
            }
        }
        if let Some(node_port) = port.node_port {
            let key = RawKey::new().protocol(port.protocol).port(node_port);
            is_chosen_from |= self.serve(key, way(Destination::NodePort), &external, &comment);
        }
        let mut is_guarded = false;
        if let Some(firewall) = firewall {
            for key in addresses.load_balancer.iter().map(key) {
                // Whose address it is says who may use it.
                if self.taken.contains(&(Destination::Address, key, index)) {
                    let guard = Verdict::Goto(firewall.chain.clone());
                    self.elements.push((Map::FirewallIps, key, verdict_element(guard, &comment)));
                    is_guarded = true;
                }
            }
        }
        self.add_hairpin(port, &endpoints);
        if let Some(affinity) = affinity.filter(|_| is_chosen_from) {
            self.affinities.insert(affinity.id.id.clone());
            self.elements.extend(affinity.members());
            affinity.move_into(&mut self.own);
        }
        is_guarded
    }

    /// Serves a destination, unless it is taken; says whether endpoints are chosen for it.
    fn serve(&mut self, key: RawKey, way: Way<'_>, traffic: &Traffic<'_>, comment: &str) -> bool {
        let Way { destination, affinity, index } = way;
        let is_mine =
            |&(other, of, _): &(Destination, RawKey, usize)| (other, of) == (destination, key);
        if self.taken.iter().any(is_mine) || !(self.is_free)(destination, key) {
            return false;
        }
        self.taken.push((destination, key, index));
        let maps = match destination {
            Destination::Address => {
                [Map::Services, Map::Endpoints, Map::NoEndpointServices, Map::AffinityServices]
            }
            Destination::NodePort => [
                Map::NodePorts,
                Map::NodePortEndpoints,
                Map::NoEndpointNodePorts,
                Map::AffinityNodePorts,
            ],
        };
        let [verdicts, endpoints, without_endpoints, learning] = maps;
        if let Some(choice) = traffic.choice {
            if let Some(affinity) = affinity {
                let learn = Verdict::Goto(affinity.chain());
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

/// How a destination is reached beside what all do.
#[derive(Clone, Copy)]
struct Way<'a> {
    destination: Destination,
    affinity: Option<&'a Affinity<'a>>,
    /// Which of the Service's ports it is.
    index: usize,
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
