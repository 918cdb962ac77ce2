//! What the kernel alone takes for the same changes, in the tables that weir has left behind.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::Value;
use weir::kernel::Kernel;
use weir::source::convert::{self, Converted, Object};
use weir_rules::align::align;
use weir_rules::cluster::{Cluster, NamespacedName};
use weir_rules::compile::compile;
use weir_rules::config::{Config, DetectLocal};
use weir_rules::diff::diff;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::{Action, Transaction};
use weir_testbed::Testbed;

use super::change::Floor;
use crate::node::{NAME, Node};
use crate::summary::{Sample, Unit};
use crate::workload::{NewEndpoints, RESERVED, Shape, service, slice};

/// It keeps the number of endpoints that Services have at first.
const LAST: u32 = RESERVED - 1;
/// How often each Service is changed, and changed back.
const ROUNDS: usize = 4;

/// Commits what weir would commit for one endpoint replaced and for one more and one less, by weir's
/// own code, and takes off what a commit of nothing takes: handing over to the thread that talks to the
/// kernel, and back. What is left is the kernel's time, but for the encoding of two or three elements.
///
/// weir must not run. What is changed is changed back.
pub(crate) fn measure(node: &Node, new: &mut NewEndpoints) -> Floor {
    let kernel = node.bed.node().run(|| Kernel::open().expect("the kernel has nf_tables"));
    let shape = node.shape;
    let first = |service| shape.endpoints_of(service);
    let empty = (0..200).map(|_| commit(&kernel, Transaction::default()));
    let hand_over = Sample::new(Unit::Time, empty).median();
    let mut measure = |change: &dyn Fn(&mut Vec<Ipv4Addr>, Ipv4Addr)| {
        let mut times = Vec::new();
        for service in (2..LAST).cycle().take(ROUNDS * (LAST - 2) as usize) {
            let mut endpoints = first(service);
            change(&mut endpoints, new.next());
            let before = ruleset(shape, service, &first(service));
            let changed = ruleset(shape, service, &endpoints);
            let after = align(&before, &changed);
            for transaction in [diff(&before, &after), diff(&after, &before)] {
                assert_elements_only(&transaction);
                times.push(commit(&kernel, transaction));
            }
        }
        Some((Sample::new(Unit::Time, times).median() - hand_over).max(0.0))
    };
    Floor {
        replace: measure(&|endpoints, address| endpoints[0] = address),
        count: measure(&|endpoints, address| endpoints.push(address)),
    }
}

/// Commits, and gives how long that took, in seconds.
fn commit(kernel: &Kernel, transaction: Transaction) -> f64 {
    let start = Instant::now();
    kernel.commit(transaction, None).expect("it fits to what is there");
    start.elapsed().as_secs_f64()
}

fn assert_elements_only(transaction: &Transaction) {
    let is_of_elements = |action: &Action| {
        matches!(action, Action::AddElements { .. } | Action::DeleteElements { .. })
    };
    assert!(!transaction.is_empty());
    assert!(transaction.operations.iter().all(|of| is_of_elements(&of.action)), "{transaction:?}");
}

/// The ruleset for a Service, and those that hold the chains for as many endpoints, one more, one less.
fn ruleset(shape: Shape, number: u32, endpoints: &[Ipv4Addr]) -> Ruleset {
    let mut cluster = Cluster::default();
    add(&mut cluster, number, endpoints);
    for other in [0, 1, LAST] {
        add(&mut cluster, other, &shape.endpoints_of(other));
    }
    compile(&cluster, &config())
}

/// The settings that the node's weir runs with.
fn config() -> Config {
    let pods = Testbed::POD_CIDR_V4.parse().expect("a network");
    Config { detect_local: DetectLocal::ClusterCidr(vec![pods]), ..Config::new(NAME) }
}

fn add(cluster: &mut Cluster, number: u32, endpoints: &[Ipv4Addr]) {
    let name = |suffix| NamespacedName::new("default", format!("svc-{number}{suffix}"));
    let service = convert::service(&decode(service(number)));
    let slice = convert::slice(&decode(slice(number, endpoints)), "default");
    for (object, name) in [(service, name("")), (slice, name("-a"))] {
        match object.expect("a good object") {
            Converted { object: Object::Service(service, _), .. } => {
                cluster.services.extend(BTreeMap::from([(name, service)]));
            }
            Converted { object: Object::Slice(slice, _), .. } => {
                cluster.slices.extend(BTreeMap::from([(name, slice)]));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn decode<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("a good object")
}
