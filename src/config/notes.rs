//! Settings that are accepted but have no effect in weir, each logged once.

use weir_rules::cluster::{Family, Node};
use weir_rules::config::{Config, NodePortAddresses};

use super::flags::Flags;
use super::types::KubeProxyConfiguration;

/// Settings that differ from their defaults and do not apply, a line each.
pub fn notes(c: &KubeProxyConfiguration) -> Vec<String> {
    let default = KubeProxyConfiguration::defaulted();
    let mut notes = Vec::new();
    let mut say = |holds: bool, note: &str| {
        if holds {
            notes.push(note.to_owned());
        }
    };
    if c.mode != "nftables" {
        let mode = if c.mode.is_empty() { "not given" } else { c.mode.as_str() };
        let node_ports = match c.node_port_addresses.is_empty() && c.mode != "ipvs" {
            true => "; node ports are served at all of the node's addresses but 127.0.0.1",
            false => "",
        };
        say(true, &format!("mode is {mode}: weir uses nftables all the same{node_ports}"));
    }
    // Its periods count in mode ipvs, nothing else does.
    let ipvs = super::types::IpvsConfiguration {
        sync_period: default.ipvs.sync_period,
        min_sync_period: default.ipvs.min_sync_period,
        ..c.ipvs.clone()
    };
    say(ipvs != default.ipvs, "ipvs: does not apply: there is no IPVS");
    say(c.winkernel != default.winkernel, "winkernel: does not apply: this is not Windows");
    say(c.windows_run_as_service, "windowsRunAsService: does not apply: this is not Windows");
    say(!c.port_range.is_empty(), "portRange: does not apply: nothing has used it for years");
    let gates: Vec<&str> = c.feature_gates.keys().map(String::as_str).collect();
    let gates = gates.join(", ");
    say(!gates.is_empty(), &format!("featureGates: weir has no feature gates: {gates}"));
    say(c.enable_profiling, "enableProfiling: does not apply: there is no Go to profile");
    say(
        !c.show_hidden_metrics_for_version.is_empty(),
        "showHiddenMetricsForVersion: does not apply: weir hides no metrics",
    );
    let (client, client_default) = (&c.client_connection, &default.client_connection);
    say(
        client.content_type != client_default.content_type
            || client.accept_content_types != client_default.accept_content_types,
        "clientConnection: content types do not apply: weir always speaks JSON",
    );
    say(
        c.config_sync_period != default.config_sync_period,
        "configSyncPeriod: does not apply: what is watched need not be delivered again",
    );
    say(!c.logging.vmodule.is_empty(), "logging.vmodule: does not apply: there are no Go files");
    say(
        c.logging.flush_frequency != default.logging.flush_frequency
            || c.logging.options != default.logging.options,
        "logging: flushFrequency and options do not apply: the log is never held back",
    );
    notes
}

impl Flags {
    /// Flags that have no effect as they are combined, or at all.
    pub(super) fn notes(&self, has_file: bool) -> Vec<String> {
        let mut notes = Vec::new();
        let obeyed = Flags {
            config: self.config.clone(),
            write_config_to: self.write_config_to.clone(),
            cleanup: self.cleanup,
            init_only: self.init_only,
            version: self.version.clone(),
            hostname_override: self.hostname_override.clone(),
            master: self.master.clone(),
            verbosity: self.verbosity,
            vmodule: self.vmodule.clone(),
            logging_format: self.logging_format.clone(),
            log_flush_frequency: self.log_flush_frequency,
            log_text_split_stream: self.log_text_split_stream,
            log_text_info_buffer_size: self.log_text_info_buffer_size.clone(),
            log_json_split_stream: self.log_json_split_stream,
            log_json_info_buffer_size: self.log_json_info_buffer_size.clone(),
            boot_id_file: self.boot_id_file.clone(),
            machine_id_file: self.machine_id_file.clone(),
            ..Flags::default()
        };
        if has_file && *self != obeyed {
            notes.push(
                "flags other than --hostname-override, --master and those of the log are ignored, \
                 because --config is given"
                    .to_owned(),
            );
        }
        let is_nftables = self.proxy_mode.as_deref() == Some("nftables");
        if !has_file && is_nftables && self.iptables_masquerade_bit.is_some() {
            notes.push(
                "--iptables-masquerade-bit does not apply to mode nftables, as in kube-proxy; \
                 use nftables.masqueradeBit of --config"
                    .to_owned(),
            );
        }
        for (name, replacement, port) in [
            ("--healthz-port", "--healthz-bind-address", self.healthz_port),
            ("--metrics-port", "--metrics-bind-address", self.metrics_port),
        ] {
            if port.is_some() && !has_file {
                notes.push(format!("{name} is deprecated: use {replacement}"));
            }
        }
        if self.boot_id_file.is_some() || self.machine_id_file.is_some() {
            notes.push("--boot-id-file and --machine-id-file do not apply".to_owned());
        }
        notes
    }
}

/// A word on node ports that are not served because the Node is not known.
pub fn closed_node_ports(
    has_node_ports: bool,
    node: Option<&Node>,
    config: &Config,
) -> Option<String> {
    let unknown = config.node_port_addresses == NodePortAddresses::Primary
        && Family::ALL.iter().all(|&f| config.primary_address(node, f).is_none());
    (has_node_ports && unknown).then(|| {
        format!(
            "node ports are not served: there is no Node {} with an address in the input; add it, \
             or give --hostname-override or --nodeport-addresses",
            config.node_name
        )
    })
}
