//! What weir may do on a node and in the API.

use std::fs;

use serde_json::{Value, json};

use crate::render::{base, base_with_node_settings, chart, kubeadm, objects, only};
use crate::tools::repository;

/// All that a container of weir's is given.
fn least() -> Value {
    json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsUser": 0,
        "runAsGroup": 0,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    })
}

/// What the Pod of a DaemonSet is.
fn pod(yaml: &str) -> Value {
    only(&objects(yaml), "DaemonSet")["spec"]["template"]["spec"].clone()
}

fn assert_least(pod: &Value, what: &str) {
    let settings = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(pod["securityContext"], settings, "{what}");
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1), "{what}");
    assert_eq!(pod["containers"][0]["securityContext"], least(), "{what}");
    for shared in ["hostPID", "hostIPC", "initContainers"] {
        assert_eq!(pod[shared], Value::Null, "{what}: {shared}");
    }
    for volume in pod["volumes"].as_array().expect("volumes") {
        assert!(volume["configMap"].is_object(), "{what}: {volume}");
    }
}

#[test]
fn the_agent_has_cap_net_admin_and_nothing_else() {
    for (what, yaml) in
        [("kustomize", base()), ("helm", chart(&[])), ("kubeadm, tightened", kubeadm()[1].clone())]
    {
        assert_least(&pod(&yaml), what);
    }
}

#[test]
fn the_service_account_reads_four_kinds_and_writes_events() {
    for yaml in [base(), chart(&[])] {
        let objects = objects(&yaml);
        let rule = |group: &str, resources: Value, verbs: Value| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        let follow = || json!(["list", "watch"]);
        let rules = json!([
            rule("", json!(["services", "nodes"]), follow()),
            rule("discovery.k8s.io", json!(["endpointslices"]), follow()),
            rule("networking.k8s.io", json!(["servicecidrs"]), follow()),
            rule("events.k8s.io", json!(["events"]), json!(["create"])),
        ]);
        assert_eq!(only(&objects, "ClusterRole")["rules"], rules);
        let binding = only(&objects, "ClusterRoleBinding");
        assert_eq!(
            binding["roleRef"],
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir"})
        );
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "weir", "namespace": "kube-system"}])
        );
        assert!(!objects.iter().any(|object| object["kind"] == "Role"));
    }
}

#[test]
fn a_lower_oom_score_than_the_kubelets_costs_cap_sys_resource() {
    let capabilities = |value: &str| {
        pod(&chart(&[value]))["containers"][0]["securityContext"]["capabilities"]["add"].clone()
    };
    assert_eq!(capabilities("config.oomScoreAdj=-997"), json!(["NET_ADMIN"]));
    assert_eq!(capabilities("config.oomScoreAdj=0"), json!(["NET_ADMIN"]));
    assert_eq!(capabilities("config.oomScoreAdj=-998"), json!(["NET_ADMIN", "SYS_RESOURCE"]));
    // kube-proxy's default is -999.
    assert_eq!(capabilities("config.oomScoreAdj=null"), json!(["NET_ADMIN", "SYS_RESOURCE"]));
}

#[test]
fn only_what_sets_up_the_node_and_ends_is_privileged() {
    for yaml in [base_with_node_settings(), chart(&[r#"nodeSettings={"enabled": true}"#])] {
        let mut pod = pod(&yaml);
        let before = pod.as_object_mut().expect("an object").remove("initContainers");
        let before = before.expect("a container that comes before");
        assert_eq!(before.as_array().map(Vec::len), Some(1));
        assert_eq!(before[0]["args"][0], "--init-only");
        assert_eq!(before[0]["restartPolicy"], Value::Null);
        assert_eq!(before[0]["securityContext"]["privileged"], true);
        assert_eq!(before[0]["image"], pod["containers"][0]["image"]);
        assert_least(&pod, "after");
    }
}

#[test]
fn the_removal_of_weirs_tables_needs_no_more_and_reads_no_api() {
    let yaml = fs::read_to_string(repository("deploy/kubeadm/cleanup.yaml")).expect("a file");
    let pod = pod(&yaml);
    assert_eq!(pod["initContainers"].as_array().map(Vec::len), Some(1));
    // Not `--cleanup`, which would remove the rules of the proxy that has taken over.
    assert_eq!(pod["initContainers"][0]["args"], json!(["cleanup"]));
    assert_eq!(pod["initContainers"][0]["securityContext"], least());
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], Value::Null);
    assert_eq!(pod["containers"][0]["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(pod["containers"][0]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["args"], json!(["pause"]));
}
