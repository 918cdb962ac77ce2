//! What tests need of any API server.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use weir::source::api::ClientSource;
use weir_apiserver::{ApiServer, Resource};

/// A server with Node `node-a` and a ServiceCIDR.
pub(crate) trait AnyServer {
    /// How long anything may take before it counts as not happening.
    const LIMIT: Duration;

    /// As whom and where weir reaches it, with no more rights than its ClusterRole.
    fn access(&self) -> ClientSource;

    /// Creates an object, or changes it.
    async fn put(&self, object: Value);

    /// Deletes an object; the namespace is empty for kinds without.
    async fn remove(&self, resource: Resource, namespace: &str, name: &str);

    /// Waits for an Event in a namespace.
    async fn event(&self, namespace: &str) -> Value;

    /// An object's uid; the namespace is empty for kinds without.
    async fn uid(&self, resource: Resource, namespace: &str, name: &str) -> String;

    /// What it has to say when a test has failed.
    fn account(&self) -> String;
}

impl AnyServer for ApiServer {
    /// Virtual.
    const LIMIT: Duration = Duration::from_secs(3600);

    fn access(&self) -> ClientSource {
        ClientSource::Master(self.url())
    }

    async fn put(&self, object: Value) {
        self.apply(object);
    }

    async fn remove(&self, resource: Resource, namespace: &str, name: &str) {
        self.delete(resource, namespace, name);
    }

    async fn event(&self, namespace: &str) -> Value {
        timeout(Self::LIMIT, self.wait_for_events(1)).await.expect("an Event");
        let mut events = self.events().into_iter();
        events.find(|event| event["metadata"]["namespace"] == namespace).expect("it is there")
    }

    async fn uid(&self, resource: Resource, namespace: &str, name: &str) -> String {
        self.object(resource, namespace, name)["metadata"]["uid"].as_str().expect("text").to_owned()
    }

    fn account(&self) -> String {
        format!("{:?}", self.requests())
    }
}
