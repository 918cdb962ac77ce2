//! The collections that are watched, with kube-proxy's selectors.

use kube::api::{ListParams, WatchParams};
use kube::core::Request;

use crate::source::Kind;

/// The objects of a kind that matter to the proxy of a node.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    /// The kind.
    pub(super) kind: Kind,
    labels: Option<&'static str>,
    fields: Option<String>,
}

/// The path of all objects of a kind.
pub(super) fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "/api/v1/services",
        Kind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
        Kind::Node => "/api/v1/nodes",
        Kind::Pod => "/api/v1/pods",
        Kind::ServiceCidr => "/apis/networking.k8s.io/v1/servicecidrs",
    }
}

impl Collection {
    /// All that the proxy of this node reads.
    pub(super) fn all(node_name: &str) -> [Collection; 4] {
        [
            Collection {
                kind: Kind::Service,
                labels: Some("!service.kubernetes.io/service-proxy-name"),
                fields: Some("spec.clusterIP!=None".to_owned()),
            },
            Collection {
                kind: Kind::EndpointSlice,
                labels: Some("!service.kubernetes.io/headless"),
                fields: None,
            },
            Collection { kind: Kind::ServiceCidr, labels: None, fields: None },
            Collection {
                kind: Kind::Node,
                labels: None,
                fields: Some(format!("metadata.name={node_name}")),
            },
        ]
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Service => "Services",
            Kind::EndpointSlice => "EndpointSlices",
            Kind::Node => "the Node",
            Kind::Pod => "Pods",
            Kind::ServiceCidr => "ServiceCIDRs",
        }
    }

    /// The request for a page of the list, or for all of it.
    pub(super) fn list(
        &self,
        limit: Option<u32>,
        continue_token: Option<String>,
    ) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        Request::new(path(self.kind)).list(&ListParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.clone(),
            limit,
            continue_token,
            ..ListParams::default()
        })
    }

    /// The request to watch from a version on; from none, with all objects first.
    pub(super) fn watch(
        &self,
        version: Option<&str>,
        timeout_seconds: u32,
    ) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let params = WatchParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.clone(),
            timeout: Some(timeout_seconds),
            bookmarks: true,
            send_initial_events: version.is_none(),
        };
        Request::new(path(self.kind)).watch(&params, version.unwrap_or_default())
    }
}
