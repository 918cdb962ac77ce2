//! Services and EndpointSlices as JSON, limited to the fields that a proxy reads, mostly borrowed from the
//! text.
//!
//! There are tens of thousands of these, and most of their text is not needed: names of Pods, managed fields.
//! All that is `null` or missing is `None`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// A text: a part of the JSON, but for one that is escaped there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(Cow<'a, str>);

/// `metadata` of any object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    pub(super) namespace: Option<Text<'a>>,
    pub(super) resource_version: Option<Text<'a>>,
    pub(super) creation_timestamp: Option<Text<'a>>,
    pub(super) uid: Option<Text<'a>>,
    pub(super) labels: Option<Labels<'a>>,
    pub(super) annotations: Option<Annotations<'a>>,
}

/// Those of an object's labels that mean something.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Labels<'a> {
    /// The Service that a slice belongs to, in the slice's own namespace.
    #[serde(rename = "kubernetes.io/service-name", borrow)]
    pub(super) service_name: Option<Text<'a>>,
    /// A slice that has it belongs to a headless Service.
    #[serde(rename = "service.kubernetes.io/headless")]
    pub(super) headless: Option<Text<'a>>,
    /// A Service that has it belongs to another proxy.
    #[serde(rename = "service.kubernetes.io/service-proxy-name")]
    pub(super) proxy_name: Option<Text<'a>>,
}

/// Those of an object's annotations that mean something.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations<'a> {
    /// When the change of a Pod or Service happened that a slice was written for.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time", borrow)]
    pub(super) trigger_time: Option<Text<'a>>,
    /// Marks the bookmark that comes after the last of the objects that a watch begins with.
    #[serde(rename = "k8s.io/initial-events-end")]
    pub(super) initial_events_end: Option<Text<'a>>,
}

/// `v1.Service`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service<'a> {
    #[serde(borrow)]
    pub(super) metadata: Option<Metadata<'a>>,
    pub(super) spec: Option<ServiceSpec<'a>>,
    pub(super) status: Option<ServiceStatus<'a>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec<'a> {
    #[serde(borrow)]
    pub(super) r#type: Option<Text<'a>>,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<Text<'a>>,
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<Text<'a>>>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<Text<'a>>>,
    pub(super) ports: Option<Vec<ServicePort<'a>>>,
    pub(super) selector: Option<BTreeMap<String, String>>,
    pub(super) publish_not_ready_addresses: Option<bool>,
    pub(super) internal_traffic_policy: Option<Text<'a>>,
    pub(super) external_traffic_policy: Option<Text<'a>>,
    pub(super) load_balancer_source_ranges: Option<Vec<Text<'a>>>,
    pub(super) session_affinity: Option<Text<'a>>,
    pub(super) session_affinity_config: Option<SessionAffinityConfig>,
    pub(super) health_check_node_port: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServicePort<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    pub(super) protocol: Option<Text<'a>>,
    pub(super) port: Option<i32>,
    pub(super) target_port: Option<IntOrString>,
    pub(super) node_port: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    pub(super) client_ip: Option<ClientIpConfig>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClientIpConfig {
    pub(super) timeout_seconds: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus<'a> {
    #[serde(borrow)]
    pub(super) load_balancer: Option<LoadBalancerStatus<'a>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancerStatus<'a> {
    #[serde(borrow)]
    pub(super) ingress: Option<Vec<LoadBalancerIngress<'a>>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LoadBalancerIngress<'a> {
    #[serde(borrow)]
    pub(super) ip: Option<Text<'a>>,
    pub(super) ip_mode: Option<Text<'a>>,
}

/// `discovery.k8s.io/v1.EndpointSlice`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice<'a> {
    #[serde(borrow)]
    pub(super) metadata: Option<Metadata<'a>>,
    pub(super) address_type: Option<Text<'a>>,
    pub(super) endpoints: Option<Vec<Endpoint<'a>>>,
    pub(super) ports: Option<Vec<EndpointPort<'a>>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Endpoint<'a> {
    #[serde(borrow)]
    pub(super) addresses: Option<Vec<Text<'a>>>,
    pub(super) conditions: Option<EndpointConditions>,
    pub(super) node_name: Option<Text<'a>>,
    pub(super) hints: Option<EndpointHints<'a>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointConditions {
    pub(super) ready: Option<bool>,
    pub(super) serving: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointHints<'a> {
    #[serde(borrow)]
    pub(super) for_nodes: Option<Vec<Hint<'a>>>,
    pub(super) for_zones: Option<Vec<Hint<'a>>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hint<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointPort<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    pub(super) protocol: Option<Text<'a>>,
    pub(super) port: Option<i32>,
}

impl<'a> Metadata<'a> {
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    pub(super) fn resource_version(&self) -> &str {
        self.resource_version.as_deref().unwrap_or_default()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}
