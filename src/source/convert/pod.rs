//! `v1.Pod`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use k8s_openapi::api::core::v1;
use weir_rules::cluster::Protocol;

use super::field::{self, InvalidField};
use super::{Converted, Object};

/// What decides whether and how a Pod is an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.podIPs`, else `status.podIP`.
    pub addresses: Vec<IpAddr>,
    /// Its condition Ready is True.
    pub ready: bool,
    /// It has not come to its end: no deletion timestamp, not Succeeded, not Failed.
    pub alive: bool,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// The named ports of its containers.
    pub ports: Vec<PodPort>,
}

/// A named port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: NonZeroU16,
}

/// Converts a Pod.
pub fn pod(pod: &v1::Pod) -> Result<Converted, InvalidField> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Ok(Object::Pod(Pod {
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        addresses: addresses(pod)?,
        ready,
        alive: pod.metadata.deletion_timestamp.is_none()
            && !matches!(phase, Some("Succeeded" | "Failed")),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ports: ports(pod)?,
    })
    .into())
}

fn addresses(pod: &v1::Pod) -> Result<Vec<IpAddr>, InvalidField> {
    let Some(status) = &pod.status else { return Ok(Vec::new()) };
    let listed = status.pod_ips.as_deref().unwrap_or_default();
    if listed.is_empty() {
        let single = status.pod_ip.as_deref().filter(|ip| !ip.is_empty());
        let single = single.map(|ip| field::address(ip, || "status.podIP".into()));
        return single.into_iter().collect();
    }
    let listed = listed.iter().enumerate();
    listed
        .map(|(index, entry)| field::address(&entry.ip, || format!("status.podIPs[{index}].ip")))
        .collect()
}

fn ports(pod: &v1::Pod) -> Result<Vec<PodPort>, InvalidField> {
    let Some(spec) = &pod.spec else { return Ok(Vec::new()) };
    // A sidecar is an init container that stays.
    let sidecars = spec.init_containers.iter().flatten().enumerate();
    let sidecars = sidecars
        .filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"))
        .map(|(index, container)| ("initContainers", index, container));
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(index, container)| ("containers", index, container));

    let mut ports = Vec::new();
    for (list, number, container) in containers.chain(sidecars) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let path = |name: &str| format!("spec.{list}[{number}].ports[{index}].{name}");
            let protocol = field::protocol(port.protocol.as_deref(), || path("protocol"))?;
            let number = field::port(port.container_port, || path("containerPort"))?;
            if let Some(name) = &port.name {
                ports.push(PodPort { name: name.clone(), protocol, port: number });
            }
        }
    }
    Ok(ports)
}
