//! Writes configurations as YAML for `--write-config-to`.

use std::collections::BTreeMap;

use super::types::KubeProxyConfiguration;

/// Why a configuration cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Its values cannot be encoded.
    #[error("the configuration cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// They cannot be written as YAML.
    #[error("the configuration cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// The YAML of a configuration, its fields in alphabetical order, as kube-proxy writes them.
pub fn to_yaml(configuration: &KubeProxyConfiguration) -> Result<String, EncodeError> {
    let value = serde_json::to_value(configuration)?;
    Ok(serde_saphyr::to_string(&value)?)
}

/// The JSON of a configuration as /configz has it, under the name of its API group.
pub fn to_configz(configuration: &KubeProxyConfiguration) -> Result<String, EncodeError> {
    let value = BTreeMap::from([("kubeproxy.config.k8s.io", configuration)]);
    Ok(serde_json::to_string(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::decode;
    use crate::config::testing::{KUBEADM, document};

    #[test]
    fn what_is_written_reads_back_equal_and_strictly() {
        let awkward = "{hostnameOverride: 'on: \"off\" #1', mode: 'null', clusterCIDR: '1e3', \
                        showHiddenMetricsForVersion: '1.30', bindAddress: '::', \
                        detectLocal: {bridgeInterface: 'y', interfaceNamePrefix: ' -'}}";
        let texts = [
            KUBEADM.to_owned(),
            document(include_str!("testdata/every-field.yaml")),
            document(""),
            document(awkward),
        ];
        for text in texts {
            let configuration = decode(&text).unwrap().configuration;
            let yaml = to_yaml(&configuration).unwrap();
            let again = decode(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
            assert_eq!(again.ignored, Vec::<String>::new(), "{yaml}");
            assert_eq!(again.configuration, configuration, "{yaml}");
        }
    }

    /// YAML 1.1, which other readers of the file speak, has more words for booleans.
    #[test]
    fn words_that_yaml_1_1_takes_for_booleans_are_quoted() {
        let configuration = decode(&document("hostnameOverride: 'yes'")).unwrap().configuration;
        let yaml = to_yaml(&configuration).unwrap();
        let line = yaml.lines().find(|line| line.starts_with("hostnameOverride")).unwrap();
        assert!(line.contains('"') || line.contains('\''), "{line}");
    }
}
