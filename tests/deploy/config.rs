//! The configuration in the ConfigMaps is weir's own.

use std::fs;
use std::process::Command;

use crate::common::weir;
use crate::render::{SERVER, base, chart, document, objects, only};
use crate::tools::succeed;

/// A file of the ConfigMap.
pub(crate) fn data(yaml: &str, file: &str) -> String {
    let objects = objects(yaml);
    let text = only(&objects, "ConfigMap")["data"][file].as_str();
    text.expect("the file is in it").to_owned()
}

#[test]
fn weir_takes_the_configuration_and_has_nothing_to_remark() {
    let folder = tempfile::tempdir().expect("a folder");
    let [config, written] = ["config.conf", "written.conf"].map(|name| folder.path().join(name));
    for yaml in [base(), chart(&[])] {
        fs::write(&config, data(&yaml, "config.conf")).expect("it can be written");
        let output = weir()
            .arg("--config")
            .arg(&config)
            .arg("--hostname-override=node-a")
            .arg("--write-config-to")
            .arg(&written)
            .output()
            .expect("weir starts");
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        let only = format!("weir: wrote the configuration to {}\n", written.display());
        assert_eq!(said, only);
        let all = fs::read_to_string(&written).expect("it is there");
        let all = document(&all);
        assert_eq!(all["mode"], "nftables");
        assert_eq!(all["oomScoreAdj"], -997);
        assert_eq!(all["conntrack"]["maxPerCore"], 0);
        assert_eq!(all["conntrack"]["tcpEstablishedTimeout"], "0s");
        assert_eq!(all["clientConnection"]["kubeconfig"], "/etc/weir/kubeconfig.conf");
    }
}

#[test]
fn the_server_is_not_the_service_that_weir_makes_work() {
    for yaml in [base(), chart(&[])] {
        let kubeconfig = data(&yaml, "kubeconfig.conf");
        let kubeconfig = document(&kubeconfig);
        assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], SERVER);
        let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
        let cluster = &kubeconfig["clusters"][0]["cluster"];
        assert_eq!(cluster["certificate-authority"], format!("{folder}/ca.crt"));
        assert_eq!(kubeconfig["users"][0]["user"]["tokenFile"], format!("{folder}/token"));
    }
}

/// The DaemonSets' own arguments, as the kubelet would give them.
#[test]
fn weir_takes_the_arguments_of_every_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.conf");
    fs::write(&config, data(&base(), "config.conf")).expect("it can be written");
    let written = folder.path().join("written.conf");
    for yaml in [base(), chart(&[r#"extraArgs=["-v=4"]"#])] {
        let objects = objects(&yaml);
        let container = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
        let mut weir: Command = weir();
        for argument in container["args"].as_array().expect("arguments") {
            let argument = argument.as_str().expect("text");
            let config = config.to_str().expect("UTF-8");
            let argument = argument.replace("/etc/weir/config.conf", config);
            weir.arg(argument.replace("$(NODE_NAME)", "node-a"));
        }
        succeed(weir.arg("--write-config-to").arg(&written));
    }
}
