//! The agent's settings, derived from a configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use weir_rules::config::{Config, DEFAULT_MASQUERADE_BIT, DetectLocal, NodePortAddresses};

use super::defaults::PRIMARY;
use super::duration::GoDuration;
use super::net;
use super::types::{ConntrackConfiguration, KubeProxyConfiguration};

/// What the agent needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What shapes the ruleset, with the Node's name.
    pub rules: Config,
    /// Where /healthz, /livez and /readyz are served; nowhere if there is none.
    pub healthz: Option<SocketAddr>,
    /// Where /metrics, /proxyMode and /configz are served; nowhere if there is none.
    pub metrics: Option<SocketAddr>,
    /// Whether an address that cannot be bound is fatal.
    pub bind_address_hard_fail: bool,
    /// How often to program changes.
    pub periods: Periods,
    /// How to talk to the API server.
    pub client: ClientConnection,
    /// What to set in the kernel's connection tracking.
    pub conntrack: Conntrack,
    /// The process's oom_score_adj, -1000 to 1000.
    pub oom_score_adj: i32,
    /// How to log.
    pub logging: Logging,
    /// Feature gates by name.
    pub feature_gates: BTreeMap<String, bool>,
}

/// How often to program changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    /// The longest pause before what has failed is tried again (`syncPeriod`).
    pub sync: Duration,
    /// The shortest time from the end of a sync to the start of the next (`minSyncPeriod`).
    pub min_sync: Duration,
}

impl Default for Periods {
    /// kube-proxy's.
    fn default() -> Self {
        Self { sync: Duration::from_secs(30), min_sync: Duration::from_secs(1) }
    }
}

/// How many requests may be made (`clientConnection.qps` and `burst`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests per second in the long run; without bound if it is negative, 5 if it is 0, as for
    /// client-go.
    pub qps: f32,
    /// How many may come at once; 10 if it is 0.
    pub burst: u32,
}

impl Default for Limits {
    /// Those of client-go (`DefaultQPS` and `DefaultBurst` of its rest/config.go).
    fn default() -> Self {
        Self { qps: 5.0, burst: 10 }
    }
}

/// How to talk to the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConnection {
    /// A kubeconfig file; the Pod's ServiceAccount if there is none.
    pub kubeconfig: Option<PathBuf>,
    /// The server's address, instead of the kubeconfig's (`--master`).
    pub master: Option<String>,
    /// How often to ask it.
    pub limits: Limits,
}

/// What to set in the kernel's connection tracking. `None` and `false` leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// nf_conntrack_max for each CPU.
    pub max_per_core: Option<u32>,
    /// The least nf_conntrack_max, where `max_per_core` is set.
    pub min: u32,
    /// nf_conntrack_tcp_timeout_established, in the kernel to the second.
    pub tcp_established_timeout: Option<Duration>,
    /// nf_conntrack_tcp_timeout_close_wait.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// nf_conntrack_tcp_be_liberal.
    pub tcp_be_liberal: bool,
    /// nf_conntrack_udp_timeout.
    pub udp_timeout: Option<Duration>,
    /// nf_conntrack_udp_timeout_stream.
    pub udp_stream_timeout: Option<Duration>,
}

impl Conntrack {
    /// The default of `tcp_established_timeout`.
    pub const TCP_ESTABLISHED_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
    /// The default of `tcp_close_wait_timeout`.
    pub const TCP_CLOSE_WAIT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

    /// The nf_conntrack_max that is wanted on a machine with so many CPUs; `None` leaves it.
    ///
    /// What comes of the CPUs is at most a million (`getConntrackMax` of
    /// pkg/proxy/conntrack/sysctls.go), where kube-proxy takes less than a greater `min`, too; here
    /// `min` is what it says.
    pub fn max(&self, cpus: u32) -> Option<u32> {
        const MOST: u32 = 1 << 20;
        self.max_per_core.map(|each| each.saturating_mul(cpus).min(MOST).max(self.min))
    }
}

/// How to log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logging {
    /// klog's verbosity, 0 and up.
    pub verbosity: u32,
    /// Whether each line is a JSON object.
    pub is_json: bool,
}

