//! Notifications of foreign changes, from the real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;
use weir::kernel::{
    ForeignChanges, ForeignCommit, Kernel, Monitor, Notice, Process, Suspects, TableSuspects,
};
use weir_rules::cluster::{Cluster, Family, Protocol};
use weir_rules::compile::{compile, names};
use weir_rules::nft::{RawKey, Ruleset};
use weir_rules::transaction::diff::diff;
use weir_testbed::{Netns, tool, wait_for};

use crate::kernel_layer::is_initial_user_namespace;

const LIMIT: Duration = Duration::from_secs(20);

/// A namespace in which weir has programmed no Services, and what it hears there.
struct Node {
    ns: Netns,
    kernel: Kernel,
    monitor: Monitor,
}

impl Node {
    fn new(name: &str) -> Self {
        let ns = Netns::new(name);
        let kernel = ns.run(|| Kernel::open().expect("nf_tables can be used"));
        kernel.commit(diff(&Ruleset::default(), &program()), None).expect("it is taken");
        let monitor = ns.run(|| Monitor::open(kernel.ports()).expect("it can be heard"));
        Self { ns, kernel, monitor }
    }

    /// What is heard of a program of nft's, and the process that ran it.
    fn take_notifications(&mut self, script: &str) -> (ForeignChanges, Process) {
        let by = self.nft(script);
        (self.monitor.drain(), by)
    }

    /// Lets nft run a program, and gives its process.
    fn nft(&self, script: &str) -> Process {
        let mut command = tool("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped());
        let mut child = self.ns.run(|| command.spawn().expect("nft can be started"));
        let mut stdin = child.stdin.take().expect("is piped");
        stdin.write_all(script.as_bytes()).expect("nft reads");
        drop(stdin);
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{script}: {status}");
        Process { pid: child.id(), name: "nft".to_owned() }
    }

    /// The parts that may have changed, of one commit of nft's.
    fn changed(&mut self, script: &str) -> Suspects {
        let (foreign, by) = self.take_notifications(script);
        assert!(!foreign.is_lossy, "{script}: {foreign:?}");
        let [commit] = &foreign.commits[..] else { panic!("{script}: {foreign:?}") };
        assert_eq!(commit.by.as_ref().map(told_alike(&by)), Some(true), "{script}: {commit:?}");
        commit.changed.clone()
    }
}

/// Whether a process is the one that is told. The kernel tells its id in the initial pid namespace,
/// which nobody in another can compare with: `PROC_PID_INIT_INO` of linux/proc_ns.h is the inode of
/// that one.
fn told_alike(expected: &Process) -> impl Fn(&Process) -> bool + '_ {
    let own = std::fs::read_link("/proc/self/ns/pid").expect("it can be read");
    let is_initial = own.to_str() == Some("pid:[4026531836]");
    move |told| told.name == expected.name && (told.pid == expected.pid || !is_initial)
}

fn program() -> Ruleset {
    compile(&Cluster::default(), &weir_rules::config::Config::new("node"))
}

fn everything(families: &[Family]) -> Suspects {
    let table = TableSuspects { everything: true, structure: true, ..Default::default() };
    Suspects { tables: families.iter().map(|&family| (family, table.clone())).collect() }
}

fn structure(family: Family) -> Suspects {
    let table = TableSuspects { structure: true, ..TableSuspects::default() };
    Suspects { tables: BTreeMap::from([(family, table)]) }
}

fn address(last: u8) -> RawKey {
    RawKey::new().address([10, 96, 0, last].into())
}

fn keys(changed: &Suspects, set: &str) -> BTreeSet<RawKey> {
    let spec = &program().tables[&Family::Ipv4].sets[set].spec;
    changed.tables[&Family::Ipv4].keys(set, spec, Family::Ipv4)
}

#[test]
fn elements_that_another_adds_and_deletes_are_told_by_key() {
    let mut node = Node::new("elements");
    for verb in ["add", "delete"] {
        let script = format!("{verb} element ip weir cluster-ips {{ 10.96.0.1, 10.96.0.2 }}");
        let changed = node.changed(&script);
        let expected =
            BTreeMap::from([(names::CLUSTER_IPS.into(), BTreeSet::from([address(1), address(2)]))]);
        let table = TableSuspects { elements: expected, ..TableSuspects::default() };
        assert_eq!(changed, Suspects { tables: BTreeMap::from([(Family::Ipv4, table)]) });
    }
}

