//! Each flag, and the field that it sets.

use serde_json::{Value, json};

use super::*;
use crate::config::testing::flags;

/// The value at a field's path.
fn field(configuration: &KubeProxyConfiguration, path: &str) -> Value {
    let value = serde_json::to_value(configuration).unwrap();
    value.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or(Value::Null)
}

#[test]
fn each_flag_sets_its_field() {
    let cases = [
        ("--feature-gates=A=true,B=false", "featureGates", json!({"A": true, "B": false})),
        ("--kubeconfig=/k", "clientConnection.kubeconfig", json!("/k")),
        (
            "--kube-api-content-type=application/json",
            "clientConnection.contentType",
            json!("application/json"),
        ),
        ("--kube-api-burst=3", "clientConnection.burst", json!(3)),
        ("--kube-api-qps=2.5", "clientConnection.qps", json!(2.5)),
        ("--config-sync-period=1m", "configSyncPeriod", json!("1m0s")),
        ("--bind-address=::1", "bindAddress", json!("::1")),
        ("--bind-address=", "bindAddress", json!("0.0.0.0")),
        ("--healthz-bind-address=192.0.2.1:1", "healthzBindAddress", json!("192.0.2.1:1")),
        ("--metrics-bind-address=[::]:2", "metricsBindAddress", json!("[::]:2")),
        ("--bind-address-hard-fail", "bindAddressHardFail", json!(true)),
        ("--profiling=true", "enableProfiling", json!(true)),
        ("--show-hidden-metrics-for-version=1.35", "showHiddenMetricsForVersion", json!("1.35")),
        ("--proxy-mode=ipvs", "mode", json!("ipvs")),
        ("--iptables-masquerade-bit=0", "iptables.masqueradeBit", json!(0)),
        ("--masquerade-all", "iptables.masqueradeAll", json!(true)),
        ("--iptables-localhost-nodeports=false", "iptables.localhostNodePorts", json!(false)),
        ("--iptables-sync-period=5s", "iptables.syncPeriod", json!("5s")),
        ("--iptables-min-sync-period=0", "iptables.minSyncPeriod", json!("0s")),
        ("--ipvs-scheduler=lc", "ipvs.scheduler", json!("lc")),
        (
            "--ipvs-exclude-cidrs=10.0.0.0/8,fd00::/8",
            "ipvs.excludeCIDRs",
            json!(["10.0.0.0/8", "fd00::/8"]),
        ),
        ("--ipvs-strict-arp", "ipvs.strictARP", json!(true)),
        ("--ipvs-tcp-timeout=1s", "ipvs.tcpTimeout", json!("1s")),
        ("--ipvs-tcpfin-timeout=2s", "ipvs.tcpFinTimeout", json!("2s")),
        ("--ipvs-udp-timeout=3s", "ipvs.udpTimeout", json!("3s")),
        ("--detect-local-mode=NodeCIDR", "detectLocalMode", json!("NodeCIDR")),
        ("--pod-bridge-interface=cni0", "detectLocal.bridgeInterface", json!("cni0")),
        ("--pod-interface-name-prefix=veth", "detectLocal.interfaceNamePrefix", json!("veth")),
        ("--cluster-cidr=10.0.0.0/8,fd00::/8", "clusterCIDR", json!("10.0.0.0/8,fd00::/8")),
        ("--nodeport-addresses=primary", "nodePortAddresses", json!(["primary"])),
        ("--nodeport-addresses=", "nodePortAddresses", json!([])),
        ("--oom-score-adj=-7", "oomScoreAdj", json!(-7)),
        ("--conntrack-max-per-core=0", "conntrack.maxPerCore", json!(0)),
        ("--conntrack-min=1", "conntrack.min", json!(1)),
        (
            "--conntrack-tcp-timeout-established=2h",
            "conntrack.tcpEstablishedTimeout",
            json!("2h0m0s"),
        ),
        ("--conntrack-tcp-timeout-close-wait=0s", "conntrack.tcpCloseWaitTimeout", json!("0s")),
        ("--conntrack-tcp-be-liberal=t", "conntrack.tcpBeLiberal", json!(true)),
        ("--conntrack-udp-timeout=30s", "conntrack.udpTimeout", json!("30s")),
        ("--conntrack-udp-timeout-stream=3m", "conntrack.udpStreamTimeout", json!("3m0s")),
        ("-v=4", "logging.verbosity", json!(4)),
        ("-v5", "logging.verbosity", json!(5)),
        ("--v=6", "logging.verbosity", json!(6)),
        ("--vmodule=a=1", "logging.vmodule", json!([{"filePattern": "a", "verbosity": 1}])),
        ("--logging-format=json", "logging.format", json!("json")),
        ("--log-flush-frequency=1s", "logging.flushFrequency", json!("1s")),
        ("--log-text-split-stream", "logging.options.text.splitStream", json!(true)),
        ("--log-text-info-buffer-size=1Ki", "logging.options.text.infoBufferSize", json!("1Ki")),
        ("--log-json-split-stream", "logging.options.json.splitStream", json!(true)),
        ("--log-json-info-buffer-size=2M", "logging.options.json.infoBufferSize", json!("2M")),
        // As pflag takes them.
        ("--oom_score_adj=5", "oomScoreAdj", json!(5)),
    ];
    let default = flags(&[]).configuration();
    assert_eq!(default, KubeProxyConfiguration::defaulted(), "no flag, no difference");
    for (flag, path, value) in cases {
        let configuration = flags(&[flag]).configuration();
        assert_eq!(field(&configuration, path), value, "{flag}");
    }
}

