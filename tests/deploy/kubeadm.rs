//! The migration of a kubeadm cluster.

use serde_json::json;

use crate::common::weir;
use crate::render::{kubeadm, objects};
use crate::tools::succeed;

#[test]
fn the_image_alone_is_enough() {
    let [swapped, _] = kubeadm().map(|yaml| objects(&yaml).remove(0));
    let container = &swapped["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.net/weir:0.1.0");
    // As kube-proxy is started; tests/deploy/image.rs shows that the program is there.
    assert_eq!(container["command"][0], "/usr/local/bin/kube-proxy");
    let folder = tempfile::tempdir().expect("a folder");
    let [config, written] = ["config.conf", "written.conf"].map(|name| folder.path().join(name));
    std::fs::write(&config, CONFIG).expect("it can be written");
    let output = weir()
        .arg(format!("--config={}", config.display()))
        .arg("--hostname-override=node-a")
        .arg(format!("--write-config-to={}", written.display()))
        .output()
        .expect("weir starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("weir uses nftables all the same"), "{said}");
    assert!(!said.contains("ignored"), "{said}");
}

#[test]
fn tightening_takes_away_what_only_kube_proxy_mounts_and_no_more() {
    let [swapped, tightened] = kubeadm().map(|yaml| objects(&yaml).remove(0));
    let before = &swapped["spec"]["template"]["spec"];
    let after = &tightened["spec"]["template"]["spec"];
    assert_eq!(
        after["volumes"],
        json!([{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}])
    );
    let container = &after["containers"][0];
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "kube-proxy", "mountPath": "/var/lib/kube-proxy"}])
    );
    for field in ["command", "env", "image"] {
        assert_eq!(container[field], before["containers"][0][field], "{field}");
    }
    for field in ["hostNetwork", "nodeSelector", "priorityClassName", "tolerations"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

/// Both do what they say to what is there, and not to what once was.
#[test]
fn tightening_twice_is_tightening_once() {
    let [_, tightened] = kubeadm();
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    std::fs::write(file.path(), &tightened).expect("it can be written");
    let again = succeed(
        crate::tools::tool("kubectl")
            .args(["patch", "--local", "-o", "yaml", "--patch-file", "deploy/kubeadm/tighten.yaml"])
            .arg("-f")
            .arg(file.path()),
    );
    assert_eq!(again, tightened);
}

/// As kubeadm writes it into the ConfigMap `kube-proxy`.
const CONFIG: &str = include_str!("../common/kubeadm-config.conf");
