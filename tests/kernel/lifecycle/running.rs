//! A node that follows an API server.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_apiserver::ApiServer;
use weir_testbed::{Outcome, Process, Protocol, REFUSAL, Testbed, ask, wait_for};

use crate::common::weir;
use crate::packets::CLUSTER_CIDR;

/// How long anything may take before it counts as not happening.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A node with pods, an API server that it reaches over its loopback, and weir.
pub(crate) struct Running {
    pub(crate) bed: Testbed,
    pub(crate) server: ApiServer,
    /// weir, while it runs.
    pub(crate) weir: Option<Process>,
    pub(crate) folder: tempfile::TempDir,
}

/// A node with the pods `client`, `b1` and `b2`, of which the last two serve at port 8080.
pub(crate) fn node_with_pods() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .pod("b1", "10.244.0.2", "fd00:10:244::2")
        .pod("b2", "10.244.0.3", "fd00:10:244::3");
    for backend in ["b1", "b2"] {
        bed.serve(backend, 8080);
    }
    bed
}

impl Running {
    pub(crate) fn new() -> Self {
        Self::on(node_with_pods())
    }

    /// An API server for this node.
    pub(crate) fn on(bed: Testbed) -> Self {
        let listener = bed.node().run(|| TcpListener::bind("127.0.0.1:0").expect("loopback is up"));
        let server = ApiServer::start_on(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(kubeconfig, server.kubeconfig(None)).expect("it can be written");
        Self { bed, server, weir: None, folder }
    }

    pub(crate) fn start(&mut self) {
        self.weir = Some(self.follower());
    }

    /// Another weir that follows the API server.
    pub(crate) fn follower(&self) -> Process {
        let mut command = weir();
        command
            .args(["run", "--hostname-override", "node-a"])
            .args(CLUSTER_CIDR)
            .arg("--kubeconfig")
            .arg(self.folder.path().join("kubeconfig"));
        self.process(command)
    }

    /// Writes a KubeProxyConfiguration of these further lines where [`Self::start_as_proxy`] has weir
    /// read it.
    pub(crate) fn write_config(&self, lines: &str) {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
clientConnection: {{kubeconfig: {}}}
{lines}",
            kubeconfig.display()
        );
        fs::write(self.config_path(), text).expect("it can be written");
    }

    pub(crate) fn config_path(&self) -> std::path::PathBuf {
        self.folder.path().join("config.conf")
    }

    /// As kubeadm's DaemonSet starts kube-proxy.
    pub(crate) fn start_as_proxy(&mut self) {
        let mut command = weir();
        command.arg(format!("--config={}", self.config_path().display()));
        command.arg("--hostname-override=node-a");
        self.spawn(command);
    }

    pub(crate) fn spawn(&mut self, command: Command) {
        self.weir = Some(self.process(command));
    }

    fn process(&self, mut command: Command) -> Process {
        let log = fs::File::options().append(true).create(true).open(self.log_path());
        command.stdout(Stdio::null()).stderr(log.expect("a file"));
        Process::spawn(self.bed.node(), command)
    }

    pub(crate) fn stop(&mut self) {
        let process = self.weir.take().expect("it runs");
        assert!(process.terminate(LIMIT).success(), "{}", self.log());
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What has been logged behind this length of the log, which may be long.
    pub(crate) fn log_behind(&self, length: u64) -> String {
        let mut text = String::new();
        let mut file = fs::File::open(self.log_path()).expect("weir has been started");
        file.seek(SeekFrom::Start(length)).expect("it is a file");
        file.read_to_string(&mut text).expect("weir logs text");
        text
    }

    /// The length of the log.
    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log_path()).expect("weir has been started").len()
    }

    pub(crate) fn wait_until_logged(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), LIMIT, || self.log().contains(text));
    }

    pub(crate) fn listed(&self) -> String {
        self.bed.node().cmd("nft", ["list", "ruleset"])
    }

    /// What a connection of the client to the Service meets.
    pub(crate) fn ask(&self) -> Outcome {
        let address: SocketAddr = "10.96.0.10:80".parse().expect("an address");
        ask(self.bed.ns("client"), Protocol::Tcp, address, REFUSAL)
    }

    pub(crate) fn wait_for_answer_of(&self, backend: &str) {
        wait_for(&format!("{backend} to answer; log:\n{}", self.log()), LIMIT, || {
            self.ask().server() == Some(backend)
        });
    }
}

pub(crate) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": 80}]},
    })
}

pub(crate) fn slice(address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    })
}
