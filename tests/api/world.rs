//! A server, the watches on it, and the resulting state.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use weir::config::Limits;
use weir::source::api::{ApiClient, ClientSource, Notice, Recorder, Reflectors, Store};
use weir::telemetry::metrics::Metrics;
use weir_apiserver::{ApiServer, Resource};
use weir_rules::cluster::{Cluster, NamespacedName};

use crate::server::AnyServer;

/// The Node that all tests run on.
pub(crate) const NODE: &str = "node-a";

/// A server with a Node and a ServiceCIDR, and what is known of it.
pub(crate) struct World<S = ApiServer> {
    pub(crate) server: S,
    pub(crate) state: Store,
    pub(crate) notices: Vec<Notice>,
    pub(crate) metrics: Metrics,
    watches: Option<Reflectors>,
    /// As weir sees the server, once it is watched.
    pub(crate) client: Option<ApiClient>,
}

impl World {
    /// The server of these tests. Nothing is watched yet.
    pub(crate) fn new() -> Self {
        let server = ApiServer::start();
        server.apply(node(NODE, "192.0.2.1"));
        server.apply(node("node-b", "192.0.2.2"));
        server.apply(service_cidr("kubernetes", "10.96.0.0/12"));
        Self::of(server)
    }

    /// All is known.
    pub(crate) async fn watched() -> Self {
        let mut world = Self::new();
        world.server.apply(service("web", "10.96.0.10"));
        world.server.apply(slice("web-1", "web", &["10.244.0.2"]));
        world.watch().await;
        world.until("all is known", |state| state.cluster().is_some()).await;
        world
    }

    /// How many requests there have been.
    pub(crate) fn requests(&self, resource: Resource) -> usize {
        self.server.requests().iter().filter(|request| request.resource == resource).count()
    }
}

impl<S: AnyServer> World<S> {
    /// What is known of a server: nothing yet.
    pub(crate) fn of(server: S) -> Self {
        let (state, notices, metrics) = (Store::default(), Vec::new(), Metrics::default());
        Self { server, state, notices, metrics, watches: None, client: None }
    }

    /// Begins to watch.
    pub(crate) async fn watch(&mut self) {
        self.watch_as(&self.server.access()).await;
    }

    pub(crate) async fn watch_as(&mut self, access: &ClientSource) {
        let unlimited = Limits { qps: -1.0, ..Limits::default() };
        let server = ApiClient::new(access.clone(), unlimited).await.expect("a client");
        self.watches = Some(Reflectors::start(&server, NODE, self.metrics.api()));
        self.client = Some(server);
    }

    /// Tells the server's users of objects that are watched.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::start(self.client.clone().expect("it watches"), NODE)
    }

    /// Applies updates until this holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Store) -> bool) {
        while !holds(&self.state) {
            let next = timeout(S::LIMIT, self.step()).await;
            next.unwrap_or_else(|_| panic!("never: {what}; {}", self.server.account()));
        }
    }

    /// Applies the next updates.
    pub(crate) async fn step(&mut self) {
        let watches = self.watches.as_mut().expect("it watches");
        for update in watches.next().await.expect("watches never end") {
            self.notices.extend(self.state.apply(update));
        }
    }

    /// Applies what comes within a time.
    pub(crate) async fn pass(&mut self, time: Duration) {
        timeout(time, async {
            loop {
                self.step().await;
            }
        })
        .await
        .ok();
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.state.cluster().expect("all is known")
    }

    /// The value of a line of /metrics that begins so.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.text().expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }

    pub(crate) fn services(&self) -> Vec<&str> {
        self.cluster().services.keys().map(NamespacedName::name).collect()
    }
}

pub(crate) fn has_service(state: &Store, name: &str) -> bool {
    let name = NamespacedName::new("default", name);
    state.cluster().is_some_and(|cluster| cluster.services.contains_key(&name))
}

/// Whether a slice has this many endpoints.
pub(crate) fn has_endpoints(state: &Store, slice: &str, count: usize) -> bool {
    let name = NamespacedName::new("default", slice);
    let slice = state.cluster().and_then(|cluster| cluster.slices.get(&name));
    slice.is_some_and(|slice| slice.endpoints.len() == count)
}

pub(crate) fn service(name: &str, cluster_ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
                 "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]},
        "status": {"loadBalancer": {}},
    })
}

pub(crate) fn slice(name: &str, service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default",
                     "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    })
}

pub(crate) fn node(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    })
}

pub(crate) fn service_cidr(name: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "spec": {"cidrs": [cidr]},
    })
}
