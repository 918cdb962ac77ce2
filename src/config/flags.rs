//! kube-proxy's flags (`AddFlags` of cmd/kube-proxy/app/options.go).
//!
//! A flag that is not given is `None`, which distinguishes it from one that is given its default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::defaults::{HEALTHZ_PORT, METRICS_PORT};
use super::duration::GoDuration;
use super::logging::{FlushFrequency, LoggingConfiguration, VModuleItem, is_quantity};
use super::net;
use super::types::KubeProxyConfiguration;
use crate::config::LimitArgs;

/// kube-proxy's flags, each by its name and with its default. With --config all are ignored but
/// those that say so.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Instead of a command, as kube-proxy")]
pub struct Flags {
    /// The configuration file, a KubeProxyConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the configuration with all defaults to FILE and exit (with --config, too)
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<PathBuf>,
    /// Remove what weir has programmed and what kube-proxy has left, and exit (with --config, too)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub cleanup: Option<bool>,
    /// Do what needs full privileges and exit (with --config, too)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub init_only: Option<bool>,
    /// Print the version and exit
    #[arg(short = 'V', long, value_name = "BOOL|raw", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub version: Option<String>,
    /// Feature gates; none has a meaning here
    #[arg(long, value_name = "NAME=BOOL,…", value_delimiter = ',', value_parser = feature_gate)]
    pub feature_gates: Vec<Option<(String, bool)>>,

    /// weir's own.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Name of this Node; the host's name by default (with --config, too)
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Kubeconfig file; the Pod's ServiceAccount by default
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Address of the API server instead of the kubeconfig's (with --config, too)
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Content type of requests [default: application/vnd.kubernetes.protobuf]
    #[arg(long, value_name = "TYPE")]
    pub kube_api_content_type: Option<String>,
    /// How many requests may come at once [default: 10]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub kube_api_burst: Option<i32>,
    /// Requests per second [default: 5]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub kube_api_qps: Option<f32>,
    /// How often everything is read again from the cache of the API [default: 15m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub config_sync_period: Option<GoDuration>,

    /// The node's primary address; the Node object's by default [default: 0.0.0.0]
    #[arg(long, value_name = "IP", value_parser = address)]
    pub bind_address: Option<String>,
    /// Where /healthz is served [default: 0.0.0.0:10256]
    #[arg(long, value_name = "IP[:PORT]", value_parser = address_and_port)]
    pub healthz_bind_address: Option<String>,
    /// Where /metrics is served [default: 127.0.0.1:10249]
    #[arg(long, value_name = "IP[:PORT]", value_parser = address_and_port)]
    pub metrics_bind_address: Option<String>,
    /// End when an address cannot be bound
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub bind_address_hard_fail: Option<bool>,
    /// Deprecated: use --healthz-bind-address
    #[arg(long, value_name = "PORT", allow_hyphen_values = true, hide = true)]
    pub healthz_port: Option<i32>,
    /// Deprecated: use --metrics-bind-address
    #[arg(long, value_name = "PORT", allow_hyphen_values = true, hide = true)]
    pub metrics_port: Option<i32>,
    /// Serve Go's profiler; weir has none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub profiling: Option<bool>,
    /// Release whose hidden metrics are to be shown
    #[arg(long, value_name = "MAJOR.MINOR")]
    pub show_hidden_metrics_for_version: Option<String>,

