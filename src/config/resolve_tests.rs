//! Precedence between file and flags.

use std::time::Duration;

use weir_rules::config::{DetectLocal, NodePortAddresses};

use super::*;
use crate::config::Limits;
use crate::config::Periods;
use crate::config::testing::{KUBEADM, document, flags};

/// Resolves a file with these fields and these flags.
fn with_file(text: &str, line: &[&str]) -> Result<Resolved, ConfigurationError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.conf");
    std::fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    resolve(&flags(&[&[config.as_str()], line].concat()))
}

#[test]
fn kubeadms_daemonset_gets_its_node_its_pods_and_its_api_server() {
    let Resolved { settings, notes, .. } =
        with_file(KUBEADM, &["--hostname-override=Node-1"]).unwrap();
    assert_eq!(settings.rules.node_name, "node-1");
    let pods = ["10.244.0.0/16", "fd00:10:244::/56"].map(|net| net.parse().unwrap());
    assert_eq!(settings.rules.detect_local, DetectLocal::ClusterCidr(pods.into()));
    assert_eq!(settings.rules.node_port_addresses, NodePortAddresses::Cidrs(Vec::new()));
    assert_eq!(settings.rules.masquerade_bit, 14);
    assert!(!settings.rules.masquerade_all);
    assert_eq!(settings.rules.node_ip, None);
    assert_eq!(settings.healthz, Some("0.0.0.0:10256".parse().unwrap()));
    assert_eq!(settings.metrics, Some("127.0.0.1:10249".parse().unwrap()));
    assert_eq!(settings.periods, Periods::default());
    let kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf";
    assert_eq!(settings.client.kubeconfig, Some(kubeconfig.into()));
    assert_eq!(settings.client.limits, Limits { qps: 5.0, burst: 10 });
    assert_eq!(settings.client.master, None);
    assert_eq!(settings.oom_score_adj, -999);
    let conntrack = settings.conntrack;
    assert_eq!((conntrack.max(2), conntrack.max(64)), (Some(131_072), Some(1_048_576)));
    assert_eq!(conntrack.tcp_established_timeout, Some(Duration::from_secs(86_400)));
    assert_eq!(conntrack.tcp_close_wait_timeout, Some(Duration::from_secs(3_600)));
    assert_eq!((conntrack.udp_timeout, conntrack.udp_stream_timeout), (None, None));
    assert_eq!(settings.logging.level(), tracing::Level::INFO);
    assert_eq!(
        notes,
        [
            "mode is not given: weir uses nftables all the same; node ports are served at all of the \
          node's addresses but 127.0.0.1"
        ]
    );
}

#[test]
fn the_mode_that_was_asked_for_chooses_the_section() {
    let fields = "iptables: {masqueradeBit: 3, masqueradeAll: true, syncPeriod: 3s}\n\
                  ipvs: {syncPeriod: 4s, minSyncPeriod: 2s}\n\
                  nftables: {masqueradeBit: 5, syncPeriod: 5s}";
    for (mode, bit, all, sync, node_ports) in [
        ("\"\"", 3, true, 3, NodePortAddresses::Cidrs(Vec::new())),
        ("iptables", 3, true, 3, NodePortAddresses::Cidrs(Vec::new())),
        ("ipvs", 3, true, 4, NodePortAddresses::Cidrs(Vec::new())),
        ("nftables", 5, false, 5, NodePortAddresses::Primary),
    ] {
        let text = document(&format!("mode: {mode}\n{fields}"));
        let Resolved { settings, notes, .. } = with_file(&text, &[]).unwrap();
        assert_eq!(settings.rules.masquerade_bit, bit, "{mode}");
        assert_eq!(settings.rules.masquerade_all, all, "{mode}");
        assert_eq!(settings.periods.sync, Duration::from_secs(sync), "{mode}");
        assert_eq!(settings.rules.node_port_addresses, node_ports, "{mode}");
        let warned = notes.iter().any(|note| note.contains("weir uses nftables all the same"));
        assert_eq!(warned, mode != "nftables", "{mode}");
    }
}

