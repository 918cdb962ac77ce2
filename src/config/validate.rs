//! kube-proxy's validation (pkg/proxy/apis/config/validation/validation.go), with its field names and messages,
//! and what weir must reject beyond it.

use std::fmt;

use weir_rules::nft::is_interface_name;

use super::duration::GoDuration;
use super::logging::{LoggingConfiguration, OutputOptions};
use super::net;
use super::types::{ConntrackConfiguration, IpvsConfiguration, KubeProxyConfiguration};

/// The one release whose hidden metrics kube-proxy 1.36 can show.
const PREVIOUS_RELEASE: &str = "1.35";
/// component-base's klog counts verbosity in 31 bits.
const MAX_VERBOSITY: u32 = i32::MAX as u32;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const POSITIVE: &str = "must be greater than 0";
const DUAL_STACK: &str = "must be a either a single CIDR or dual-stack pair of CIDRs \
                          (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// kube-proxy's path of the field, such as `KubeProxyConfiguration.ConfigSyncPeriod`.
    pub field: String,
    /// What is wrong, such as `Invalid value: 0s: must be greater than 0`.
    pub message: String,
}

/// All that is wrong with a configuration that has its defaults, in kube-proxy's order.
pub fn validate(configuration: &KubeProxyConfiguration) -> Vec<FieldError> {
    let mut check = Validation { path: "KubeProxyConfiguration".to_owned(), errors: Vec::new() };
    let c = configuration;
    check.masquerade_bit("KubeProxyIPTablesConfiguration", c.iptables.masquerade_bit);
    match c.mode.as_str() {
        "ipvs" => check.within("KubeProxyIPVSConfiguration", |check| check.ipvs(&c.ipvs)),
        "nftables" => {
            check.masquerade_bit("KubeProxyNFTablesConfiguration", c.nftables.masquerade_bit);
        }
        _ => {}
    }
    check.within("KubeProxyLinuxConfiguration", |check| {
        check.within("KubeProxyConntrackConfiguration", |check| check.conntrack(&c.conntrack));
        check.number("OOMScoreAdj", c.oom_score_adj, -1000, 1000, "[-1000, 1000]");
    });
    if !["", "iptables", "ipvs", "nftables"].contains(&c.mode.as_str()) {
        let detail = "must be iptables, ipvs, nftables or blank (blank means the best-available \
                      proxy [currently iptables])";
        check.invalid("Mode.ProxyMode", quoted(&c.mode), detail);
    }
    if c.client_connection.burst < 0 {
        check.invalid("ClientConnection.Burst", c.client_connection.burst, NOT_NEGATIVE);
    }
    if c.config_sync_period <= GoDuration::ZERO {
        check.invalid("ConfigSyncPeriod", c.config_sync_period, POSITIVE);
    }
    let (sync, min_sync) = c.sync_periods();
    if sync <= GoDuration::ZERO {
        check.invalid("SyncPeriod", sync, POSITIVE);
    }
    check.not_negative("MinSyncPeriod", min_sync);
    if min_sync > sync {
        let detail = "must be greater than or equal to KubeProxyConfiguration.MinSyncPeriod";
        check.invalid("SyncPeriod", min_sync, detail);
    }
    if net::ip(&c.bind_address).is_none() {
        let detail = "not a valid textual representation of an IP address";
        check.invalid("BindAddress", quoted(&c.bind_address), detail);
    }
    if !c.healthz_bind_address.is_empty() {
        check.host_port("HealthzBindAddress", &c.healthz_bind_address);
    }
    check.host_port("MetricsBindAddress", &c.metrics_bind_address);
    if !is_port_range(&c.port_range) {
        let detail = "must be a valid port range (e.g. 300-2000)";
        check.invalid("PortRange", quoted(&c.port_range), detail);
    }
    check.node_port_addresses(&c.node_port_addresses);
    let version = &c.show_hidden_metrics_for_version;
    if !["", PREVIOUS_RELEASE].contains(&version.as_str()) {
        let detail = format!(
            "--show-hidden-metrics-for-version must be omitted or have the value \
             '{PREVIOUS_RELEASE}'. Only the previous minor version is allowed"
        );
        check.invalid("ShowHiddenMetricsForVersion", quoted(version), &detail);
    }
    check.detect_local(c);
    let alpha = ["LoggingAlphaOptions", "AllAlpha"]
        .iter()
        .find_map(|gate| c.feature_gates.get(*gate))
        .copied()
        .unwrap_or_default();
    check.within("logging", |check| check.logging(&c.logging, alpha));
    check.errors
}

