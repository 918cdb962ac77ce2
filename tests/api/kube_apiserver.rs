//! Kubernetes' own API server, with TLS and RBAC, and weir as the ServiceAccount of deploy/.
//!
//! It runs where `KUBE_APISERVER` and `ETCD` name the two programs, on loopback, so that it has to be
//! in a network namespace of its own: `make test-apiserver`.

use std::fs;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use weir::source::api::ClientSource;
use weir_apiserver::{Authority, Resource};

use crate::any_server;
use crate::control_plane::{
    Program, start_apiserver, start_etcd, write_identity, write_kubeconfig,
};
use crate::server::AnyServer;
use crate::world::World;

/// How long the two programs may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often they are asked whether they are.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// The namespace that deploy/kustomize puts weir into.
const NAMESPACE: &str = "kube-system";

#[tokio::test]
#[ignore = "needs kube-apiserver and etcd: make test-apiserver"]
async fn kube_apiserver_is_followed_as_the_server_of_these_tests_is() {
    let server = any_server::all(KubeApiserver::start().await).await;
    a_token_that_is_refused_is_read_again(server).await;
}

/// 401 as the real one says it.
async fn a_token_that_is_refused_is_read_again(server: KubeApiserver) {
    let path = server.folder.path().join("token");
    let token = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, "no token at all").expect("it can be written");
    let mut world = World::of(server);
    world.watch().await;
    world.pass(Duration::from_secs(2)).await;
    assert!(world.state.cluster().is_none());
    fs::write(&path, token).expect("it can be written");
    let start = Instant::now();
    world.until("all is known", |state| state.cluster().is_some()).await;
    // Because it was refused: without that, the file is read about once a minute.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// etcd and kube-apiserver. They end when this is dropped.
struct KubeApiserver {
    /// Ends before the storage does.
    server: Program,
    storage: Program,
    /// As a member of `system:masters`.
    admin: Client,
    folder: tempfile::TempDir,
}

impl KubeApiserver {
    /// Starts both, and makes of the cluster what weir needs: its Node, and the ServiceAccount, role
    /// and binding of deploy/.
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("kubernetes");
        let (storage, storage_url) = start_etcd(folder.path());
        let (server, url) = start_apiserver(folder.path(), &authority, &storage_url);
        let user = {
            let identity = authority.client("admin", Some("system:masters"));
            let (certificate, key) = write_identity(folder.path(), "admin", &identity);
            format!("client-certificate: {certificate}, client-key: {key}")
        };
        write_kubeconfig(folder.path(), "admin.conf", &url, &user);
        let admin =
            ClientSource::Kubeconfig { path: folder.path().join("admin.conf"), master: None };
        let admin = admin.client().await.expect("a client");
        let mut cluster = Self { server, storage, admin, folder };
        cluster.wait_until_ready().await;
        cluster.deploy().await;
        let token = cluster.token().await;
        fs::write(cluster.folder.path().join("token"), token).expect("it can be written");
        let user = format!("tokenFile: {}", cluster.folder.path().join("token").display());
        write_kubeconfig(cluster.folder.path(), "weir.conf", &url, &user);
        cluster.wait_until_allowed().await;
        cluster
    }

    /// Waits for what the server creates by itself: with its own Service there is a ServiceCIDR.
    async fn wait_until_ready(&mut self) {
        let start = Instant::now();
        let wanted = [
            "/api/v1/namespaces/kube-system".to_owned(),
            "/api/v1/namespaces/default/services/kubernetes".to_owned(),
            format!("{}/kubernetes", Resource::ServiceCidrs.path()),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin".to_owned(),
        ];
        for path in wanted {
            while let Err(error) = self.ask("GET", &path, None).await {
                self.storage.assert_runs();
                self.server.assert_runs();
                assert!(start.elapsed() < START_LIMIT, "{path}: {error}\n{}", self.account());
                sleep(ASK_INTERVAL).await;
            }
        }
    }

    /// Creates the objects of deploy/kustomize/rbac.yaml.
    async fn deploy(&self) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize/rbac.yaml");
        let text = fs::read_to_string(path).expect("it is there");
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).expect("YAML");
            let path = match object["kind"].as_str() {
                Some("ServiceAccount") => format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
                Some("ClusterRole") => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
                Some("ClusterRoleBinding") => {
                    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned()
                }
                other => panic!("{other:?} is not known here"),
            };
            self.must("POST", &path, Some(object)).await;
        }
    }

    /// A token of weir's ServiceAccount.
    async fn token(&self) -> String {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/weir/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                             "spec": {"expirationSeconds": 3600}});
        let answer = self.must("POST", &path, Some(request)).await;
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Waits until the server has heard of weir's role: weir would take it that there are no
    /// ServiceCIDRs, and look again only after minutes.
    async fn wait_until_allowed(&self) {
        let client = self.access().client().await.expect("a client");
        let start = Instant::now();
        loop {
            let request = http::Request::get(Resource::ServiceCidrs.path()).body(Vec::new());
            match client.request_text(request.expect("a good request")).await {
                Ok(_) => return,
                Err(error) if start.elapsed() > Self::LIMIT => {
                    panic!("weir may not read: {error}\n{}", self.account())
                }
                Err(_) => sleep(ASK_INTERVAL).await,
            }
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> kube::Result<Value> {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        let body = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
        self.admin.request(request.body(body).expect("a good request")).await
    }

    async fn must(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.account()))
    }
}

