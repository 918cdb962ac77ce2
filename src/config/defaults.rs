//! kube-proxy's defaults (pkg/proxy/apis/config/v1alpha1/defaults.go, and `platformApplyDefaults`
//! of cmd/kube-proxy/app/server_linux.go).

use std::net::IpAddr;

use super::duration::GoDuration;
use super::logging::OutputOptions;
use super::net;
use super::settings::Conntrack;
use super::types::{API_VERSION, KIND, KubeProxyConfiguration};

/// Where /healthz is served (`ProxyHealthzPort` of pkg/cluster/ports).
pub(super) const HEALTHZ_PORT: i32 = 10256;
/// Where metrics are served (`ProxyStatusPort`).
pub(super) const METRICS_PORT: i32 = 10249;
/// `nodePortAddresses` for the Node's own addresses.
pub(super) const PRIMARY: &str = "primary";

const SYNC_PERIOD: GoDuration = GoDuration::from_secs(30);
const MIN_SYNC_PERIOD: GoDuration = GoDuration::from_secs(1);
const TCP_ESTABLISHED_TIMEOUT: GoDuration =
    GoDuration::from_secs(Conntrack::TCP_ESTABLISHED_TIMEOUT.as_secs().cast_signed());
const TCP_CLOSE_WAIT_TIMEOUT: GoDuration =
    GoDuration::from_secs(Conntrack::TCP_CLOSE_WAIT_TIMEOUT.as_secs().cast_signed());
const MASQUERADE_BIT: i32 = 14;

impl KubeProxyConfiguration {
    /// What kube-proxy makes of an empty configuration, before it looks at the platform.
    pub fn defaulted() -> Self {
        let mut configuration = Self::default();
        configuration.set_defaults();
        configuration
    }

    /// Sets the fields that have no value.
    pub fn set_defaults(&mut self) {
        default_text(&mut self.api_version, API_VERSION);
        default_text(&mut self.kind, KIND);
        default_text(&mut self.bind_address, "0.0.0.0");
        let is_ipv4 = matches!(net::ip(&self.bind_address), Some(IpAddr::V4(_)));
        let (any, local) = if is_ipv4 { ("0.0.0.0", "127.0.0.1") } else { ("::", "::1") };
        default_text(&mut self.healthz_bind_address, any);
        self.healthz_bind_address = net::with_port(&self.healthz_bind_address, HEALTHZ_PORT);
        default_text(&mut self.metrics_bind_address, local);
        self.metrics_bind_address = net::with_port(&self.metrics_bind_address, METRICS_PORT);

        let client = &mut self.client_connection;
        default_text(&mut client.content_type, "application/vnd.kubernetes.protobuf");
        if client.qps == 0.0 {
            client.qps = 5.0;
        }
        if client.burst == 0 {
            client.burst = 10;
        }

        let logging = &mut self.logging;
        default_text(&mut logging.format, "text");
        default_duration(&mut logging.flush_frequency.0, GoDuration::from_secs(5));
        for OutputOptions { info_buffer_size, .. } in
            [&mut logging.options.text, &mut logging.options.json]
        {
            default_text(info_buffer_size, "0");
        }

        let iptables = &mut self.iptables;
        iptables.masquerade_bit.get_or_insert(MASQUERADE_BIT);
        iptables.localhost_node_ports.get_or_insert(true);
        default_duration(&mut iptables.sync_period, SYNC_PERIOD);
        default_duration(&mut iptables.min_sync_period, MIN_SYNC_PERIOD);
        default_duration(&mut self.ipvs.sync_period, SYNC_PERIOD);
        let nftables = &mut self.nftables;
        nftables.masquerade_bit.get_or_insert(MASQUERADE_BIT);
        default_duration(&mut nftables.sync_period, SYNC_PERIOD);
        default_duration(&mut nftables.min_sync_period, MIN_SYNC_PERIOD);

        self.oom_score_adj.get_or_insert(-999);
        let conntrack = &mut self.conntrack;
        conntrack.max_per_core.get_or_insert(32 * 1024);
        conntrack.min.get_or_insert(128 * 1024);
        conntrack.tcp_established_timeout.get_or_insert(TCP_ESTABLISHED_TIMEOUT);
        conntrack.tcp_close_wait_timeout.get_or_insert(TCP_CLOSE_WAIT_TIMEOUT);
        default_duration(&mut self.config_sync_period, GoDuration::from_secs(15 * 60));
    }

    /// Sets the fields that depend on the mode. kube-proxy makes an empty mode `iptables`; weir
    /// leaves it, because it runs neither.
    pub(super) fn set_platform_defaults(&mut self) {
        if self.mode == "nftables" && self.node_port_addresses.is_empty() {
            self.node_port_addresses = vec![PRIMARY.to_owned()];
        }
        default_text(&mut self.detect_local_mode, "ClusterCIDR");
    }
}

