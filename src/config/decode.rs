//! Decodes configuration files strictly and, if that fails, leniently with a warning (`loadConfig` of
//! cmd/kube-proxy/app/options.go).

use serde_json::Value;

use super::types::{API_VERSION, KIND, KubeProxyConfiguration};
use crate::yaml::{SyntaxError, last_wins_json};

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedConfiguration {
    /// With defaults.
    pub configuration: KubeProxyConfiguration,
    /// What a strict decoder would refuse and was ignored: unknown fields by their paths, and
    /// fields that are there twice, of which the last counts. Empty when the file is good.
    pub ignored: Vec<String>,
}

/// Why a file is no configuration, however leniently it is read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Neither YAML nor JSON.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// Not a mapping.
    #[error("not a mapping of fields")]
    NotAnObject,
    /// No `kind`, or no `apiVersion`.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Something else.
    #[error("{kind} of {api_version} is not known; {KIND} of {API_VERSION} is expected")]
    Unknown {
        /// The file's `kind`.
        kind: String,
        /// The file's `apiVersion`.
        api_version: String,
    },
    /// A value of the wrong type.
    #[error("{field}: {message}")]
    Field {
        /// The field's path, such as `iptables.masqueradeBit`.
        field: String,
        /// What is expected there.
        message: String,
    },
}

impl From<SyntaxError> for DecodeError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error.to_string())
    }
}

/// Decodes a configuration, YAML or JSON, and applies kube-proxy's defaults.
pub fn decode(text: &str) -> Result<DecodedConfiguration, DecodeError> {
    let (json, duplicates) = last_wins_json(text)?;
    let json = json.ok_or(DecodeError::Missing("kind"))?;
    let mut value: Value =
        serde_json::from_str(&json).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    check_type(&value)?;
    remove_nulls(&mut value);

    let mut ignored = duplicates;
    let mut track = serde_path_to_error::Track::new();
    let decoder = serde_path_to_error::Deserializer::new(value, &mut track);
    let result = serde_ignored::deserialize(decoder, |path| {
        ignored.push(format!("unknown field \"{path}\""));
    });
    let mut configuration: KubeProxyConfiguration =
        result.map_err(|error: serde_json::Error| DecodeError::Field {
            field: track.path().to_string(),
            message: error.to_string(),
        })?;
    configuration.set_defaults();
    Ok(DecodedConfiguration { configuration, ignored })
}

fn check_type(value: &Value) -> Result<(), DecodeError> {
    let object = value.as_object().ok_or(DecodeError::NotAnObject)?;
    let text = |name| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("kind").ok_or(DecodeError::Missing("kind"))?;
    let api_version = text("apiVersion").ok_or(DecodeError::Missing("apiVersion"))?;
    if (kind, api_version) == (KIND, API_VERSION) {
        return Ok(());
    }
    Err(DecodeError::Unknown { kind: kind.to_owned(), api_version: api_version.to_owned() })
}

/// `null` is nothing, as for Go's decoder.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{KUBEADM, document};

    #[test]
    fn kubeadms_file_is_read_strictly_and_is_the_default_but_for_its_own_settings() {
        let decoded = decode(KUBEADM).unwrap();
        assert_eq!(decoded.ignored, Vec::<String>::new());
        let mut expected = KubeProxyConfiguration::defaulted();
        expected.client_connection.kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf".into();
        expected.cluster_cidr = "10.244.0.0/16,fd00:10:244::/56".into();
        assert_eq!(decoded.configuration, expected);
    }

    #[test]
    fn json_is_read_like_yaml() {
        let json = format!(
            r#"{{"apiVersion": "{API_VERSION}", "kind": "{KIND}", "iptables": {{"syncPeriod": "5s"}}}}"#
        );
        let decoded = decode(&json).unwrap();
        assert_eq!(decoded.configuration.iptables.sync_period.to_string(), "5s");
    }

    #[test]
    fn what_strict_decoding_refuses_is_ignored_and_named() {
        let cases = [
            ("bindAdress: 10.0.0.1", vec!["unknown field \"bindAdress\""]),
            ("iptables: {masqueradebit: 3}", vec!["unknown field \"iptables.masqueradebit\""]),
            ("mode: ipvs\nmode: nftables", vec!["line 4: the key \"mode\" is there twice"]),
            (
                "nftables:\n  syncPeriod: 5s\n  syncPeriod: 6s\nudpIdleTimeout: 250ms",
                vec![
                    "line 5: the key \"syncPeriod\" is there twice",
                    "unknown field \"udpIdleTimeout\"",
                ],
            ),
            (
                "logging: {vmodule: [{filePattern: a, verbosity: 1, level: 2}]}",
                vec!["unknown field \"logging.vmodule.0.level\""],
            ),
        ];
        for (fields, ignored) in cases {
            let decoded = decode(&document(fields)).unwrap_or_else(|e| panic!("{fields}: {e}"));
            assert_eq!(decoded.ignored, ignored, "{fields}");
        }
        let decoded = decode(&document("mode: ipvs\nmode: nftables")).unwrap();
        assert_eq!(decoded.configuration.mode, "nftables", "the last counts");
    }

    #[test]
    fn what_cannot_be_read_leniently_is_refused_with_its_place() {
        let cases = [
            ("a: [", "not YAML: line"),
            ("", "`kind` is missing"),
            ("- a", "not a mapping of fields"),
            ("kind: KubeProxyConfiguration", "`apiVersion` is missing"),
            ("apiVersion: kubeproxy.config.k8s.io/v1alpha1", "`kind` is missing"),
            (
                "{kind: KubeletConfiguration, apiVersion: kubelet.config.k8s.io/v1beta1}",
                "KubeletConfiguration of kubelet.config.k8s.io/v1beta1 is not known",
            ),
            (
                "{kind: KubeProxyConfiguration, apiVersion: kubeproxy.config.k8s.io/v1alpha2}",
                "KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha2 is not known",
            ),
            (&document("oomScoreAdj: low"), "oomScoreAdj: invalid type: string \"low\""),
            (
                &document("iptables: {syncPeriod: 30}"),
                "iptables.syncPeriod: invalid type: integer `30`",
            ),
            (
                &document("conntrack: {udpTimeout: 30}"),
                "conntrack.udpTimeout: invalid type: integer",
            ),
            (
                &document("configSyncPeriod: 1d"),
                "configSyncPeriod: unknown unit \"d\" in duration \"1d\"",
            ),
            (&document("nodePortAddresses: primary"), "nodePortAddresses: invalid type: string"),
            (&document("logging: {options: {json: {infoBufferSize: big}}}"), "is not a quantity"),
            (&document("featureGates: {A: 1}"), "featureGates.A: invalid type: integer"),
        ];
        for (text, reason) in cases {
            let error = decode(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}\n{error}");
        }
    }

    #[test]
    fn every_field_can_be_given() {
        let text = document(include_str!("testdata/every-field.yaml"));
        let decoded = decode(&text).unwrap();
        assert_eq!(decoded.ignored, Vec::<String>::new());
        // Whatever is not equal to its default was read.
        let given = serde_json::to_value(&decoded.configuration).unwrap();
        let default = serde_json::to_value(KubeProxyConfiguration::defaulted()).unwrap();
        let mut same = Vec::new();
        super::super::changes::same_leaves("", &given, &default, &mut same);
        assert_eq!(same, ["apiVersion", "kind"]);
    }
}
