//! Validates the fields of a `v1.Pod` that derived endpoints use.

use k8s_openapi::api::core::v1;

use super::text::port_name;
use super::{address, labels};
use crate::source::convert::InvalidField;

/// Checks a Pod.
pub(in crate::source) fn pod(pod: &v1::Pod) -> Result<(), InvalidField> {
    labels(pod.metadata.labels.as_ref(), "metadata.labels")?;
    if let Some(spec) = &pod.spec {
        containers("containers", &spec.containers)?;
        containers("initContainers", spec.init_containers.as_deref().unwrap_or_default())?;
    }
    let Some(status) = &pod.status else { return Ok(()) };
    if let Some(text) = &status.pod_ip {
        address::not_special(text, || "status.podIP".into())?;
    }
    let mut addresses = status.pod_ips.iter().flatten().enumerate();
    addresses.try_for_each(|(index, of)| {
        address::not_special(&of.ip, || format!("status.podIPs[{index}].ip"))
    })
}

fn containers(list: &str, containers: &[v1::Container]) -> Result<(), InvalidField> {
    for (number, container) in containers.iter().enumerate() {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                port_name(name, || format!("spec.{list}[{number}].ports[{index}].name"))?;
            }
        }
    }
    Ok(())
}
