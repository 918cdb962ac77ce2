//! The cluster as weir stores it: Services, EndpointSlices and its own Node, reduced to the fields that decide
//! what happens to a packet. Field names follow the Kubernetes API (`v1.Service`,
//! `discovery.k8s.io/v1.EndpointSlice`).
//!
//! Field names follow the Kubernetes API (`v1.Service`, `discovery.k8s.io/v1.EndpointSlice`).

pub mod address;
mod changes;
pub mod claims;
pub(crate) mod compact;
pub mod limits;
mod name;
mod services;
mod slices;

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use ipnet::IpNet;

pub use changes::ChangeSet;
pub use name::NamespacedName;
pub use services::Services;
pub use slices::Slices;

/// An IP family: each has its own nftables table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `ip` in nft syntax.
    Ipv4,
    /// `ip6` in nft syntax.
    Ipv6,
}

impl Family {
    /// Both families, in the order in which they are printed and programmed.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// The family of a network.
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }
}

impl fmt::Display for Family {
    /// nft's keyword: `ip` or `ip6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        })
    }
}

/// The transport protocols that a Service port can have (`v1.Protocol`).
///
/// The discriminant is the IANA protocol number, one byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// `TCP`.
    Tcp = 6,
    /// `UDP`.
    Udp = 17,
    /// `SCTP`.
    Sctp = 132,
}

impl Protocol {
    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The protocol with this IANA number, if a Service port can have it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    /// nft's name: `tcp`, `udp` or `sctp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// A Service that has a virtual address. Headless and ExternalName Services never become one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `spec.clusterIPs`: one address, or one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`, those that the node must serve (`ipMode` unset or VIP).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`: which endpoints its ClusterIPs have.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`: which endpoints its other addresses and node ports have.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`: who may use its load-balancer addresses. Empty where
    /// anybody may.
    pub source_ranges: Vec<IpNet>,
    /// Whether an entry of `spec.loadBalancerSourceRanges` was left out because it is no network. It may
    /// have been of either family, so that nobody may use a load-balancer address of a family for which
    /// no good entry is left.
    pub has_bad_source_range: bool,
    /// With `spec.sessionAffinity: ClientIP`, for how many seconds behind its last new connection
    /// a client stays with its endpoint (`spec.sessionAffinityConfig.clientIP.timeoutSeconds`).
    pub session_affinity: Option<NonZeroU32>,
    /// `spec.healthCheckNodePort` of a Service of type LoadBalancer with the external policy Local:
    /// where its load balancer asks whether it has endpoints here.
    pub health_check_node_port: Option<NonZeroU16>,
    /// `metadata.creationTimestamp` in seconds since 1970, if there is one. Of two Services that claim
    /// one address and port in the same way, the older has it.
    pub created: Option<u32>,
    /// How many of its keys were left out because it has more than it may ([`limits`]).
    pub excess_keys: u32,
}

impl Service {
    /// Whether it is served in a family: whether it has a ClusterIP of it.
    pub fn serves(&self, family: Family) -> bool {
        self.cluster_ips.iter().any(|address| Family::of(*address) == family)
    }

    /// Whether a port of it has a node port.
    pub fn has_node_port(&self) -> bool {
        self.ports.iter().any(|port| port.node_port.is_some())
    }

    /// Whether a port of it can be reached from outside the cluster.
    pub fn is_externally_accessible(&self, port: &ServicePort) -> bool {
        port.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }
}

/// Which endpoints traffic may go to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Those on the node that the traffic is at.
    Local,
}

/// One entry of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The name, empty when there is none. Together with the protocol it selects the port of the
    /// EndpointSlices.
    pub name: Arc<str>,
    /// The protocol; TCP when the manifest names none.
    pub protocol: Protocol,
    /// The port at the virtual addresses.
    pub port: NonZeroU16,
    /// The port at the node's addresses, if one is allocated.
    pub node_port: Option<NonZeroU16>,
}

/// An EndpointSlice of address type IPv4 or IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The Service that it belongs to: its own namespace and the label
    /// `kubernetes.io/service-name`.
    pub service: NamespacedName,
    /// `addressType`. Every endpoint's address is of this family.
    pub family: Family,
    /// `ports`, without those that have no name or no number.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// One entry of an EndpointSlice's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name of the Service port that it stands for, possibly empty.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port at the endpoint's address.
    pub port: NonZeroU16,
}

/// One entry of an EndpointSlice's `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`: further addresses have no meaning to a proxy.
    pub address: IpAddr,
    /// `conditions.ready`; nil means true.
    pub ready: bool,
    /// `conditions.serving`; nil means true.
    pub serving: bool,
    /// `conditions.terminating`; nil means false.
    pub terminating: bool,
    /// Where it is and who it is meant for, if that is said.
    pub place: Option<Arc<EndpointPlace>>,
}

/// Where an endpoint is, and who it is meant for. Many endpoints have this alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointPlace {
    /// `nodeName`. An endpoint is local when this is the proxy's own node.
    pub node: Option<Box<str>>,
    /// `hints.forNodes[].name`.
    pub node_hints: Box<[String]>,
    /// `hints.forZones[].name`.
    pub zone_hints: Box<[String]>,
}

impl EndpointPlace {
    /// `None` if nothing is said.
    pub fn new(
        node: Option<&str>,
        node_hints: Box<[String]>,
        zone_hints: Box<[String]>,
    ) -> Option<Arc<Self>> {
        let is_said = node.is_some() || !node_hints.is_empty() || !zone_hints.is_empty();
        is_said.then(|| Arc::new(Self { node: node.map(Box::from), node_hints, zone_hints }))
    }

    /// On a node, for anybody.
    pub fn on(node: &str) -> Option<Arc<Self>> {
        Self::new(Some(node), Box::default(), Box::default())
    }
}

impl Endpoint {
    /// `nodeName`.
    pub fn node(&self) -> Option<&str> {
        self.place.as_ref()?.node.as_deref()
    }

    /// `hints.forNodes[].name`.
    pub fn node_hints(&self) -> &[String] {
        self.place.as_ref().map_or(&[], |place| &place.node_hints)
    }

    /// `hints.forZones[].name`.
    pub fn zone_hints(&self) -> &[String] {
        self.place.as_ref().map_or(&[], |place| &place.zone_hints)
    }

    /// A ready endpoint of no known node and without hints.
    pub fn new(address: IpAddr) -> Self {
        Self { address, ready: true, serving: true, terminating: false, place: None }
    }
}

/// The Node that the proxy runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its addresses in order of preference: every InternalIP, then every ExternalIP
    /// (as kube-proxy's `GetNodeHostIPs`). The first of a family is the primary one.
    pub addresses: Vec<IpAddr>,
    /// Its label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

impl Node {
    /// Its first address of a family.
    pub fn primary_address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|&address| Family::of(address) == family)
    }
}

/// Everything that the compiler reads of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Services by identity, and which of them has what several claim.
    pub services: Services,
    /// EndpointSlices by identity and by Service.
    pub slices: Slices,
    /// The proxy's own Node, when it is known.
    pub node: Option<Node>,
    /// `spec.cidrs` of all ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
}

impl Cluster {
    /// Takes no more memory than is needed for so many objects, once many have been put in.
    pub fn compact(&mut self) {
        self.services.compact();
        self.slices.compact();
    }
}