/// The kernel has slots in the host's byte order.
#[test]
fn keys_with_slots_come_back_in_the_order_of_the_model() {
    let mut node = Node::new("slots");
    let key = "10.96.0.1 . tcp . 80 . 258";
    let changed =
        node.changed(&format!("add element ip weir endpoints {{ {key} : 10.244.0.2 . 8080 }}"));
    let key = address(1).protocol(Protocol::Tcp).port(80.try_into().expect("a port")).slot(258);
    assert_eq!(keys(&changed, names::ENDPOINTS), BTreeSet::from([key]));
}

#[test]
fn a_change_of_anything_but_elements_is_a_change_of_the_structure() {
    let mut node = Node::new("structure");
    for (script, family) in [
        ("insert rule ip weir services drop", Family::Ipv4),
        ("insert rule ip weir services tcp dport { 1, 2 } drop", Family::Ipv4),
        ("flush chain ip6 weir services", Family::Ipv6),
        ("add chain ip6 weir more", Family::Ipv6),
        ("delete chain ip6 weir more", Family::Ipv6),
        ("add set ip weir more { type ipv4_addr; }", Family::Ipv4),
        ("delete set ip weir more", Family::Ipv4),
        ("add counter ip weir more", Family::Ipv4),
        ("chain ip weir filter-input { policy drop; }", Family::Ipv4),
    ] {
        let mut changed = node.changed(script);
        // Those of a set that is part of a rule.
        let elements = changed.tables.get_mut(&family).map(|table| &mut table.elements);
        elements
            .into_iter()
            .for_each(|elements| elements.retain(|set, _| set.as_str() != "__set0"));
        assert_eq!(changed, structure(family), "{script}");
    }
}

#[test]
fn a_table_that_is_made_or_deleted_is_everything() {
    let mut node = Node::new("tables");
    assert_eq!(node.changed("delete table ip6 weir"), everything(&[Family::Ipv6]));
    let made = node.changed("add table ip6 weir");
    assert!(made.tables[&Family::Ipv6].everything, "{made:?}");
    assert_eq!(Node::new("flush").changed("flush ruleset"), everything(&Family::ALL));
}

/// firewalld as it was, and as it would be if it flushed all tables.
#[test]
fn a_reload_of_a_firewall_is_everything_only_if_it_takes_weirs_tables_away() {
    let mut node = Node::new("reload");
    let firewall = "table inet firewalld { chain input { type filter hook input priority 10; }; }";
    let reload = format!("{firewall}\ndelete table inet firewalld\n{firewall}");
    let (foreign, _) = node.take_notifications(&reload);
    assert_eq!((foreign.commits, foreign.is_lossy), (vec![], false));
    assert_eq!(node.changed(&format!("flush ruleset\n{firewall}")), everything(&Family::ALL));
}

#[test]
fn the_elements_of_a_set_that_is_flushed_are_told_by_key() {
    let mut node = Node::new("flush");
    node.take_notifications("add element ip weir cluster-ips { 10.96.0.1, 10.96.0.2, 10.96.0.3 }");
    let changed = node.changed("flush set ip weir cluster-ips");
    assert_eq!(keys(&changed, names::CLUSTER_IPS), (1..=3).map(address).collect());
}

