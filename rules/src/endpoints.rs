//! Which endpoints a Service port has.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cluster::{EndpointSlice, Family, ServicePort};

/// An address and port that a connection can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortEndpoint {
    /// The endpoint's address.
    pub address: IpAddr,
    /// Its port.
    pub port: NonZeroU16,
    /// Whether it is on the proxy's own node.
    pub local: bool,
}

/// The ready endpoints of one port of a Service in one family, from all of the Service's slices,
/// sorted by address and port, each once.
///
/// A slice's port stands for the Service port with the same name and protocol
/// (kube-proxy: pkg/proxy/endpointslicecache.go).
pub fn ready_endpoints(
    port: &ServicePort,
    family: Family,
    slices: &[&EndpointSlice],
    node_name: &str,
) -> Vec<PortEndpoint> {
    let mut found = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let ports = slice
            .ports
            .iter()
            .filter(|p| p.name == port.name && p.protocol == port.protocol)
            .map(|p| p.port);
        for endpoint_port in ports {
            for endpoint in slice.endpoints.iter().filter(|e| e.ready) {
                let local = endpoint.node.as_deref() == Some(node_name);
                // Where slices contradict each other about an address, local wins: it costs a
                // masquerade that was not needed, the other way round a reply that never comes.
                *found.entry((endpoint.address, endpoint_port)).or_insert(false) |= local;
            }
        }
    }
    found
        .into_iter()
        .map(|((address, port), local)| PortEndpoint { address, port, local })
        .collect()
}