fn default_text(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn default_duration(duration: &mut GoDuration, default: GoDuration) {
    if *duration == GoDuration::ZERO {
        *duration = default;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::decoded;

    /// Every field, and its default.
    #[test]
    fn an_empty_configuration_gets_kube_proxys_defaults() {
        let expected = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "featureGates": {},
            "clientConnection": {
                "kubeconfig": "",
                "acceptContentTypes": "",
                "contentType": "application/vnd.kubernetes.protobuf",
                "qps": 5.0,
                "burst": 10,
            },
            "logging": {
                "format": "text",
                "flushFrequency": "5s",
                "verbosity": 0,
                "options": {
                    "text": {"splitStream": false, "infoBufferSize": "0"},
                    "json": {"splitStream": false, "infoBufferSize": "0"},
                },
            },
            "hostnameOverride": "",
            "bindAddress": "0.0.0.0",
            "healthzBindAddress": "0.0.0.0:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "bindAddressHardFail": false,
            "enableProfiling": false,
            "showHiddenMetricsForVersion": "",
            "mode": "",
            "iptables": {
                "masqueradeBit": 14,
                "masqueradeAll": false,
                "localhostNodePorts": true,
                "syncPeriod": "30s",
                "minSyncPeriod": "1s",
            },
            "ipvs": {
                "syncPeriod": "30s",
                "minSyncPeriod": "0s",
                "scheduler": "",
                "excludeCIDRs": [],
                "strictARP": false,
                "tcpTimeout": "0s",
                "tcpFinTimeout": "0s",
                "udpTimeout": "0s",
            },
            "nftables": {
                "masqueradeBit": 14,
                "masqueradeAll": false,
                "syncPeriod": "30s",
                "minSyncPeriod": "1s",
            },
            "winkernel": {
                "networkName": "",
                "sourceVip": "",
                "enableDSR": false,
                "rootHnsEndpointName": "",
                "forwardHealthCheckVip": false,
            },
            "detectLocalMode": "ClusterCIDR",
            "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
            "clusterCIDR": "",
            "nodePortAddresses": [],
            "oomScoreAdj": -999,
            "conntrack": {
                "maxPerCore": 32768,
                "min": 131072,
                "tcpEstablishedTimeout": "24h0m0s",
                "tcpCloseWaitTimeout": "1h0m0s",
                "tcpBeLiberal": false,
                "udpTimeout": "0s",
                "udpStreamTimeout": "0s",
            },
            "configSyncPeriod": "15m0s",
            "portRange": "",
            "windowsRunAsService": false,
        });
        let mut configuration = KubeProxyConfiguration::defaulted();
        configuration.set_platform_defaults();
        assert_eq!(serde_json::to_value(configuration).unwrap(), expected);
    }

    #[test]
    fn addresses_follow_the_family_of_bind_address_and_get_a_port() {
        let cases = [
            ("", "0.0.0.0:10256", "127.0.0.1:10249"),
            ("bindAddress: 192.0.2.1", "0.0.0.0:10256", "127.0.0.1:10249"),
            ("bindAddress: '::'", "[::]:10256", "[::1]:10249"),
            ("bindAddress: 2001:db8::1", "[::]:10256", "[::1]:10249"),
            (
                "{healthzBindAddress: 192.0.2.1, metricsBindAddress: '::'}",
                "192.0.2.1:10256",
                "[::]:10249",
            ),
            (
                "{healthzBindAddress: '192.0.2.1:1', metricsBindAddress: '[::]:2'}",
                "192.0.2.1:1",
                "[::]:2",
            ),
        ];
        for (text, healthz, metrics) in cases {
            let configuration = decoded(text);
            assert_eq!(configuration.healthz_bind_address, healthz, "{text}");
            assert_eq!(configuration.metrics_bind_address, metrics, "{text}");
        }
    }

    #[test]
    fn node_ports_are_served_at_the_primary_addresses_in_mode_nftables_only() {
        for (mode, expected) in
            [("nftables", json!(["primary"])), ("iptables", json!([])), ("\"\"", json!([]))]
        {
            let mut configuration = decoded(&format!("mode: {mode}"));
            configuration.set_platform_defaults();
            let value: Value = serde_json::to_value(configuration.node_port_addresses).unwrap();
            assert_eq!(value, expected, "{mode}");
        }
    }

    /// As kube-proxy does: zero is what Go has for nothing.
    #[test]
    fn zero_is_a_value_only_where_kube_proxy_tells_it_from_nothing() {
        let configuration = decoded(
            "{iptables: {masqueradeBit: 0, localhostNodePorts: false, syncPeriod: 0s}, \
              oomScoreAdj: 0, conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s}, \
              configSyncPeriod: 0s, clientConnection: {qps: 0, burst: 0}}",
        );
        assert_eq!(configuration.iptables.masquerade_bit, Some(0));
        assert_eq!(configuration.iptables.localhost_node_ports, Some(false));
        assert_eq!(configuration.oom_score_adj, Some(0));
        assert_eq!(configuration.conntrack.max_per_core, Some(0));
        assert_eq!(configuration.conntrack.tcp_established_timeout, Some(GoDuration::ZERO));
        assert_eq!(configuration.iptables.sync_period.to_string(), "30s");
        assert_eq!(configuration.config_sync_period.to_string(), "15m0s");
        assert_eq!(configuration.client_connection.qps, 5.0);
        assert_eq!(configuration.client_connection.burst, 10);
    }
}
