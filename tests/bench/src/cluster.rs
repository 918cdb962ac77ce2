//! The cluster as weir stores it, for measurements of weir's code alone.

use std::net::Ipv4Addr;

use k8s_openapi::serde::Deserialize;
use serde_json::{Value, json};
use weir::source::convert::{self, Converted, Object};
use weir_rules::cluster::{Cluster, NamespacedName};
use weir_rules::config::{Config, DetectLocal};
use weir_testbed::Testbed;

use crate::node::NAME;
use crate::workload::{service, slice};

/// The settings that the node's weir runs with.
pub(crate) fn config() -> Config {
    let pods = Testbed::POD_CIDR_V4.parse().expect("a network");
    Config { detect_local: DetectLocal::ClusterCidr(vec![pods]), ..Config::new(NAME) }
}

/// Adds a Service with these endpoints.
pub(crate) fn add(cluster: &mut Cluster, number: u32, endpoints: &[Ipv4Addr]) {
    add_objects(cluster, number, service(number), slice(number, endpoints));
}

/// The same with UDP in the place of TCP.
pub(crate) fn add_udp(cluster: &mut Cluster, number: u32, endpoints: &[Ipv4Addr]) {
    let (mut service, mut slice) = (service(number), slice(number, endpoints));
    service["spec"]["ports"][0]["protocol"] = json!("UDP");
    slice["ports"][0]["protocol"] = json!("UDP");
    add_objects(cluster, number, service, slice);
}

fn add_objects(cluster: &mut Cluster, number: u32, service: Value, slice: Value) {
    let name = |suffix| NamespacedName::new("default", format!("svc-{number}{suffix}"));
    let service = convert::service(&decode(&service));
    let slice = convert::slice(&decode(&slice), "default");
    for (object, name) in [(service, name("")), (slice, name("-a"))] {
        match object.expect("a good object") {
            Converted { object: Object::Service(service, _), .. } => {
                cluster.services.insert(name, service);
            }
            Converted { object: Object::Slice(slice, _), .. } => {
                cluster.slices.insert(name, slice);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn decode<'a, T: Deserialize<'a>>(object: &'a Value) -> T {
    T::deserialize(object).expect("a good object")
}
