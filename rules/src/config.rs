//! The settings that shape the ruleset. Their names and defaults are kube-proxy's.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::cluster::limits::{DEFAULT_MAX_SERVICE_ELEMENTS, DEFAULT_MAX_SERVICE_KEYS};
use crate::cluster::{Family, Node};

/// kube-proxy's `masqueradeBit`: the bit of the packet mark that asks for masquerade.
pub const DEFAULT_MASQUERADE_BIT: u8 = 14;

/// Settings of one node's proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The Node that this proxy runs on (`hostnameOverride`, else the host's name).
    pub node_name: String,
    /// The node's primary address of its family, instead of the Node object's (`bindAddress`).
    pub node_ip: Option<IpAddr>,
    /// How traffic of local Pods is distinguished from other traffic (`detectLocalMode`).
    pub detect_local: DetectLocal,
    /// Networks from which ClusterIPs are allocated, beside those of the ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
    /// The node's addresses at which node ports are served.
    pub node_port_addresses: NodePortAddresses,
    /// Masquerade all traffic to ClusterIPs (`masqueradeAll`).
    pub masquerade_all: bool,
    /// The bit, 0 to 31, of the packet mark that asks for masquerade (`masqueradeBit`).
    pub masquerade_bit: u8,
    /// How many keys a Service has at most ([`limits`](crate::cluster::limits)). The sources see to that.
    pub max_service_keys: usize,
    /// How many elements the endpoints of a Service take at most in one family.
    pub max_service_elements: usize,
}

impl Config {
    /// kube-proxy's defaults for a node of this name.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ip: None,
            detect_local: DetectLocal::default(),
            service_cidrs: Vec::new(),
            node_port_addresses: NodePortAddresses::Primary,
            masquerade_all: false,
            masquerade_bit: DEFAULT_MASQUERADE_BIT,
            max_service_keys: DEFAULT_MAX_SERVICE_KEYS,
            max_service_elements: DEFAULT_MAX_SERVICE_ELEMENTS,
        }
    }

    /// The node's primary address of a family (`detectNodeIPs` of kube-proxy's
    /// cmd/kube-proxy/app/server.go).
    pub fn primary_address(&self, node: Option<&Node>, family: Family) -> Option<IpAddr> {
        let own = self.node_ip.filter(|&address| Family::of(address) == family);
        own.or_else(|| node.and_then(|node| node.primary_address(family)))
    }
}

/// How traffic of local Pods is distinguished from other traffic. Other traffic to a ClusterIP is
/// masqueraded; without a detection mode, none is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectLocal {
    /// By source, within these networks (`clusterCIDR`), at most one of each family.
    ClusterCidr(Vec<IpNet>),
    /// By source, within the Node's `spec.podCIDRs`.
    NodeCidr,
    /// By the interface with this name.
    BridgeInterface(String),
    /// By interfaces whose names begin so.
    InterfaceNamePrefix(String),
}

impl Default for DetectLocal {
    /// Local traffic is not detected.
    fn default() -> Self {
        DetectLocal::ClusterCidr(Vec::new())
    }
}

/// Which of the node's own addresses serve node ports (`nodePortAddresses`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The node's primary address of each family. While it is not known, none does.
    Primary,
    /// Those within these networks. A family without a network serves at all its addresses, as
    /// kube-proxy's does.
    Cidrs(Vec<IpNet>),
}
