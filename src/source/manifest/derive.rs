//! Derives EndpointSlices from Pods for Services that have none, as a control plane would, so that a Service
//! can be tried without one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;

use weir_rules::cluster::{
    Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, NamespacedName, Slices,
};

use crate::source::convert::{Pod, PodSelection, SelectedPort, TargetPort};

/// A Service that selects Pods, and the families of its ClusterIPs.
pub(super) type Selecting = (NamespacedName, Box<PodSelection>, Vec<Family>);

/// Adds slices for those Services that have none.
///
/// There is one for each family and for each way in which the Pods resolve the ports:
/// `web-derived-ipv4-1`, `web-derived-ipv4-2`, ...
pub(super) fn slices(services: &[Selecting], pods: &[(String, Pod)], slices: &mut Slices) {
    let mut labelled: HashMap<(&str, &str, &str), Vec<&Pod>> = HashMap::new();
    for (namespace, pod) in pods {
        for (label, value) in &pod.labels {
            labelled.entry((namespace, label, value)).or_default().push(pod);
        }
    }
    for (service, selection, families) in services {
        if !slices.of(service).is_empty() {
            continue;
        }
        // Any one of the labels narrows the search.
        let Some((label, value)) = selection.selector.first_key_value() else { continue };
        let candidates = labelled.get(&(service.namespace(), label, value));
        let selected: Vec<&Pod> = candidates
            .into_iter()
            .flatten()
            .copied()
            .filter(|pod| is_selected(pod, selection))
            .collect();
        for &family in families {
            for (index, slice) in of_family(service, selection, family, &selected).enumerate() {
                slices.insert(name(service, family, index + 1, slices), slice);
            }
        }
    }
}

fn is_selected(pod: &Pod, selection: &PodSelection) -> bool {
    let matches = |(label, value): (&String, &String)| pod.labels.get(label) == Some(value);
    pod.alive
        && (pod.ready || selection.publish_not_ready)
        && selection.selector.iter().all(matches)
}

/// A name that no slice has yet.
fn name(
    service: &NamespacedName,
    family: Family,
    number: usize,
    slices: &Slices,
) -> NamespacedName {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let mut name = format!("{}-derived-{family}-{number}", service.name());
    loop {
        let identity = NamespacedName::new(service.namespace(), &name);
        if !slices.contains_key(&identity) {
            return identity;
        }
        name.push_str("-weir");
    }
}

fn of_family(
    service: &NamespacedName,
    selection: &PodSelection,
    family: Family,
    pods: &[&Pod],
) -> impl Iterator<Item = EndpointSlice> {
    let mut groups: BTreeMap<Vec<Option<NonZeroU16>>, Vec<Endpoint>> = BTreeMap::new();
    let is_of_family = |address: &&IpAddr| Family::of(**address) == family;
    for pod in pods {
        let Some(address) = pod.addresses.iter().find(is_of_family) else { continue };
        let ports = selection.ports.iter().map(|port| resolve(port, pod)).collect();
        let endpoint = Endpoint {
            place: pod.node.as_deref().and_then(EndpointPlace::on),
            ..Endpoint::new(*address)
        };
        groups.entry(ports).or_default().push(endpoint);
    }
    groups.into_iter().map(move |(numbers, endpoints)| {
        let ports = selection.ports.iter().zip(numbers).filter_map(|(port, number)| {
            Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: number? })
        });
        EndpointSlice { service: service.clone(), family, ports: ports.collect(), endpoints }
    })
}

/// The number that a port has at this Pod, if the Pod has it.
fn resolve(port: &SelectedPort, pod: &Pod) -> Option<NonZeroU16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod
            .ports
            .iter()
            .find(|of| of.name == *name && of.protocol == port.protocol)
            .map(|of| of.port),
    }
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
