//! A firewall that drops what nobody has accepted, and what docs/migrate-from-kube-proxy.md says
//! about it.

use std::net::{IpAddr, SocketAddr};

use weir_testbed::{ANSWER, Family, Outcome, SILENCE, Testbed, tcp_ask};

use super::kube_proxy::{Mode, NODE_PORT};
use super::node::{LIMIT, Node};

const PAGE: &str = include_str!("../../../../docs/migrate-from-kube-proxy.md");

/// The page's commands that have the firewall accept something, for a health check at port 32000.
fn commands() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().filter(|line| line.starts_with("iptables -I "));
    let word = |word| if word == "PORT" { "32000" } else { word };
    lines.map(|line| line.split(' ').map(word).collect()).collect()
}

/// Asserts what a visitor from outside meets at the node port of each family.
fn assert_node_port(node: &Node, is_served: bool) {
    for address in [IpAddr::from(Testbed::NODE_V4), IpAddr::from(Testbed::NODE_V6)] {
        let patience = if is_served { ANSWER } else { SILENCE };
        let port = SocketAddr::new(address, NODE_PORT);
        let outcome = tcp_ask(node.bed.ns("visitor"), port, patience);
        match is_served {
            true => assert!(outcome.server().is_some(), "{port}: {outcome:?}"),
            false => assert_eq!(outcome, Outcome::Silent, "{port}"),
        }
    }
}

#[test]
fn node_ports_behind_a_firewall_are_served_once_it_accepts_what_the_migration_page_says() {
    let node = Node::new();
    let ns = node.bed.node();
    let firewall = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";
    Family::ALL.iter().for_each(|&family| Mode::IptablesNft.restore(ns, family, firewall));
    Mode::IptablesNft.program(ns);
    assert_node_port(&node, true);
    let weir = node.start();
    node.wait_until_logged("took over from kube-proxy: removed ");
    // The rules that accepted it went with kube-proxy's.
    assert_node_port(&node, false);
    let commands = commands();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        for program in ["iptables-nft", "ip6tables-nft"] {
            ns.cmd(program, &command[1..]);
        }
    }
    assert_node_port(&node, true);
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
}
