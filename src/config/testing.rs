//! What the tests of this module share.

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
pub(super) const KUBEADM: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: \"0\"
    text:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: \"\"
mode: \"\"
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: \"\"
  rootHnsEndpointName: \"\"
  sourceVip: \"\"
";
