//! `v1.Service`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_rules::cluster::{Family, Protocol, Service, ServicePort, TrafficPolicy};

use super::field::{self, InvalidField};
use super::{Converted, Object, Remark};
use crate::source::object::{self, ServiceSpec, Text};

/// `DefaultClientIPServiceAffinitySeconds` and `MaxClientIPServiceAffinitySeconds` of the API's
/// core/v1.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// The longest name of a port or namespace: a DNS label.
const LABEL_LENGTH: usize = 63;

/// What a Service says about the Pods behind it. EndpointSlices, where there are any, say it better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSelection {
    /// `spec.selector`: labels that a Pod must have, at least one.
    pub selector: BTreeMap<String, String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// One for each port of the Service.
    pub ports: Vec<SelectedPort>,
}

/// A port of a Service, as seen from its Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedPort {
    /// The name of the Service's port.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the Pod.
    pub target: TargetPort,
}

/// `spec.ports[].targetPort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// A number; the Service's own port when nothing is given.
    Number(NonZeroU16),
    /// The name of a container's port.
    Name(String),
}

/// Converts a Service. Headless and ExternalName Services, and those of another proxy, are nothing.
pub fn service(service: &object::Service<'_>) -> Result<Converted, InvalidField> {
    let labels = service.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    if labels.is_some_and(|labels| labels.proxy_name.is_some()) {
        return Ok(Object::Nothing.into());
    }
    let Some(spec) = &service.spec else {
        return Err(InvalidField::new("spec", "is missing"));
    };
    if spec.r#type.as_deref() == Some("ExternalName") || is_headless(spec) {
        return Ok(Object::Nothing.into());
    }
    let cluster_ips = cluster_ips(spec)?;
    if cluster_ips.is_empty() {
        return Ok(Converted { object: Object::Nothing, remarks: vec![Remark::NoClusterIp] });
    }

    let ports = ports(spec)?;
    let mut external_ips = external_ips(spec)?;
    let mut load_balancer_ips = load_balancer_ips(service)?;
    let mut remarks = Vec::new();
    let served =
        |address: &IpAddr| cluster_ips.iter().any(|ip| Family::of(*ip) == Family::of(*address));
    let before = external_ips.len() + load_balancer_ips.len();
    external_ips.retain(served);
    load_balancer_ips.retain(served);
    if external_ips.len() + load_balancer_ips.len() < before {
        remarks.push(Remark::OtherFamily);
    }

    let selection = selection(spec, &ports)?.map(Box::new);
    let internal = spec.internal_traffic_policy.as_deref();
    let external = spec.external_traffic_policy.as_deref();
    let service = Service {
        cluster_ips,
        external_ips,
        load_balancer_ips,
        ports,
        internal_traffic_policy: policy(internal, "spec.internalTrafficPolicy")?,
        external_traffic_policy: policy(external, "spec.externalTrafficPolicy")?,
        source_ranges: source_ranges(spec)?,
        session_affinity: session_affinity(spec)?,
        health_check_node_port: health_check_node_port(spec)?,
    };
    Ok(Converted { object: Object::Service(service, selection), remarks })
}

fn is_headless(spec: &ServiceSpec<'_>) -> bool {
    spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten()).any(|ip| &**ip == "None")
}

fn cluster_ips(spec: &ServiceSpec<'_>) -> Result<Vec<IpAddr>, InvalidField> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    if listed.is_empty() {
        let single = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
        return single
            .map(|ip| field::address(ip, || "spec.clusterIP".into()))
            .into_iter()
            .collect();
    }
    let addresses = addresses(listed, |index| format!("spec.clusterIPs[{index}]"))?;
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].iter().any(|other| Family::of(*other) == Family::of(*address)) {
            return Err(InvalidField::new(
                format!("spec.clusterIPs[{index}]"),
                format!("{address} is a second address of the same family"),
            ));
        }
    }
    Ok(addresses)
}

