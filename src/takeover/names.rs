//! The names that kube-proxy gives to what it leaves on a node, in modes nftables, iptables and ipvs of all
//! versions since 1.13. Other names belong to other software, such as the kubelet's KUBE-FIREWALL,
//! KUBE-MARK-DROP, KUBE-KUBELET-CANARY and KUBE-IPTABLES-HINT.

/// The table of nftables mode, in families ip and ip6 (pkg/proxy/nftables/proxier.go).
pub(super) const NFT_TABLE: &str = "kube-proxy";

/// The tables of iptables in which the other modes have chains.
pub(super) const IPTABLES_TABLES: [&str; 3] = ["nat", "filter", "mangle"];

/// The interface that holds the virtual addresses in ipvs mode (pkg/proxy/ipvs/proxier.go).
pub(super) const IPVS_INTERFACE: &str = "kube-ipvs0";

/// A chain that does nothing but ask for masquerade. Other software is documented to use it: the
/// CNI plugin `portmap` may (its option `externalSetMarkChain`).
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";

/// Chains with one name (`iptablesJumpChains` and `cleanupLeftoversForFamily` of pkg/proxy/iptables,
/// `iptablesCleanupChains` of pkg/proxy/ipvs). KUBE-FIREWALL of table nat was ipvs mode's; the
/// kubelet's is in filter.
const CHAINS: [(&str, &[&str]); 3] = [
    (
        "nat",
        &[
            "KUBE-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-POSTROUTING",
            MARK_MASQ,
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
            "KUBE-FIREWALL",
            "KUBE-PROXY-CANARY",
        ],
    ),
    (
        "filter",
        &[
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-FORWARD",
            "KUBE-PROXY-FIREWALL",
            "KUBE-NODE-PORT",
            "KUBE-SOURCE-RANGES-FIREWALL",
            "KUBE-IPVS-FILTER",
            "KUBE-IPVS-OUT-FILTER",
            "KUBE-PROXY-CANARY",
        ],
    ),
    ("mangle", &["KUBE-PROXY-CANARY"]),
];

/// The built-in chains in which kube-proxy has rules that lead to its own (`iptablesJumpChains` of
/// pkg/proxy/iptables, `iptablesJumpChain` of pkg/proxy/ipvs).
pub(super) const NAT_ENTRANCES: [&str; 3] = ["PREROUTING", "OUTPUT", "POSTROUTING"];
/// The same of table filter. Table mangle has none.
pub(super) const FILTER_ENTRANCES: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// How the names of chains for Services and endpoints begin, in table nat (`isServiceChainName` of
/// pkg/proxy/iptables/proxier.go). A hash of 16 characters follows.
const SERVICE_CHAINS: [&str; 6] =
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-"];

/// The sets of ipvs mode (`ipsetInfo` of pkg/proxy/ipvs/proxier.go), for IPv4.
const SETS: [&str; 16] = [
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-LOAD-BALANCER",
    "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    "KUBE-NODE-PORT-TCP",
    "KUBE-NODE-PORT-LOCAL-TCP",
    "KUBE-NODE-PORT-UDP",
    "KUBE-NODE-PORT-LOCAL-UDP",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-HEALTH-CHECK-NODE-PORT",
];

/// The longest name of an ipset: `IPSET_MAXNAMELEN` of linux/netfilter/ipset/ip_set.h, less the
/// zero.
const SET_NAME_BYTES: usize = 31;

/// Whether a chain in this table of iptables is kube-proxy's.
pub(super) fn is_chain(table: &str, chain: &str) -> bool {
    let is_listed = CHAINS.iter().any(|(name, chains)| *name == table && chains.contains(&chain));
    is_listed || table == "nat" && SERVICE_CHAINS.iter().any(|prefix| chain.starts_with(prefix))
}

/// Whether kube-proxy may have rules that lead to its chains in this one.
pub(super) fn is_entrance(table: &str, chain: &str) -> bool {
    match table {
        "nat" => NAT_ENTRANCES.contains(&chain),
        "filter" => FILTER_ENTRANCES.contains(&chain),
        _ => false,
    }
}

/// Whether a rule with this comment, from a built-in chain to one of kube-proxy's, is kube-proxy's:
/// `kubernetes service portals` and the like, and in ipvs mode `kube-proxy firewall rules`.
pub(super) fn is_comment(comment: &str) -> bool {
    comment.starts_with("kubernetes ") || comment.starts_with("kube-proxy ")
}

/// The sets of ipvs mode for both families. Those for IPv6 are `KUBE-6-…`, cut to the length that a
/// name may have.
pub(super) fn sets() -> impl Iterator<Item = String> {
    SETS.iter().flat_map(|name| {
        let mut v6 = name.replacen("KUBE-", "KUBE-6-", 1);
        v6.truncate(SET_NAME_BYTES);
        [(*name).to_owned(), v6]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_the_kubelet_and_of_others_are_not_kube_proxys() {
        let not_ours = [
            ("filter", "KUBE-FIREWALL"),
            ("nat", "KUBE-MARK-DROP"),
            ("nat", "KUBE-KUBELET-CANARY"),
            ("mangle", "KUBE-KUBELET-CANARY"),
            ("mangle", "KUBE-IPTABLES-HINT"),
            ("filter", "KUBE-SVC-TCOU7JCQXEZGVUNU"),
            ("filter", "KUBE-ROUTER-FORWARD"),
            ("filter", "KUBE-POD-FW-ABCDEF"),
            ("raw", "KUBE-SERVICES"),
            ("nat", "PREROUTING"),
        ];
        for (table, chain) in not_ours {
            assert!(!is_chain(table, chain), "{table} {chain}");
        }
        for (table, chain) in [("nat", "KUBE-SEP-X"), ("filter", "KUBE-FORWARD")] {
            assert!(is_chain(table, chain), "{table} {chain}");
        }
    }

    #[test]
    fn names_of_sets_are_as_long_as_the_kernel_allows() {
        let sets: Vec<String> = sets().collect();
        assert_eq!(sets.len(), 32);
        assert!(sets.iter().all(|name| name.len() <= SET_NAME_BYTES), "{sets:?}");
        assert!(sets.contains(&"KUBE-6-LOAD-BALANCER-SOURCE-CID".to_owned()), "{sets:?}");
    }
}
