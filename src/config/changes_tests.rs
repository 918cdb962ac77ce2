//! The effect of a changed file.

use super::*;
use crate::config::testing::decoded;

/// What changes from one to the other, as lines.
fn told(old: &str, new: &str) -> Vec<String> {
    changes(&decoded(old), &decoded(new)).iter().map(Change::to_string).collect()
}

#[test]
fn what_the_rules_are_made_of_applies_live() {
    assert_eq!(
        told(
            "mode: nftables",
            "{mode: nftables, clusterCIDR: 10.0.0.0/8, nodePortAddresses: [10.0.0.0/8], \
              nftables: {masqueradeAll: true, minSyncPeriod: 2s}, detectLocalMode: NodeCIDR, \
              logging: {verbosity: 4}, conntrack: {min: 1}, oomScoreAdj: 0}",
        ),
        [
            "clusterCIDR: applied",
            "conntrack.min: applied",
            "detectLocalMode: applied",
            "logging.verbosity: applied",
            "nftables.masqueradeAll: applied",
            "nftables.minSyncPeriod: applied",
            "nodePortAddresses: applied",
            "oomScoreAdj: applied",
        ]
    );
}

#[test]
fn what_is_fixed_at_the_start_needs_a_restart_and_says_why() {
    assert_eq!(
        told(
            "",
            "{hostnameOverride: other, clientConnection: {kubeconfig: /other, qps: 50}, \
              healthzBindAddress: 192.0.2.1, metricsBindAddress: 192.0.2.1}",
        ),
        [
            "clientConnection.kubeconfig: needs a restart: the API server's client is made at the \
             start",
            "clientConnection.qps: needs a restart: the API server's client is made at the start",
            "healthzBindAddress: needs a restart: its socket is bound at the start",
            "hostnameOverride: needs a restart: the Node that is watched is chosen at the start",
            "metricsBindAddress: needs a restart: its socket is bound at the start",
        ]
    );
    // Another family's defaults move the servers.
    assert_eq!(
        told("", "bindAddress: '::'"),
        [
            "bindAddress: applied",
            "healthzBindAddress: needs a restart: its socket is bound at the start",
            "metricsBindAddress: needs a restart: its socket is bound at the start",
        ]
    );
}

#[test]
fn a_section_counts_in_its_mode_only() {
    let sections = [
        ("iptables: {masqueradeBit: 3}", vec!["\"\"", "iptables", "ipvs"]),
        ("iptables: {masqueradeAll: true}", vec!["\"\"", "iptables", "ipvs"]),
        ("iptables: {syncPeriod: 3s}", vec!["\"\"", "iptables"]),
        ("ipvs: {syncPeriod: 3s}", vec!["ipvs"]),
        ("nftables: {masqueradeBit: 3}", vec!["nftables"]),
        ("nftables: {syncPeriod: 3s}", vec!["nftables"]),
    ];
    for (fields, modes) in sections {
        for mode in ["\"\"", "iptables", "ipvs", "nftables"] {
            let old = decoded(&format!("mode: {mode}"));
            let new = decoded(&format!("mode: {mode}\n{fields}"));
            let [change] = &changes(&old, &new)[..] else { panic!("{mode}: {fields}") };
            let is_live = change.effect == ChangeEffect::Live;
            assert_eq!(is_live, modes.contains(&mode), "{mode}: {fields}");
            assert!(is_live || change.effect == ChangeEffect::Ignored(OF_ANOTHER_MODE), "{change}");
        }
    }
}

#[test]
fn an_equal_configuration_has_no_changes() {
    assert_eq!(told("iptables: {syncPeriod: 30s}", "iptables: {syncPeriod: 0s}"), [""; 0]);
}

/// The fields' paths of a configuration in which every field is given.
fn all_fields() -> Vec<String> {
    let given = decoded(include_str!("testdata/every-field.yaml"));
    let fields = changes(&KubeProxyConfiguration::default(), &given);
    fields.into_iter().map(|change| change.field).collect()
}

#[test]
fn the_effect_of_every_field_is_known() {
    let any = KubeProxyConfiguration::defaulted();
    for field in all_fields() {
        let is_type = ["apiVersion", "kind"].contains(&field.as_str());
        assert!(is_type || known_effect(&field, &any, &any).is_some(), "{field}");
    }
}

/// docs/configuration.md has a line for every field, and says of it what the code does.
#[test]
fn the_documentation_tells_every_field_and_its_effect() {
    let document = include_str!("../../docs/configuration.md");
    let any = KubeProxyConfiguration::defaulted();
    let mut modes = [any.clone(), any.clone(), any];
    ["iptables", "ipvs", "nftables"]
        .into_iter()
        .zip(&mut modes)
        .for_each(|(mode, c)| c.mode = mode.into());
    for field in all_fields() {
        let row = format!("| `{field}` |");
        let Some(line) = document.lines().find(|line| line.starts_with(&row)) else {
            panic!("{field} is missing")
        };
        if ["apiVersion", "kind"].contains(&field.as_str()) {
            continue;
        }
        let effects: Vec<ChangeEffect> =
            modes.iter().filter_map(|c| known_effect(&field, c, c)).collect();
        let word = match effects.iter().find(|effect| !matches!(effect, ChangeEffect::Ignored(_))) {
            Some(ChangeEffect::Live) => "live",
            Some(ChangeEffect::Restart(_)) => "restart",
            _ => "no effect",
        };
        assert!(line.ends_with(&format!("| {word} |")), "{field}: {word}\n{line}");
    }
}
