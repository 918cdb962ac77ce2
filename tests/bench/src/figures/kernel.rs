//! What the kernel alone takes for the same changes, in the tables that weir has left behind.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Instant;

use weir::kernel::Kernel;
use weir_rules::align::align;
use weir_rules::cluster::Cluster;
use weir_rules::compile::compile;
use weir_rules::diff::diff;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::{Action, Transaction};

use super::change::{Floor, PAUSE};
use crate::cluster;
use crate::node::Node;
use crate::summary::{Sample, Unit};
use crate::workload::{Endpoints, RESERVED, Shape};

/// It keeps the number of endpoints that Services have at first.
const LAST: u32 = RESERVED - 1;
/// How often each Service is changed, and changed back.
const ROUNDS: usize = 4;

/// Commits what weir would commit for one endpoint replaced and for one more and one less, by weir's
/// own code, and takes off what a commit of nothing takes: handing over to the thread that talks to the
/// kernel, and back. What is left is the kernel's time, but for the encoding of two or three elements.
///
/// weir must not run. What is changed is changed back.
pub(crate) fn measure(node: &Node, new: &mut Endpoints) -> Floor {
    let kernel = node.bed.node().run(|| Kernel::open().expect("the kernel has nf_tables"));
    let shape = node.shape;
    let mut measure = |change: &dyn Fn(&mut Vec<Ipv4Addr>, Ipv4Addr)| {
        let (mut times, mut hand_overs) = (Vec::new(), Vec::new());
        for service in (2..LAST).cycle().take(ROUNDS * (LAST - 2) as usize) {
            let first = shape.endpoints_of(service);
            let mut endpoints = first.clone();
            change(&mut endpoints, new.next());
            let before = ruleset(shape, service, &first);
            let changed = ruleset(shape, service, &endpoints);
            let after = align(&before, &changed);
            for transaction in [diff(&before, &after), diff(&after, &before)] {
                assert_elements_only(&transaction);
                hand_overs.push(commit(&kernel, Transaction::default()));
                times.push(commit(&kernel, transaction));
            }
        }
        let [times, hand_overs] = [times, hand_overs].map(|of| Sample::new(Unit::Time, of));
        Some((times.median() - hand_overs.median()).max(0.0))
    };
    Floor {
        replace: measure(&|endpoints, address| endpoints[0] = address),
        count: measure(&|endpoints, address| endpoints.push(address)),
    }
}

/// Commits after a pause, and gives how long that took, in seconds.
fn commit(kernel: &Kernel, transaction: Transaction) -> f64 {
    // As behind each change of weir's, so that caches are as cold and processors as asleep.
    thread::sleep(PAUSE);
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
    cluster::add(&mut cluster, number, endpoints);
    for other in [0, 1, LAST] {
        cluster::add(&mut cluster, other, &shape.endpoints_of(other));
    }
    compile(&cluster, &cluster::config())
}
