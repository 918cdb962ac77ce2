//! The Helm chart.

use serde_json::{Value, json};

use crate::render::{SERVER, base, chart, document, objects, only};
use crate::tools::{fail, repository, succeed, tool};

/// What kustomize's `labels` and Helm's conventions put where, and names that hold a hash.
fn without_decoration(mut object: Value) -> Value {
    fn strip(metadata: &mut Value) {
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("labels");
        }
    }
    strip(&mut object["metadata"]);
    match object["kind"].as_str() {
        Some("DaemonSet") => {
            let template = &mut object["spec"]["template"];
            strip(&mut template["metadata"]);
            template["spec"]["volumes"][0]["configMap"]["name"] = json!("weir");
            let image = &mut template["spec"]["containers"][0]["image"];
            *image = json!(image.as_str().expect("an image").split(':').next());
        }
        Some("ConfigMap") => {
            object["metadata"]["name"] = json!("weir");
            object["metadata"].as_object_mut().expect("metadata").remove("annotations");
            for text in object["data"].as_object_mut().expect("data").values_mut() {
                *text = document(text.as_str().expect("text"));
            }
        }
        _ => {}
    }
    object
}

#[test]
fn with_its_own_values_the_chart_is_the_kustomize_base() {
    let [base, chart] = [base(), chart(&[])].map(|yaml| {
        let mut objects: Vec<Value> = objects(&yaml).into_iter().map(without_decoration).collect();
        objects.sort_by_key(|object| object["kind"].to_string());
        objects
    });
    assert_eq!(base.len(), 5);
    for (base, chart) in base.iter().zip(&chart) {
        assert_eq!(base, chart);
    }
    assert_eq!(base.len(), chart.len());
}

#[test]
fn helm_finds_nothing_to_say_about_the_chart() {
    let mut lint = tool("helm");
    lint.args(["lint", "--strict", "deploy/helm/weir", "--set"]);
    lint.arg(format!("apiServer={SERVER},image.repository=weir"));
    let said = succeed(&mut lint);
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let chart = std::fs::read_to_string(repository("deploy/helm/weir/Chart.yaml")).expect("a file");
    let chart = document(&chart);
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn what_cannot_be_guessed_must_be_given() {
    let missing =
        |set: &str| fail(tool("helm").args(["template", "weir", "deploy/helm/weir", "--set", set]));
    let said = missing("image.repository=weir");
    assert!(said.contains("apiServer: say where the API server is"), "{said}");
    let said = missing(&format!("apiServer={SERVER}"));
    assert!(said.contains("image.repository: say where you have pushed"), "{said}");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (set, about) in [
        ("apiserver=https://192.0.2.1:6443", "apiserver"),
        ("apiServer=192.0.2.1:6443", "apiServer"),
        ("image.digest=latest", "digest"),
        ("config.oomScoreAdj=-2000", "oomScoreAdj"),
        ("config.healthzBindAddress=localhost:10256", "healthzBindAddress"),
        ("healthzPort=10256", "healthzPort"),
        ("config.hostnameOverride=node-a", "hostnameOverride"),
        ("nodeSettings.enabled=perhaps", "nodeSettings"),
    ] {
        let said = fail(tool("helm").args(["template", "weir", "deploy/helm/weir", "--set", set]));
        assert!(said.contains("values don't meet") && said.contains(about), "{set}: {said}");
    }
}

/// Under a name that stays, the kubelets would change the files of all nodes at about the same time.
#[test]
fn a_changed_setting_comes_in_another_config_map_so_that_it_is_rolled_out() {
    let name = |values: &[&str]| {
        let objects = objects(&chart(values));
        let volume = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"][0];
        let name = volume["configMap"]["name"].as_str().expect("text").to_owned();
        let map = &only(&objects, "ConfigMap")["metadata"];
        assert_eq!(map["name"], *name);
        // Those who have yet to be replaced need theirs.
        assert_eq!(map["annotations"]["helm.sh/resource-policy"], "keep");
        let hash = name.strip_prefix("weir-").expect("it begins with weir-");
        assert!(hash.len() == 10 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        name
    };
    let before = name(&[]);
    assert_ne!(name(&[r#"config.clusterCIDR="10.244.0.0/16""#]), before);
    assert_ne!(name(&[r#"apiServer="https://192.0.2.1:6443""#]), before);
    // What is not in the files does not change their name.
    assert_eq!(name(&[r#"podLabels={"example.net/tier": "node"}"#]), before);
}

#[test]
fn every_field_of_the_configuration_can_be_set() {
    let yaml = chart(&[
        r#"config.clusterCIDR="10.244.0.0/16,fd00:10:244::/56""#,
        r#"config.conntrack={"maxPerCore": 32768, "min": 1048576}"#,
        r#"config.clientConnection={"kubeconfig": "/elsewhere", "qps": 50}"#,
    ]);
    let map = only(&objects(&yaml), "ConfigMap").clone();
    let config = document(map["data"]["config.conf"].as_str().expect("text"));
    assert_eq!(config["clusterCIDR"], "10.244.0.0/16,fd00:10:244::/56");
    assert_eq!(config["conntrack"]["min"], 1_048_576);
    // The file is the chart's own; the rest of the section is not.
    let connection = json!({"kubeconfig": "/etc/weir/kubeconfig.conf", "qps": 50});
    assert_eq!(config["clientConnection"], connection);
}
