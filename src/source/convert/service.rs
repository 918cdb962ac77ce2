//! `v1.Service`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::{Family, Protocol, Service, ServicePort, TrafficPolicy};

use super::field::{self, InvalidField, LeftOut, Quoted};
use super::{Advisory, Converted, Object};
use crate::source::object::{self, ServiceSpec, Text};

/// `DefaultClientIPServiceAffinitySeconds` and `MaxClientIPServiceAffinitySeconds` of the API's
/// core/v1.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// The longest name of a port or namespace: a DNS label.
const LABEL_LENGTH: usize = 63;

/// The selector and ports of a Service. EndpointSlices, if any, are more precise.
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
///
/// What makes no sense in a list is left out, and so is a setting that none of Kubernetes' values is:
/// then its default counts.
///
/// # Errors
/// If there is no spec, or none of its ClusterIPs is an address.
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
    let mut left_out = LeftOut::default();
    let cluster_ips = cluster_ips(spec, &mut left_out);
    if cluster_ips.is_empty() {
        return match left_out.first() {
            Some(bad) => Err(bad.clone()),
            None => {
                Ok(Converted { remarks: vec![Advisory::NoClusterIp], ..Object::Nothing.into() })
            }
        };
    }

    let ports = ports(spec, &mut left_out);
    let mut external_ips = external_ips(spec, &mut left_out);
    let mut load_balancer_ips = load_balancer_ips(service, &mut left_out);
    let mut remarks = Vec::new();
    let served =
        |address: &IpAddr| cluster_ips.iter().any(|ip| Family::of(*ip) == Family::of(*address));
    let before = external_ips.len() + load_balancer_ips.len();
    external_ips.retain(served);
    load_balancer_ips.retain(served);
    if external_ips.len() + load_balancer_ips.len() < before {
        remarks.push(Advisory::OtherFamily);
    }

    let selection = selection(spec, &ports, &mut left_out).map(Box::new);
    let ports = ports.into_iter().map(|(_, port)| port).collect::<Box<[_]>>().into_vec();
    let internal = policy(spec.internal_traffic_policy.as_deref(), "spec.internalTrafficPolicy");
    let external = policy(spec.external_traffic_policy.as_deref(), "spec.externalTrafficPolicy");
    let (source_ranges, has_bad_source_range) = source_ranges(spec, &mut left_out);
    let service = Service {
        cluster_ips,
        external_ips,
        load_balancer_ips,
        ports,
        internal_traffic_policy: left_out.good(internal).unwrap_or_default(),
        external_traffic_policy: left_out.good(external).unwrap_or_default(),
        source_ranges,
        has_bad_source_range,
        session_affinity: session_affinity(spec, &mut left_out),
        health_check_node_port: left_out.good(health_check_node_port(spec)).flatten(),
        created: created(service),
        excess_keys: 0,
    };
    Ok(Converted { object: Object::Service(service, selection), remarks, left_out })
}

fn is_headless(spec: &ServiceSpec<'_>) -> bool {
    spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten()).any(|ip| &**ip == "None")
}

/// When the Service was created, in seconds since 1970. One that makes no sense is none.
fn created(service: &object::Service<'_>) -> Option<u32> {
    let text = service.metadata.as_ref()?.creation_timestamp.as_deref()?;
    let time: Timestamp = text.parse().ok()?;
    u32::try_from(time.as_second().max(0)).ok()
}

/// The ClusterIPs: one, or one of each family.
fn cluster_ips(spec: &ServiceSpec<'_>, left_out: &mut LeftOut) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    if listed.is_empty() {
        let single = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
        let single = single.map(|ip| field::address(ip, || "spec.clusterIP".into()));
        return single.and_then(|single| left_out.good(single)).into_iter().collect();
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for (index, text) in listed.iter().enumerate() {
        let path = || format!("spec.clusterIPs[{index}]");
        let address = field::address(text, path).and_then(|address| {
            let is_second = found.iter().any(|it| Family::of(*it) == Family::of(address));
            let message = || format!("{address} is a second address of the same family");
            if is_second { Err(InvalidField::new(path(), message())) } else { Ok(address) }
        });
        found.extend(left_out.good(address));
    }
    found
}

