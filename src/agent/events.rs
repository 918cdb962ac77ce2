//! Kubernetes Events about what the agent could not program.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::NamespacedName;

use crate::source::api::{ApiClient, Bucket, Event, EventScope, Problem, Recorder, Severity};
use crate::source::{Kind, ObjectKey};

/// Posts Kubernetes Events, if there is an API server.
#[derive(Clone)]
pub(super) struct Events {
    recorder: Recorder,
    node_name: String,
    /// Lines of the log that follow from what somebody does to objects.
    lines: Arc<Mutex<Bucket>>,
}

/// How many such lines may come in a row ...
const LINES_BURST: u32 = 25;
/// ... and how often more do.
const LINES_INTERVAL: Duration = Duration::from_secs(10);

/// What weir does all the time.
const SYNC: &str = "SyncProxyRules";

impl Events {
    /// Posts nothing.
    pub(super) fn none() -> Self {
        Self::new(Recorder::none(), "")
    }

    /// Posts to this server, as the weir of this node.
    pub(super) fn start(server: ApiClient, node_name: &str) -> Self {
        Self::new(Recorder::start(server, node_name), node_name)
    }

    fn new(recorder: Recorder, node_name: &str) -> Self {
        let lines = Arc::new(Mutex::new(Bucket::new(LINES_INTERVAL, LINES_BURST)));
        Self { recorder, node_name: node_name.to_owned(), lines }
    }

    /// Whether the log has room for a further line about objects that come and go in bad states. Then the
    /// line counts as logged.
    pub(super) fn has_room_for_a_line(&self) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_ready = lines.is_ready(now);
        if is_ready {
            lines.take(now);
        }
        is_ready
    }

    /// weir has started; kube-proxy posts the same.
    pub(super) fn started(&self) {
        let note = format!("weir {} has started", env!("CARGO_PKG_VERSION"));
        let about = (self.node(), EventScope::Node);
        self.record(about, Severity::Normal, "Starting", "StartKubeProxy", note);
    }

    /// Another weir keeps the node, for whose end this one waits.
    pub(super) fn waits(&self, note: String) {
        let about = (self.node(), EventScope::Node);
        self.record(about, Severity::Normal, "WaitingForOtherProxy", "StartKubeProxy", note);
    }

    /// An object cannot be served as it is. Returns whether that gets a line of its own, and is not one
    /// of many problems of the object.
    pub(super) fn bad_object(&self, problem: Problem) -> bool {
        let about = (problem.key, EventScope::Cluster);
        self.record(about, Severity::Warning, "InvalidObject", SYNC, problem.text)
    }

    /// A Service exceeds a limit. Returns whether that gets a line of its own.
    pub(super) fn over_limit(&self, service: &NamespacedName, text: &str) -> bool {
        let about = (ObjectKey::of(Kind::Service, service), EventScope::Cluster);
        self.record(about, Severity::Warning, "LimitExceeded", SYNC, text.to_owned())
    }

    /// A Service has lost a claim to another. Returns whether that gets a line of its own.
    pub(super) fn lost_claims(&self, service: &NamespacedName, text: &str) -> bool {
        let about = (ObjectKey::of(Kind::Service, service), EventScope::Cluster);
        self.record(about, Severity::Warning, "AddressConflict", SYNC, text.to_owned())
    }

    /// The health check of a Service cannot be answered; kube-proxy posts the same.
    pub(super) fn no_health_check(&self, service: &NamespacedName, why: &str) {
        let about = (ObjectKey::of(Kind::Service, service), EventScope::Node);
        let note = format!("node {}: {why}", self.node_name);
        self.record(about, Severity::Warning, "FailedToStartServiceHealthcheck", "Listen", note);
    }

    /// Somebody else has changed weir's tables, and weir has restored them. The same words are
    /// posted once in a while, however often they are logged.
    pub(super) fn repaired(&self, note: &str) {
        let about = (self.node(), EventScope::Node);
        self.record(about, Severity::Warning, "ProxyRulesRepaired", SYNC, note.to_owned());
    }

    /// The kernel does not take a Service, or the `rest` of one of which it has taken a part.
    pub(super) fn refused(&self, service: &NamespacedName, why: &str, rest: &str) {
        let about = (ObjectKey::of(Kind::Service, service), EventScope::Cluster);
        let node = &self.node_name;
        let note = format!("node {node}: {why}; {rest} stays as it was, and is tried again");
        self.record(about, Severity::Warning, "FailedToSyncProxyRules", SYNC, note);
    }

    /// The kernel is not as the cluster wants it.
    pub(super) fn not_programmed(&self, why: &str) {
        let note = format!("Services may be served as they were before: {why}; trying again");
        let about = (self.node(), EventScope::Node);
        self.record(about, Severity::Warning, "FailedToSyncProxyRules", SYNC, note);
    }

    fn node(&self) -> ObjectKey {
        ObjectKey::new(Kind::Node, "", &self.node_name)
    }

    /// Posts an Event on an object, within the recorder's limits; returns whether it gets a line of its own.
    fn record(
        &self,
        (about, scope): (ObjectKey, EventScope),
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) -> bool {
        self.recorder.record(Event { about, scope, severity, reason, action, note })
    }
}
