//! The server as tests use it.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

use crate::admission::Admission;
use crate::connection::serve;
use crate::store::{Key, Store};
use crate::{Authority, Break, Fault, Resource, Verb, tls};

/// A request that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is about.
    pub resource: Resource,
    /// What it asks for.
    pub verb: Verb,
    /// Its query, as it came.
    pub query: String,
    /// When it came.
    pub time: Instant,
}

/// An API server. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Whether it listens; dropped, it ends the task.
    is_open: watch::Sender<bool>,
}

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    /// When the last write to a connection began.
    pub(crate) last_write: Mutex<Option<std::time::Instant>>,
    /// Counts changes of the store.
    pub(crate) changes: watch::Sender<u64>,
    /// How often watches have been broken, and how the last time.
    pub(crate) breaks: watch::Sender<Option<Break>>,
    faults: Mutex<Vec<Planned>>,
    pub(crate) admission: Mutex<Admission>,
    /// What new connections are to speak, if not plain HTTP.
    pub(crate) tls: Mutex<Option<Arc<ServerConfig>>>,
    requests: watch::Sender<Vec<Request>>,
    /// The Events that have been created.
    pub(crate) events: watch::Sender<Vec<Value>>,
}

#[derive(Debug)]
struct Planned {
    resource: Resource,
    verb: Verb,
    fault: Fault,
    is_lasting: bool,
}

impl ApiServer {
    /// Starts a server on loopback, in the runtime of the caller.
    ///
    /// # Panics
    /// Without a runtime, or if loopback is down.
    pub fn start() -> Self {
        let (server, serve) = Self::new(bind());
        tokio::spawn(serve);
        server
    }

