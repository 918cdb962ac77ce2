//! Random changes of the cluster, on the real kernel with no other writer in its network namespace.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;
use proptest::sample::select;
use weir::kernel::{Kernel, Monitor};
use weir::sync::{MonitoredKernel, Reconciler, SyncReport};
use weir_rules::cluster::{
    ChangeSet, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort,
};
use weir_rules::compile::compile;
use weir_rules::config::{Config, DetectLocal};
use weir_rules::testing::random::seeded;
use weir_rules::transaction::carry_over::carry_over;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_testbed::Netns;

const SERVICES: u8 = 3;

fn name(number: u8) -> NamespacedName {
    NamespacedName::new("default", format!("web-{number}"))
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("it is none")
}

/// At two destinations, with session affinity for so many seconds.
fn service(number: u8, affinity: Option<u32>) -> Service {
    Service {
        cluster_ips: vec![[10, 96, 0, number].into()],
        external_ips: vec![[198, 51, 100, number].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: port(80),
            node_port: None,
        }],
        session_affinity: affinity.and_then(NonZeroU32::new),
        ..Service::default()
    }
}

fn slice(number: u8, endpoints: u16) -> EndpointSlice {
    let address = |index: u16| {
        let [high, low] = index.to_be_bytes();
        Endpoint::new(IpAddr::from([11, number, high, low]))
    };
    EndpointSlice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: (0..endpoints).map(address).collect(),
    }
}

/// Something about the cluster that changes, and whether it is programmed before the next.
#[derive(Debug, Clone)]
enum Change {
    Endpoints(u8, u16),
    Service(u8, Option<Option<u32>>),
    Settings(bool),
}

fn change() -> impl Strategy<Value = Change> {
    let number = || 1..=SERVICES;
    // Of 520, there are more elements at two destinations than are listened to.
    let count = select(vec![0, 1, 2, 3, 40, 520, 521]);
    let service = select(vec![None, Some(None), Some(Some(60)), Some(Some(10800))]);
    prop_oneof![
        4 => (number(), count).prop_map(|(number, count)| Change::Endpoints(number, count)),
        1 => (number(), service).prop_map(|(number, service)| Change::Service(number, service)),
        1 => any::<bool>().prop_map(Change::Settings),
    ]
}

fn live(changes: &[(Change, bool)]) -> Result<(), TestCaseError> {
    let ns = Netns::new("alone");
    let listened = ns.run(|| {
        let kernel = Kernel::open().expect("nf_tables can be used");
        let monitor = Monitor::open(kernel.ports()).expect("it can be heard");
        MonitoredKernel::new(kernel, monitor)
    });
    let (mut reconciler, mut cluster) = (Reconciler::new(listened), Cluster::default());
    let mut config = Config::new("node-a");
    let mut dumps = 0;
    reconciler.enqueue(ChangeSet::all(&cluster));
    for (change, is_programmed) in changes {
        let mut touch = |number: u8| {
            reconciler.enqueue(ChangeSet::services([name(number)]));
        };
        match *change {
            Change::Endpoints(number, count) => {
                if !cluster.services.contains_key(&name(number)) {
                    cluster.services.insert(name(number), service(number, None));
                }
                cluster.slices.insert(name(number), slice(number, count));
                touch(number);
            }
            Change::Service(number, Some(affinity)) => {
                cluster.services.insert(name(number), service(number, affinity));
                touch(number);
            }
            Change::Service(number, None) => {
                cluster.services.remove(&name(number));
                touch(number);
            }
            Change::Settings(by_interface) => {
                let prefix = || DetectLocal::InterfaceNamePrefix("veth".to_owned());
                config.detect_local = if by_interface { prefix() } else { DetectLocal::default() };
                reconciler.enqueue(ChangeSet { environment: true, ..ChangeSet::default() });
            }
        }
        if !is_programmed {
            continue;
        }
        let mut synced = SyncReport::default();
        reconciler.sync(&cluster, &config, &mut synced).expect("nothing fails");
        prop_assert_eq!(synced.repairs(), 0);
        dumps += synced.dumps;
        for _ in 0..2 {
            synced.foreign.merge(reconciler.check_generation().expect("it is told"));
        }
        prop_assert!(synced.foreign.commits.is_empty() && !synced.foreign.is_lossy, "{:?}", synced);
        prop_assert!(!reconciler.has_drifted());
    }
    let mut synced = SyncReport::default();
    reconciler.sync(&cluster, &config, &mut synced).expect("nothing fails");
    prop_assert_eq!((synced.repairs(), dumps + synced.dumps), (0, 1));
    let observed = ns.run(|| Kernel::open().map(|kernel| kernel.dump()));
    let observed = observed.expect("nf_tables can be used").expect("it is read").ruleset;
    let desired = compile(&cluster, &config);
    let difference = diff(&observed, &carry_over(&observed, assign_slots(&observed, &desired)));
    prop_assert!(difference.is_empty(), "{:?}", difference.lines().take(9).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(seeded(12))]

    #[test]
    fn who_is_alone_repairs_nothing_and_reads_all_once(
        changes in prop::collection::vec((change(), any::<bool>()), 1..24),
    ) {
        live(&changes)?;
    }
}