fn external_ips(spec: &ServiceSpec<'_>, left_out: &mut LeftOut) -> Vec<IpAddr> {
    let listed = spec.external_ips.as_deref().unwrap_or_default().iter().enumerate();
    let address = |(index, text): (usize, &Text<'_>)| {
        left_out.good(field::address(text, || format!("spec.externalIPs[{index}]")))
    };
    listed.filter_map(address).collect()
}

/// The ingress addresses that the node must serve: not those where the balancer itself is the way
/// (`ipMode: Proxy`), nor hostnames.
fn load_balancer_ips(service: &object::Service<'_>, left_out: &mut LeftOut) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress
        .iter()
        .enumerate()
        .filter(|(_, ingress)| matches!(ingress.ip_mode.as_deref(), None | Some("VIP")))
        .filter_map(|(index, ingress)| Some((index, ingress.ip.as_deref()?)))
        .filter(|(_, ip)| !ip.is_empty())
        .filter_map(|(index, ip)| {
            let path = || format!("status.loadBalancer.ingress[{index}].ip");
            left_out.good(field::address(ip, path))
        })
        .collect()
}

/// The ports, each with its place in `spec.ports`.
fn ports(spec: &ServiceSpec<'_>, left_out: &mut LeftOut) -> Vec<(usize, ServicePort)> {
    let mut seen = Seen::default();
    let ports = spec.ports.iter().flatten().enumerate();
    let port = |(index, port): (usize, &object::ServicePort<'_>)| {
        let path = |name: &str| format!("spec.ports[{index}].{name}");
        let node_port = field::optional_port(port.node_port, || path("nodePort"));
        let read = || {
            Ok(ServicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol: field::protocol(port.protocol.as_deref(), || path("protocol"))?,
                port: field::port(port.port.unwrap_or_default(), || path("port"))?,
                node_port: None,
            })
        };
        let mut port = left_out.good(read().and_then(|port| seen.port(index, port)))?;
        // Without its node port it is still served elsewhere.
        let node_port = node_port.and_then(|number| seen.node_port(index, port.protocol, number));
        port.node_port = left_out.good(node_port).flatten();
        Some((index, port))
    };
    ports.filter_map(port).collect()
}

/// What the ports of a Service have so far, each with the place of the port that has it.
#[derive(Default)]
struct Seen {
    names: HashMap<Arc<str>, usize>,
    ports: HashMap<(Protocol, NonZeroU16), usize>,
    node_ports: HashMap<(Protocol, NonZeroU16), usize>,
}

impl Seen {
    /// A port that has its name and its number for itself alone.
    fn port(&mut self, index: usize, port: ServicePort) -> Result<ServicePort, InvalidField> {
        let path = |name: &str| format!("spec.ports[{index}].{name}");
        field::name(&port.name, &path("name"), LABEL_LENGTH)?;
        if let Some(other) = self.names.get(&port.name) {
            let message = match &*port.name {
                "" => "is missing, and a Service with several ports must name each".to_owned(),
                name => format!("{name:?} is the name of spec.ports[{other}] too"),
            };
            return Err(InvalidField::new(path("name"), message));
        }
        let ServicePort { protocol, port: number, .. } = port;
        if let Some(other) = self.ports.get(&(protocol, number)) {
            let message = format!("{number} is the {protocol} port of spec.ports[{other}] too");
            return Err(InvalidField::new(path("port"), message));
        }
        self.names.insert(port.name.clone(), index);
        self.ports.insert((protocol, number), index);
        Ok(port)
    }

    /// A node port that the Service has once.
    fn node_port(
        &mut self,
        index: usize,
        protocol: Protocol,
        number: Option<NonZeroU16>,
    ) -> Result<Option<NonZeroU16>, InvalidField> {
        let Some(number) = number else { return Ok(None) };
        if let Some(other) = self.node_ports.get(&(protocol, number)) {
            let field = format!("spec.ports[{index}].nodePort");
            let message =
                format!("{number} is the {protocol} node port of spec.ports[{other}] too");
            return Err(InvalidField::new(field, message));
        }
        self.node_ports.insert((protocol, number), index);
        Ok(Some(number))
    }
}