#[test]
fn the_file_counts_but_for_the_flags_that_go_with_it() {
    let text = document(
        "mode: nftables\nhostnameOverride: from-file\nclusterCIDR: 10.1.0.0/16\noomScoreAdj: 1\n\
         healthzBindAddress: 192.0.2.1\nlogging: {verbosity: 1, vmodule: [{filePattern: b}]}",
    );
    let line = [
        "--cluster-cidr=10.2.0.0/16",
        "--oom-score-adj=2",
        "--proxy-mode=ipvs",
        "--healthz-port=0",
        "--masquerade-all",
        "--hostname-override= From-Flag ",
        "-v=4",
        "--vmodule=a=1",
        "--master=https://192.0.2.9",
    ];
    let Resolved { configuration, settings, notes } = with_file(&text, &line).unwrap();
    assert_eq!(configuration.mode, "nftables");
    assert_eq!(configuration.cluster_cidr, "10.1.0.0/16");
    assert_eq!(configuration.oom_score_adj, Some(1));
    assert_eq!(configuration.healthz_bind_address, "192.0.2.1:10256");
    assert!(!settings.rules.masquerade_all);
    assert_eq!(settings.rules.node_name, "from-flag");
    assert_eq!(settings.client.master.as_deref(), Some("https://192.0.2.9"));
    assert_eq!(settings.logging.level(), tracing::Level::DEBUG);
    let patterns: Vec<_> = configuration.logging.vmodule.iter().map(|v| &v.file_pattern).collect();
    assert_eq!(patterns, ["a", "b"]);
    assert!(notes.iter().any(|note| note.contains("because --config is given")), "{notes:?}");

    let obeyed = ["--hostname-override=n", "-v=4", "--master=https://192.0.2.9"];
    let notes = with_file(&text, &obeyed).unwrap().notes;
    assert!(!notes.iter().any(|note| note.contains("because --config is given")), "{notes:?}");
    let name = with_file(&text, &[]).unwrap().settings.rules.node_name;
    assert_eq!(name, "from-file");
}

#[test]
fn deprecated_ports_complete_an_address_or_switch_a_server_off() {
    let healthz = |line: &[&str]| resolve(&flags(line)).unwrap().settings.healthz;
    let address = |text: &str| Some(text.parse().unwrap());
    // As in kube-proxy, whose default address has a port already.
    assert_eq!(healthz(&["--healthz-port=80"]), address("0.0.0.0:10256"));
    let line = ["--healthz-port=80", "--healthz-bind-address=192.0.2.1"];
    assert_eq!(healthz(&line), address("192.0.2.1:80"));
    assert_eq!(healthz(&["--healthz-bind-address=::1"]), address("[::1]:10256"));
    assert_eq!(healthz(&["--healthz-port=0"]), None);
    // kube-proxy's validation wants an address for metrics.
    assert!(resolve(&flags(&["--metrics-port=0"])).is_err());
}

#[test]
fn bind_address_is_the_nodes_address_unless_it_is_any() {
    for (address, node_ip) in [("0.0.0.0", None), ("::", None), ("192.0.2.1", Some("192.0.2.1"))] {
        let settings = resolve(&flags(&["--bind-address", address])).unwrap().settings;
        assert_eq!(settings.rules.node_ip, node_ip.map(|ip| ip.parse().unwrap()), "{address}");
    }
}

#[test]
fn what_does_not_apply_is_accepted_and_said_once() {
    let cases = [
        ("ipvs: {scheduler: rr}", "ipvs: does not apply"),
        ("winkernel: {enableDSR: true}", "winkernel: does not apply"),
        ("windowsRunAsService: true", "windowsRunAsService: does not apply"),
        ("portRange: 1-2", "portRange: does not apply"),
        ("featureGates: {B: true, A: false}", "featureGates: weir has no feature gates: A, B"),
        ("enableProfiling: true", "enableProfiling: does not apply"),
        ("showHiddenMetricsForVersion: '1.35'", "showHiddenMetricsForVersion: does not apply"),
        ("clientConnection: {contentType: application/json}", "clientConnection: content types"),
        ("configSyncPeriod: 1m", "configSyncPeriod: does not apply"),
        ("logging: {vmodule: [{filePattern: a}]}", "logging.vmodule: does not apply"),
        ("logging: {flushFrequency: 1s}", "logging: flushFrequency and options do not apply"),
        ("bindAdress: '::'", "--config: unknown field \"bindAdress\"; ignored"),
    ];
    for (fields, note) in cases {
        let notes = with_file(&document(&format!("mode: nftables\n{fields}")), &[]).unwrap().notes;
        assert!(notes.len() == 1 && notes[0].starts_with(note), "{fields}: {notes:?}");
    }
    assert_eq!(with_file(&document("mode: nftables"), &[]).unwrap().notes, Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let error = |result: Result<Resolved, ConfigurationError>| {
        crate::error::chain(&result.expect_err("refused"))
    };
    let missing = error(resolve(&flags(&["--config=/no/such/file"])));
    assert!(missing.starts_with("cannot read /no/such/file: No such file"), "{missing}");
    let bad = error(with_file(&document("oomScoreAdj: x"), &[]));
    assert!(bad.contains("config.conf: oomScoreAdj: invalid type"), "{bad}");
    let blank = error(resolve(&flags(&["--hostname-override= "])));
    assert_eq!(blank, "empty hostname-override is invalid");
    let both = error(with_file(&document("{oomScoreAdj: 5000, configSyncPeriod: -1s}"), &[]));
    assert_eq!(both.lines().count(), 2, "{both}");
}
