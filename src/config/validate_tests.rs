//! Each rule, violated and just met.

use super::*;
use crate::config::testing::{KUBEADM, decoded};

/// What is said of these fields, without the part of the path that all have.
fn errors(fields: &str) -> Vec<String> {
    let mut configuration = decoded(fields);
    configuration.set_platform_defaults();
    let errors = validate(&configuration);
    let prefix = "KubeProxyConfiguration.";
    errors
        .iter()
        .map(|error| error.to_string())
        .map(|error| error.strip_prefix(prefix).map(str::to_owned).unwrap_or(error))
        .collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_rule_names_its_field_its_value_and_what_is_expected() {
    let cases = [
        (
            "iptables: {masqueradeBit: -1}",
            "KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: -1: \
             must be within the range [0, 31]",
        ),
        (
            "iptables: {masqueradeBit: 32}",
            "KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: 32: \
             must be within the range [0, 31]",
        ),
        (
            "{mode: nftables, nftables: {masqueradeBit: 32}}",
            "KubeProxyNFTablesConfiguration.MasqueradeBit: Invalid value: 32: \
             must be within the range [0, 31]",
        ),
        (
            "{mode: ipvs, ipvs: {tcpTimeout: -1s}}",
            "KubeProxyIPVSConfiguration.TCPTimeout: Invalid value: -1s: \
             must be greater than or equal to 0",
        ),
        (
            "{mode: ipvs, ipvs: {tcpFinTimeout: -1s}}",
            "KubeProxyIPVSConfiguration.TCPFinTimeout: Invalid value: -1s: \
             must be greater than or equal to 0",
        ),
        (
            "{mode: ipvs, ipvs: {udpTimeout: -1s}}",
            "KubeProxyIPVSConfiguration.UDPTimeout: Invalid value: -1s: \
             must be greater than or equal to 0",
        ),
        (
            "{mode: ipvs, ipvs: {excludeCIDRs: [10.0.0.0/8, 10.0.0.1]}}",
            "KubeProxyIPVSConfiguration.ExcludeCidrs[1]: Invalid value: \"10.0.0.1\": \
             must be a valid CIDR",
        ),
        (
            "conntrack: {maxPerCore: -1}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.MaxPerCore: \
             Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "conntrack: {min: -1}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.Min: \
             Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "conntrack: {tcpEstablishedTimeout: -5s}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.TCPEstablishedTimeout: \
             Invalid value: -5s: must be greater than or equal to 0",
        ),
        (
            "conntrack: {tcpCloseWaitTimeout: -5s}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.TCPCloseWaitTimeout: \
             Invalid value: -5s: must be greater than or equal to 0",
        ),
        (
            "conntrack: {udpTimeout: -5s}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.UDPTimeout: \
             Invalid value: -5s: must be greater than or equal to 0",
        ),
        (
            "conntrack: {udpStreamTimeout: -5s}",
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.UDPStreamTimeout: \
             Invalid value: -5s: must be greater than or equal to 0",
        ),
        (
            "oomScoreAdj: -1001",
            "KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: -1001: \
             must be within the range [-1000, 1000]",
        ),
        (
            "oomScoreAdj: 1001",
            "KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 1001: \
             must be within the range [-1000, 1000]",
        ),
        (
            "mode: userspace",
            "Mode.ProxyMode: Invalid value: \"userspace\": must be iptables, ipvs, nftables or \
             blank (blank means the best-available proxy [currently iptables])",
        ),
        (
            "clientConnection: {burst: -1}",
            "ClientConnection.Burst: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("configSyncPeriod: -1s", "ConfigSyncPeriod: Invalid value: -1s: must be greater than 0"),
        (
            "bindAddress: 10.10.12.11:2000",
            "BindAddress: Invalid value: \"10.10.12.11:2000\": \
             not a valid textual representation of an IP address",
        ),
        (
            "healthzBindAddress: host",
            "HealthzBindAddress: Invalid value: \"host\": must be IP:port",
        ),
        (
            "healthzBindAddress: 'host:80'",
            "HealthzBindAddress: Invalid value: \"host\": must be a valid IP",
        ),
        (
            "metricsBindAddress: '0.0.0.0:0'",
            "MetricsBindAddress: Invalid value: \"0\": must be a valid port",
        ),
        (
            "metricsBindAddress: '0.0.0.0:65536'",
            "MetricsBindAddress: Invalid value: \"65536\": must be a valid port",
        ),
        (
            "metricsBindAddress: '[::]:http'",
            "MetricsBindAddress: Invalid value: \"http\": must be a valid port",
        ),
        (
            "portRange: 2000-300",
            "PortRange: Invalid value: \"2000-300\": must be a valid port range (e.g. 300-2000)",
        ),
        (
            "nodePortAddresses: [10.0.0.0/8, here]",
            "NodePortAddresses[1]: Invalid value: \"here\": must be a valid CIDR",
        ),
        (
            "nodePortAddresses: [primary, 10.0.0.0/8]",
            "NodePortAddresses[0]: Invalid value: \"primary\": \
             can't use both 'primary' and CIDRs",
        ),
        (
            "nodePortAddresses: [10.0.0.0/8, primary]",
            "NodePortAddresses[1]: Invalid value: \"primary\": \
             can't use both 'primary' and CIDRs",
        ),
        (
            "showHiddenMetricsForVersion: '1.34'",
            "ShowHiddenMetricsForVersion: Invalid value: \"1.34\": \
             --show-hidden-metrics-for-version must be omitted or have the value '1.35'. Only the \
             previous minor version is allowed",
        ),
        (
            "detectLocalMode: Guess",
            "DetectLocalMode: Unsupported value: \"Guess\": supported values: \"ClusterCIDR\", \
             \"NodeCIDR\", \"BridgeInterface\", \"InterfaceNamePrefix\", \"\"",
        ),
        (
            "{detectLocalMode: BridgeInterface, detectLocal: {interfaceNamePrefix: eth0}}",
            "DetectLocalConfiguration.InterfaceName: Invalid value: \"\": must not be empty",
        ),
        (
            "detectLocalMode: InterfaceNamePrefix",
            "DetectLocalConfiguration.InterfacePrefix: Invalid value: \"\": must not be empty",
        ),
        (
            "{detectLocalMode: InterfaceNamePrefix, detectLocal: {interfaceNamePrefix: veth*}}",
            "DetectLocalConfiguration.InterfacePrefix: Invalid value: \"veth*\": must have 1 to 15 \
             characters, without spaces, '/', '*', '\\' and quotes",
        ),
        (
            "clusterCIDR: 10.0.0.1",
            "DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: \"10.0.0.1\": must be a \
             valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)",
        ),
        (
            "clusterCIDR: '10.0.0.0/16,10.1.0.0/16'",
            "DetectLocalConfiguration.ClusterCIDRs: Invalid value: \
             [\"10.0.0.0/16\",\"10.1.0.0/16\"]: must be a either a single CIDR or dual-stack pair \
             of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]",
        ),
        (
            "clusterCIDR: '10.0.0.0/16,fd00::/64,fd01::/64'",
            "DetectLocalConfiguration.ClusterCIDRs: Invalid value: \
             [\"10.0.0.0/16\",\"fd00::/64\",\"fd01::/64\"]: must be a either a single CIDR or \
             dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]",
        ),
        (
            "logging: {format: xml}",
            "logging.format: Invalid value: \"xml\": Unsupported log format",
        ),
        (
            "logging: {verbosity: 2147483648}",
            "logging.verbosity: Invalid value: 2147483648: Must be <= 2147483647",
        ),
        (
            "logging: {format: json, vmodule: [{filePattern: a}]}",
            "logging.vmodule: Forbidden: Only supported for text log format",
        ),
        (
            "logging: {vmodule: [{verbosity: 1}]}",
            "logging.vmodule[0]: Required value: File pattern must not be empty",
        ),
        (
            "logging: {vmodule: [{filePattern: 'a=b'}]}",
            "logging.vmodule[0]: Invalid value: \"a=b\": File pattern must not contain equal sign \
             or comma",
        ),
        (
            "logging: {vmodule: [{filePattern: a, verbosity: 2147483648}]}",
            "logging.vmodule[0]: Invalid value: 2147483648: Must be <= 2147483647",
        ),
        (
            "logging: {options: {json: {splitStream: true}}}",
            "logging.options.json.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled",
        ),
        (
            "logging: {options: {text: {infoBufferSize: 1Ki}}}",
            "logging.options.text.infoBufferSize: Forbidden: Feature LoggingAlphaOptions is \
             disabled",
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(errors(fields), [expected], "{fields}");
    }
}

#[test]
fn the_periods_are_those_of_the_mode() {
    let sections = [("iptables", "\"\""), ("iptables", "iptables"), ("ipvs", "ipvs")];
    for (section, mode) in sections.into_iter().chain([("nftables", "nftables")]) {
        let of = |fields: &str| errors(&format!("{{mode: {mode}, {section}: {fields}}}"));
        let sync = "SyncPeriod: Invalid value: -1s: must be greater than 0";
        assert!(of("{syncPeriod: -1s}").contains(&sync.to_owned()), "{mode}");
        let min = "MinSyncPeriod: Invalid value: -1s: must be greater than or equal to 0";
        assert_eq!(of("{minSyncPeriod: -1s}"), [min], "{mode}");
        let both = "SyncPeriod: Invalid value: 5s: must be greater than or equal to \
                    KubeProxyConfiguration.MinSyncPeriod";
        assert_eq!(of("{syncPeriod: 1s, minSyncPeriod: 5s}"), [both], "{mode}");
        assert_eq!(of("{syncPeriod: 5s, minSyncPeriod: 5s}"), Vec::<String>::new(), "{mode}");
    }
    let other = "{mode: nftables, ipvs: {syncPeriod: -1s}, iptables: {minSyncPeriod: -1s}}";
    assert_eq!(errors(other), Vec::<String>::new(), "of other modes");
}

#[test]
fn what_kube_proxy_accepts_is_accepted() {
    let cases = [
        KUBEADM
            .split_once('\n')
            .map(|(_, rest)| rest.replace("kind: KubeProxyConfiguration\n", "")),
        Some("{mode: nftables, nodePortAddresses: [primary]}".into()),
        Some("{iptables: {masqueradeBit: 31}, oomScoreAdj: -1000}".into()),
        Some("{mode: iptables, ipvs: {tcpTimeout: -1s, excludeCIDRs: [x]}}".into()),
        Some("{mode: iptables, nftables: {masqueradeBit: 77}}".into()),
        Some("{detectLocalMode: NodeCIDR, clusterCIDR: nonsense}".into()),
        Some("{bindAddress: 010.0.0.1, nodePortAddresses: [010.0.0.0/8]}".into()),
        Some("{portRange: 300+50, showHiddenMetricsForVersion: '1.35'}".into()),
        Some("{detectLocalMode: BridgeInterface, detectLocal: {bridgeInterface: cni0}}".into()),
        Some(
            "{featureGates: {LoggingAlphaOptions: true}, \
              logging: {options: {json: {splitStream: true, infoBufferSize: 1Mi}}}}"
                .into(),
        ),
        Some("{featureGates: {NotAGateOfWeirs: true}}".into()),
    ];
    for fields in cases.into_iter().flatten() {
        assert_eq!(errors(&fields), Vec::<String>::new(), "{fields}");
    }
}

#[test]
fn every_invalid_field_is_told_and_not_only_the_first() {
    let told = errors(
        "{mode: userspace, oomScoreAdj: 5000, configSyncPeriod: -1s, bindAddress: x, \
          nodePortAddresses: [a, b], clientConnection: {burst: -1}, clusterCIDR: 'a,b'}",
    );
    let fields: Vec<&str> = told.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        fields,
        [
            "KubeProxyLinuxConfiguration.OOMScoreAdj",
            "Mode.ProxyMode",
            "ClientConnection.Burst",
            "ConfigSyncPeriod",
            "BindAddress",
            "NodePortAddresses[0]",
            "NodePortAddresses[1]",
            "DetectLocalConfiguration.ClusterCIDRs[0]",
            "DetectLocalConfiguration.ClusterCIDRs[1]",
        ]
    );
}