fn addresses(
    texts: &[Text<'_>],
    field: impl Fn(usize) -> String,
) -> Result<Vec<IpAddr>, InvalidField> {
    let mut addresses = Vec::with_capacity(texts.len());
    for (index, ip) in texts.iter().enumerate() {
        addresses.push(field::address(ip, || field(index))?);
    }
    Ok(addresses)
}

fn external_ips(spec: &ServiceSpec<'_>) -> Result<Vec<IpAddr>, InvalidField> {
    let listed = spec.external_ips.as_deref().unwrap_or_default();
    addresses(listed, |index| format!("spec.externalIPs[{index}]"))
}

/// The ingress addresses that the node must serve: not those where the balancer itself is the way
/// (`ipMode: Proxy`), nor hostnames.
fn load_balancer_ips(service: &object::Service<'_>) -> Result<Vec<IpAddr>, InvalidField> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress
        .iter()
        .enumerate()
        .filter(|(_, ingress)| matches!(ingress.ip_mode.as_deref(), None | Some("VIP")))
        .filter_map(|(index, ingress)| Some((index, ingress.ip.as_deref()?)))
        .filter(|(_, ip)| !ip.is_empty())
        .map(|(index, ip)| {
            field::address(ip, || format!("status.loadBalancer.ingress[{index}].ip"))
        })
        .collect()
}

fn ports(spec: &ServiceSpec<'_>) -> Result<Vec<ServicePort>, InvalidField> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let path = |name: &str| format!("spec.ports[{index}].{name}");
        let port = ServicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            protocol: field::protocol(port.protocol.as_deref(), || path("protocol"))?,
            port: field::port(port.port.unwrap_or_default(), || path("port"))?,
            node_port: field::optional_port(port.node_port, || path("nodePort"))?,
        };
        field::name(&port.name, &path("name"), LABEL_LENGTH)?;
        let same = |test: &dyn Fn(&ServicePort) -> bool| ports.iter().position(test);
        let same_protocol = |other: &ServicePort| other.protocol == port.protocol;
        if let Some(other) = same(&|other| other.name == port.name) {
            let message = match &*port.name {
                "" => "is missing, and a Service with several ports must name each".to_owned(),
                name => format!("{name:?} is the name of spec.ports[{other}] too"),
            };
            return Err(InvalidField::new(path("name"), message));
        }
        if let Some(other) = same(&|other| same_protocol(other) && other.port == port.port) {
            let message =
                format!("{} is the {} port of spec.ports[{other}] too", port.port, port.protocol);
            return Err(InvalidField::new(path("port"), message));
        }
        if let Some(node_port) = port.node_port
            && let Some(other) =
                same(&|other| same_protocol(other) && other.node_port == Some(node_port))
        {
            let message = format!(
                "{node_port} is the {} node port of spec.ports[{other}] too",
                port.protocol
            );
            return Err(InvalidField::new(path("nodePort"), message));
        }
        ports.push(port);
    }
    // A vector that grows by itself begins with room for four, and there is one for each Service.
    ports.shrink_to_fit();
    Ok(ports)
}

/// A traffic policy; nothing means Cluster.
fn policy(value: Option<&str>, field: &str) -> Result<TrafficPolicy, InvalidField> {
    match value {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => {
            Err(InvalidField::new(field, format!("{other:?} is neither Cluster nor Local")))
        }
    }
}

/// `spec.loadBalancerSourceRanges`, in which there may be spaces around each network.
fn source_ranges(spec: &ServiceSpec<'_>) -> Result<Vec<IpNet>, InvalidField> {
    let listed = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let path = |index| format!("spec.loadBalancerSourceRanges[{index}]");
    let parse = |(index, text): (usize, &Text<'_>)| field::network(text.trim(), || path(index));
    listed.iter().enumerate().map(parse).collect()
}

/// The time for which a client stays with its endpoint, in seconds: within what the API server
/// allows (`ValidateServiceSessionAffinityConfig`: up to a day), its default where none is given.
fn session_affinity(spec: &ServiceSpec<'_>) -> Result<Option<NonZeroU32>, InvalidField> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return Ok(None),
        Some("ClientIP") => {}
        Some(other) => {
            let message = format!("{other:?} is neither ClientIP nor None");
            return Err(InvalidField::new("spec.sessionAffinity", message));
        }
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref());
    let seconds = client_ip.and_then(|it| it.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
    u32::try_from(seconds)
        .ok()
        .filter(|&seconds| seconds <= MAX_AFFINITY_SECONDS)
        .and_then(NonZeroU32::new)
        .map(Some)
        .ok_or_else(|| {
            let message =
                format!("{seconds} is not a number of seconds from 1 to {MAX_AFFINITY_SECONDS}");
            InvalidField::new("spec.sessionAffinityConfig.clientIP.timeoutSeconds", message)
        })
}

/// The port of the load balancer's health check. Only a Service of type LoadBalancer with the
/// external policy Local has one (`NeedsHealthCheck` of pkg/api/v1/service/util.go).
fn health_check_node_port(spec: &ServiceSpec<'_>) -> Result<Option<NonZeroU16>, InvalidField> {
    let is_needed = spec.r#type.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local");
    let port = spec.health_check_node_port.filter(|_| is_needed);
    field::optional_port(port, || "spec.healthCheckNodePort".into())
}

fn selection(
    spec: &ServiceSpec<'_>,
    ports: &[ServicePort],
) -> Result<Option<PodSelection>, InvalidField> {
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return Ok(None);
    };
    let targets = spec.ports.iter().flatten().map(|port| &port.target_port);
    let ports = ports.iter().zip(targets).enumerate().map(|(index, (port, target))| {
        let path = || format!("spec.ports[{index}].targetPort");
        let target = match target {
            None | Some(IntOrString::Int(0)) => TargetPort::Number(port.port),
            Some(IntOrString::Int(number)) => TargetPort::Number(field::port(*number, path)?),
            Some(IntOrString::String(name)) if name.is_empty() => TargetPort::Number(port.port),
            Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
        };
        Ok(SelectedPort { name: port.name.clone(), protocol: port.protocol, target })
    });
    Ok(Some(PodSelection {
        selector: selector.clone(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        ports: ports.collect::<Result<_, _>>()?,
    }))
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