#[test]
fn more_elements_than_are_worth_telling_are_everything() {
    let mut node = Node::new("many");
    let list: Vec<_> = (0..5000).map(|i| format!("11.0.{}.{}", i / 250, i % 250)).collect();
    let script = format!("add element ip weir cluster-ips {{ {} }}", list.join(", "));
    let (foreign, _) = node.take_notifications(&script);
    if foreign.is_lossy {
        // Within a user namespace the buffer is bounded, and may not hold as much.
        assert!(!is_initial_user_namespace(), "{foreign:?}");
        return;
    }
    let table = TableSuspects { everything: true, ..TableSuspects::default() };
    let expected = Suspects { tables: BTreeMap::from([(Family::Ipv4, table)]) };
    assert_eq!(foreign.commits.iter().map(|it| &it.changed).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn weirs_own_commits_are_only_counted() {
    let mut node = Node::new("own");
    let observed = node.kernel.dump().expect("it can be read").ruleset;
    node.kernel.commit(diff(&observed, &Ruleset::default()), None).expect("it is taken");
    node.kernel.commit(diff(&Ruleset::default(), &program()), None).expect("it is taken");
    let generation = node.kernel.generation().ok();
    let foreign = ForeignChanges { generation, ..ForeignChanges::default() };
    assert_eq!(node.monitor.drain(), foreign);
    assert_eq!(node.monitor.drain(), ForeignChanges::default(), "told once");
    // To one who does not know that they are weir's own they would be another's.
    let mut other = node.ns.run(|| Monitor::open(1).expect("it can be heard"));
    node.kernel.commit(diff(&program(), &Ruleset::default()), None).expect("it is taken");
    let foreign = other.drain();
    let [ForeignCommit { by: Some(by), changed }] = &foreign.commits[..] else {
        panic!("{foreign:?}")
    };
    assert_eq!((by.name.as_str(), changed), ("weir-nftables", &everything(&Family::ALL)));
}

#[test]
fn tables_of_others_are_only_counted() {
    let mut node = Node::new("others");
    let (foreign, _) = node.take_notifications(
        "add table ip other; add chain ip other weir; add set ip other s { type ipv4_addr; }; \
         add element ip other s { 10.96.0.1 }; add rule ip other weir drop; add table inet weir; \
         add chain inet weir services; delete table inet weir",
    );
    let generation = node.kernel.generation().ok();
    assert_eq!(foreign, ForeignChanges { generation, ..ForeignChanges::default() });
}

#[test]
fn commits_are_told_in_order_with_what_each_has_changed() {
    let mut node = Node::new("order");
    let first = node.nft("add element ip weir cluster-ips { 10.96.0.1 }");
    node.nft("add table ip other");
    let second = node.nft("add chain ip6 weir more");
    let foreign = node.monitor.drain();
    let told: Vec<_> = foreign
        .commits
        .iter()
        .zip([&first, &second])
        .map(|(commit, by)| commit.by.as_ref().map(told_alike(by)))
        .collect();
    assert_eq!(told, [Some(true); 2], "{foreign:?}");
    assert_eq!(keys(&foreign.commits[0].changed, names::CLUSTER_IPS), [address(1)].into());
    assert_eq!(foreign.commits[1].changed, structure(Family::Ipv6));
    assert_eq!(foreign.generation, node.kernel.generation().ok());
}

/// A commit that fails is none.
#[test]
fn what_the_kernel_refuses_is_not_told() {
    let mut node = Node::new("refused");
    let mut command = tool("nft");
    command.arg("add chain ip weir more; add rule ip weir more jump nowhere");
    let done = node.ns.run(|| command.output().expect("nft can be started"));
    assert!(!done.status.success());
    assert_eq!(node.monitor.drain(), ForeignChanges::default());
}

#[test]
fn nothing_is_heard_in_a_pause_and_nothing_of_before_it_afterwards() {
    let mut node = Node::new("pause");
    node.nft("add element ip weir cluster-ips { 10.96.0.1 }");
    node.monitor.pause().expect("it can pause");
    let (queued, _) = node.take_notifications("add element ip weir cluster-ips { 10.96.0.2 }");
    assert_eq!(queued.commits.len(), 1, "what was told before: {queued:?}");
    node.monitor.resume().expect("it can go on");
    node.nft("add element ip weir cluster-ips { 10.96.0.3 }");
    node.monitor.pause().expect("it can pause");
    node.monitor.resume().expect("it can go on");
    assert_eq!(node.monitor.drain(), ForeignChanges::default());
    let changed = node.changed("add element ip weir cluster-ips { 10.96.0.4 }");
    assert_eq!(keys(&changed, names::CLUSTER_IPS), [address(4)].into());
}

/// A set with room for one, so that the kernel takes a second only when it has forgotten the first.
#[test]
fn what_packets_put_into_a_set_and_what_expires_there_is_not_told() {
    let mut node = Node::new("learned");
    node.take_notifications(
        "table ip weir {
            set seen {
                type ipv4_addr; flags dynamic,timeout; size 1; timeout 200ms; gc-interval 100ms;
            }
            chain seen {
                type filter hook output priority 0;
                update @seen { ip daddr }
            }
        }",
    );
    for destination in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        wait_for("the destination is learned", LIMIT, || {
            node.ns.run(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket.send_to(b"?", (destination, 9)).expect("it goes to the loopback");
            });
            node.ns.cmd("nft", ["list", "set", "ip", "weir", "seen"]).contains(destination)
        });
    }
    assert_eq!(node.monitor.drain(), ForeignChanges::default());
    assert_eq!(node.changed("add chain ip weir more"), structure(Family::Ipv4), "it still hears");
}

#[test]
fn its_descriptor_wakes_whoever_waits_for_each_commit() {
    let mut node = Node::new("waker");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let waker = node.monitor.waker().expect("a descriptor");
        let mut notice = Notice::new(waker).expect("it can be waited for");
        for count in 1..=3 {
            let told = timeout(Duration::from_millis(1), notice.readable()).await;
            assert!(told.is_err(), "nothing was told before commit {count}");
            node.nft("add table ip other");
            node.nft("delete table ip other");
            timeout(LIMIT, notice.readable())
                .await
                .expect("it wakes in time")
                .expect("it can wait");
            let foreign = node.monitor.drain();
            assert_eq!(foreign.generation, node.kernel.generation().ok(), "commit {count}");
        }
    });
}
