use super::*;
use crate::kernel::foreign_tables::{ForeignRule, Policy};

const PORTALS: Option<&str> = Some("kubernetes service portals");

/// A chain's name and its rules, each a target and a comment.
type Text<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

/// Chains; those without a hyphen in their name are built in.
fn chains(chains: &[Text<'_>]) -> BTreeMap<String, ForeignChain> {
    let chain = |(name, rules): &Text<'_>| {
        let rules = (1..).zip(*rules).map(|(handle, (target, comment))| ForeignRule {
            handle,
            target: Some((*target).to_owned()),
            comment: comment.map(str::to_owned),
        });
        let policy = (!name.contains('-')).then_some(Policy::Accept);
        let chain = ForeignChain { policy, rules: rules.collect() };
        ((*name).to_owned(), chain)
    };
    chains.iter().map(chain).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn kube_proxys_chains_go_with_the_rules_that_lead_to_them() {
    let chains = chains(&[
        ("PREROUTING", &[("CNI-HOSTPORT-DNAT", None), ("KUBE-SERVICES", PORTALS)]),
        ("KUBE-SERVICES", &[("KUBE-SVC-X", Some("default/web cluster IP"))]),
        ("KUBE-SVC-X", &[("KUBE-SEP-Y", None)]),
        ("KUBE-SEP-Y", &[("KUBE-MARK-MASQ", None), ("DNAT", None)]),
        ("KUBE-MARK-MASQ", &[]),
        ("KUBE-MARK-DROP", &[]),
        ("CNI-HOSTPORT-DNAT", &[("DNAT", None)]),
    ]);
    let all = strings(&["KUBE-MARK-MASQ", "KUBE-SEP-Y", "KUBE-SERVICES", "KUBE-SVC-X"]);
    let expected = DeletionPlan {
        jumps: vec![("PREROUTING".to_owned(), 2)],
        empty: all.clone(),
        delete: all,
        kept: vec![],
        unaccepted: vec![],
    };
    assert_eq!(DeletionPlan::new("nat", &chains), expected);
}

/// An administrator's rule has no comment of kube-proxy's, or is in a chain of theirs.
#[test]
fn a_chain_that_others_go_to_is_emptied_and_kept() {
    for (from, comment) in [("OUTPUT", None), ("OUTPUT", Some("mine")), ("MY-OUT", PORTALS)] {
        let chains = chains(&[
            (from, &[("KUBE-SERVICES", comment), ("KUBE-SERVICES", comment)]),
            ("KUBE-SERVICES", &[("KUBE-SVC-X", None)]),
            ("KUBE-SVC-X", &[]),
        ]);
        let expected = DeletionPlan {
            jumps: vec![],
            empty: strings(&["KUBE-SERVICES", "KUBE-SVC-X"]),
            delete: strings(&["KUBE-SVC-X"]),
            kept: vec![ChainInUse { chain: "KUBE-SERVICES".to_owned(), user: from.to_owned() }],
            unaccepted: vec![],
        };
        assert_eq!(DeletionPlan::new("nat", &chains), expected);
    }
}

#[test]
fn an_empty_chain_that_others_go_to_is_nothing_to_do() {
    let chains = chains(&[("MY-OUT", &[("KUBE-SERVICES", None)]), ("KUBE-SERVICES", &[])]);
    let plan = DeletionPlan::new("nat", &chains);
    assert!(plan.is_empty() && plan.kept.len() == 1, "{plan:?}");
}

#[test]
fn others_who_ask_for_masquerade_still_get_it() {
    let chains = chains(&[
        ("CNI-HOSTPORT-SETMARK", &[("KUBE-MARK-MASQ", None)]),
        ("KUBE-MARK-MASQ", &[("MARK", None)]),
        ("KUBE-SEP-Y", &[("KUBE-MARK-MASQ", None)]),
    ]);
    let plan = DeletionPlan::new("nat", &chains);
    assert_eq!((plan.empty, plan.delete), (strings(&["KUBE-SEP-Y"]), strings(&["KUBE-SEP-Y"])));
    assert_eq!(plan.kept.len(), 1);
}

#[test]
fn what_a_policy_drops_without_kube_proxys_chains_is_told() {
    let health: Option<&str> = Some("kubernetes health check service ports");
    let chains = |policy| {
        let mut chains = chains(&[
            ("INPUT", &[("KUBE-NODEPORTS", health), ("KUBE-EXTERNAL-SERVICES", PORTALS)]),
            ("FORWARD", &[("KUBE-FORWARD", None)]),
        ]);
        chains.values_mut().for_each(|chain| chain.policy = Some(policy));
        chains
    };
    assert_eq!(DeletionPlan::new("filter", &chains(Policy::Accept)).unaccepted, []);
    let plan = DeletionPlan::new("filter", &chains(Policy::Drop));
    // The rule in FORWARD is somebody else's, and stays.
    let [told] = plan.unaccepted.as_slice() else { panic!("{plan:?}") };
    let message = told.message("table ip filter", "iptables-nft");
    assert!(message.starts_with("chain INPUT of table ip filter has policy DROP"), "{message}");
}
