//! Measures the kernel's own share, in the tables that weir has left behind.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use weir::kernel::Kernel;
use weir_rules::cluster::Cluster;
use weir_rules::compile::compile;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_rules::transaction::{Action, Transaction};

use super::change::PAUSE;
use super::{Figure, Share, start};
use crate::cluster;
use crate::dump::Dump;
use crate::node::Node;
use crate::summary::{Sample, Unit};
use crate::usage::unreclaimable;
use crate::workload::{Endpoints, RESERVED, Shape};

/// It keeps the number of endpoints that Services have at first.
const LAST: u32 = RESERVED - 1;
/// How often each Service is changed, and changed back.
const ROUNDS: usize = 4;

/// What the kernel tells of an endpoint is more than that: two attributes of 12 bytes each.
const ENDPOINT_BYTES: usize = 24;
/// How often everything is read.
const DUMPS: usize = 5;
/// What has been freed is given back when the kernel's memory has not shrunk for so long.
const SETTLING: Duration = Duration::from_millis(500);

/// What the kernel alone takes: seconds, but for the memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    replace: f64,
    count: f64,
    dump: f64,
    /// Bytes.
    memory: f64,
}

impl Floor {
    /// Measures all of it. weir must not run, and the tables are gone afterwards.
    pub(crate) fn measure(node: &Node, new: &mut Endpoints) -> Self {
        let kernel = node.bed.node().run(|| Kernel::open().expect("the kernel has nf_tables"));
        let shape = node.shape;
        let (replace, count) = changes(&kernel, shape, new);
        let dump = Dump::new(node.bed.node(), &kernel.dump().expect("it can be read").ruleset);
        let dumps = (0..DUMPS).map(|_| {
            let start = Instant::now();
            let bytes = dump.read();
            let endpoints = (shape.services * shape.endpoints) as usize;
            assert!(bytes > ENDPOINT_BYTES * endpoints, "{bytes}");
            start.elapsed().as_secs_f64()
        });
        let dump = Sample::new(Unit::Time, dumps).median();
        Self { replace, count, dump, memory: memory(node) }
    }

    /// Puts the kernel's share where it belongs.
    pub(crate) fn tell(self, figures: &mut [Figure]) {
        let load = figures.iter().find(|figure| figure.what == start::ALL_ANSWER);
        let load = load.and_then(|figure| figure.share.value());
        for figure in figures {
            let value = match figure.share {
                Share::Replace { times, beside } => Some(times * self.replace + beside),
                Share::Count => Some(self.count),
                Share::Load => load,
                Share::Dump => Some(self.dump),
                Share::Memory => Some(self.memory),
                Share::None | Share::Known(_) => continue,
            };
            figure.share = value.map_or(Share::None, Share::Known);
        }
    }
}

/// Commits what weir would commit for one endpoint replaced and for one more and one less, by weir's
/// own code, and takes off what a commit of nothing takes: handing over to the thread that talks to the
/// kernel, and back. What is left is the kernel's time, but for the encoding of two or three elements.
///
/// What is changed is changed back.
fn changes(kernel: &Kernel, shape: Shape, new: &mut Endpoints) -> (f64, f64) {
    let mut measure = |change: &dyn Fn(&mut Vec<Ipv4Addr>, Ipv4Addr)| {
        let (mut times, mut hand_overs) = (Vec::new(), Vec::new());
        for service in (2..LAST).cycle().take(ROUNDS * (LAST - 2) as usize) {
            let first = shape.endpoints_of(service);
            let mut endpoints = first.clone();
            change(&mut endpoints, new.next());
            let before = ruleset(shape, service, &first);
            let changed = ruleset(shape, service, &endpoints);
            let after = assign_slots(&before, &changed);
            for transaction in [diff(&before, &after), diff(&after, &before)] {
                assert_elements_only(&transaction);
                hand_overs.push(commit(kernel, Transaction::default()));
                times.push(commit(kernel, transaction));
            }
        }
        let [times, hand_overs] = [times, hand_overs].map(|of| Sample::new(Unit::Time, of));
        (times.median() - hand_overs.median()).max(0.0)
    };
    let replace = measure(&|endpoints, address| endpoints[0] = address);
    (replace, measure(&|endpoints, address| endpoints.push(address)))
}

/// The bytes of the kernel's memory that are free once the tables are gone. The kernel frees them
/// behind the commit.
fn memory(node: &Node) -> f64 {
    let before = unreclaimable();
    node.clean_up();
    let (mut least, mut since) = (unreclaimable(), Instant::now());
    while since.elapsed() < SETTLING {
        thread::sleep(SETTLING / 10);
        let now = unreclaimable();
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    before - least
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
