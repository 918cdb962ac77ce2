//! A node: pods, an API server that it reaches over its loopback, and the proxy.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_apiserver::ApiServer;
use weir_testbed::{Netns, Process, Testbed, wait_for};

use crate::client;
use crate::pair::ControlPlane;
use crate::proxy::Proxy;
use crate::usage::Usage;
use crate::workload::{ENDPOINT_CIDR, PORT, Shape, TARGET_PORT};

/// How long anything may take before the run is given up.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);
/// The name of the Node.
pub(crate) const NAME: &str = "bench";
/// The pods that serve, and the one that asks.
pub(crate) const BACKENDS: [(&str, Ipv4Addr); 2] =
    [("b1", Ipv4Addr::new(10, 244, 0, 2)), ("b2", Ipv4Addr::new(10, 244, 0, 3))];
pub(crate) const CLIENT: &str = "client";

pub(crate) const HEALTH: &str = "127.0.0.1:10256";
pub(crate) const METRICS: &str = "127.0.0.1:10249";
/// More Services than this are not asked before a start counts as finished.
const ASKED: u32 = 100;
/// How often a Service that does not answer is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(1);
/// How long it is asked: as its first packet is lost as long as it is not served, no start can be told
/// from one that takes that much longer.
const ASK_PATIENCE: Duration = Duration::from_millis(10);

/// Where the cluster is kept.
#[derive(Debug)]
enum Api {
    /// In this process.
    Here(ApiServer),
    /// In kube-apiserver.
    Kubernetes(Box<ControlPlane>),
}

/// The node. All ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    // First, so that it ends before what it runs in.
    process: Option<Process>,
    api: Api,
    pub(crate) bed: Testbed,
    pub(crate) shape: Shape,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Node {
    /// A node with the pods, and an API server that holds the whole cluster. Nothing is programmed.
    pub(crate) fn new(weir: PathBuf, shape: Shape) -> Self {
        let bed = bed();
        let folder = tempfile::tempdir().expect("a folder");
        let listener = bed.node().run(|| TcpListener::bind("127.0.0.1:0").expect("loopback is up"));
        let server = ApiServer::start_on(listener);
        for object in shape.objects(NAME) {
            server.apply(object);
        }
        // Watches need not know how this came about.
        server.compact();
        fs::write(folder.path().join("kubeconfig"), server.kubeconfig(None)).expect("it is there");
        let api = Api::Here(server);
        Self { process: None, api, bed, shape, proxy: Proxy::Weir(weir), folder }
    }

    /// The same with kube-apiserver and etcd.
    pub(crate) fn with_control_plane(proxy: Proxy, shape: Shape) -> Self {
        let bed = bed();
        let folder = tempfile::tempdir().expect("a folder");
        let server =
            ControlPlane::start(bed.node(), folder.path(), &folder.path().join("kubeconfig"));
        server.fill(shape.objects(NAME));
        Self { process: None, api: Api::Kubernetes(Box::new(server)), bed, shape, proxy, folder }
    }

    /// Creates an object, or replaces it.
    pub(crate) fn apply(&self, object: Value) {
        match &self.api {
            Api::Here(server) => server.apply(object),
            Api::Kubernetes(server) => server.apply(object),
        }
    }

    /// When the server last began to write to the proxy.
    ///
    /// # Panics
    /// If the server is another process, which does not tell.
    pub(crate) fn last_write(&self) -> Instant {
        let Api::Here(server) = &self.api else { panic!("kube-apiserver does not tell") };
        server.last_write().expect("it has written before")
    }

    /// Starts the proxy; gives when that was.
    pub(crate) fn start(&mut self) -> Instant {
        let mut command = self.proxy.command(self.folder.path());
        let log = fs::File::create(self.folder.path().join("log")).expect("it can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let start = Instant::now();
        self.process = Some(Process::spawn(self.bed.node(), command));
        start
    }

    /// Starts the proxy and waits until it serves all.
    pub(crate) fn start_and_wait(&mut self) {
        self.start();
        self.wait_until_ready();
    }

    /// Ends the proxy. What it has programmed stays.
    pub(crate) fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        let status = process.terminate(LIMIT);
        assert!(status.success() || !self.proxy.ends_with_success(), "{}", self.log());
    }

    /// Removes what is programmed.
    pub(crate) fn clean_up(&self) {
        self.bed.node().nft("flush ruleset\n");
    }

    pub(crate) fn usage(&mut self) -> Usage {
        Usage::of(self.process.as_mut().expect("it runs").child().id())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the proxy says that it is ready.
    pub(crate) fn wait_until_ready(&self) {
        let path = self.proxy.readiness();
        wait_for(path, LIMIT, || {
            get(self.bed.node(), HEALTH, path).is_some_and(|answer| answer.0 == 200)
        });
    }

    /// The value of a metric that has these labels, as they are written.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(self.bed.node(), METRICS, "/metrics").expect("weir answers");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Waits until a spread of the Services answers, one after the other, and gives when the last of
    /// them did.
    pub(crate) fn wait_for_answers(&self) -> Instant {
        let step = (self.shape.services / ASKED).max(1) as usize;
        let last = self.shape.services - 1;
        let asked: Vec<u32> = (0..last).step_by(step).chain([last]).collect();
        self.bed.ns(CLIENT).run(|| {
            for service in asked {
                let start = Instant::now();
                while client::ask_for(ASK_PATIENCE, address_of(service)).is_none() {
                    assert!(start.elapsed() < LIMIT, "svc-{service} is silent:\n{}", self.log());
                    std::thread::sleep(ASK_INTERVAL);
                }
            }
            Instant::now()
        })
    }

    /// Makes sure that each Service answers now, and has the kernel forget the connections.
    ///
    /// # Panics
    /// If one does not.
    pub(crate) fn assert_all_answer(&self) {
        self.bed.ns(CLIENT).run(|| {
            for service in 0..self.shape.services {
                // One connection that a busy server was late to take is no lack of a Service.
                let answers = (0..3).any(|_| client::ask(address_of(service)).is_some());
                assert!(answers, "svc-{service} does not answer; log:\n{}", self.log());
            }
        });
        self.bed.node().cmd("conntrack", ["--flush"]);
    }
}

/// The namespaces, with the pods that serve any endpoint.
fn bed() -> Testbed {
    let mut bed = Testbed::new().pod(CLIENT, "10.244.0.9", "fd00:10:244::9");
    for (name, address) in BACKENDS {
        let last = address.octets()[3];
        bed = bed.pod(name, &address.to_string(), &format!("fd00:10:244::{last}"));
    }
    // Any number of endpoints in one pod.
    let (backend, address) = BACKENDS[0];
    bed.ns(backend).ip(&format!("route add local {ENDPOINT_CIDR} dev lo\n"));
    bed.node().ip(&format!("route add {ENDPOINT_CIDR} via {address}\n"));
    for (name, _) in BACKENDS {
        client::serve(bed.ns(name), name, TARGET_PORT);
    }
    bed
}

/// Where a Service is served.
pub(crate) fn address_of(service: u32) -> SocketAddr {
    (Shape::cluster_ip(service), PORT).into()
}

/// Asks an HTTP server of the namespace; `None` while there is none.
fn get(ns: &Netns, address: &str, path: &str) -> Option<(u16, String)> {
    ns.run(|| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    })
}
