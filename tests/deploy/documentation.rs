//! The commands and files of docs/install.md and docs/migrate-from-kube-proxy.md do what they say.

use std::fs;

use serde_json::Value;

use crate::render::{document, kustomize, objects, only, relative};
use crate::tools::{repository, succeed, tool};

fn page(name: &str) -> String {
    fs::read_to_string(repository("docs").join(name)).expect("a page")
}

/// The fenced block of a page that has this text.
fn block(page: &str, with: &str) -> String {
    let blocks = page.split("```").skip(1).step_by(2);
    let found: Vec<&str> = blocks.filter(|block| block.contains(with)).collect();
    assert_eq!(found.len(), 1, "blocks with {with}: {found:?}");
    found[0].to_owned()
}

/// The words of a command that goes on over lines.
fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().filter(|word| *word != "\\").collect()
}

/// The image of the container with this name, also one that comes before the others.
fn image_of<'a>(daemon_set: &'a Value, container: &str) -> &'a str {
    let pod = &daemon_set["spec"]["template"]["spec"];
    let lists = [&pod["containers"], &pod["initContainers"]];
    let mut containers = lists.into_iter().filter_map(Value::as_array).flatten();
    let container = containers.find(|each| each["name"] == container);
    container.expect("it is there")["image"].as_str().expect("text")
}

const IMAGE: &str = "registry.example.net/weir:0.1.0";

#[test]
fn the_helm_command_gives_what_it_is_told() {
    let page = page("install.md");
    let command = block(&page, "helm install");
    let words = words(&command);
    assert_eq!(words[..2], ["helm", "install"]);
    let objects = objects(&succeed(tool("helm").arg("template").args(&words[2..])));
    let daemon_set = only(&objects, "DaemonSet");
    assert_eq!(image_of(daemon_set, "weir"), IMAGE);
    let data = &only(&objects, "ConfigMap")["data"];
    let config = document(data["config.conf"].as_str().expect("text"));
    assert_eq!(config["clusterCIDR"], "10.244.0.0/16");
    let kubeconfig = document(data["kubeconfig.conf"].as_str().expect("text"));
    let server = &kubeconfig["clusters"][0]["cluster"]["server"];
    assert_eq!(*server, "https://control-plane.example.net:6443");
}

#[test]
fn the_overlay_gives_the_base_with_its_own_settings() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let overlay = block(&page("install.md"), "kind: Kustomization");
    let overlay = overlay.strip_prefix("yaml\n").expect("it is YAML");
    let weir = relative(folder.path(), &repository(""));
    let overlay = overlay.replace("../weir", weir.trim_end_matches('/'));
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("it can be written");
    };
    write("kustomization.yaml", &overlay);
    for (name, from, to) in [
        ("config.conf", "clusterCIDR: \"\"", "clusterCIDR: 10.244.0.0/16"),
        ("kubeconfig.conf", "control-plane.invalid", "control-plane.example.net"),
    ] {
        let text = fs::read_to_string(repository("deploy/kustomize").join(name)).expect("a file");
        assert!(text.contains(from), "{name}");
        write(name, &text.replace(from, to));
    }
    let objects = objects(&kustomize(folder.path()));
    let map = only(&objects, "ConfigMap");
    let text = |file: &str| map["data"][file].as_str().expect("text").to_owned();
    assert!(text("config.conf").contains("clusterCIDR: 10.244.0.0/16"));
    assert!(text("kubeconfig.conf").contains("https://control-plane.example.net:6443"));
    let daemon_set = only(&objects, "DaemonSet");
    assert_eq!(image_of(daemon_set, "weir"), IMAGE);
    // Named after its content.
    let volume = &daemon_set["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);
    assert_ne!(map["metadata"]["name"], "weir");
}

#[test]
fn the_removal_runs_the_image_that_it_is_told() {
    let page = page("migrate-from-kube-proxy.md");
    let command = block(&page, "deploy/kubeadm/cleanup.yaml");
    let (command, _) = command.split_once('|').expect("it goes on to another");
    let words = words(command);
    assert_eq!(words[0], "kubectl");
    let daemon_set = document(&succeed(tool("kubectl").args(&words[1..])));
    // Nodes may be cut off from registries and have no other.
    for container in ["weir-cleanup", "done"] {
        assert_eq!(image_of(&daemon_set, container), IMAGE);
    }
}

#[test]
fn every_link_of_the_pages_leads_to_a_file() {
    for name in ["install.md", "migrate-from-kube-proxy.md", "../deploy/kubeadm/README.md"] {
        let page = page(name);
        let folder = repository("docs").join(name);
        let folder = folder.parent().expect("a folder");
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let files = links.filter_map(|link| link.split('#').next());
        let mut count = 0;
        for file in files.filter(|file| !file.is_empty()) {
            assert!(folder.join(file).exists(), "{name}: {file}");
            count += 1;
        }
        assert!(count >= 2, "{name} has {count} links");
    }
}
