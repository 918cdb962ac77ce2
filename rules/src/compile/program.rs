//! The constant part of a table: declarations of sets and maps, base chains, and the chains that every packet
//! traverses. It depends on the settings and not on the Services.
//!
//! Hook priorities, the mark and what each hook checks are kube-proxy's
//! (pkg/proxy/nftables/proxier.go: setupNFTables): other software on the node lives with them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{detect, names};
use crate::cluster::{Cluster, Family};
use crate::config::{Config, NodePortAddresses};
use crate::nft::{
    BaseChain, Chain, ChainKind, Data, Element, Elements, Hook, MarkOp, Name, RawKey, RawValue,
    Rule, Selector, Set, SetData, SetSpec, Statement, Table, Verdict, slot_selector,
};

/// `NF_IP_PRI_NAT_DST` of linux/netfilter_ipv4.h.
const PRIORITY_DSTNAT: i32 = -100;
/// Just before that, while a packet still has its original destination.
const PRIORITY_PRE_DNAT: i32 = PRIORITY_DSTNAT - 10;
/// `NF_IP_PRI_FILTER`.
pub(super) const PRIORITY_FILTER: i32 = 0;
/// `NF_IP_PRI_NAT_SRC`.
const PRIORITY_SRCNAT: i32 = 100;

/// Marks a packet for masquerade and comes back.
pub(super) const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";
/// Refuses a packet.
pub(super) const REJECT: &str = "reject-chain";

const SERVICES_CHAIN: &str = "services";
const SERVICE_ENDPOINTS_CHECK: &str = "service-endpoints-check";
const NODEPORT_ENDPOINTS_CHECK: &str = "nodeport-endpoints-check";
const FIREWALL_CHECK: &str = "firewall-check";
/// Drops sources outside loadBalancerSourceRanges.
pub(super) const FIREWALL_DROP: &str = "firewall-drop";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";
const UNALLOCATED_CHECK: &str = "unallocated-check";
const MASQUERADE_MARKED: &str = "masquerade-marked";

/// A virtual address: the key of `services`.
pub(super) const VIRTUAL_ADDRESS: [Selector; 3] =
    [Selector::Daddr, Selector::L4proto, Selector::Dport];
/// A node port: the key of `nodeports`.
pub(super) const NODE_PORT: [Selector; 2] = [Selector::L4proto, Selector::Dport];
/// What dnat takes: the data of the endpoint maps.
pub(super) const ENDPOINT: [Selector; 2] = [Selector::Daddr, Selector::Dport];

/// The table without any Service.
pub(super) fn table(family: Family, cluster: &Cluster, config: &Config) -> Table {
    let mut table = Table {
        comment: Some("Kubernetes Services; managed by weir, foreign changes are reverted".into()),
        ..Table::default()
    };
    add_sets(&mut table);
    fill_networks(&mut table, family, cluster, config);
    add_nat_chains(&mut table, config);
    add_filter_chains(&mut table);
    table
}

fn add_sets(table: &mut Table) {
    let set = |key: &[Selector]| SetSpec::new(key.to_vec(), SetData::Nothing);
    let verdicts = |key: &[Selector]| SetSpec::new(key.to_vec(), SetData::Verdict);
    let values = |key: &[Selector]| SetSpec::new(key.to_vec(), SetData::Values(ENDPOINT.into()));
    let slotted = |key: &[Selector]| [key, &[slot_selector()]].concat();
    let hairpin = [Selector::Saddr, Selector::Daddr, Selector::L4proto, Selector::Dport];

    let specs = [
        (names::CLUSTER_IPS, set(&[Selector::Daddr]).comment("ClusterIPs in use")),
        (names::CLUSTER_CIDRS, set(&[Selector::Saddr]).interval().comment("Pod networks")),
        (names::SERVICE_CIDRS, set(&[Selector::Daddr]).interval().comment("ClusterIP networks")),
        (
            names::NODEPORT_ADDRESSES,
            set(&[Selector::Daddr]).interval().comment("addresses that serve node ports"),
        ),
        (
            names::HAIRPIN_CONNECTIONS,
            set(&hairpin).comment("hairpin: from a local endpoint to itself"),
        ),
        (
            names::SERVICES,
            verdicts(&VIRTUAL_ADDRESS).counter().comment("virtual addresses; counts connections"),
        ),
        (
            names::ENDPOINTS,
            values(&slotted(&VIRTUAL_ADDRESS)).comment("virtual address and slot to endpoint"),
        ),
        (
            names::NODEPORTS,
            verdicts(&NODE_PORT).counter().comment("node ports; counts connections"),
        ),
        (
            names::NODEPORT_ENDPOINTS,
            values(&slotted(&NODE_PORT)).comment("node port and slot to endpoint"),
        ),
        (
            names::NO_ENDPOINT_SERVICES,
            verdicts(&VIRTUAL_ADDRESS).comment("virtual addresses without endpoints"),
        ),
        (
            names::NO_ENDPOINT_NODEPORTS,
            verdicts(&NODE_PORT).comment("node ports without endpoints"),
        ),
        (
            names::FIREWALL_IPS,
            verdicts(&VIRTUAL_ADDRESS)
                .comment("load-balancer addresses with loadBalancerSourceRanges"),
        ),
        (
            names::NODEPORTS_IN_USE,
            verdicts(&NODE_PORT)
                .comment("node ports in use; source ranges of other Services do not apply"),
        ),
    ];
    table.sets.extend(specs.map(|(name, spec)| (Name::from(name), Set::new(spec))));
}

