//! What reaches a cluster.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::tools::{repository, succeed, tool};
use crate::yaml;

/// The server that the kustomize base names in place of a real one.
pub(crate) const SERVER: &str = "https://control-plane.invalid:6443";

/// The objects of a text of YAML documents.
pub(crate) fn objects(yaml: &str) -> Vec<Value> {
    let documents = format!("\n{yaml}");
    let documents = documents.split("\n---").filter(|document| !document.trim().is_empty());
    documents.map(document).collect()
}

/// The value of a text of one YAML document.
pub(crate) fn document(yaml: &str) -> Value {
    yaml::parse("rendered", yaml)
}

/// The only object of this kind.
pub(crate) fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

/// The kustomize base.
pub(crate) fn base() -> String {
    kustomize(&repository("deploy/kustomize"))
}

/// The base with the component that sets up the node.
pub(crate) fn base_with_node_settings() -> String {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let at = |path| relative(folder.path(), &repository(path));
    let overlay = format!(
        "resources: [{}]\ncomponents: [{}]\n",
        at("deploy/kustomize"),
        at("deploy/kustomize/node-settings")
    );
    fs::write(folder.path().join("kustomization.yaml"), overlay).expect("it can be written");
    kustomize(folder.path())
}

/// The way from a folder to another: kustomize takes no absolute paths.
pub(crate) fn relative(from: &Path, to: &Path) -> String {
    let from = from.canonicalize().expect("it is there");
    let up = "../".repeat(from.components().count() - 1);
    format!("{up}{}", to.strip_prefix("/").expect("it is absolute").display())
}

/// What kustomize makes of a folder.
pub(crate) fn kustomize(folder: &Path) -> String {
    succeed(tool("kubectl").arg("kustomize").arg(folder))
}

/// The chart with these values (`name=JSON`) beside those that it asks for.
pub(crate) fn chart(values: &[&str]) -> String {
    let mut helm = tool("helm");
    helm.args(["template", "weir", "deploy/helm/weir", "--namespace", "kube-system"]);
    let server = format!(r#"apiServer="{SERVER}""#);
    for value in [server.as_str(), r#"image.repository="weir""#].iter().chain(values) {
        helm.args(["--set-json", value]);
    }
    succeed(&mut helm)
}

/// kubeadm's DaemonSet once it runs weir's image: by the image alone, and tightened.
pub(crate) fn kubeadm() -> [String; 2] {
    let mut set_image = tool("kubectl");
    set_image
        .args([
            "set",
            "image",
            "--local",
            "-f",
            "tests/deploy/kubeadm-daemonset.yaml",
            "-o",
            "yaml",
        ])
        .arg("kube-proxy=registry.example.net/weir:0.1.0");
    let swapped = succeed(&mut set_image);
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    fs::write(file.path(), &swapped).expect("it can be written");
    let mut patch = tool("kubectl");
    patch
        .args(["patch", "--local", "-o", "yaml", "--patch-file", "deploy/kubeadm/tighten.yaml"])
        .arg("-f")
        .arg(file.path());
    [swapped, succeed(&mut patch)]
}
