//! What the agent tells the users of the cluster.

use weir_rules::cluster::NamespacedName;

use crate::source::api::{Event, Problem, Recorder, Server, Severity};
use crate::source::{Kind, ObjectKey};

/// Tells them by Kubernetes Events, where there is an API server.
#[derive(Clone)]
pub(super) struct Events {
    recorder: Recorder,
    node_name: String,
}

/// What weir does all the time.
const SYNC: &str = "SyncProxyRules";

impl Events {
    /// Nobody is told.
    pub(super) fn none() -> Self {
        Self { recorder: Recorder::none(), node_name: String::new() }
    }

    /// Tells the users of the server's cluster, as the weir of this node.
    pub(super) fn start(server: Server, node_name: &str) -> Self {
        let recorder = Recorder::start(server, node_name);
        Self { recorder, node_name: node_name.to_owned() }
    }

    /// weir has started; kube-proxy tells as much.
    pub(super) fn started(&self) {
        let note = format!("weir {} has started", env!("CARGO_PKG_VERSION"));
        self.record(self.node(), Severity::Normal, "Starting", "StartKubeProxy", note);
    }

    /// Another weir keeps the node, for whose end this one waits.
    pub(super) fn waits(&self, note: String) {
        self.record(self.node(), Severity::Normal, "WaitingForOtherProxy", "StartKubeProxy", note);
    }

    /// An object cannot be served as it is.
    pub(super) fn bad_object(&self, problem: Problem) {
        let reason = if problem.is_conflict { "AddressConflict" } else { "InvalidObject" };
        self.record(problem.key, Severity::Warning, reason, SYNC, problem.text);
    }

    /// The health check of a Service cannot be answered; kube-proxy tells as much.
    pub(super) fn no_health_check(&self, service: &NamespacedName, why: &str) {
        let about = ObjectKey::of(Kind::Service, service);
        let note = format!("node {}: {why}", self.node_name);
        self.record(about, Severity::Warning, "FailedToStartServiceHealthcheck", "Listen", note);
    }

    /// Somebody else has changed weir's tables, and they are as they were again. The same words are
    /// told once in a while, however often they are said.
    pub(super) fn repaired(&self, note: &str) {
        self.record(self.node(), Severity::Warning, "ProxyRulesRepaired", SYNC, note.to_owned());
    }

    /// The kernel does not take a Service.
    pub(super) fn refused(&self, service: &NamespacedName, why: &str) {
        let about = ObjectKey::of(Kind::Service, service);
        let node = &self.node_name;
        let note = format!("node {node}: {why}; the Service stays as it was, and is tried again");
        self.record(about, Severity::Warning, "FailedToSyncProxyRules", SYNC, note);
    }

    /// The kernel is not as the cluster wants it.
    pub(super) fn not_programmed(&self, why: &str) {
        let note = format!("Services may be served as they were before: {why}; trying again");
        self.record(self.node(), Severity::Warning, "FailedToSyncProxyRules", SYNC, note);
    }

    fn node(&self) -> ObjectKey {
        ObjectKey::new(Kind::Node, "", &self.node_name)
    }

    fn record(
        &self,
        about: ObjectKey,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) {
        self.recorder.record(Event { about, severity, reason, action, note });
    }
}
