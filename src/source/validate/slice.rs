//! `discovery.k8s.io/v1.EndpointSlice` (Kubernetes: `ValidateEndpointSlice` of
//! pkg/apis/discovery/validation/validation.go).

use std::collections::HashMap;

use k8s_openapi::api::discovery::v1;

use super::service::PROTOCOLS;
use super::text::{dns_label, dns_name, one_of, one_of_or_default};
use super::{address, labels};
use crate::source::convert::{InvalidField, Quoted};

const ADDRESS_TYPES: [&str; 3] = ["IPv4", "IPv6", "FQDN"];

/// Checks an EndpointSlice.
pub(in crate::source) fn slice(slice: &v1::EndpointSlice) -> Result<(), InvalidField> {
    labels(slice.metadata.labels.as_ref(), "metadata.labels")?;
    match &*slice.address_type {
        "" => return Err(InvalidField::new("addressType", "is missing")),
        of => one_of(of, &ADDRESS_TYPES, || "addressType".into())?,
    }
    ports(slice)?;
    let mut endpoints = slice.endpoints.iter().flatten().enumerate();
    endpoints.try_for_each(|(index, endpoint)| {
        let path = |name: &str| format!("endpoints[{index}].{name}");
        if slice.address_type != "FQDN" {
            let mut addresses = endpoint.addresses.iter().enumerate();
            addresses.try_for_each(|(number, text)| {
                address::not_special(text, || path(&format!("addresses[{number}]")))
            })?;
        }
        endpoint.node_name.as_deref().map_or(Ok(()), |node| dns_name(node, || path("nodeName")))
    })
}

fn ports(slice: &v1::EndpointSlice) -> Result<(), InvalidField> {
    let mut names = HashMap::new();
    let mut ports = slice.ports.iter().flatten().enumerate();
    ports.try_for_each(|(index, port)| {
        let path = |name: &str| format!("ports[{index}].{name}");
        one_of_or_default(port.protocol.as_deref(), &PROTOCOLS, &path("protocol"))?;
        let Some(name) = port.name.as_deref() else { return Ok(()) };
        if !name.is_empty() {
            dns_label(name, || path("name"))?;
        }
        match names.insert(name, index) {
            Some(other) => {
                let message = format!("{} is the name of ports[{other}] too", Quoted(name));
                Err(InvalidField::new(path("name"), message))
            }
            None => Ok(()),
        }
    })
}