#[test]
fn flags_that_set_no_field_are_read() {
    let read = flags(&[
        "--config=/c",
        "--write-config-to",
        "/w",
        "--cleanup",
        "--init-only=false",
        "--version",
        "--hostname-override=N",
        "--master=https://192.0.2.1",
        "--healthz-port=1",
        "--metrics-port=0",
        "--boot-id-file=/b",
        "--machine-id-file=/m",
    ]);
    let expected = Flags {
        config: Some("/c".into()),
        write_config_to: Some("/w".into()),
        cleanup: Some(true),
        init_only: Some(false),
        version: Some("true".into()),
        hostname_override: Some("N".into()),
        master: Some("https://192.0.2.1".into()),
        healthz_port: Some(1),
        metrics_port: Some(0),
        boot_id_file: Some("/b".into()),
        machine_id_file: Some("/m".into()),
        ..Flags::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn the_last_of_a_flag_counts_and_lists_grow() {
    let configuration = flags(&[
        "-v=1",
        "-v=2",
        "--oom-score-adj=1",
        "--oom-score-adj=2",
        "--feature-gates=A=true",
        "--feature-gates=A=false,B=true",
        "--nodeport-addresses=10.0.0.0/8",
        "--nodeport-addresses=fd00::/8",
    ])
    .configuration();
    assert_eq!(configuration.logging.verbosity, 2);
    assert_eq!(configuration.oom_score_adj, Some(2));
    assert_eq!(configuration.feature_gates, [("A".into(), false), ("B".into(), true)].into());
    assert_eq!(configuration.node_port_addresses, ["10.0.0.0/8", "fd00::/8"]);
}

#[test]
fn masquerade_all_and_the_periods_go_to_the_mode() {
    let line = [
        "--masquerade-all",
        "--iptables-sync-period=5s",
        "--iptables-min-sync-period=2s",
        "--ipvs-sync-period=7s",
        "--ipvs-min-sync-period=3s",
    ];
    for (mode, section, sync, all) in [
        ("", "iptables", "5s", "iptables"),
        ("iptables", "iptables", "5s", "iptables"),
        ("nftables", "nftables", "5s", "nftables"),
        ("ipvs", "ipvs", "7s", "iptables"),
    ] {
        let mode_flag = format!("--proxy-mode={mode}");
        let configuration = flags(&[&line[..], &[&mode_flag]].concat()).configuration();
        assert_eq!(field(&configuration, &format!("{section}.syncPeriod")), json!(sync), "{mode}");
        assert_eq!(field(&configuration, &format!("{all}.masqueradeAll")), json!(true), "{mode}");
        let others = ["iptables", "ipvs", "nftables"].into_iter().filter(|other| *other != section);
        for other in others {
            let path = format!("{other}.syncPeriod");
            assert_eq!(field(&configuration, &path), json!("30s"), "{mode}: {other}");
        }
    }
}

#[test]
fn values_that_cannot_be_read_are_refused_at_once() {
    for flag in [
        "--bind-address=host",
        "--healthz-bind-address=host:1",
        "--metrics-bind-address=[::]:x",
        "--masquerade-all=maybe",
        "--feature-gates=A",
        "--vmodule=a",
        "--oom-score-adj=low",
        "--conntrack-udp-timeout=30",
        "--log-json-info-buffer-size=big",
        "--no-such-flag",
    ] {
        assert!(Flags::read([flag]).is_err(), "{flag}");
    }
}
