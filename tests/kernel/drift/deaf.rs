//! weir loses its nf_tables subscription behind a large transaction of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use weir::kernel::{Kernel, Monitor};
use weir::sync::{MonitoredKernel, NfTables};
use weir_rules::cluster::{Cluster, Family};
use weir_rules::compile::{compile, names};
use weir_rules::config::Config;
use weir_rules::nft::{Data, Element, RawKey, Ruleset};
use weir_rules::transaction::diff::diff;
use weir_testbed::Netns;

/// More elements than are listened to.
const MANY: u16 = 1001;

fn program() -> Ruleset {
    compile(&Cluster::default(), &Config::new("node"))
}

/// The same with many elements.
fn large() -> Ruleset {
    let mut ruleset = program();
    let table = ruleset.tables.get_mut(&Family::Ipv4).expect("it is compiled");
    let set = table.sets.get_mut(names::CLUSTER_IPS).expect("it is compiled");
    let keys = (0..MANY).map(u16::to_be_bytes).map(|[high, low]| [10, 97, high, low]);
    let keys = keys.map(|address| RawKey::new().address(address.into()));
    set.elements.extend(keys.map(|key| (key, Element::new(Data::Nothing))));
    ruleset
}

/// Nobody joins a group of netlink.
fn filter() -> BpfProgram {
    let is = |argument, value: libc::c_int| {
        let value = u64::from(value.unsigned_abs());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let joins = [is(1, libc::SOL_NETLINK), is(2, libc::NETLINK_ADD_MEMBERSHIP)];
    let joins = joins.into_iter().collect::<Result<_, _>>().and_then(SeccompRule::new);
    let rules = BTreeMap::from([(libc::SYS_setsockopt, vec![joins.expect("it is a rule")])]);
    let refuse = SeccompAction::Errno(libc::ENOBUFS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that it knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
    filter.and_then(TryInto::try_into).expect("it is a filter")
}

#[test]
fn who_cannot_listen_again_says_so_and_tries_until_it_can() {
    let ns = Netns::new("deaf");
    let mut live = ns.run(|| {
        let kernel = Kernel::open().expect("nf_tables can be used");
        kernel.commit(diff(&Ruleset::default(), &program()), None).expect("it is taken");
        let monitor = Monitor::open(kernel.ports()).expect("it can be heard");
        MonitoredKernel::new(kernel, monitor)
    });
    assert!(!live.drain().is_lossy);
    // A thread ends with its filter.
    thread::scope(|scope| {
        scope.spawn(|| {
            apply_filter(&filter()).expect("the kernel takes it");
            let many = Arc::new(diff(&program(), &large()));
            let generation = live.generation().expect("it is told");
            live.commit(&many, Some(generation)).expect("it is taken");
            for _ in 0..2 {
                assert!(live.drain().is_lossy, "anything may have happened");
            }
        });
    });
    ns.nft("add element ip weir cluster-ips { 10.96.0.1 }");
    let foreign = live.drain();
    assert!(foreign.is_lossy && foreign.commits.is_empty(), "it was not listened to: {foreign:?}");
    ns.nft("add element ip weir cluster-ips { 10.96.0.2 }");
    let foreign = live.drain();
    assert!(!foreign.is_lossy && foreign.commits.len() == 1, "{foreign:?}");
}
