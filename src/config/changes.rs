//! Compares two configurations: which changed settings apply at once, and which need a restart.

use std::fmt;

use serde_json::Value;

use super::types::KubeProxyConfiguration;

/// What a changed field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeEffect {
    /// It applies at once.
    Live,
    /// It applies when weir is started again.
    Restart(&'static str),
    /// It applies never.
    Ignored(&'static str),
}

/// A field that has another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field's path in the file, such as `nftables.masqueradeAll`.
    pub field: String,
    /// What it takes.
    pub effect: ChangeEffect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            ChangeEffect::Live => write!(f, "{}: applied", self.field),
            ChangeEffect::Restart(reason) => write!(f, "{}: needs a restart: {reason}", self.field),
            ChangeEffect::Ignored(reason) => write!(f, "{}: no effect: {reason}", self.field),
        }
    }
}

/// The fields that differ between two configurations, in the order of their names. Both have their
/// flags applied, so that a field that a flag overrides never differs.
pub fn changes(old: &KubeProxyConfiguration, new: &KubeProxyConfiguration) -> Vec<Change> {
    // Only maps with keys that are not strings cannot be encoded as JSON, and there are none.
    let json = |c: &KubeProxyConfiguration| serde_json::to_value(c).unwrap_or_default();
    let mut fields = Vec::new();
    differing("", &json(old), &json(new), &mut fields);
    let change = |field: String| Change { effect: effect(&field, old, new), field };
    fields.into_iter().map(change).collect()
}

/// The paths of leaves that differ. Lists and what has names of its own are leaves.
fn differing(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if path != "featureGates" => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let (old, new) = (old.get(name), new.get(name));
                differing(
                    &join(path, name),
                    old.unwrap_or(&Value::Null),
                    new.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        _ if old != new => found.push(path.to_owned()),
        _ => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

const OF_ANOTHER_MODE: &str = "it belongs to another mode";
const CLIENT: &str = "the API server's client is made at the start";
const SOCKETS: &str = "its socket is bound at the start";
const NO_GATES: &str = "weir has no feature gates";
const JSON_ONLY: &str = "weir always speaks JSON";
const UNBUFFERED: &str = "the log is never held back";
const WINDOWS: &str = "this is not Windows";

/// What a field takes when it changes. Fields that are not named here have to be: a test sees to it.
fn effect(field: &str, old: &KubeProxyConfiguration, new: &KubeProxyConfiguration) -> ChangeEffect {
    known_effect(field, old, new).unwrap_or(ChangeEffect::Restart("it is not known to apply live"))
}

fn known_effect(
    field: &str,
    old: &KubeProxyConfiguration,
    new: &KubeProxyConfiguration,
) -> Option<ChangeEffect> {
    use ChangeEffect::{Ignored, Live, Restart};
    let counts_in = |modes: &[&str]| {
        let counts = [old, new].iter().any(|c| modes.contains(&c.mode.as_str()));
        if counts { Live } else { Ignored(OF_ANOTHER_MODE) }
    };
    Some(match field {
        "mode" | "clusterCIDR" | "detectLocalMode" | "nodePortAddresses" | "oomScoreAdj"
        | "bindAddress" | "logging.verbosity" => Live,
        "detectLocal.bridgeInterface" | "detectLocal.interfaceNamePrefix" => Live,
        "conntrack.maxPerCore"
        | "conntrack.min"
        | "conntrack.tcpEstablishedTimeout"
        | "conntrack.tcpCloseWaitTimeout"
        | "conntrack.tcpBeLiberal"
        | "conntrack.udpTimeout"
        | "conntrack.udpStreamTimeout" => Live,
        "nftables.masqueradeBit"
        | "nftables.masqueradeAll"
        | "nftables.syncPeriod"
        | "nftables.minSyncPeriod" => counts_in(&["nftables"]),
        "iptables.masqueradeBit" | "iptables.masqueradeAll" => counts_in(&["", "iptables", "ipvs"]),
        "iptables.syncPeriod" | "iptables.minSyncPeriod" => counts_in(&["", "iptables"]),
        "ipvs.syncPeriod" | "ipvs.minSyncPeriod" => counts_in(&["ipvs"]),

        "hostnameOverride" => Restart("the Node that is watched is chosen at the start"),
        "clientConnection.kubeconfig" | "clientConnection.qps" | "clientConnection.burst" => {
            Restart(CLIENT)
        }
        "healthzBindAddress" | "metricsBindAddress" | "bindAddressHardFail" => Restart(SOCKETS),
        "logging.format" => Restart("the form of the log is chosen at the start"),
        "logging.vmodule" => Ignored("there are no Go files"),
        "logging.flushFrequency"
        | "logging.options.text.splitStream"
        | "logging.options.text.infoBufferSize"
        | "logging.options.json.splitStream"
        | "logging.options.json.infoBufferSize" => Ignored(UNBUFFERED),

        "featureGates" => Ignored(NO_GATES),
        "clientConnection.acceptContentTypes" | "clientConnection.contentType" => {
            Ignored(JSON_ONLY)
        }
        "configSyncPeriod" => Ignored("what is watched need not be delivered again"),
        "enableProfiling" => Ignored("there is no Go to profile"),
        "showHiddenMetricsForVersion" => Ignored("weir hides no metrics"),
        "iptables.localhostNodePorts" => Ignored("node ports are never served at 127.0.0.1"),
        "ipvs.scheduler" | "ipvs.excludeCIDRs" | "ipvs.strictARP" | "ipvs.tcpTimeout"
        | "ipvs.tcpFinTimeout" | "ipvs.udpTimeout" => Ignored("there is no IPVS"),
        "winkernel.networkName"
        | "winkernel.sourceVip"
        | "winkernel.enableDSR"
        | "winkernel.rootHnsEndpointName"
        | "winkernel.forwardHealthCheckVip"
        | "windowsRunAsService" => Ignored(WINDOWS),
        "portRange" => Ignored("nothing has used it for years"),
        _ => return None,
    })
}

/// The paths of leaves that do not differ.
#[cfg(test)]
pub(super) fn same_leaves(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if !one.is_empty() && !other.is_empty() => {
            for (name, value) in one {
                same_leaves(
                    &join(path, name),
                    value,
                    other.get(name).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        _ if one == other => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