fn fill_networks(table: &mut Table, family: Family, cluster: &Cluster, config: &Config) {
    let sets = [
        (names::CLUSTER_CIDRS, of_family(detect::pod_networks(cluster, config), family)),
        (names::SERVICE_CIDRS, of_family(&service_networks(cluster, config), family)),
        (names::NODEPORT_ADDRESSES, node_port_networks(family, cluster, config)),
    ];
    for (name, networks) in sets {
        table.sets.get_mut(name).expect("`add_sets` declares these sets").elements =
            intervals(&networks);
    }
}

/// Networks of ClusterIPs. Where such a network holds one of Pods, the smaller one decides what an
/// address is, as in a routing table: else nobody could reach these Pods.
fn service_networks(cluster: &Cluster, config: &Config) -> Vec<IpNet> {
    let of_node = cluster.node.as_ref().map_or(&[][..], |node| &node.pod_cidrs);
    let pods = [detect::pod_networks(cluster, config), of_node].concat();
    let services = cluster.service_cidrs.iter().chain(&config.service_cidrs);
    services
        .flat_map(|service| {
            let is_within = |pods: &&IpNet| service.contains(*pods) && *pods != service;
            without(
                service.trunc(),
                &pods.iter().filter(is_within).map(IpNet::trunc).collect::<Vec<_>>(),
            )
        })
        .collect()
}

/// A network without others that it holds, as networks: it is halved until each half is in one of them
/// or apart from all.
fn without(network: IpNet, others: &[IpNet]) -> Vec<IpNet> {
    let within: Vec<IpNet> = others.iter().copied().filter(|it| network.contains(it)).collect();
    if within.is_empty() {
        return vec![network];
    }
    if within.contains(&network) {
        return Vec::new();
    }
    let halves = network
        .subnets(network.prefix_len() + 1)
        .expect("a network with another one inside can be halved");
    halves.flat_map(|half| without(half, &within)).collect()
}

fn of_family(networks: &[IpNet], family: Family) -> Vec<IpNet> {
    networks.iter().copied().filter(|net| Family::of_net(net) == family).collect()
}

/// Networks at whose local addresses node ports are served.
pub(crate) fn node_port_networks(family: Family, cluster: &Cluster, config: &Config) -> Vec<IpNet> {
    match &config.node_port_addresses {
        // Not known is closed, where kube-proxy's empty list means all addresses.
        NodePortAddresses::Primary => {
            let address = config.primary_address(cluster.node.as_ref(), family);
            address.map(IpNet::from).into_iter().collect()
        }
        NodePortAddresses::Cidrs(networks) => match of_family(networks, family) {
            none if none.is_empty() => vec![match family {
                Family::Ipv4 => Ipv4Net::default().into(),
                Family::Ipv6 => Ipv6Net::default().into(),
            }],
            some => some,
        },
    }
}

/// Elements of an interval set: no two ranges may overlap, so networks within others go.
pub(super) fn intervals(networks: &[IpNet]) -> Elements {
    let key = |address| RawKey::new().address(address);
    let end = |address| RawValue::new().address(address);
    IpNet::aggregate(&networks.to_vec())
        .into_iter()
        .map(|net| (key(net.network()), Element::new(Data::RangeEnd(end(net.broadcast())))))
        .collect()
}

