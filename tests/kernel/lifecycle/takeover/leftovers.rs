//! What a take-over removes and what it leaves.

use std::process::Command;
use std::thread;

use weir_testbed::{Family, Netns, tool};

use super::kube_proxy::{LOCK_FILE, Mode, nftables, others};
use super::node::{LIMIT, Node, service, slice};
use crate::common::weir;
use crate::listing::output;

const CLEAN: [&str; 2] = ["cleanup", "--kube-proxy"];

/// What it prints on standard output and on standard error, if it succeeds.
fn run(ns: &Netns, mut command: Command) -> (String, String) {
    command.env("XTABLES_LOCKFILE", LOCK_FILE);
    let output = output(ns, command);
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

pub(super) fn clean(ns: &Netns) -> (String, String) {
    let mut command = weir();
    command.args(CLEAN);
    run(ns, command)
}

fn load_others(ns: &Netns, mode: Mode) {
    Family::ALL.iter().for_each(|&family| mode.restore(ns, family, &others()));
    ns.nft(
        "table inet other {
           chain pre {
             type filter hook prerouting priority -150
             ip daddr 10.96.0.10 counter comment \"kubernetes service portals\"
           }
         }
         table ip kube-proxy-too {
           set s { type ipv4_addr; elements = { 10.96.0.10 }; }
         }
         table bridge kube-proxy {
           chain c { accept; }
         }",
    );
}

/// All rules that nft and iptables show.
fn everything(ns: &Netns, mode: Mode) -> [String; 2] {
    [ns.cmd("nft", ["list", "ruleset"]), mode.saved(ns)]
}

#[test]
fn what_others_have_is_as_if_kube_proxy_had_never_been_there() {
    for mode in Mode::IPTABLES {
        let [untouched, taken] = ["untouched", "taken"].map(Netns::new);
        for ns in [&untouched, &taken] {
            load_others(ns, mode);
        }
        mode.program(&taken);
        Mode::Nftables.program(&taken);
        assert_ne!(everything(&taken, mode), everything(&untouched, mode), "the test's premise");
        let (said, errors) = clean(&taken);
        assert_eq!(
            (said.as_str(), errors.as_str()),
            (
                "removed what kube-proxy had left: 2 nftables tables, 42 iptables chains, \
                 14 rules that led there\n",
                ""
            )
        );
        for (left, expected) in everything(&taken, mode).iter().zip(everything(&untouched, mode)) {
            assert_eq!(*left, expected, "{mode:?}");
        }
        assert_eq!(clean(&taken), ("nothing to remove\n".to_owned(), String::new()));
    }
}

/// Rules of an administrator's that lead to kube-proxy's chains, from where kube-proxy has rules
/// too, and from elsewhere.
#[test]
fn a_chain_that_others_use_stays_and_is_told() {
    for mode in Mode::IPTABLES {
        let ns = Netns::new("used");
        mode.program(&ns);
        let users = "*nat
:MINE - [0:0]
-A PREROUTING -i lo -m comment --comment mine -j KUBE-SERVICES
-A MINE -j KUBE-MARK-MASQ
COMMIT
";
        mode.restore(&ns, Family::V4, users);
        let (_, errors) = clean(&ns);
        let mut told: Vec<&str> = errors.lines().collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(told.len(), 2, "{errors}");
        assert!(told[0].contains("chain KUBE-SERVICES of table "), "{errors}");
        assert!(told[0].contains("stays, empty, because a rule of chain PREROUTING"), "{errors}");
        assert!(told[1].contains("chain KUBE-MARK-MASQ of table "), "{errors}");
        assert!(told[1].contains("stays, as it was, because a rule of chain MINE"), "{errors}");
        let saved = mode.saved(&ns);
        let left: Vec<&str> =
            saved.lines().filter(|line| line.starts_with("-A") || line.contains("KUBE-")).collect();
        let expected = [
            ":KUBE-SERVICES -",
            ":KUBE-MARK-MASQ -",
            "-A PREROUTING -i lo -m comment --comment mine -j KUBE-SERVICES",
            "-A MINE -j KUBE-MARK-MASQ",
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        ];
        let sorted = |mut lines: Vec<&str>| {
            lines.sort_unstable();
            lines.join("\n")
        };
        assert_eq!(sorted(left), sorted(expected.to_vec()), "{mode:?}");
    }
}

/// As in weir's image.
#[test]
fn without_the_programs_iptables_legacy_is_told_and_iptables_nft_is_cleaned() {
    let ns = Netns::new("bare");
    Mode::IptablesNft.program(&ns);
    Mode::IptablesLegacy.program(&ns);
    let hide = "for program in /usr/sbin/ip*tables*; do
                  mount --bind /dev/null \"$program\"
                done
                exec \"$@\"";
    let mut command = tool("unshare");
    command.args(["--mount", "sh", "-e", "-c", hide, "sh", env!("CARGO_BIN_EXE_weir")]);
    command.args(CLEAN);
    let (said, errors) = run(&ns, command);
    assert!(said.contains("42 iptables chains"), "{said}");
    assert!(!Mode::IptablesNft.saved(&ns).contains("KUBE-"));
    let told: Vec<&str> = errors.lines().collect();
    assert_eq!(told.len(), 2, "{errors}");
    for (line, name) in told.into_iter().zip(["iptables", "ip6tables"]) {
        assert!(line.contains(&format!("weir: {name}-legacy is in use on this node")), "{line}");
        assert!(line.contains(&format!("`{name}-legacy-save`")), "{line}");
    }
}

