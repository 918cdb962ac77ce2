//! The settings that shape the ruleset. Their names and defaults are kube-proxy's.

use ipnet::IpNet;

/// kube-proxy's `masqueradeBit`: the bit of the packet mark that asks for masquerade.
pub const DEFAULT_MASQUERADE_BIT: u8 = 14;

/// Settings of one node's proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The Node that this proxy runs on (`hostnameOverride`, else the host's name).
    pub node_name: String,
    /// How traffic of local Pods is told from other (`detectLocalMode`).
    pub detect_local: DetectLocal,
    /// Networks from which ClusterIPs are allocated, beside those of the ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
    /// The node's addresses at which node ports are served.
    pub node_port_addresses: NodePortAddresses,
    /// Masquerade all traffic to ClusterIPs (`masqueradeAll`).
    pub masquerade_all: bool,
    /// The bit, 0 to 31, of the packet mark that asks for masquerade (`masqueradeBit`).
    pub masquerade_bit: u8,
}

impl Config {
    /// kube-proxy's defaults for a node of this name.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            detect_local: DetectLocal::default(),
            service_cidrs: Vec::new(),
            node_port_addresses: NodePortAddresses::Primary,
            masquerade_all: false,
            masquerade_bit: DEFAULT_MASQUERADE_BIT,
        }
    }
}

/// How traffic of local Pods is told from other. Other traffic to a ClusterIP is masqueraded;
/// where nothing tells, none is.
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
    /// Nothing tells.
    fn default() -> Self {
        DetectLocal::ClusterCidr(Vec::new())
    }
}

/// Which of the node's own addresses serve node ports (`nodePortAddresses`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family. While it is not known, none does.
    Primary,
    /// Those within these networks. A family without a network serves at all its addresses, as
    /// kube-proxy's does.
    Cidrs(Vec<IpNet>),
}