    /// Starts a server on a listener that may be in another network namespace, in a thread of its own.
    ///
    /// # Panics
    /// If the listener or the thread cannot be had.
    pub fn start_on(listener: TcpListener) -> Self {
        let (server, serve) = Self::new(listener);
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve);
        });
        server
    }

    fn new(listener: TcpListener) -> (Self, impl Future<Output = ()> + Send) {
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            last_write: Mutex::default(),
            changes: watch::Sender::default(),
            breaks: watch::Sender::default(),
            faults: Mutex::default(),
            admission: Mutex::default(),
            tls: Mutex::default(),
            requests: watch::Sender::default(),
            events: watch::Sender::default(),
        });
        let (is_open, door) = watch::channel(true);
        let serve = serve(listener, shared.clone(), door);
        (Self { address, shared, is_open }, serve)
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        let is_secure = self.shared.tls.lock().expect("not poisoned").is_some();
        format!("{}://{}", if is_secure { "https" } else { "http" }, self.address)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A kubeconfig for this server, with a token if there is one.
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        let user = token.map_or(String::new(), |token| format!("token: {token}"));
        self.kubeconfig_with("", &user)
    }

    /// A kubeconfig for this server, with these further fields of the cluster and these of the user,
    /// both as the inside of a YAML mapping in braces.
    pub fn kubeconfig_with(&self, cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"{}\", {cluster}}}}}]\n\
             users: [{{name: test, user: {{{user}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
            self.url()
        )
    }

    /// Creates an object, or replaces it, by its kind, namespace and name.
    ///
    /// # Panics
    /// If it has no kind that the server has, or no name.
    pub fn apply(&self, mut object: Value) {
        let kind = object["kind"].as_str().expect("an object has a kind");
        let resource = Resource::of_kind(kind).unwrap_or_else(|| panic!("{kind} is unknown"));
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key: Key = (resource, text("namespace"), text("name"));
        assert!(!key.2.is_empty(), "an object has a name");
        let fields = object.as_object_mut().expect("an object");
        fields.remove("kind");
        fields.remove("apiVersion");
        self.change(|store| store.put(key, object));
    }

    /// Deletes an object; the namespace is empty for kinds without.
    ///
    /// # Panics
    /// If there is none.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) {
        let key = (resource, namespace.to_owned(), name.to_owned());
        self.change(|store| assert!(store.delete(&key), "{key:?} is not there"));
    }

    /// An object as it is in a list: without kind and apiVersion.
    ///
    /// # Panics
    /// If there is none.
    pub fn object(&self, resource: Resource, namespace: &str, name: &str) -> Value {
        let key = (resource, namespace.to_owned(), name.to_owned());
        let store = self.shared.store.lock().expect("not poisoned");
        store.get(&key).unwrap_or_else(|| panic!("{key:?} is not there"))
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.shared.store.lock().expect("not poisoned").version()
    }

    /// Sends every watcher a bookmark.
    pub fn bookmark(&self) {
        self.change(Store::bookmark);
    }

    /// Forgets how the present state came to be: watches from the version before are told 410.
    pub fn compact(&self) {
        self.change(Store::compact);
    }

    /// Breaks all watches and goes back to a version of long ago, as a server that is restored from a
    /// backup: silent to those who watch from a version that it has yet to reach.
    pub fn set_back(&self) {
        self.break_watches(Break::Reset);
        self.shared.store.lock().expect("not poisoned").set_back();
    }

    fn change(&self, change: impl FnOnce(&mut Store)) {
        change(&mut self.shared.store.lock().expect("not poisoned"));
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Lets the next such request fail; after it, those that are planned after it.
    pub fn fail_once(&self, resource: Resource, verb: Verb, fault: Fault) {
        self.plan(Planned { resource, verb, fault, is_lasting: false });
    }

    /// Lets such requests fail until [`ApiServer::heal`].
    pub fn fail(&self, resource: Resource, verb: Verb, fault: Fault) {
        self.plan(Planned { resource, verb, fault, is_lasting: true });
    }

    fn plan(&self, planned: Planned) {
        self.shared.faults.lock().expect("not poisoned").push(planned);
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        self.shared.faults.lock().expect("not poisoned").clear();
    }

    /// Breaks all watches that there are.
    pub fn break_watches(&self, how: Break) {
        self.shared.breaks.send_replace(Some(how));
    }

    /// Stops listening and closes all connections, as a server that restarts.
    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    /// Listens again, at the port that it had.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Speaks TLS with those who come from now on, with a certificate of this authority.
    pub fn use_tls(&self, authority: &Authority) {
        self.set_tls(tls::config(&authority.server()));
    }

    /// The same for those only who show a certificate of this authority, as where something in front
    /// of a server does TLS for it: others meet with the end of the handshake.
    pub fn use_mutual_tls(&self, authority: &Authority) {
        self.set_tls(tls::config_for(&authority.server(), tls::verifier(authority)));
    }

    fn set_tls(&self, config: Arc<ServerConfig>) {
        *self.shared.tls.lock().expect("not poisoned") = Some(config);
    }

    /// Asks for this bearer token from now on; or for a certificate, if it asks for that too.
    pub fn require_token(&self, token: &str) {
        self.admission(|admission| admission.token = Some(token.to_owned()));
    }

    /// Asks for a client certificate of this authority from now on; or for a token, if it asks for
    /// that too. Those who speak no TLS have none.
    pub fn require_certificate_of(&self, authority: &Authority) {
        self.admission(|admission| admission.certificates = Some(tls::verifier(authority)));
    }

    /// Allows from now on only what these rules of a ClusterRole do: all else is answered by 403.
    ///
    /// # Panics
    /// If it is no list.
    pub fn grant(&self, rules: &Value) {
        let rules = rules.as_array().expect("a list of rules").clone();
        self.admission(|admission| admission.rules = Some(rules));
    }

    /// How often somebody was refused because of these.
    pub fn refusals(&self) -> usize {
        self.admission(|admission| admission.refusals)
    }

    fn admission<T>(&self, change: impl FnOnce(&mut Admission) -> T) -> T {
        change(&mut self.shared.admission.lock().expect("not poisoned"))
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// When it last began to write to a connection, in real time; before the first write, none.
    pub fn last_write(&self) -> Option<std::time::Instant> {
        *self.shared.last_write.lock().expect("not poisoned")
    }

    /// All Events that have been created.
    pub fn events(&self) -> Vec<Value> {
        self.shared.events.borrow().clone()
    }

    /// Waits until there are so many Events.
    pub async fn wait_for_events(&self, count: usize) {
        let mut events = self.shared.events.subscribe();
        events.wait_for(|events| events.len() >= count).await.expect("the sender is here");
    }

    /// Waits until the requests are as wanted.
    pub async fn wait_for_requests(&self, mut wanted: impl FnMut(&[Request]) -> bool) {
        let mut requests = self.shared.requests.subscribe();
        requests.wait_for(|requests| wanted(requests)).await.expect("the sender is here");
    }
}

impl Shared {
    /// Takes note of a request; gives how it is to fail.
    pub(crate) fn begin(&self, request: Request) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("not poisoned");
        let place = faults
            .iter()
            .position(|plan| plan.resource == request.resource && plan.verb == request.verb);
        let fault = place.map(|place| {
            let fault = faults[place].fault;
            if !faults[place].is_lasting {
                faults.remove(place);
            }
            fault
        });
        self.requests.send_modify(|requests| requests.push(request));
        fault
    }
}

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback is up")
}