/// The kernel may have neither IPVS nor interfaces of type dummy: any other will do here.
#[test]
fn ipvs_modes_interface_and_sets_go() {
    let ns = Netns::new("ipvs");
    ns.ip("link add kube-ipvs0 type bridge\nlink add bystander type bridge\n");
    ns.ip("address add 10.96.0.10/32 dev kube-ipvs0\n");
    let create = |name: &str| ns.cmd("ipset", ["create", name, "hash:ip,port"]);
    for name in ["KUBE-CLUSTER-IP", "KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-NODE-PORT-TCP", "MINE"]
    {
        create(name);
    }
    let rules = "*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m set --match-set KUBE-NODE-PORT-TCP dst,dst -j RETURN
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
COMMIT
";
    Mode::IptablesLegacy.restore(&ns, Family::V4, rules);
    let (said, errors) = clean(&ns);
    assert_eq!(
        said,
        "removed what kube-proxy had left: 1 iptables chain, 1 rule that led there, 2 ipsets, \
         1 interface\n"
    );
    assert!(errors.contains("ipset KUBE-NODE-PORT-TCP stays because a rule"), "{errors}");
    assert_eq!(ns.cmd("ipset", ["list", "-name"]), "KUBE-NODE-PORT-TCP\nMINE\n");
    let links = ns.cmd("ip", ["-oneline", "link"]);
    assert!(!links.contains("kube-ipvs0") && links.contains("bystander"), "{links}");
}

#[test]
fn cap_net_admin_is_enough() {
    let ns = Netns::new("capability");
    ns.ip("link add kube-ipvs0 type bridge\n");
    ns.cmd("ipset", ["create", "KUBE-CLUSTER-IP", "hash:ip,port"]);
    Mode::IptablesNft.program(&ns);
    Mode::Nftables.program(&ns);
    let mut command = tool("setpriv");
    command.args(["--bounding-set=-all,+net_admin", env!("CARGO_BIN_EXE_weir")]).args(CLEAN);
    let (said, errors) = run(&ns, command);
    let expected = "removed what kube-proxy had left: 2 nftables tables, 42 iptables chains, \
                    14 rules that led there, 1 ipset, 1 interface\n";
    assert_eq!((said.as_str(), errors.as_str()), (expected, ""));
}

#[test]
fn sets_stay_where_kube_proxy_was_not_in_ipvs_mode() {
    let ns = Netns::new("no-ipvs");
    ns.cmd("ipset", ["create", "KUBE-CLUSTER-IP", "hash:ip,port"]);
    assert_eq!(clean(&ns).0, "nothing to remove\n");
    assert_eq!(ns.cmd("ipset", ["list", "-name"]), "KUBE-CLUSTER-IP\n");
}

#[test]
fn each_way_to_clean_up_removes_its_own() {
    let cases: [(&[&str], bool, bool); 3] = [
        (&["cleanup"], false, true),
        (&["cleanup", "--kube-proxy"], true, false),
        (&["--cleanup"], false, false),
    ];
    for (arguments, is_weir_left, is_kube_proxy_left) in cases {
        let ns = Netns::new("cleanup");
        ns.nft(&nftables(Family::V6));
        ns.nft("table ip weir {}");
        let mut command = weir();
        command.args(arguments);
        run(&ns, command);
        let tables = ns.cmd("nft", ["list", "tables"]);
        let left =
            ["table ip weir\n", "table ip6 kube-proxy\n"].map(|table| tables.contains(table));
        assert_eq!(left, [is_weir_left, is_kube_proxy_left], "{arguments:?}");
    }
}

/// Only who follows an API server is the node's proxy, and only while that knows any Service.
#[test]
fn kube_proxys_rules_stay_until_weir_serves_in_its_place() {
    let node = Node::new();
    Mode::Nftables.program(node.bed.node());
    let manifests = tempfile::tempdir().expect("a folder");
    let endpoints = slice("IPv4", ["10.244.0.2".parse().expect("an address")].into_iter());
    for (name, object) in [("service.json", service()), ("slice.json", endpoints)] {
        std::fs::write(manifests.path().join(name), object.to_string()).expect("a file");
    }
    let path = manifests.path().to_str().expect("it is ASCII");
    let weir = node.spawn(&["run", "--hostname-override=node-a", "--manifests", path]);
    node.wait_until_repaired();
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
    assert!(node.listed().contains("table ip kube-proxy"));

    node.forget_service();
    let weir = node.start();
    node.wait_until_repaired();
    assert!(node.listed().contains("table ip kube-proxy"));
    node.know_service();
    node.wait_until_logged("took over from kube-proxy");
    assert!(!node.listed().contains("table ip kube-proxy"));
    assert!(weir.terminate(LIMIT).success(), "{}", node.log());
}

/// Of two that clean at the same time neither fails.
#[test]
fn what_somebody_else_removes_meanwhile_is_no_error() {
    let ns = Netns::new("race");
    for _ in 0..5 {
        Mode::IptablesNft.program(&ns);
        Mode::Nftables.program(&ns);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| clean(&ns));
            }
        });
        assert_eq!(clean(&ns).0, "nothing to remove\n");
    }
}