    /// iptables, ipvs or nftables; weir uses nftables whatever is said here
    #[arg(long, value_name = "MODE")]
    pub proxy_mode: Option<String>,
    /// Bit of the packet mark that asks for masquerade, in modes iptables and ipvs [default: 14]
    #[arg(long, value_name = "BIT", allow_hyphen_values = true)]
    pub iptables_masquerade_bit: Option<i32>,
    /// Masquerade all traffic to ClusterIPs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub masquerade_all: Option<bool>,
    /// Serve node ports at 127.0.0.1; weir never does [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub iptables_localhost_nodeports: Option<bool>,
    /// How often to resynchronize, in modes iptables and nftables [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_sync_period: Option<GoDuration>,
    /// Shortest time between two syncs, in modes iptables and nftables [default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_min_sync_period: Option<GoDuration>,
    /// How often to resynchronize, in mode ipvs [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub ipvs_sync_period: Option<GoDuration>,
    /// Shortest time between two syncs, in mode ipvs [default: 0s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub ipvs_min_sync_period: Option<GoDuration>,
    /// IPVS only
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub ipvs_scheduler: Option<String>,
    /// IPVS only
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', hide_short_help = true)]
    pub ipvs_exclude_cidrs: Vec<String>,
    /// IPVS only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, hide_short_help = true)]
    pub ipvs_strict_arp: Option<bool>,
    /// IPVS only
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide_short_help = true)]
    pub ipvs_tcp_timeout: Option<GoDuration>,
    /// IPVS only
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide_short_help = true)]
    pub ipvs_tcpfin_timeout: Option<GoDuration>,
    /// IPVS only
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide_short_help = true)]
    pub ipvs_udp_timeout: Option<GoDuration>,

    /// ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix [default: ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    pub detect_local_mode: Option<String>,
    /// With BridgeInterface: the interface that Pods are behind
    #[arg(long, value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,
    /// With InterfaceNamePrefix: how the names of Pods' interfaces begin
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
    /// With ClusterCIDR: the network of Pods, or one of each family
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub cluster_cidr: Option<String>,
    /// Networks at whose addresses of this node node ports are served, or `primary`
    #[arg(long, value_name = "CIDR,…|primary", value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,

    /// oom_score_adj of the process, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub oom_score_adj: Option<i32>,
    /// Conntrack entries for each CPU; 0 leaves the limit as it is [default: 32768]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub conntrack_max_per_core: Option<i32>,
    /// Least number of conntrack entries [default: 131072]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub conntrack_min: Option<i32>,
    /// Timeout of established TCP connections; 0 leaves it as it is [default: 24h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_established: Option<GoDuration>,
    /// Timeout of TCP connections that one side has closed [default: 1h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_close_wait: Option<GoDuration>,
    /// Let TCP packets out of window through
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool)]
    pub conntrack_tcp_be_liberal: Option<bool>,
    /// Timeout of UDP flows without an answer; 0 leaves it as it is [default: 0]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout: Option<GoDuration>,
    /// Timeout of UDP flows with answers; 0 leaves it as it is [default: 0]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout_stream: Option<GoDuration>,

    /// Verbosity of logs (with --config, too) [default: 0]
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u32>,
    /// Other verbosities for source files (with --config, too)
    #[arg(long, value_name = "PATTERN=LEVEL,…", value_delimiter = ',', value_parser = vmodule,
          hide_short_help = true)]
    pub vmodule: Vec<Option<VModuleItem>>,
    /// text or json (with --config, too) [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub logging_format: Option<String>,
    /// Longest time between two flushes of the log (with --config, too) [default: 5s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide_short_help = true)]
    pub log_flush_frequency: Option<GoDuration>,
    /// Errors to standard error, all else to standard output (with --config, too)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, hide_short_help = true)]
    pub log_text_split_stream: Option<bool>,
    /// Bytes to hold back of the log (with --config, too) [default: 0]
    #[arg(long, value_name = "QUANTITY", value_parser = quantity, hide_short_help = true)]
    pub log_text_info_buffer_size: Option<String>,
    /// Errors to standard error, all else to standard output (with --config, too)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = go_bool, hide_short_help = true)]
    pub log_json_split_stream: Option<bool>,
    /// Bytes to hold back of the log (with --config, too) [default: 0]
    #[arg(long, value_name = "QUANTITY", value_parser = quantity, hide_short_help = true)]
    pub log_json_info_buffer_size: Option<String>,

    /// Files with the machine's boot id; not read
    #[arg(long, value_name = "FILE,…", hide = true)]
    pub boot_id_file: Option<String>,
    /// Files with the machine's id; not read
    #[arg(long, value_name = "FILE,…", hide = true)]
    pub machine_id_file: Option<String>,
}

#[derive(Parser)]
#[command(name = "weir", disable_version_flag = true, args_override_self = true)]
struct Alone {
    #[command(flatten)]
    flags: Flags,
}

