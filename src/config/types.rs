//! `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, field by field.
//!
//! Source: staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go. As in Go, a field that is not
//! given has its type's zero value, and `super::defaults` turns zero values into defaults; a field
//! is an `Option` where kube-proxy distinguishes zero from unset.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::logging::LoggingConfiguration;

/// The one `apiVersion` that is known.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The `kind`.
pub const KIND: &str = "KubeProxyConfiguration";

/// kube-proxy's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeProxyConfiguration {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// Feature gates by name; none by default.
    pub feature_gates: BTreeMap<String, bool>,
    /// How to talk to the API server.
    pub client_connection: ClientConnectionConfiguration,
    /// How to log.
    pub logging: LoggingConfiguration,
    /// The Node's name; the host's name by default.
    pub hostname_override: String,
    /// The node's primary address, and with it the primary family; `0.0.0.0` by default, which
    /// leaves the choice to the Node object.
    pub bind_address: String,
    /// Where /healthz, /livez and /readyz are served: an address, with or without a port. By default
    /// `0.0.0.0:10256`, or `[::]:10256` when `bindAddress` is IPv6.
    pub healthz_bind_address: String,
    /// Where metrics are served: an address, with or without a port. By default
    /// `127.0.0.1:10249`, or `[::1]:10249` when `bindAddress` is IPv6.
    pub metrics_bind_address: String,
    /// Whether an address that cannot be bound is fatal.
    pub bind_address_hard_fail: bool,
    /// Whether Go's profiler is served.
    pub enable_profiling: bool,
    /// The release whose hidden metrics are to be shown, such as `1.35`.
    pub show_hidden_metrics_for_version: String,
    /// `iptables`, `ipvs`, `nftables`, or empty, which means iptables.
    pub mode: String,
    /// Settings of the mode iptables. Of these, `masqueradeBit` and `masqueradeAll` count in mode
    /// ipvs, too.
    pub iptables: IptablesConfiguration,
    /// Settings of the mode ipvs.
    pub ipvs: IpvsConfiguration,
    /// Settings of the mode nftables.
    pub nftables: NftablesConfiguration,
    /// Settings for Windows.
    pub winkernel: WinkernelConfiguration,
    /// How traffic of local Pods is distinguished from other traffic: `ClusterCIDR` (the default),
    /// `NodeCIDR`, `BridgeInterface` or `InterfaceNamePrefix`.
    pub detect_local_mode: String,
    /// What some of these modes need.
    pub detect_local: DetectLocalConfiguration,
    /// The network of Pods, or one of each family with a comma between.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// The networks at whose addresses of the node node ports are served, or `primary` alone. By
    /// default `primary` in mode nftables, and all addresses otherwise.
    pub node_port_addresses: Vec<String>,
    /// The process's oom_score_adj, -1000 to 1000; -999 by default.
    pub oom_score_adj: Option<i32>,
    /// Settings of connection tracking.
    pub conntrack: ConntrackConfiguration,
    /// How often everything is delivered again from the cache of the API; 15 min by default.
    pub config_sync_period: GoDuration,
    /// Once of the userspace mode; unused.
    pub port_range: String,
    /// Windows only.
    pub windows_run_as_service: bool,
}

/// How to talk to the API server: `ClientConnectionConfiguration` of component-base.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnectionConfiguration {
    /// A kubeconfig file; the Pod's ServiceAccount by default.
    pub kubeconfig: String,
    /// The `Accept` header.
    pub accept_content_types: String,
    /// The `Content-Type` header; `application/vnd.kubernetes.protobuf` by default.
    pub content_type: String,
    /// Requests per second; 5 by default.
    pub qps: f32,
    /// How many requests may come at once; 10 by default.
    pub burst: i32,
}

/// Settings of the mode iptables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IptablesConfiguration {
    /// The bit of the packet mark, 0 to 31, that asks for masquerade; 14 by default.
    pub masquerade_bit: Option<i32>,
    /// Whether all traffic to ClusterIPs is masqueraded.
    pub masquerade_all: bool,
    /// Whether node ports are served at 127.0.0.1; true by default.
    pub localhost_node_ports: Option<bool>,
    /// How often to resynchronize and clean up; 30 s by default.
    pub sync_period: GoDuration,
    /// The shortest time between two syncs; 1 s by default.
    pub min_sync_period: GoDuration,
}

/// Settings of the mode ipvs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpvsConfiguration {
    /// How often to resynchronize and clean up; 30 s by default.
    pub sync_period: GoDuration,
    /// The shortest time between two syncs.
    pub min_sync_period: GoDuration,
    /// The IPVS scheduler.
    pub scheduler: String,
    /// Networks whose IPVS services are left alone.
    #[serde(rename = "excludeCIDRs")]
    pub exclude_cidrs: Vec<String>,
    /// Whether ARP is answered for addresses of the interface that was asked only.
    #[serde(rename = "strictARP")]
    pub strict_arp: bool,
    /// The timeout of idle TCP sessions; 0 leaves it as it is.
    pub tcp_timeout: GoDuration,
    /// The timeout of TCP sessions after a FIN; 0 leaves it as it is.
    pub tcp_fin_timeout: GoDuration,
    /// The timeout of UDP; 0 leaves it as it is.
    pub udp_timeout: GoDuration,
}

/// Settings of the mode nftables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NftablesConfiguration {
    /// The bit of the packet mark, 0 to 31, that asks for masquerade; 14 by default.
    pub masquerade_bit: Option<i32>,
    /// Whether all traffic to ClusterIPs is masqueraded.
    pub masquerade_all: bool,
    /// How often to resynchronize and clean up; 30 s by default.
    pub sync_period: GoDuration,
    /// The shortest time between two syncs; 1 s by default.
    pub min_sync_period: GoDuration,
}

/// Settings for Windows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WinkernelConfiguration {
    /// The HNS network.
    pub network_name: String,
    /// The address of the endpoint that is used for NAT.
    pub source_vip: String,
    /// Whether servers answer clients directly.
    #[serde(rename = "enableDSR")]
    pub enable_dsr: bool,
    /// The endpoint of the root network namespace.
    pub root_hns_endpoint_name: String,
    /// Whether the health check port of a Service is forwarded.
    pub forward_health_check_vip: bool,
}

/// What some of the ways to detect local Pods need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DetectLocalConfiguration {
    /// Of `BridgeInterface`: the interface that Pods are behind.
    pub bridge_interface: String,
    /// Of `InterfaceNamePrefix`: how the names of Pods' interfaces begin.
    pub interface_name_prefix: String,
}

/// Settings of connection tracking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConntrackConfiguration {
    /// Entries for each CPU; 32768 by default, 0 leaves the limit as it is.
    pub max_per_core: Option<i32>,
    /// The least number of entries; 131072 by default.
    pub min: Option<i32>,
    /// The timeout of established TCP connections; 24 h by default, 0 leaves it as it is.
    pub tcp_established_timeout: Option<GoDuration>,
    /// The timeout of TCP connections that one side has closed; 1 h by default, 0 leaves it as it is.
    pub tcp_close_wait_timeout: Option<GoDuration>,
    /// Whether TCP packets out of window are let through.
    pub tcp_be_liberal: bool,
    /// The timeout of UDP flows without an answer; 0, the default, leaves it as it is.
    pub udp_timeout: GoDuration,
    /// The timeout of UDP flows with answers; 0, the default, leaves it as it is.
    pub udp_stream_timeout: GoDuration,
}
