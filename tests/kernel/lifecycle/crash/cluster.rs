//! A cluster that changes constantly, and what clients may observe of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use weir_apiserver::{ApiServer, Resource};
use weir_testbed::{EchoServer, Protocol, Testbed};

use super::dice::Dice;
use super::history::History;

/// Services that are asked.
pub(super) const SERVICES: usize = 50;
/// Services that nobody asks, which come and go.
const PASSERS: usize = 5;
/// Servers on Pods of the node; and, behind them, on another node.
const LOCAL: usize = 110;
const REMOTE: usize = 10;
/// Pods on the node that serve.
pub(super) const PODS: usize = 5;
const FIRST_PORT: usize = 8000;
/// The Service that tells how far weir has come, and its servers: the last two.
const CANARY: &str = "10.96.1.0:80";
const CANARIES: [usize; 2] = [LOCAL + REMOTE, LOCAL + REMOTE + 1];

/// How a Service is asked, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// At its ClusterIP, by a Pod.
    ClusterIp,
    /// The same, and the Pod stays with its endpoint.
    Sticky,
    /// At its node port, from outside.
    NodePort,
    /// The same, with externalTrafficPolicy Local.
    Local,
}

impl Kind {
    pub(super) fn of(service: usize) -> Self {
        [Self::ClusterIp, Self::Sticky, Self::NodePort, Self::Local][service / 2 % 4]
    }

    /// Who asks.
    pub(super) fn client(self) -> &'static str {
        match self {
            Self::ClusterIp | Self::Sticky => "client",
            Self::NodePort | Self::Local => "visitor",
        }
    }
}

/// Where a Service is asked.
pub(super) fn question(service: usize) -> (Protocol, SocketAddr) {
    let protocol = if service.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
    let address = match Kind::of(service) {
        Kind::ClusterIp | Kind::Sticky => SocketAddr::from(([10, 96, 0, 1 + service as u8], 80)),
        Kind::NodePort | Kind::Local => SocketAddr::from((Testbed::NODE_V4, node_port(service))),
    };
    (protocol, address)
}

fn node_port(service: usize) -> u16 {
    30000 + service as u16
}

/// Whether an endpoint is on the node.
pub(super) fn is_local(endpoint: usize) -> bool {
    !(LOCAL..LOCAL + REMOTE).contains(&endpoint)
}

/// A node with its Pods, another node, and a client on either side.
pub(super) fn testbed() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .outside("visitor", "198.51.100.7", "2001:db8:51::7")
        .outside("far", "198.51.100.8", "2001:db8:51::8")
        .behind("far", "10.244.1.2");
    for pod in 0..PODS {
        let (name, v6) = (format!("p{pod}"), format!("fd00:10:244::{:x}", 0x20 + pod));
        bed = bed.pod(&name, &pod_address(pod).to_string(), &v6);
    }
    bed
}

/// All servers, each under the number of its endpoint.
pub(super) fn servers(bed: &Testbed) -> Vec<EchoServer> {
    let start = |endpoint: usize| {
        let host = if is_local(endpoint) { format!("p{}", endpoint % PODS) } else { "far".into() };
        EchoServer::start(bed.ns(&host), &endpoint.to_string(), &[address(endpoint)])
    };
    (0..=CANARIES[1]).map(start).collect()
}

/// The address of a Pod on the node.
pub(super) fn pod_address(pod: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, 0x20 + pod as u8)
}

fn address(endpoint: usize) -> SocketAddr {
    let far = Ipv4Addr::new(10, 244, 1, 2);
    let pod = if is_local(endpoint) { pod_address(endpoint % PODS) } else { far };
    SocketAddr::from((pod, (FIRST_PORT + endpoint) as u16))
}

/// The cluster as the API server has it, and how it came to be so.
pub(super) struct Cluster {
    pub(super) history: History,
    /// Whether it is to change.
    pub(super) is_changing: bool,
    objects: BTreeMap<(String, String), Value>,
    canary: usize,
}

impl Cluster {
    /// Writes it to a server: endpoints in turn to all Services.
    pub(super) fn new(server: &ApiServer) -> Self {
        let mut services = vec![BTreeSet::new(); SERVICES];
        (0..LOCAL + REMOTE).for_each(|endpoint| {
            services[endpoint % SERVICES].insert(endpoint);
        });
        let mut cluster = Self {
            history: History::new(services),
            is_changing: false,
            objects: BTreeMap::new(),
            canary: 0,
        };
        cluster.apply(server, node());
        (0..SERVICES).for_each(|index| cluster.apply(server, service(index)));
        (0..LOCAL + REMOTE).for_each(|endpoint| {
            cluster.apply(server, slice(endpoint, &format!("s{}", endpoint % SERVICES)));
        });
        cluster.apply(server, canary());
        cluster.signal(server);
        cluster
    }

