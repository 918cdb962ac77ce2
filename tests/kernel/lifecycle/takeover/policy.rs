//! Where built-in chains drop what no rule accepts, and kube-proxy's chains accepted it.

use std::net::SocketAddr;

use weir_testbed::{ANSWER, Family, Netns, Outcome, Protocol, SILENCE, Testbed, ask};

use super::kube_proxy::{LOCK_FILE, Mode, NODE_PORT};
use super::leftovers::clean;
use super::node::{LIMIT, Node};

fn drop_by_policy(ns: &Netns, mode: Mode, family: Family, chain: &str) {
    mode.restore(ns, family, &format!("*filter\n:{chain} DROP [0:0]\nCOMMIT\n"));
}

/// As of mode iptables, and of mode ipvs.
fn accept_health_checks(ns: &Netns, mode: Mode, family: Family) {
    let (chain, comment) = match family {
        Family::V4 => ("KUBE-NODEPORTS", "kubernetes health check service ports"),
        Family::V6 => ("KUBE-NODE-PORT", "kubernetes health check rules"),
    };
    let rules = format!(
        "*filter
:{chain} - [0:0]
-A INPUT -m comment --comment \"{comment}\" -j {chain}
-A {chain} -p tcp -m tcp --dport 32000 -j ACCEPT
COMMIT
"
    );
    mode.restore(ns, family, &rules);
}

#[test]
fn what_a_policy_will_drop_is_told_once_for_each_chain_and_family() {
    for mode in Mode::IPTABLES {
        let ns = Netns::new("policy");
        mode.program(&ns);
        Family::ALL.iter().for_each(|&family| accept_health_checks(&ns, mode, family));
        drop_by_policy(&ns, mode, Family::V4, "FORWARD");
        drop_by_policy(&ns, mode, Family::V4, "INPUT");
        drop_by_policy(&ns, mode, Family::V6, "INPUT");
        // kube-proxy accepts nothing there.
        drop_by_policy(&ns, mode, Family::V6, "OUTPUT");
        let (_, errors) = clean(&ns);
        let mut told: Vec<&str> = errors.lines().collect();
        told.sort_unstable();
        let [v4, v6, kind] = match mode {
            Mode::IptablesNft => ["table ip filter", "table ip6 filter", "nft"],
            _ => ["table filter of iptables-legacy", "table filter of ip6tables-legacy", "legacy"],
        };
        let mut expected = [
            (v4, "FORWARD", "KUBE-FORWARD", format!("`iptables-{kind} -I FORWARD -m mark ")),
            (v4, "INPUT", "KUBE-NODEPORTS", format!("`iptables-{kind} -I INPUT -p tcp ")),
            (v6, "INPUT", "KUBE-NODE-PORT", format!("`ip6tables-{kind} -I INPUT -p tcp ")),
        ]
        .map(|(place, chain, by, command)| {
            let fact = format!("weir: chain {chain} of {place} has policy DROP");
            (fact, format!("kube-proxy's chain {by}, which accepted "), command)
        });
        expected.sort_unstable();
        assert_eq!(told.len(), expected.len(), "{errors}");
        for (line, (fact, by, command)) in told.into_iter().zip(expected) {
            assert!(line.starts_with(&fact), "{line}");
            assert!(line.contains(&by) && line.contains(&command), "{line}");
        }
        assert_eq!(clean(&ns).1, "", "nothing is removed, and nothing lost by it");
    }
}

/// A visitor's connection to the node port, which is masqueraded and forwarded.
#[test]
fn what_weir_says_of_a_policy_restores_what_kube_proxy_accepted() {
    for mode in Mode::IPTABLES {
        let node = Node::new();
        let ns = node.bed.node();
        let to = SocketAddr::new(Testbed::NODE_V4.into(), NODE_PORT);
        let visit = |patience| ask(node.bed.ns("visitor"), Protocol::Tcp, to, patience);
        mode.program(ns);
        drop_by_policy(ns, mode, Family::V4, "FORWARD");
        mode.restore(ns, Family::V4, "*filter\n-A FORWARD -j DROP\nCOMMIT\n");
        assert!(visit(ANSWER).server().is_some(), "kube-proxy accepts it");
        let weir = node.start();
        node.wait_until_logged("took over from kube-proxy");
        node.wait_until_logged("chain FORWARD of table ");
        assert_eq!(visit(SILENCE), Outcome::Silent, "the policy holds");
        let log = node.log();
        let warning = log.lines().find(|line| line.contains("chain FORWARD of table "));
        let quoted = warning.expect("waited for").split('`').skip(1).step_by(2);
        for command in quoted {
            ns.cmd("env", [&format!("XTABLES_LOCKFILE={LOCK_FILE}"), "sh", "-c", command]);
        }
        assert!(visit(ANSWER).server().is_some(), "{log}");
        assert_eq!(log.matches("has policy DROP").count(), 1, "{log}");
        assert!(weir.terminate(LIMIT).success(), "{}", node.log());
    }
}