impl Logging {
    /// The level that the verbosity asks for. What klog has up to 3 is state changes, as weir's
    /// `info` is; 4 and 5 are for debugging; from 6 on comes what is on the wire.
    pub fn level(self) -> tracing::Level {
        match self.verbosity {
            0..=3 => tracing::Level::INFO,
            4 | 5 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        }
    }
}

impl Settings {
    /// What a configuration means, one that [`validate`](super::validate()) finds nothing in.
    pub(super) fn new(c: &KubeProxyConfiguration, node_name: &str, master: Option<&str>) -> Self {
        let (sync_period, min_sync_period) = c.sync_periods();
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            rules: rules(c, node_name),
            healthz: socket_address(&c.healthz_bind_address),
            metrics: socket_address(&c.metrics_bind_address),
            bind_address_hard_fail: c.bind_address_hard_fail,
            periods: Periods {
                sync: sync_period.to_std().unwrap_or_default(),
                min_sync: min_sync_period.to_std().unwrap_or_default(),
            },
            client: ClientConnection {
                kubeconfig: given(&c.client_connection.kubeconfig).map(PathBuf::from),
                master: master.and_then(given),
                limits: Limits {
                    qps: c.client_connection.qps,
                    burst: u32::try_from(c.client_connection.burst).unwrap_or_default(),
                },
            },
            conntrack: conntrack(&c.conntrack),
            oom_score_adj: c.oom_score_adj.unwrap_or_default(),
            logging: Logging {
                verbosity: c.logging.verbosity,
                is_json: c.logging.format == "json",
            },
            feature_gates: c.feature_gates.clone(),
        }
    }
}

/// Which section counts depends on the mode that was asked for, so that a node keeps the mark and
/// the node port addresses that it had with kube-proxy.
fn rules(c: &KubeProxyConfiguration, node_name: &str) -> Config {
    let (bit, masquerade_all) = match c.mode.as_str() {
        "nftables" => (c.nftables.masquerade_bit, c.nftables.masquerade_all),
        _ => (c.iptables.masquerade_bit, c.iptables.masquerade_all),
    };
    let is_primary = c.node_port_addresses.iter().any(|address| address == PRIMARY);
    let bit = bit.and_then(|bit| u8::try_from(bit).ok()).unwrap_or(DEFAULT_MASQUERADE_BIT);
    Config {
        detect_local: detect_local(c),
        node_port_addresses: match is_primary {
            true => NodePortAddresses::Primary,
            false => NodePortAddresses::Cidrs(networks(&c.node_port_addresses)),
        },
        // `0.0.0.0` and `::` say nothing.
        node_ip: net::ip(&c.bind_address).filter(|address| !address.is_unspecified()),
        masquerade_all,
        masquerade_bit: bit,
        ..Config::new(node_name)
    }
}

fn detect_local(c: &KubeProxyConfiguration) -> DetectLocal {
    match c.detect_local_mode.as_str() {
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => DetectLocal::BridgeInterface(c.detect_local.bridge_interface.clone()),
        "InterfaceNamePrefix" => {
            DetectLocal::InterfaceNamePrefix(c.detect_local.interface_name_prefix.clone())
        }
        _ => DetectLocal::ClusterCidr(networks(c.cluster_cidr.split(','))),
    }
}

fn networks<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Vec<IpNet> {
    texts.into_iter().filter_map(|text| net::cidr(text.as_ref())).collect()
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = net::split_host_port(text)?;
    Some(SocketAddr::new(net::ip(host)?, port.parse().ok()?))
}

fn conntrack(c: &ConntrackConfiguration) -> Conntrack {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let positive = |value: Option<GoDuration>| value.and_then(GoDuration::if_positive);
    Conntrack {
        max_per_core: number(c.max_per_core).filter(|max| *max > 0),
        min: number(c.min).unwrap_or_default(),
        tcp_established_timeout: positive(c.tcp_established_timeout),
        tcp_close_wait_timeout: positive(c.tcp_close_wait_timeout),
        tcp_be_liberal: c.tcp_be_liberal,
        udp_timeout: c.udp_timeout.if_positive(),
        udp_stream_timeout: c.udp_stream_timeout.if_positive(),
    }
}