    /// Changes something, if it is to change.
    pub(super) fn change(&mut self, server: &ApiServer, dice: &mut Dice) {
        if !self.is_changing {
            return;
        }
        if dice.once_in(8) {
            return self.toggle(server, dice.below(PASSERS));
        }
        let (from, to) = (dice.below(SERVICES), dice.below(SERVICES));
        let endpoints: Vec<usize> = self.history.endpoints(from).iter().copied().collect();
        let endpoint = endpoints[dice.below(endpoints.len())];
        // There is always a local one left.
        let is_left = endpoints.iter().any(|&other| other != endpoint && is_local(other));
        if from == to || !is_left {
            return;
        }
        self.history.moves(endpoint, from, to);
        self.apply(server, slice(endpoint, &format!("s{to}")));
    }

    /// A Service that nobody asks comes or goes.
    fn toggle(&mut self, server: &ApiServer, passer: usize) {
        let name = format!("x{passer}");
        match self.objects.remove(&("Service".to_owned(), name.clone())) {
            Some(_) => server.delete(Resource::Services, "default", &name),
            None => self.apply(server, passing(passer)),
        }
    }

    /// Has the canary's other server answer; gives its name. All that was written before is programmed,
    /// or is so together with it, when it does.
    pub(super) fn signal(&mut self, server: &ApiServer) -> String {
        self.canary = 1 - self.canary;
        let endpoint = CANARIES[self.canary];
        let mut object = slice(endpoint, "canary");
        object["metadata"]["name"] = json!("canary");
        self.apply(server, object);
        endpoint.to_string()
    }

    fn apply(&mut self, server: &ApiServer, object: Value) {
        let name = object["metadata"]["name"].as_str().expect("it has a name").to_owned();
        let kind = object["kind"].as_str().expect("it has a kind").to_owned();
        self.objects.insert((kind, name), object.clone());
        server.apply(object);
    }

    /// All of it as a manifest file.
    pub(super) fn manifests(&self) -> String {
        self.objects.values().map(|object| format!("---\n{object}\n")).collect()
    }
}

/// Where the canary is asked.
pub(super) fn canary_address() -> SocketAddr {
    CANARY.parse().expect("an address")
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": Testbed::NODE_V4}]},
    })
}

pub(super) fn of_cluster_ip(name: &str, address: &str, protocol: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                 "ports": [{"name": protocol.to_lowercase(), "port": 80, "protocol": protocol}]},
    })
}

fn service(index: usize) -> Value {
    let protocol = if question(index).0 == Protocol::Tcp { "TCP" } else { "UDP" };
    let mut service =
        of_cluster_ip(&format!("s{index}"), &format!("10.96.0.{}", index + 1), protocol);
    let spec = &mut service["spec"];
    match Kind::of(index) {
        Kind::ClusterIp => {}
        Kind::Sticky => spec["sessionAffinity"] = json!("ClientIP"),
        kind @ (Kind::NodePort | Kind::Local) => {
            spec["type"] = json!("NodePort");
            spec["ports"][0]["nodePort"] = json!(node_port(index));
            spec["externalTrafficPolicy"] =
                json!(if kind == Kind::Local { "Local" } else { "Cluster" });
        }
    }
    service
}

/// A Service with chains and sets of its own.
fn passing(index: usize) -> Value {
    let mut service = of_cluster_ip(&format!("x{index}"), &format!("10.96.2.{index}"), "TCP");
    service["spec"]["type"] = json!("LoadBalancer");
    service["spec"]["loadBalancerSourceRanges"] = json!(["198.51.100.0/24"]);
    service["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": format!("203.0.113.{index}")}]}});
    service
}

fn canary() -> Value {
    let address = canary_address().ip().to_string();
    of_cluster_ip("canary", &address, "TCP")
}

/// One endpoint, of this Service.
fn slice(endpoint: usize, service: &str) -> Value {
    let address = address(endpoint);
    let node = if is_local(endpoint) { "node-a" } else { "node-b" };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("e{endpoint}"), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.ip()], "nodeName": node}],
        "ports": [{"name": "tcp", "protocol": "TCP", "port": address.port()},
                  {"name": "udp", "protocol": "UDP", "port": address.port()}],
    })
}