/// The path of a new connection: find its Service, choose an endpoint; on the way out, masquerade
/// what was marked or would come back to its sender.
fn add_nat_chains(table: &mut Table, config: &Config) {
    let mark = 1u32 << config.masquerade_bit;
    let to_services = || vec![Rule::new([jump(SERVICES_CHAIN)])];
    add_base(
        table,
        "nat-prerouting",
        ChainKind::Nat,
        Hook::Prerouting,
        PRIORITY_DSTNAT,
        "incoming connections to Services",
        to_services(),
    );
    add_base(
        table,
        "nat-output",
        ChainKind::Nat,
        Hook::Output,
        PRIORITY_DSTNAT,
        "the node's own connections to Services",
        to_services(),
    );

    let mut services = Vec::new();
    services.extend(masquerade_to_cluster_ips(table, config));
    // Before other addresses: nobody's externalIPs take a node port at an address of the node, also where
    // nobody answers there, for which the map has `return`.
    services.push(at_node_port([verdict_map(&NODE_PORT, names::NODEPORTS)]));
    services.push(Rule::new([verdict_map(&VIRTUAL_ADDRESS, names::SERVICES)]));
    add_chain(table, SERVICES_CHAIN, "finds the Service of a new connection", services);
    add_chain(
        table,
        MARK_FOR_MASQUERADE,
        "marks for masquerade in nat-postrouting",
        vec![Rule::new([Statement::SetMark(MarkOp::Or, mark)])],
    );

    let postrouting = vec![
        Rule::new([Statement::MarkHas(mark), goto(MASQUERADE_MARKED)]),
        Rule::new([
            Statement::CtStatusDnat,
            in_set(
                &[Selector::Saddr, Selector::Daddr, Selector::L4proto, Selector::Dport],
                names::HAIRPIN_CONNECTIONS,
            ),
            Statement::Masquerade,
        ]),
    ];
    add_base(
        table,
        "nat-postrouting",
        ChainKind::Nat,
        Hook::Postrouting,
        PRIORITY_SRCNAT,
        "masquerades marked and hairpin connections",
        postrouting,
    );
    // The mark is taken off so that the packet is not masqueraded once more when it passes
    // another stack of this host, such as a tunnel's.
    let masquerade = vec![
        Rule::new([Statement::SetMark(MarkOp::Xor, mark)]),
        Rule::new([Statement::Masquerade]),
    ];
    add_chain(table, MASQUERADE_MARKED, "clears the mark and masquerades", masquerade);
}

/// A Pod elsewhere could not answer a client outside the Pod network by way of this node, unless
/// it sees this node as the source.
fn masquerade_to_cluster_ips(table: &Table, config: &Config) -> Option<Rule> {
    let to_cluster_ip = in_set(&[Selector::Daddr], names::CLUSTER_IPS);
    if config.masquerade_all {
        return Some(Rule::new([to_cluster_ip, jump(MARK_FOR_MASQUERADE)]));
    }
    // The source first: it is the cheaper lookup and most connections come from Pods.
    let off_cluster = detect::is_from_pod(table, config, true)?;
    Some(Rule::new([off_cluster, to_cluster_ip, jump(MARK_FOR_MASQUERADE)]))
}