impl KubeProxyConfiguration {
    /// The sync period and the least time between two syncs, of the mode that was asked for.
    pub(super) fn sync_periods(&self) -> (GoDuration, GoDuration) {
        match self.mode.as_str() {
            "nftables" => (self.nftables.sync_period, self.nftables.min_sync_period),
            "ipvs" => (self.ipvs.sync_period, self.ipvs.min_sync_period),
            _ => (self.iptables.sync_period, self.iptables.min_sync_period),
        }
    }
}

/// What has been found so far, and where the search is.
struct Validation {
    path: String,
    errors: Vec<FieldError>,
}

impl Validation {
    fn within(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let outer = self.path.clone();
        self.path = format!("{outer}.{name}");
        check(self);
        self.path = outer;
    }

    fn error(&mut self, name: &str, message: String) {
        let field = format!("{}.{name}", self.path);
        self.errors.push(FieldError { field, message });
    }

    fn invalid(&mut self, name: &str, value: impl fmt::Display, detail: &str) {
        self.error(name, format!("Invalid value: {value}: {detail}"));
    }

    fn number(&mut self, name: &str, value: Option<i32>, min: i32, max: i32, range: &str) {
        if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
            self.invalid(name, value, &format!("must be within the range {range}"));
        }
    }

    fn masquerade_bit(&mut self, section: &str, bit: Option<i32>) {
        self.within(section, |check| check.number("MasqueradeBit", bit, 0, 31, "[0, 31]"));
    }

    fn not_negative(&mut self, name: &str, duration: GoDuration) {
        if duration < GoDuration::ZERO {
            self.invalid(name, duration, NOT_NEGATIVE);
        }
    }

    fn ipvs(&mut self, ipvs: &IpvsConfiguration) {
        self.not_negative("TCPTimeout", ipvs.tcp_timeout);
        self.not_negative("TCPFinTimeout", ipvs.tcp_fin_timeout);
        self.not_negative("UDPTimeout", ipvs.udp_timeout);
        for (index, text) in ipvs.exclude_cidrs.iter().enumerate() {
            if net::cidr(text).is_none() {
                self.invalid(
                    &format!("ExcludeCidrs[{index}]"),
                    quoted(text),
                    "must be a valid CIDR",
                );
            }
        }
    }

    fn conntrack(&mut self, conntrack: &ConntrackConfiguration) {
        for (name, value) in [("MaxPerCore", conntrack.max_per_core), ("Min", conntrack.min)] {
            if let Some(value) = value.filter(|value| *value < 0) {
                self.invalid(name, value, NOT_NEGATIVE);
            }
        }
        let established = conntrack.tcp_established_timeout.unwrap_or_default();
        self.not_negative("TCPEstablishedTimeout", established);
        let close_wait = conntrack.tcp_close_wait_timeout.unwrap_or_default();
        self.not_negative("TCPCloseWaitTimeout", close_wait);
        self.not_negative("UDPTimeout", conntrack.udp_timeout);
        self.not_negative("UDPStreamTimeout", conntrack.udp_stream_timeout);
    }

    fn host_port(&mut self, name: &str, address: &str) {
        let Some((host, port)) = net::split_host_port(address) else {
            return self.invalid(name, quoted(address), "must be IP:port");
        };
        if net::ip(host).is_none() {
            self.invalid(name, quoted(host), "must be a valid IP");
        }
        if !port.parse().is_ok_and(|port: u16| port > 0) {
            self.invalid(name, quoted(port), "must be a valid port");
        }
    }

    fn node_port_addresses(&mut self, addresses: &[String]) {
        for (index, address) in addresses.iter().enumerate() {
            let name = format!("NodePortAddresses[{index}]");
            if address == super::defaults::PRIMARY {
                if addresses.len() > 1 {
                    self.invalid(&name, quoted(address), "can't use both 'primary' and CIDRs");
                }
                break;
            }
            if net::cidr(address).is_none() {
                self.invalid(&name, quoted(address), "must be a valid CIDR");
            }
        }
    }

    fn detect_local(&mut self, c: &KubeProxyConfiguration) {
        const SECTION: &str = "DetectLocalConfiguration";
        const NAME: &str =
            "must have 1 to 15 characters, without spaces, '/', '*', '\\' and quotes";
        let interface = |check: &mut Self, name: &str, value: &str| {
            if value.is_empty() {
                check.invalid(name, quoted(value), "must not be empty");
            } else if !is_interface_name(value) {
                check.invalid(name, quoted(value), NAME);
            }
        };
        match c.detect_local_mode.as_str() {
            "" | "NodeCIDR" => {}
            "ClusterCIDR" => self.within(SECTION, |check| check.cluster_cidr(&c.cluster_cidr)),
            "BridgeInterface" => self.within(SECTION, |check| {
                interface(check, "InterfaceName", &c.detect_local.bridge_interface);
            }),
            "InterfaceNamePrefix" => self.within(SECTION, |check| {
                interface(check, "InterfacePrefix", &c.detect_local.interface_name_prefix);
            }),
            other => {
                let message = format!(
                    "Unsupported value: {}: supported values: \"ClusterCIDR\", \"NodeCIDR\", \
                     \"BridgeInterface\", \"InterfaceNamePrefix\", \"\"",
                    quoted(other)
                );
                self.error("DetectLocalMode", message);
            }
        }
    }

    fn cluster_cidr(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let texts: Vec<&str> = text.split(',').collect();
        let list = || format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(","));
        if texts.len() > 2 {
            return self.invalid("ClusterCIDRs", list(), DUAL_STACK);
        }
        let networks: Vec<_> = texts.iter().map(|text| net::cidr(text)).collect();
        for (index, (text, _)) in
            texts.iter().zip(&networks).enumerate().filter(|(_, (_, net))| net.is_none())
        {
            let detail = "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
            self.invalid(&format!("ClusterCIDRs[{index}]"), quoted(text), detail);
        }
        if let [Some(first), Some(second)] = networks[..]
            && first.addr().is_ipv4() == second.addr().is_ipv4()
        {
            self.invalid("ClusterCIDRs", list(), DUAL_STACK);
        }
    }

    /// component-base/logs/api/v1/options.go.
    fn logging(&mut self, logging: &LoggingConfiguration, alpha: bool) {
        if !["text", "json"].contains(&logging.format.as_str()) {
            self.invalid("format", quoted(&logging.format), "Unsupported log format");
        }
        let too_much = format!("Must be <= {MAX_VERBOSITY}");
        if logging.verbosity > MAX_VERBOSITY {
            self.invalid("verbosity", logging.verbosity, &too_much);
        }
        if !logging.vmodule.is_empty() && logging.format != "text" {
            self.error("vmodule", "Forbidden: Only supported for text log format".to_owned());
        }
        for (index, item) in logging.vmodule.iter().enumerate() {
            let name = format!("vmodule[{index}]");
            if item.file_pattern.is_empty() {
                let message = "Required value: File pattern must not be empty";
                self.error(&name, message.to_owned());
            }
            if item.file_pattern.contains(['=', ',']) {
                let detail = "File pattern must not contain equal sign or comma";
                self.invalid(&name, quoted(&item.file_pattern), detail);
            }
            if item.verbosity > MAX_VERBOSITY {
                self.invalid(&name, item.verbosity, &too_much);
            }
        }
        let outputs = [("text", &logging.options.text), ("json", &logging.options.json)];
        for (format, OutputOptions { split_stream, info_buffer_size }) in outputs {
            let is_zero = info_buffer_size.chars().all(|c| !('1'..='9').contains(&c));
            for (option, used) in [("splitStream", *split_stream), ("infoBufferSize", !is_zero)] {
                if used && !alpha {
                    let message = "Forbidden: Feature LoggingAlphaOptions is disabled".to_owned();
                    self.error(&format!("options.{format}.{option}"), message);
                }
            }
        }
    }
}

/// A text as Go's `%q` has it, but for characters that no setting has.
fn quoted(text: impl AsRef<str>) -> String {
    format!("{:?}", text.as_ref())
}

/// `300-2000`, `300+50`, one port or nothing (apimachinery's util/net/port_range.go).
fn is_port_range(text: &str) -> bool {
    let text = text.trim();
    let port = |text: &str| text.trim().parse::<u16>().ok();
    if text.is_empty() {
        true
    } else if let Some((first, last)) = text.split_once('-') {
        matches!((port(first), port(last)), (Some(first), Some(last)) if first <= last)
    } else if let Some((first, size)) = text.split_once('+') {
        port(first).is_some() && port(size).is_some()
    } else {
        port(text).is_some()
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
