//! Helpers shared by the tests of this module.

use super::{Flags, KubeProxyConfiguration, decode};

/// The fields of a configuration as kube-proxy's own loader would have them.
pub(super) fn decoded(fields: &str) -> KubeProxyConfiguration {
    decode(&document(fields)).unwrap_or_else(|error| panic!("{fields}: {error}")).configuration
}

/// A configuration file with these fields, given as block or flow mapping.
pub(super) fn document(fields: &str) -> String {
    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration";
    match fields.strip_prefix('{') {
        Some(rest) => format!("{{{}, {rest}", HEAD.replace('\n', ", ")),
        None => format!("{HEAD}\n{fields}\n"),
    }
}

/// The flags of a command line.
pub(super) fn flags(line: &[&str]) -> Flags {
    Flags::read(line.iter().copied()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// As kubeadm writes it into the ConfigMap `kube-proxy`, for a dual-stack cluster.
pub(super) const KUBEADM: &str = include_str!("../../tests/common/kubeadm-config.conf");
