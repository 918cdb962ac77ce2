//! The program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testbed::{Testbed, tool};

use crate::node::{HEALTH, METRICS, NAME};

/// A Service proxy, by its program.
#[derive(Debug, Clone)]
pub(crate) enum Proxy {
    Weir(PathBuf),
    /// kube-proxy, in nftables mode.
    KubeProxy(PathBuf),
}

impl Proxy {
    /// The command that runs it with the `kubeconfig` in this folder.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let kubeconfig = folder.join("kubeconfig");
        match self {
            Proxy::Weir(program) => {
                let mut command = tool(program);
                command.args(["run", "--hostname-override", NAME]);
                command.args(["--cluster-cidr", Testbed::POD_CIDR_V4]);
                command.args(["--healthz-bind-address", HEALTH, "--metrics-bind-address", METRICS]);
                command.arg("--kubeconfig").arg(kubeconfig);
                command
            }
            Proxy::KubeProxy(program) => {
                let config = folder.join("kube-proxy.conf");
                fs::write(&config, kube_proxy_config(&kubeconfig)).expect("it can be written");
                // It runs nft.
                let mut command = tool(program);
                command.arg("--config").arg(config).args(["--hostname-override", NAME]);
                command
            }
        }
    }

    /// Where it tells that it serves all, below its address for health.
    pub(crate) fn readiness(&self) -> &'static str {
        match self {
            Proxy::Weir(_) => "/readyz",
            Proxy::KubeProxy(_) => "/healthz",
        }
    }

    /// Whether SIGTERM is no failure for it.
    pub(crate) fn ends_with_success(&self) -> bool {
        matches!(self, Proxy::Weir(_))
    }
}

/// As kubeadm has it, but for limits of connection tracking, which are the machine's.
fn kube_proxy_config(kubeconfig: &Path) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\n\
         mode: nftables\n\
         clusterCIDR: {}\n\
         clientConnection: {{kubeconfig: {}}}\n\
         healthzBindAddress: {HEALTH}\n\
         metricsBindAddress: {METRICS}\n\
         conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}\n",
        Testbed::POD_CIDR_V4,
        kubeconfig.display()
    )
}
