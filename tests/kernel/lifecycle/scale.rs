//! The cost of a change among many Services, counted in operations, which are the same on any machine.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use weir::kernel::{Kernel, Monitor};
use weir::sync::{MonitoredKernel, Reconciler, SyncReport};
use weir_rules::cluster::{
    ChangeSet, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort,
};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_testbed::Netns;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

/// A node with many Services.
struct Node {
    ns: Netns,
    reconciler: Reconciler<MonitoredKernel>,
    cluster: Cluster,
    config: Config,
}

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("default", format!("web-{number}"))
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("it is none")
}

fn service(number: u32) -> Service {
    let [.., high, low] = number.to_be_bytes();
    Service {
        cluster_ips: vec![[10, 96, high, low].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: port(80),
            node_port: None,
        }],
        ..Service::default()
    }
}

/// With endpoints of these numbers.
fn slice(number: u32, endpoints: impl IntoIterator<Item = u32>) -> EndpointSlice {
    let address = |index: u32| IpAddr::from((0x0b00_0000 + 16 * number + index).to_be_bytes());
    EndpointSlice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: endpoints.into_iter().map(|index| Endpoint::new(address(index))).collect(),
    }
}

fn reconciler(ns: &Netns) -> Reconciler<MonitoredKernel> {
    let live = ns.run(|| {
        let kernel = Kernel::open().expect("nf_tables can be used");
        let monitor = Monitor::open(kernel.ports()).expect("it can be heard");
        MonitoredKernel::new(kernel, monitor)
    });
    Reconciler::new(live)
}

impl Node {
    fn new() -> Self {
        let mut cluster = Cluster::default();
        for number in 0..SERVICES {
            cluster.services.insert(name(number), service(number));
            cluster.slices.insert(name(number), slice(number, 0..ENDPOINTS));
        }
        let ns = Netns::new("scale");
        let mut node =
            Self { reconciler: reconciler(&ns), ns, cluster, config: Config::new("node") };
        node.reconciler.enqueue(ChangeSet::all(&node.cluster));
        node
    }

    fn sync(&mut self, what: &str) -> Work {
        let begin = Instant::now();
        self.reconciler.check_generation().ok();
        let mut synced = SyncReport::default();
        self.reconciler.sync(&self.cluster, &self.config, &mut synced).expect("nothing fails");
        println!("{what}: {:?}", begin.elapsed());
        Work::of(&synced)
    }

    fn put(&mut self, number: u32, endpoints: impl IntoIterator<Item = u32>) {
        self.cluster.slices.insert(name(number), slice(number, endpoints));
        self.reconciler.enqueue(ChangeSet::services([name(number)]));
    }

    fn restart(&mut self) {
        self.reconciler = reconciler(&self.ns);
        self.reconciler.enqueue(ChangeSet::all(&self.cluster));
    }
}

/// What a sync did.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    recompiled: usize,
    transactions: usize,
    repairs: usize,
    /// Added and removed.
    elements: usize,
    rules: usize,
    dumps: u64,
    reads: u64,
}

impl Work {
    const NONE: Self = Self {
        recompiled: 0,
        transactions: 0,
        repairs: 0,
        elements: 0,
        rules: 0,
        dumps: 0,
        reads: 0,
    };

    fn of(synced: &SyncReport) -> Self {
        let counts = synced.commits.iter().map(|change| &change.counts);
        let mut work = Self {
            recompiled: synced.recompiled,
            transactions: synced.commits.len(),
            repairs: synced.repairs(),
            dumps: synced.dumps,
            reads: synced.reads,
            ..Self::NONE
        };
        for counts in counts {
            work.elements += counts.added.elements + counts.removed.elements;
            work.rules += counts.added.rules + counts.removed.rules;
        }
        work
    }
}

#[test]
fn a_change_or_a_repair_costs_the_same_however_many_services_there_are() {
    let mut node = Node::new();
    let start = node.sync("start");
    assert_eq!((start.recompiled, start.dumps), (SERVICES as usize, 1));

    node.put(5000, (1..=ENDPOINTS).map(|index| index % 11));
    let change = node.sync("another endpoint");
    let expected = Work { recompiled: 1, transactions: 1, elements: 2, ..Work::NONE };
    assert_eq!(change, expected, "one element out and one in");

    // The chain that draws one of nine is new, and comes before the verdict that leads to it.
    node.put(5000, 1..ENDPOINTS);
    let change = node.sync("one endpoint less");
    assert!(change.elements <= 6, "{change:?}");
    let expected = Work { recompiled: 1, transactions: 2, ..Work::NONE };
    assert_eq!(Work { elements: 0, rules: 0, ..change }, expected);

    node.ns.nft("delete element ip weir endpoints { 10.96.3.232 . tcp . 80 . 3 }");
    let repair = node.sync("a deleted element");
    let expected = Work { transactions: 1, repairs: 1, elements: 1, reads: 1, ..Work::NONE };
    assert_eq!(repair, expected);

    node.ns.nft("flush chain ip weir services");
    let rules = compile(&Cluster::default(), &node.config).tables[&Family::Ipv4].chains["services"]
        .rules
        .len();
    let repair = node.sync("flushed rules");
    assert_eq!(repair, Work { rules, elements: 0, ..expected });

    node.restart();
    let restart = node.sync("restart");
    assert_eq!(restart, Work { recompiled: SERVICES as usize, dumps: 1, reads: 1, ..Work::NONE });

    node.ns.nft("flush ruleset");
    let repair = node.sync("flushed ruleset");
    assert_eq!(repair.dumps, 1);
    assert_eq!(repair.repairs, repair.transactions);
    let all: usize = node.reconciler.objects().iter().map(|table| table.elements).sum();
    assert_eq!(repair.elements, all);
    assert_eq!(node.sync("nothing"), Work::NONE);
}
