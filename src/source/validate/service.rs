//! `v1.Service` (Kubernetes: `ValidateService` of pkg/apis/core/validation/validation.go).

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_rules::cluster::Family;
use weir_rules::cluster::address::parse_address;

use super::text::{dns_label, one_of, one_of_or_default, port_name};
use super::{address, labels};
use crate::source::convert::{InvalidField, Quoted};

const TYPES: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
pub(super) const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const FAMILY_POLICIES: [&str; 3] = ["SingleStack", "PreferDualStack", "RequireDualStack"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const IP_MODES: [&str; 2] = ["VIP", "Proxy"];

/// Checks a Service.
pub(in crate::source) fn service(service: &v1::Service) -> Result<(), InvalidField> {
    labels(service.metadata.labels.as_ref(), "metadata.labels")?;
    if let Some(spec) = &service.spec {
        values(spec)?;
        labels(spec.selector.as_ref(), "spec.selector")?;
        let ports = spec.ports.iter().flatten().enumerate();
        ports.into_iter().try_for_each(|(index, it)| port(index, it))?;
        cluster_ips(spec)?;
        for (index, text) in spec.external_ips.iter().flatten().enumerate() {
            address::not_special(text, || format!("spec.externalIPs[{index}]"))?;
        }
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
    ingress.enumerate().try_for_each(|(index, ingress)| {
        let field = || format!("status.loadBalancer.ingress[{index}].ipMode");
        ingress.ip_mode.as_deref().map_or(Ok(()), |mode| one_of(mode, &IP_MODES, field))
    })
}

/// Fields that have one of a set of values.
fn values(spec: &v1::ServiceSpec) -> Result<(), InvalidField> {
    let internal = spec.internal_traffic_policy.as_deref();
    let external = spec.external_traffic_policy.as_deref();
    let distribution = spec.traffic_distribution.as_deref();
    one_of_or_default(spec.type_.as_deref(), &TYPES, "spec.type")?;
    one_of_or_default(spec.session_affinity.as_deref(), &AFFINITIES, "spec.sessionAffinity")?;
    one_of_or_default(internal, &POLICIES, "spec.internalTrafficPolicy")?;
    one_of_or_default(external, &POLICIES, "spec.externalTrafficPolicy")?;
    one_of_or_default(spec.ip_family_policy.as_deref(), &FAMILY_POLICIES, "spec.ipFamilyPolicy")?;
    one_of_or_default(distribution, &DISTRIBUTIONS, "spec.trafficDistribution")?;
    let families = spec.ip_families.as_deref().unwrap_or_default();
    families.iter().enumerate().try_for_each(|(index, family)| {
        let field = || format!("spec.ipFamilies[{index}]");
        one_of(family, &FAMILIES, field)?;
        match families[..index].contains(family) {
            true => Err(InvalidField::new(field(), format!("{} is there twice", Quoted(family)))),
            false => Ok(()),
        }
    })
}

fn port(index: usize, port: &v1::ServicePort) -> Result<(), InvalidField> {
    let path = |name: &str| format!("spec.ports[{index}].{name}");
    if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
        dns_label(name, || path("name"))?;
    }
    one_of_or_default(port.protocol.as_deref(), &PROTOCOLS, &path("protocol"))?;
    match &port.target_port {
        Some(IntOrString::String(name)) if !name.is_empty() => {
            port_name(name, || path("targetPort"))
        }
        _ => Ok(()),
    }
}

/// `ValidateServiceClusterIPsRelatedFields`. Either field may stand alone here.
fn cluster_ips(spec: &v1::ServiceSpec) -> Result<(), InvalidField> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
    if let (Some(single), Some(first)) = (single, listed.first())
        && single != first
    {
        let message = format!("{} is not the spec.clusterIP {}", Quoted(first), Quoted(single));
        return Err(InvalidField::new("spec.clusterIPs[0]", message));
    }
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let check = |index: usize, text: &str, field: &dyn Fn() -> String| {
        address::cluster_ip(text, field)?;
        let Some(address) = parse_address(text) else { return Ok(()) };
        let of_address = match Family::of(address) {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        match families.get(index) {
            Some(family) if family != of_address => {
                let text = Quoted(text);
                let message =
                    format!("{text} is not of the family {family} of spec.ipFamilies[{index}]");
                Err(InvalidField::new(field(), message))
            }
            _ => Ok(()),
        }
    };
    if let (Some(single), []) = (single, listed) {
        return check(0, single, &|| "spec.clusterIP".into());
    }
    let mut listed = listed.iter().enumerate();
    listed.try_for_each(|(index, text)| check(index, text, &|| format!("spec.clusterIPs[{index}]")))
}