impl AnyServer for KubeApiserver {
    const LIMIT: Duration = Duration::from_secs(60);

    fn access(&self) -> ClientSource {
        ClientSource::Kubeconfig { path: self.folder.path().join("weir.conf"), master: None }
    }

    async fn put(&self, mut object: Value) {
        let resource = Resource::ALL.into_iter().find(|of| object["kind"] == of.kind());
        let resource = resource.expect("a kind that weir reads");
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let path = path(resource, &namespace, &name);
        match self.ask("GET", &path, None).await {
            Ok(present) => {
                object["metadata"]["resourceVersion"] =
                    present["metadata"]["resourceVersion"].clone();
                let changed = self.must("PUT", &path, Some(object.clone())).await;
                if resource == Resource::Nodes {
                    // A change of a Node leaves its status out.
                    object["metadata"] = changed["metadata"].clone();
                    self.must("PUT", &format!("{path}/status"), Some(object)).await;
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let collection = path.strip_suffix(&format!("/{name}")).expect("its end");
                self.must("POST", collection, Some(object)).await;
            }
            Err(error) => panic!("GET {path}: {error}\n{}", self.account()),
        }
    }

    async fn remove(&self, resource: Resource, namespace: &str, name: &str) {
        self.must("DELETE", &path(resource, namespace, name), None).await;
    }

    async fn event(&self, namespace: &str) -> Value {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let start = Instant::now();
        loop {
            let list = self.must("GET", &path, None).await;
            let events = list["items"].as_array().expect("a list");
            let by_weir = |event: &&Value| event["reportingController"] == "weir";
            if let Some(event) = events.iter().find(by_weir) {
                return event.clone();
            }
            assert!(start.elapsed() < Self::LIMIT, "no Event: {list}");
            sleep(ASK_INTERVAL).await;
        }
    }

    async fn uid(&self, resource: Resource, namespace: &str, name: &str) -> String {
        let object = self.must("GET", &path(resource, namespace, name), None).await;
        object["metadata"]["uid"].as_str().expect("it has one").to_owned()
    }

    fn account(&self) -> String {
        format!("{}\n{}", self.storage.last_words(), self.server.last_words())
    }
}

/// The path of an object.
fn path(resource: Resource, namespace: &str, name: &str) -> String {
    let collection = resource.path();
    match (namespace, collection.rsplit_once('/')) {
        ("", _) | (_, None) => format!("{collection}/{name}"),
        (_, Some((group, plural))) => format!("{group}/namespaces/{namespace}/{plural}/{name}"),
    }
}
