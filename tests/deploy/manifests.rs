//! Every manifest is what Kubernetes takes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::render::{base, base_with_node_settings, chart, kubeadm, objects};
use crate::tools::{fail, repository, succeed, tool};

/// What kube-proxy's behaviour and weir's types are of, too.
const KUBERNETES: &str = "1.36.0";

fn validate(file: &Path) -> std::process::Command {
    let mut validate = tool("kubernetes-validate");
    validate.args(["--kubernetes-version", KUBERNETES, "--strict"]).arg(file);
    validate
}

fn file(yaml: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    fs::write(file.path(), yaml).expect("it can be written");
    file
}

#[test]
fn every_manifest_is_valid_and_has_no_unknown_field() {
    let cleanup = fs::read_to_string(repository("deploy/kubeadm/cleanup.yaml")).expect("a file");
    let [swapped, tightened] = kubeadm();
    let all = [
        base(),
        base_with_node_settings(),
        chart(&[]),
        chart(&EVERY_VALUE),
        cleanup,
        // kubectl adds the zero values of a status that no server has given yet.
        without_status(&swapped),
        without_status(&tightened),
    ];
    // One process for all: the validator takes longer to start than to look.
    let all = file(&all.join("\n---\n"));
    let said = succeed(&mut validate(all.path()));
    assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
}

fn without_status(yaml: &str) -> String {
    let [mut object]: [Value; 1] = objects(yaml).try_into().expect("one object");
    object.as_object_mut().expect("an object").remove("status");
    object.to_string()
}

#[test]
fn the_validator_sees_a_misspelt_field() {
    let misspelt = base().replace("readOnlyRootFilesystem", "readonlyRootFilesystem");
    let said = fail(&mut validate(file(&misspelt).path()));
    assert!(said.contains("readonlyRootFilesystem"), "{said}");
}

/// The chart's values, each with another value than its own.
const EVERY_VALUE: [&str; 13] = [
    r#"image={"repository": "registry.example.net/weir", "pullPolicy": "Always",
        "digest": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#,
    r#"imagePullSecrets=[{"name": "registry"}]"#,
    r#"config={"clusterCIDR": "10.244.0.0/16", "oomScoreAdj": -999,
        "healthzBindAddress": "127.0.0.1:10356"}"#,
    r#"nodeSettings={"enabled": true}"#,
    r#"extraArgs=["-v=4"]"#,
    r#"resources={"requests": {"memory": "128Mi"}, "limits": {"memory": "1Gi"}}"#,
    r#"priorityClassName="system-cluster-critical""#,
    r#"nodeSelector={"example.net/proxy": "weir"}"#,
    r#"tolerations=[{"key": "example.net/dedicated", "operator": "Exists"}]"#,
    r#"affinity={"nodeAffinity": {}}"#,
    r#"podAnnotations={"example.net/team": "network"}"#,
    r#"podLabels={"example.net/tier": "node"}"#,
    r#"updateStrategy={"type": "OnDelete"}"#,
];