/// What must not be forwarded or answered by anybody else: virtual addresses without endpoints,
/// unused ports and addresses of the Service networks. Rejection is only possible in filter hooks.
fn add_filter_chains(table: &mut Table) {
    let check = |chain: &str| Rule::new([Statement::CtStateNew, jump(chain)]);
    let pre_dnat = [
        ("filter-prerouting-pre-dnat", Hook::Prerouting),
        ("filter-output-pre-dnat", Hook::Output),
    ];
    for (name, hook) in pre_dnat {
        let rules = vec![check(FIREWALL_CHECK)];
        add_base(
            table,
            name,
            ChainKind::Filter,
            hook,
            PRIORITY_PRE_DNAT,
            "source ranges, checked before DNAT",
            rules,
        );
    }
    add_chain(
        table,
        FIREWALL_CHECK,
        "checks loadBalancerSourceRanges",
        vec![Rule::new([verdict_map(&VIRTUAL_ADDRESS, names::FIREWALL_IPS)])],
    );
    // A load balancer's address may be the node's own, and there a node port comes first: it is
    // asked for last, as only of those that are not allowed.
    add_chain(
        table,
        FIREWALL_DROP,
        "drops sources outside loadBalancerSourceRanges",
        vec![
            at_node_port([verdict_map(&NODE_PORT, names::NODEPORTS_IN_USE)]),
            Rule::new([Statement::Verdict(Verdict::Drop)]),
        ],
    );
    let hooks = [
        ("filter-input", Hook::Input, &[NODEPORT_ENDPOINTS_CHECK, SERVICE_ENDPOINTS_CHECK][..]),
        ("filter-forward", Hook::Forward, &[SERVICE_ENDPOINTS_CHECK, CLUSTER_IPS_CHECK]),
        (
            "filter-output",
            Hook::Output,
            &[NODEPORT_ENDPOINTS_CHECK, SERVICE_ENDPOINTS_CHECK, CLUSTER_IPS_CHECK],
        ),
    ];
    for (name, hook, checks) in hooks {
        let rules = checks.iter().map(|chain| check(chain)).collect();
        add_base(
            table,
            name,
            ChainKind::Filter,
            hook,
            PRIORITY_FILTER,
            "rejects or drops connections that no endpoint serves",
            rules,
        );
    }
    // What a Service has translated has met its Service: the endpoint's address says nothing, even if
    // somebody without endpoints has it among their externalIPs.
    let is_on_its_way =
        || Rule::new([Statement::CtStatusDnat, Statement::Verdict(Verdict::Return)]);
    add_chain(
        table,
        SERVICE_ENDPOINTS_CHECK,
        "rejects virtual addresses without endpoints",
        vec![
            is_on_its_way(),
            Rule::new([verdict_map(&VIRTUAL_ADDRESS, names::NO_ENDPOINT_SERVICES)]),
        ],
    );
    add_chain(
        table,
        NODEPORT_ENDPOINTS_CHECK,
        "rejects node ports without endpoints",
        vec![
            is_on_its_way(),
            at_node_port([verdict_map(&NODE_PORT, names::NO_ENDPOINT_NODEPORTS)]),
        ],
    );
    // A ClusterIP in use is also within the Service networks, so the order matters.
    let cluster_ips = vec![
        Rule::new([in_set(&[Selector::Daddr], names::CLUSTER_IPS), Statement::Reject])
            .comment("unused port of a ClusterIP"),
        Rule::new([in_set(&[Selector::Daddr], names::SERVICE_CIDRS), goto(UNALLOCATED_CHECK)]),
    ];
    add_chain(
        table,
        CLUSTER_IPS_CHECK,
        "rejects unused ports of ClusterIPs, drops unallocated ones",
        cluster_ips,
    );
    // A network of ClusterIPs may be as large as somebody likes. What a Service has taken is on its way
    // to an endpoint, and what the node has itself needs no Service.
    let verdict = |verdict| Statement::Verdict(verdict);
    let unallocated = vec![
        Rule::new([Statement::CtStatusDnat, verdict(Verdict::Return)]),
        Rule::new([Statement::DestinationIsLocal, verdict(Verdict::Return)]),
        Rule::new([verdict(Verdict::Drop)]).comment("unallocated ClusterIP"),
    ];
    add_chain(table, UNALLOCATED_CHECK, "drops unallocated ClusterIPs", unallocated);
    add_chain(table, REJECT, "rejects", vec![Rule::new([Statement::Reject])]);
}

/// What happens at the addresses at which this node serves node ports: those of the node's own that are
/// no ClusterIPs. Loopback never does (kube-proxy: its nftables mode has no localhost node ports). The
/// set comes first: it spares packets to elsewhere the route lookup.
fn at_node_port(then: impl IntoIterator<Item = Statement>) -> Rule {
    let destination = [
        in_set(&[Selector::Daddr], names::NODEPORT_ADDRESSES),
        not_in_set(&[Selector::Daddr], names::CLUSTER_IPS),
        Statement::DestinationIsNotLoopback,
        Statement::DestinationIsLocal,
    ];
    Rule::new(destination.into_iter().chain(then).collect::<Vec<_>>())
}

pub(super) fn add_base(
    table: &mut Table,
    name: &str,
    kind: ChainKind,
    hook: Hook,
    priority: i32,
    comment: &str,
    rules: Vec<Rule>,
) {
    let base = Some(BaseChain { kind, hook, priority, drop: false });
    let comment = Some(comment.to_owned());
    table.chains.insert(Name::from(name), Chain { base, comment, rules });
}

pub(super) fn add_chain(table: &mut Table, name: &str, comment: &str, rules: Vec<Rule>) {
    let chain = Chain { base: None, comment: Some(comment.to_owned()), rules };
    table.chains.insert(Name::from(name), chain);
}

fn in_set(key: &[Selector], set: &str) -> Statement {
    Statement::InSet { key: key.to_vec(), set: Name::from(set), negated: false }
}

fn not_in_set(key: &[Selector], set: &str) -> Statement {
    Statement::InSet { key: key.to_vec(), set: Name::from(set), negated: true }
}

pub(super) fn verdict_map(key: &[Selector], map: &str) -> Statement {
    Statement::VerdictMap { key: key.to_vec(), map: Name::from(map) }
}

pub(super) fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(Name::from(chain)))
}

pub(super) fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(Name::from(chain)))
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
