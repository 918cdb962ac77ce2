//! A node with the Service of [`super::kube_proxy`], an API server that knows it, and weir.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_apiserver::{ApiServer, Resource};
use weir_testbed::{ANSWER, Family, Outcome, Process, Protocol, Testbed, ask_here, wait_for};

use super::kube_proxy::{CLUSTER_IP, LOCK_FILE, NODE_PORT};
use crate::common::weir;
use crate::running::node_with_pods;

/// How long anything may take before it counts as not happening.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A node with pods, a visitor from outside, and an API server that it reaches over its loopback.
pub(super) struct Node {
    pub(super) bed: Testbed,
    server: ApiServer,
    /// Endpoints' ends of long connections.
    pub(super) listeners: Vec<TcpListener>,
    folder: tempfile::TempDir,
}

impl Node {
    pub(super) fn new() -> Self {
        let bed = node_with_pods().outside("visitor", "198.51.100.7", "2001:db8:51::7");
        let mut listeners = Vec::new();
        for backend in ["b1", "b2"] {
            // A server that closes first keeps the client's port for a minute, and answers a new
            // connection from there only a second later. Masquerade draws from all ports.
            bed.ns(backend).sysctl("net/ipv4/tcp_max_tw_buckets", "0");
            for family in Family::ALL {
                let address = SocketAddr::new(bed.host(backend).address(family), 9000);
                let listener = bed.ns(backend).run(|| TcpListener::bind(address));
                let listener = listener.expect("a free port");
                listener.set_nonblocking(true).expect("an open socket");
                listeners.push(listener);
            }
        }
        let listener = bed.node().run(|| TcpListener::bind("127.0.0.1:0").expect("loopback is up"));
        let server = ApiServer::start_on(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let node = Self { bed, server, listeners, folder };
        node.know_service();
        node.serve_by(&["b1", "b2"]);
        node
    }

    /// Tells the API server of the Service.
    pub(super) fn know_service(&self) {
        self.server.apply(service());
    }

    /// Leaves the API server with no Service at all.
    pub(super) fn forget_service(&self) {
        self.server.delete(Resource::Services, "default", "web");
    }

    /// Tells the API server who the endpoints are.
    pub(super) fn serve_by(&self, backends: &[&str]) {
        for (family, kind) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
            let addresses = backends.iter().map(|name| self.bed.host(name).address(family));
            self.server.apply(slice(kind, addresses));
        }
    }

    /// `weir --config=FILE`, as kubeadm's DaemonSet starts kube-proxy.
    pub(super) fn start(&self) -> Process {
        let kubeconfig = self.folder.path().join("kubeconfig");
        fs::write(&kubeconfig, self.server.kubeconfig(None)).expect("it can be written");
        let text = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
nodePortAddresses: [0.0.0.0/0, \"::/0\"]
clientConnection: {{kubeconfig: {}}}
",
            kubeconfig.display()
        );
        let config = self.folder.path().join("config.conf");
        fs::write(&config, text).expect("it can be written");
        self.spawn(&[&format!("--config={}", config.display()), "--hostname-override=node-a"])
    }

    /// Starts weir, and ends it when it has programmed its tables, which stay.
    pub(super) fn run_once(&self) {
        let weir = self.start();
        for family in Family::ALL {
            wait_for("an answer", LIMIT, || self.ask(family).server().is_some());
        }
        assert!(weir.terminate(LIMIT).success(), "{}", self.log());
    }

    /// weir with these arguments, and its log.
    pub(super) fn spawn(&self, arguments: &[&str]) -> Process {
        let mut command = self.weir();
        command.args(arguments);
        let log = fs::File::options().append(true).create(true).open(self.log_path());
        command.stdout(Stdio::null()).stderr(log.expect("a file"));
        Process::spawn(self.bed.node(), command)
    }

    /// weir, whose children need no file of the machine's.
    pub(super) fn weir(&self) -> Command {
        let mut command = weir();
        command.env("XTABLES_LOCKFILE", LOCK_FILE);
        command
    }

    /// What a command prints on either output, if it succeeds.
    pub(super) fn said(&self, arguments: &[&str]) -> String {
        let mut command = self.weir();
        command.args(arguments);
        let output = crate::listing::output(self.bed.node(), command);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    pub(super) fn listed(&self) -> String {
        self.bed.node().cmd("nft", ["list", "ruleset"])
    }

    /// Waits until a running weir has repaired its table: whatever its last change set going has
    /// had a second by then.
    pub(super) fn wait_until_repaired(&self) {
        let is_there = || self.listed().contains("table ip weir ");
        wait_for("weir's table", LIMIT, is_there);
        self.bed.node().cmd("nft", ["delete", "table", "ip", "weir"]);
        wait_for("weir's table again", LIMIT, is_there);
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(super) fn wait_until_logged(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), LIMIT, || self.log().contains(text));
    }

    /// Who answers a new connection of the client to the ClusterIP.
    pub(super) fn ask(&self, family: Family) -> Outcome {
        let address = cluster_ip(family, 80);
        self.bed.ns("client").run(|| ask_here(Protocol::Tcp, address, ANSWER))
    }
}

/// The ClusterIP of a family.
pub(super) fn cluster_ip(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(CLUSTER_IP[family as usize].parse().expect("an address"), port)
}

/// The Service.
pub(super) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "NodePort", "clusterIP": CLUSTER_IP[0], "clusterIPs": CLUSTER_IP,
            "ports": [
                {"name": "web", "port": 80, "nodePort": NODE_PORT},
                {"name": "long", "port": 90},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
        },
    })
}

/// An EndpointSlice of it.
pub(super) fn slice(family: &str, addresses: impl Iterator<Item = IpAddr>) -> Value {
    let endpoints: Vec<Value> = addresses.map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("web-{}", family.to_lowercase()), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family, "endpoints": endpoints,
        "ports": [
            {"name": "web", "protocol": "TCP", "port": 8080},
            {"name": "long", "protocol": "TCP", "port": 9000},
            {"name": "dns", "protocol": "UDP", "port": 8080},
        ],
    })
}
