//! Converts Kubernetes objects to weir's compact types, as kube-proxy interprets them.

mod field;
pub(super) use field::Quoted;
pub(crate) use field::name;
mod node;
mod pod;
mod service;
mod slice;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::{EndpointSlice, Node, Service};

pub use field::{InvalidField, LeftOut};
pub use node::{NodeFuture, node};
pub use pod::{Pod, PodPort, pod};
pub use service::{PodSelection, SelectedPort, TargetPort, service};
pub use slice::slice;

/// What weir keeps of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The object itself.
    pub object: Object,
    /// What a user may want to know about it. In order, each at most once.
    pub remarks: Vec<Advisory>,
    /// What of it makes no sense and is left out.
    pub left_out: LeftOut,
}

/// One object, of one of the kinds that a proxy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Service with a virtual address, and the Pods that it selects.
    Service(Service, Option<Box<PodSelection>>),
    /// An EndpointSlice of a Service, and when the latest change in it happened.
    Slice(EndpointSlice, Option<Timestamp>),
    /// The proxy's own Node, and whether it is to stay.
    Node(Node, NodeFuture),
    /// A Pod, to derive endpoints from.
    Pod(Pod),
    /// The `spec.cidrs` of a ServiceCIDR.
    ServiceCidr(Vec<IpNet>),
    /// A good object that means nothing to a proxy, such as a headless Service.
    Nothing,
}

/// Something about an object that a user may not expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advisory {
    /// A Service that no ClusterIP has been allocated to.
    NoClusterIp,
    /// A Service with addresses of a family of which it has no ClusterIP.
    OtherFamily,
    /// An EndpointSlice of address type FQDN.
    Fqdn,
    /// An EndpointSlice with a port that has no name, not even an empty one.
    UnnamedPort,
    /// An EndpointSlice with a port that has no number, which to Kubernetes means all ports, and to a proxy
    /// nothing.
    UnnumberedPort,
}

/// The networks of a ServiceCIDR.
pub fn service_cidr(cidr: &ServiceCIDR) -> Converted {
    let mut left_out = LeftOut::default();
    let cidrs = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    let network = |(index, text): (usize, &String)| {
        left_out.good(field::network(text, || format!("spec.cidrs[{index}]")))
    };
    let cidrs = cidrs.iter().enumerate().filter_map(network).collect();
    Converted { left_out, ..Object::ServiceCidr(cidrs).into() }
}

impl From<Object> for Converted {
    fn from(object: Object) -> Self {
        Self { object, remarks: Vec::new(), left_out: LeftOut::default() }
    }
}
