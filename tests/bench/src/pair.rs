//! The real pair, where KUBE_PROXY, KUBE_APISERVER and ETCD name the programs: kube-proxy in nftables
//! mode and weir, each with kube-apiserver.

#[path = "../../api/control_plane.rs"]
mod control_plane;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use weir::source::api::ClientSource;
use weir_apiserver::{Authority, Resource};
use weir_testbed::Netns;

use self::control_plane::{Program, start_apiserver, start_etcd, write_identity, write_kubeconfig};
use crate::figures::change::{self, Effort};
use crate::figures::{Figure, start, steady};
use crate::node::{LIMIT, Node};
use crate::proxy::Proxy;
use crate::workload::Shape;

/// How many objects are on their way to the server at once.
const AT_ONCE: usize = 32;
/// How often a server that is not ready is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
const IDLE_TIME: Duration = Duration::from_secs(20);
const EFFORT: Effort = Effort { changes: 100, time: Duration::from_secs(60) };
const RUNS: usize = 3;

/// kube-proxy's program, if all three are named.
pub(crate) fn kube_proxy() -> Option<PathBuf> {
    let named = ["KUBE_PROXY", "KUBE_APISERVER", "ETCD"].map(env::var_os);
    let [proxy, server, storage] = named;
    proxy.filter(|_| server.is_some() && storage.is_some()).map(PathBuf::from)
}

/// What can be measured of any proxy from outside, of kube-proxy and of weir in turn.
pub(crate) fn measure(kube_proxy: PathBuf, weir: PathBuf, shape: Shape) -> Vec<Figure> {
    let both = [("kube-proxy", Proxy::KubeProxy(kube_proxy)), ("weir", Proxy::Weir(weir))];
    both.into_iter().flat_map(|(name, proxy)| measure_one(name, proxy, shape)).collect()
}

fn measure_one(name: &str, proxy: Proxy, shape: Shape) -> Vec<Figure> {
    let mut node = Node::with_control_plane(proxy, shape);
    let mut figures = start::measure(&mut node, RUNS);
    figures.extend(change::measure_packets(&node, EFFORT));
    figures.push(steady::measure_memory(&mut node));
    figures.push(steady::measure_idle(&mut node, IDLE_TIME));
    node.stop();
    for figure in &mut figures {
        figure.what = format!("{name}: {}", figure.what);
        eprintln!("  {}: {}", figure.what, figure.sample);
    }
    figures
}

/// etcd and kube-apiserver, in a namespace. They end when this is dropped.
pub(crate) struct ControlPlane {
    /// Ends before the storage does.
    server: Program,
    storage: Program,
    client: kube::Client,
    runtime: Runtime,
    ns: Netns,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").field("ns", &self.ns).finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts both, with their files in the folder, and writes a kubeconfig for a user who may do
    /// everything.
    pub(crate) fn start(ns: &Netns, folder: &Path, kubeconfig: &Path) -> Self {
        let authority = Authority::new("kubernetes");
        let (storage, server, url) = ns.run(|| {
            let (storage, storage_url) = start_etcd(folder);
            let (server, url) = start_apiserver(folder, &authority, &storage_url);
            (storage, server, url)
        });
        let identity = authority.client("admin", Some("system:masters"));
        let (certificate, key) = write_identity(folder, "admin", &identity);
        let user = format!("client-certificate: {certificate}, client-key: {key}");
        write_kubeconfig(folder, "admin.conf", &url, &user);
        fs::copy(folder.join("admin.conf"), kubeconfig).expect("it can be written");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let access = ClientSource::Kubeconfig { path: kubeconfig.to_owned(), master: None };
        let client = runtime.block_on(access.client()).expect("a client");
        let mut plane = Self { server, storage, client, runtime, ns: ns.clone() };
        plane.wait_until_ready();
        plane
    }

    /// Waits for what the server creates by itself.
    fn wait_until_ready(&mut self) {
        let Self { server, storage, client, runtime, ns } = self;
        let start = Instant::now();
        let wanted =
            ["/api/v1/namespaces/default", "/api/v1/namespaces/default/services/kubernetes"];
        // The sockets of a runtime of one thread are in the namespace of who waits for it.
        ns.run(|| {
            runtime.block_on(async {
                for path in wanted {
                    while let Err(error) = ask(client, "GET", path, None).await {
                        storage.assert_runs();
                        server.assert_runs();
                        let words = server.last_words();
                        assert!(start.elapsed() < LIMIT, "{path}: {error}\n{words}");
                        sleep(ASK_INTERVAL).await;
                    }
                }
            });
        });
    }

    /// Creates these objects; the server has a ServiceCIDR of its own.
    pub(crate) fn fill(&self, objects: impl Iterator<Item = Value> + Send) {
        let objects = objects.filter(|object| object["kind"] != Resource::ServiceCidrs.kind());
        self.ns.run(|| {
            let created = stream::iter(objects).map(|object| self.create(object));
            self.runtime.block_on(created.buffer_unordered(AT_ONCE).collect::<()>());
        });
    }

    async fn create(&self, mut object: Value) {
        let (collection, _) = paths(&object);
        clean(&mut object);
        let answer = ask(&self.client, "POST", &collection, Some(object)).await;
        answer.unwrap_or_else(|error| panic!("POST {collection}: {error}"));
    }

    /// Replaces an object that is there.
    pub(crate) fn apply(&self, mut object: Value) {
        let (_, path) = paths(&object);
        clean(&mut object);
        self.ns.run(|| {
            let answer = self.runtime.block_on(ask(&self.client, "PUT", &path, Some(object)));
            answer.unwrap_or_else(|error| panic!("PUT {path}: {error}"));
        });
    }
}

async fn ask(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> kube::Result<Value> {
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    let body = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
    client.request(request.body(body).expect("a good request")).await
}

/// The server knows itself who manages what.
fn clean(object: &mut Value) {
    let metadata = object["metadata"].as_object_mut().expect("an object has metadata");
    metadata.remove("managedFields");
}

/// The paths of an object's collection, and of itself.
fn paths(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let resource = Resource::ALL.into_iter().find(|of| object["kind"] == of.kind());
    let all = resource.expect("a kind that a proxy reads").path();
    let collection = match (text("namespace"), all.rsplit_once('/')) {
        ("", _) | (_, None) => all,
        (namespace, Some((group, plural))) => format!("{group}/namespaces/{namespace}/{plural}"),
    };
    let path = format!("{collection}/{}", text("name"));
    (collection, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::slice;

    #[test]
    fn an_object_is_created_in_its_namespace() {
        let (collection, path) = paths(&slice(7, &[]));
        let namespace = "/apis/discovery.k8s.io/v1/namespaces/default";
        assert_eq!(collection, format!("{namespace}/endpointslices"));
        assert_eq!(path, format!("{namespace}/endpointslices/svc-7-a"));
        let node = serde_json::json!({"kind": "Node", "metadata": {"name": "bench"}});
        assert_eq!(paths(&node), ("/api/v1/nodes".to_owned(), "/api/v1/nodes/bench".to_owned()));
    }
}
