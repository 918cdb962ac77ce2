//! `weir run --kubeconfig`: an API server, followed.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use weir_apiserver::{ApiServer, Break, Fault, Resource, Verb};
use weir_testbed::{Outcome, Process, Protocol, REFUSAL, Testbed, ask, wait_for};

use crate::common::weir;
use crate::packets::CLUSTER_CIDR;

/// How long anything may take before it counts as not happening.
const LIMIT: Duration = Duration::from_secs(20);

/// A node with pods, an API server that it reaches over its loopback, and weir.
struct Running {
    bed: Testbed,
    server: ApiServer,
    weir: Option<Process>,
    folder: tempfile::TempDir,
}

impl Running {
    fn new() -> Self {
        let mut bed = Testbed::new()
            .pod("client", "10.244.0.9", "fd00:10:244::9")
            .pod("b1", "10.244.0.2", "fd00:10:244::2")
            .pod("b2", "10.244.0.3", "fd00:10:244::3");
        for backend in ["b1", "b2"] {
            bed.serve(backend, 8080);
        }
        let listener = bed.node().run(|| TcpListener::bind("127.0.0.1:0").expect("loopback is up"));
        let server = ApiServer::start_on(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(kubeconfig, server.kubeconfig(None)).expect("it can be written");
        Self { bed, server, weir: None, folder }
    }

    fn start(&mut self) {
        let mut command = weir();
        command
            .args(["run", "--hostname-override", "node-a"])
            .args(CLUSTER_CIDR)
            .arg("--kubeconfig")
            .arg(self.folder.path().join("kubeconfig"));
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: std::process::Command) {
        let log = fs::File::options().append(true).create(true).open(self.log_path());
        command.stdout(Stdio::null()).stderr(log.expect("a file"));
        self.weir = Some(Process::spawn(self.bed.node(), command));
    }

    fn stop(&mut self) {
        let process = self.weir.take().expect("it runs");
        assert!(process.terminate(LIMIT).success(), "{}", self.log());
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn wait_until_logged(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), LIMIT, || self.log().contains(text));
    }

    fn listed(&self) -> String {
        self.bed.node().cmd("nft", ["list", "ruleset"])
    }

    /// What a connection of the client to the Service meets.
    fn ask(&self) -> Outcome {
        let address: SocketAddr = "10.96.0.10:80".parse().expect("an address");
        ask(self.bed.ns("client"), Protocol::Tcp, address, REFUSAL)
    }

    fn wait_for_answer_of(&self, backend: &str) {
        wait_for(&format!("{backend} to answer; log:\n{}", self.log()), LIMIT, || {
            self.ask().server() == Some(backend)
        });
    }
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": 80}]},
    })
}

fn slice(address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    })
}

#[test]
fn packets_follow_the_api_server_and_outlive_weir() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.start();
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    // A broken connection in between loses nothing.
    running.server.break_watches(Break::Half);
    running.server.apply(slice("10.244.0.2"));
    running.wait_for_answer_of("b1");
    running.server.delete(Resource::EndpointSlices, "default", "web-1");
    wait_for("a refusal", LIMIT, || matches!(running.ask(), Outcome::Refused));
    running.server.apply(slice("10.244.0.2"));
    running.wait_for_answer_of("b1");
    running.stop();
    running.wait_for_answer_of("b1");
}

/// As kubeadm's DaemonSet starts kube-proxy.
#[test]
fn kube_proxys_configuration_file_runs_a_node() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    let folder = running.folder.path();
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
clientConnection: {{kubeconfig: {}}}
nftables: {{masqueradeBit: 20}}
",
        folder.join("kubeconfig").display()
    );
    let config = folder.join("config.conf");
    fs::write(&config, text).expect("it can be written");
    let mut command = weir();
    command.arg(format!("--config={}", config.display())).arg("--hostname-override=node-a");
    running.spawn(command);
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    let listed = running.listed();
    assert!(listed.contains("meta mark set meta mark | 0x00100000"), "{listed}");
    running.wait_until_logged("not part of this build yet: sync periods");
    running.stop();
}

/// A restart while the server is away, or has only half of the state, must not empty the node.
#[test]
fn a_restart_touches_nothing_until_all_is_known() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.start();
    running.wait_for_answer_of("b1");
    running.stop();
    let before = running.listed();

    for verb in [Verb::List, Verb::Watch] {
        running.server.fail(Resource::EndpointSlices, verb, Fault::InternalError);
    }
    running.start();
    running.wait_until_logged("watching EndpointSlices: Internal error occurred (500)");
    assert_eq!(running.listed(), before);
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.server.heal();
    running.wait_for_answer_of("b2");
}

#[test]
fn no_credentials_are_an_error() {
    let running = Running::new();
    let mut command = weir();
    command.args(["run", "--hostname-override", "node-a"]).env_remove("KUBERNETES_SERVICE_HOST");
    let output = crate::listing::output(running.bed.node(), command);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("in-cluster"), "{errors}");
}