impl Flags {
    /// Reads flags, without the program's name.
    pub fn read<T: Into<OsString>>(
        flags: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let line = std::iter::once(OsString::from("weir")).chain(flags.into_iter().map(T::into));
        Ok(Alone::try_parse_from(normalized(line))?.flags)
    }

    /// The defaults with all flags applied, as without --config.
    pub(super) fn configuration(&self) -> KubeProxyConfiguration {
        let mut configuration = KubeProxyConfiguration::defaulted();
        let c = &mut configuration;
        c.feature_gates = self.feature_gates.iter().flatten().cloned().collect::<BTreeMap<_, _>>();
        set(&mut c.client_connection.kubeconfig, &self.kubeconfig);
        set(&mut c.client_connection.content_type, &self.kube_api_content_type);
        set(&mut c.client_connection.burst, &self.kube_api_burst);
        set(&mut c.client_connection.qps, &self.kube_api_qps);
        set(&mut c.config_sync_period, &self.config_sync_period);
        set_address(&mut c.bind_address, &self.bind_address);
        set_address(&mut c.healthz_bind_address, &self.healthz_bind_address);
        set_address(&mut c.metrics_bind_address, &self.metrics_bind_address);
        set(&mut c.bind_address_hard_fail, &self.bind_address_hard_fail);
        set(&mut c.enable_profiling, &self.profiling);
        set(&mut c.show_hidden_metrics_for_version, &self.show_hidden_metrics_for_version);
        set(&mut c.mode, &self.proxy_mode);
        set_some(&mut c.iptables.masquerade_bit, &self.iptables_masquerade_bit);
        set_some(&mut c.iptables.localhost_node_ports, &self.iptables_localhost_nodeports);
        set(&mut c.ipvs.scheduler, &self.ipvs_scheduler);
        c.ipvs.exclude_cidrs.clone_from(&self.ipvs_exclude_cidrs);
        set(&mut c.ipvs.strict_arp, &self.ipvs_strict_arp);
        set(&mut c.ipvs.tcp_timeout, &self.ipvs_tcp_timeout);
        set(&mut c.ipvs.tcp_fin_timeout, &self.ipvs_tcpfin_timeout);
        set(&mut c.ipvs.udp_timeout, &self.ipvs_udp_timeout);
        set(&mut c.detect_local_mode, &self.detect_local_mode);
        set(&mut c.detect_local.bridge_interface, &self.pod_bridge_interface);
        set(&mut c.detect_local.interface_name_prefix, &self.pod_interface_name_prefix);
        set(&mut c.cluster_cidr, &self.cluster_cidr);
        c.node_port_addresses =
            self.nodeport_addresses.iter().filter(|text| !text.is_empty()).cloned().collect();
        set_some(&mut c.oom_score_adj, &self.oom_score_adj);
        let conntrack = &mut c.conntrack;
        set_some(&mut conntrack.max_per_core, &self.conntrack_max_per_core);
        set_some(&mut conntrack.min, &self.conntrack_min);
        let established = &self.conntrack_tcp_timeout_established;
        set_some(&mut conntrack.tcp_established_timeout, established);
        set_some(&mut conntrack.tcp_close_wait_timeout, &self.conntrack_tcp_timeout_close_wait);
        set(&mut conntrack.tcp_be_liberal, &self.conntrack_tcp_be_liberal);
        set(&mut conntrack.udp_timeout, &self.conntrack_udp_timeout);
        set(&mut conntrack.udp_stream_timeout, &self.conntrack_udp_timeout_stream);
        self.set_mode_settings(c);
        self.set_logging(&mut c.logging);
        configuration
    }