/// A traffic policy; nothing means Cluster.
fn policy(value: Option<&str>, field: &str) -> Result<TrafficPolicy, InvalidField> {
    match value {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => {
            let message = format!("{} is neither Cluster nor Local", Quoted(other));
            Err(InvalidField::new(field, message))
        }
    }
}

/// `spec.loadBalancerSourceRanges`, in which there may be spaces around each network, and whether an
/// entry of it is none.
fn source_ranges(spec: &ServiceSpec<'_>, left_out: &mut LeftOut) -> (Vec<IpNet>, bool) {
    let listed = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let path = |index| format!("spec.loadBalancerSourceRanges[{index}]");
    let parse = |(index, text): (usize, &Text<'_>)| {
        left_out.good(field::network(text.trim(), || path(index)))
    };
    let ranges: Vec<IpNet> = listed.iter().enumerate().filter_map(parse).collect();
    let has_bad = ranges.len() < listed.len();
    (ranges, has_bad)
}

/// The time for which a client stays with its endpoint, in seconds: within what the API server
/// allows (`ValidateServiceSessionAffinityConfig`: up to a day), its default where none is given.
fn session_affinity(spec: &ServiceSpec<'_>, left_out: &mut LeftOut) -> Option<NonZeroU32> {
    let is_asked_for = match spec.session_affinity.as_deref() {
        None | Some("" | "None") => Ok(false),
        Some("ClientIP") => Ok(true),
        Some(other) => {
            let message = format!("{} is neither ClientIP nor None", Quoted(other));
            Err(InvalidField::new("spec.sessionAffinity", message))
        }
    };
    left_out.good(is_asked_for).filter(|is_asked_for| *is_asked_for)?;
    let client_ip = spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref());
    let seconds = client_ip.and_then(|it| it.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
    let allowed = u32::try_from(seconds).ok().filter(|&seconds| seconds <= MAX_AFFINITY_SECONDS);
    let allowed = allowed.and_then(NonZeroU32::new).ok_or_else(|| {
        let message =
            format!("{seconds} is not a number of seconds from 1 to {MAX_AFFINITY_SECONDS}");
        InvalidField::new("spec.sessionAffinityConfig.clientIP.timeoutSeconds", message)
    });
    left_out.good(allowed).or(NonZeroU32::new(DEFAULT_AFFINITY_SECONDS as u32))
}

/// The port of the load balancer's health check. Only a Service of type LoadBalancer with the
/// external policy Local has one (`NeedsHealthCheck` of pkg/api/v1/service/util.go).
fn health_check_node_port(spec: &ServiceSpec<'_>) -> Result<Option<NonZeroU16>, InvalidField> {
    let is_needed = spec.r#type.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local");
    let port = spec.health_check_node_port.filter(|_| is_needed);
    field::optional_port(port, || "spec.healthCheckNodePort".into())
}

/// The Pods that the Service selects. `ports` are its good ones, with their places.
fn selection(
    spec: &ServiceSpec<'_>,
    ports: &[(usize, ServicePort)],
    left_out: &mut LeftOut,
) -> Option<PodSelection> {
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    let all = spec.ports.as_deref().unwrap_or_default();
    let port = |(index, port): &(usize, ServicePort)| {
        let path = || format!("spec.ports[{index}].targetPort");
        let target = match &all.get(*index)?.target_port {
            None | Some(IntOrString::Int(0)) => TargetPort::Number(port.port),
            Some(IntOrString::Int(number)) => {
                TargetPort::Number(left_out.good(field::port(*number, path))?)
            }
            Some(IntOrString::String(name)) if name.is_empty() => TargetPort::Number(port.port),
            Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
        };
        Some(SelectedPort { name: port.name.clone(), protocol: port.protocol, target })
    };
    Some(PodSelection {
        selector: selector.clone(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        ports: ports.iter().filter_map(port).collect(),
    })
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
