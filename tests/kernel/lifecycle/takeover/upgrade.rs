//! From kube-proxy to weir and back, under traffic.

use std::thread;

use weir_testbed::{Family, wait_for};

use super::kube_proxy::{Mode, nftables, others};
use super::node::{LIMIT, Node};
use super::traffic::{Old, Traffic};

/// How many new connections are made before the change and after it.
const CONNECTIONS: usize = 2000;

/// At hooks of equal priority, the kernel asks the one first that was made last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// As on a node where weir is new.
    Weir,
    /// As where weir had been, then kube-proxy.
    KubeProxy,
}

fn take_over(mode: Mode, first: First) {
    let node = Node::new();
    if first == First::KubeProxy {
        node.run_once();
    }
    let ns = node.bed.node();
    if mode != Mode::Nftables {
        Family::ALL.iter().for_each(|&family| mode.restore(ns, family, &others()));
    }
    mode.program(ns);
    let mut old = Family::ALL.map(|family| Old::new(&node, family));
    let traffic = Traffic::new();
    let weir = thread::scope(|scope| {
        let ending = traffic.start(&node, scope);
        traffic.go_on_for(CONNECTIONS);
        let weir = node.start();
        node.wait_until_logged("took over from kube-proxy: removed ");
        traffic.go_on_for(CONNECTIONS);
        old.iter_mut().for_each(|old| old.assert_alive());
        drop(ending);
        weir
    });
    assert_nothing_left(&node, mode);
    // It is weir that serves now: where it says, and the old ones go on.
    node.serve_by(&["b2"]);
    for family in Family::ALL {
        wait_for("b2 alone to answer", LIMIT, || {
            (0..20).all(|_| node.ask(family).server() == Some("b2"))
        });
    }
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
}

fn assert_nothing_left(node: &Node, mode: Mode) {
    let listed = node.listed();
    assert!(!listed.contains("kube-proxy {") && listed.contains("table ip weir"), "{listed}");
    if mode != Mode::Nftables {
        let saved = mode.saved(node.bed.node());
        for chain in ["KUBE-SERVICES", "KUBE-SVC-", "KUBE-SEP-", "KUBE-FORWARD", "PROXY-CANARY"] {
            assert!(!saved.contains(&format!(":{chain}")), "{saved}");
        }
    }
}

#[test]
fn nothing_is_lost_when_weir_takes_over_from_nftables_mode() {
    take_over(Mode::Nftables, First::Weir);
}

#[test]
fn nothing_is_lost_when_weir_takes_over_from_iptables_mode() {
    take_over(Mode::IptablesNft, First::Weir);
}

#[test]
fn nothing_is_lost_when_weir_takes_over_from_iptables_mode_with_legacy_iptables() {
    take_over(Mode::IptablesLegacy, First::Weir);
}

#[test]
fn nothing_is_lost_where_kube_proxys_rules_come_before_weirs() {
    for mode in [Mode::Nftables, Mode::IptablesNft, Mode::IptablesLegacy] {
        take_over(mode, First::KubeProxy);
    }
}

/// kube-proxy ran where weir had been, so that its rules come first, and has been down for a while,
/// so that they lead to an endpoint that has left. A client that never pauses is sent there again
/// and again until they are gone.
#[test]
fn clients_that_kube_proxys_rules_keep_from_the_endpoints_get_there() {
    let node = Node::new();
    let only_b2 = nftables(Family::V4).replace("10.244.0.2", "10.244.0.3");
    node.run_once();
    node.bed.node().nft(&only_b2);
    node.serve_by(&["b1"]);
    let client = Old::new(&node, Family::V4);
    client.ask_until("b2");
    let weir = thread::scope(|scope| {
        let moved = scope.spawn(|| client.ask_until("b1"));
        let weir = node.start();
        moved.join().expect("it is answered by b1");
        weir
    });
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
}

/// kube-proxy first, then away with weir: it removes nothing of weir's.
#[test]
fn nothing_is_lost_on_the_way_back() {
    let node = Node::new();
    let weir = node.start();
    for family in Family::ALL {
        wait_for("an answer", LIMIT, || node.ask(family).server().is_some());
    }
    let mut old = Family::ALL.map(|family| Old::new(&node, family));
    let traffic = Traffic::new();
    thread::scope(|scope| {
        let ending = traffic.start(&node, scope);
        traffic.go_on_for(CONNECTIONS);
        assert!(weir.terminate(LIMIT).success(), "{}", node.log());
        Family::ALL.iter().for_each(|&family| node.bed.node().nft(&nftables(family)));
        let said = node.said(&["cleanup"]);
        assert_eq!(said, "removed table ip weir\nremoved table ip6 weir\n");
        traffic.go_on_for(CONNECTIONS);
        old.iter_mut().for_each(|old| old.assert_alive());
        drop(ending);
    });
    let listed = node.listed();
    assert!(!listed.contains("weir") && listed.contains("kube-proxy"), "{listed}");
}

#[test]
fn behind_cleanup_kube_proxy_finds_an_empty_node() {
    let node = Node::new();
    Mode::Nftables.program(node.bed.node());
    let weir = node.start();
    node.wait_until_logged("took over from kube-proxy: removed 2 nftables tables");
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
    let said = node.said(&["--cleanup"]);
    assert_eq!(said, "removed table ip weir\nremoved table ip6 weir\n");
    assert_eq!(node.listed(), "");
    Mode::Nftables.program(node.bed.node());
    for family in Family::ALL {
        assert!(node.ask(family).server().is_some());
    }
}