    /// Flags that belong to no mode by their meaning go where the mode has the setting
    /// (`processV1Alpha1Flags`, and the conversions of v1alpha1/conversion.go).
    fn set_mode_settings(&self, c: &mut KubeProxyConfiguration) {
        let masquerade_all = match c.mode.as_str() {
            "nftables" => &mut c.nftables.masquerade_all,
            _ => &mut c.iptables.masquerade_all,
        };
        set(masquerade_all, &self.masquerade_all);
        let (sync, min_sync) = match c.mode.as_str() {
            "nftables" => (&mut c.nftables.sync_period, &mut c.nftables.min_sync_period),
            "ipvs" => {
                set(&mut c.ipvs.sync_period, &self.ipvs_sync_period);
                set(&mut c.ipvs.min_sync_period, &self.ipvs_min_sync_period);
                return;
            }
            _ => (&mut c.iptables.sync_period, &mut c.iptables.min_sync_period),
        };
        set(sync, &self.iptables_sync_period);
        set(min_sync, &self.iptables_min_sync_period);
    }

    /// `--healthz-port` and `--metrics-port`: a port for an address that has none, 0 for no server
    /// (`addressFromDeprecatedFlags`).
    pub(super) fn set_deprecated_ports(&self, c: &mut KubeProxyConfiguration) {
        let ports = [
            (&mut c.healthz_bind_address, self.healthz_port.unwrap_or(HEALTHZ_PORT)),
            (&mut c.metrics_bind_address, self.metrics_port.unwrap_or(METRICS_PORT)),
        ];
        for (address, port) in ports {
            *address = if port == 0 { String::new() } else { net::with_port(address, port) };
        }
    }

    /// Logging flags, which count with --config, too; patterns come before the file's
    /// (`copyLogsFromFlags`).
    pub(super) fn set_logging(&self, logging: &mut LoggingConfiguration) {
        set(&mut logging.verbosity, &self.verbosity);
        set(&mut logging.format, &self.logging_format);
        set(&mut logging.flush_frequency, &self.log_flush_frequency.map(FlushFrequency));
        let options = &mut logging.options;
        set(&mut options.text.split_stream, &self.log_text_split_stream);
        set(&mut options.text.info_buffer_size, &self.log_text_info_buffer_size);
        set(&mut options.json.split_stream, &self.log_json_split_stream);
        set(&mut options.json.info_buffer_size, &self.log_json_info_buffer_size);
        logging.vmodule.splice(..0, self.vmodule.iter().flatten().cloned());
    }
}

fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

fn set_some<T: Clone>(field: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        field.clone_from(flag);
    }
}

/// An empty address leaves the default, as with `IPVar` of pkg/util/flag.
fn set_address(field: &mut String, flag: &Option<String>) {
    if let Some(value) = flag.as_ref().filter(|value| !value.is_empty()) {
        field.clone_from(value);
    }
}

/// A command line with `-` for each `_` in names of flags, which kube-proxy takes for the same.
pub fn normalized(line: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    line.map(|word| match word.to_str().filter(|text| text.starts_with("--")) {
        Some(text) => {
            let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
            OsString::from(format!("{}{value}", name.replace('_', "-")))
        }
        None => word,
    })
}

/// A boolean as Go's strconv.ParseBool reads it.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

fn feature_gate(text: &str) -> Result<Option<(String, bool)>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let (name, value) = text.split_once('=').ok_or("NAME=true or NAME=false is expected")?;
    Ok(Some((name.trim().to_owned(), go_bool(value.trim())?)))
}

fn vmodule(text: &str) -> Result<Option<VModuleItem>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (pattern, level) = text.split_once('=').ok_or("PATTERN=LEVEL is expected")?;
    let verbosity = level.trim().parse().map_err(|_| "the level is not a number".to_owned())?;
    Ok(Some(VModuleItem { file_pattern: pattern.trim().to_owned(), verbosity }))
}

fn quantity(text: &str) -> Result<String, String> {
    if is_quantity(text) { Ok(text.to_owned()) } else { Err("it is not a quantity".to_owned()) }
}

fn address(text: &str) -> Result<String, String> {
    if text.is_empty() || net::ip(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a valid IP address"))
}

fn address_and_port(text: &str) -> Result<String, String> {
    if text.is_empty() || net::ip(text).is_some() {
        return Ok(text.to_owned());
    }
    let (host, port) = net::split_host_port(text)
        .ok_or_else(|| format!("{text:?} is not in a valid format (ip or ip:port)"))?;
    address(host)?;
    port.parse::<u16>().map_err(|_| format!("{port:?} is not a valid number"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
