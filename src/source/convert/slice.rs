//! `discovery.k8s.io/v1.EndpointSlice`.

use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::{
    Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, NamespacedName,
};

use super::field::{self, InvalidField, LeftOut, Quoted};
use super::{Advisory, Converted, Object};
use crate::source::object::{self, Hint};

/// Converts an EndpointSlice of this namespace. One without a Service, or of a headless Service, is
/// nothing.
pub fn slice(
    slice: &object::EndpointSlice<'_>,
    namespace: &str,
) -> Result<Converted, InvalidField> {
    let labels = slice.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    if labels.is_some_and(|labels| labels.headless.is_some()) {
        return Ok(Object::Nothing.into());
    }
    let service = labels.and_then(|labels| labels.service_name.as_deref());
    let Some(service) = service.filter(|service| !service.is_empty()) else {
        return Ok(Object::Nothing.into());
    };
    let family = match slice.address_type.as_deref().unwrap_or_default() {
        "IPv4" => Family::Ipv4,
        "IPv6" => Family::Ipv6,
        "FQDN" => {
            return Ok(Converted { remarks: vec![Advisory::Fqdn], ..Object::Nothing.into() });
        }
        "" => return Err(InvalidField::new("addressType", "is missing")),
        other => {
            let message = format!("{} is none of IPv4, IPv6 and FQDN", Quoted(other));
            return Err(InvalidField::new("addressType", message));
        }
    };

    let mut left_out = LeftOut::default();
    let ports = ports(slice, &mut left_out);
    let endpoints = slice.endpoints.iter().flatten().enumerate();
    let endpoints = endpoints
        .filter_map(|(index, item)| left_out.good(endpoint(item, index, family)))
        .collect::<Vec<_>>();
    let service = NamespacedName::new(namespace, service);
    let mut converted = EndpointSlice { service, family, ports, endpoints };
    // They stay for as long as the slice does.
    converted.ports.shrink_to_fit();
    converted.endpoints.shrink_to_fit();
    Ok(Converted {
        object: Object::Slice(converted, trigger_time(slice)),
        remarks: remarks(slice),
        left_out,
    })
}

/// When the first change in this version of the slice happened. A time that makes no sense is none:
/// nothing but a measurement depends on it.
fn trigger_time(slice: &object::EndpointSlice<'_>) -> Option<Timestamp> {
    let annotations = slice.metadata.as_ref()?.annotations.as_ref()?;
    annotations.trigger_time.as_deref()?.parse().ok()
}

/// What of its ports is left out although there is nothing wrong with it.
fn remarks(slice: &object::EndpointSlice<'_>) -> Vec<Advisory> {
    let has =
        |is_it: fn(&object::EndpointPort<'_>) -> bool| slice.ports.iter().flatten().any(is_it);
    let unnamed = has(|port| port.name.is_none()).then_some(Advisory::UnnamedPort);
    let unnumbered = has(|port| port.port.unwrap_or(0) == 0).then_some(Advisory::UnnumberedPort);
    unnamed.into_iter().chain(unnumbered).collect()
}

/// The ports. One without a name or a number selects nothing and is left out with a remark.
fn ports(slice: &object::EndpointSlice<'_>, left_out: &mut LeftOut) -> Vec<EndpointPort> {
    let mut ports = Vec::new();
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        let path = |name: &str| format!("ports[{index}].{name}");
        let protocol = field::protocol(port.protocol.as_deref(), || path("protocol"));
        let number = field::optional_port(port.port, || path("port"));
        let (Some(protocol), Some(number)) = (left_out.good(protocol), left_out.good(number))
        else {
            continue;
        };
        if let (Some(name), Some(port)) = (&port.name, number) {
            ports.push(EndpointPort { name: (&**name).into(), protocol, port });
        }
    }
    ports
}

fn endpoint(
    endpoint: &object::Endpoint<'_>,
    index: usize,
    family: Family,
) -> Result<Endpoint, InvalidField> {
    let path = || format!("endpoints[{index}].addresses[0]");
    let Some(text) = endpoint.addresses.iter().flatten().next() else {
        return Err(InvalidField::new(path(), "is missing"));
    };
    let address = field::address(text, path)?;
    if Family::of(address) != family {
        let expected = match family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        let message = format!("{address} is not of the slice's address type {expected}");
        return Err(InvalidField::new(path(), message));
    }
    let conditions = endpoint.conditions.as_ref();
    let hints = endpoint.hints.as_ref();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_deref()).unwrap_or_default();
    let zones = hints.and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default();
    Ok(Endpoint {
        address,
        ready: conditions.and_then(|of| of.ready).unwrap_or(true),
        serving: conditions.and_then(|of| of.serving).unwrap_or(true),
        terminating: conditions.and_then(|of| of.terminating).unwrap_or(false),
        place: EndpointPlace::new(
            endpoint.node_name.as_deref().filter(|node| !node.is_empty()),
            names(nodes),
            names(zones),
        ),
    })
}

fn names(hints: &[Hint<'_>]) -> Box<[String]> {
    hints.iter().map(|hint| hint.name.as_deref().unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
#[path = "slice_tests.rs"]
mod tests;
