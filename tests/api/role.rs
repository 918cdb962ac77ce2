//! What the manifests of deploy/ allow weir is enough for all that it does, on a server that allows
//! nothing else.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use weir::source::Kind;
use weir::source::api::ClientSource;
use weir_apiserver::{ApiServer, Resource, Verb};

use crate::events::about;
use crate::server::AnyServer;
use crate::world::{World, has_service, service, service_cidr};

/// The rules of deploy/kustomize's ClusterRole.
fn rules() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize/rbac.yaml");
    let text = std::fs::read_to_string(path).expect("it is there");
    let documents = text.split("\n---\n").map(|document| {
        #[derive(Deserialize)]
        struct Object {
            kind: String,
            rules: Option<Vec<Rule>>,
        }
        let object: Object = serde_saphyr::from_str(document).expect("YAML");
        object.rules.filter(|_| object.kind == "ClusterRole")
    });
    let [rules] = &documents.flatten().collect::<Vec<_>>()[..] else { panic!("one ClusterRole") };
    rules.iter().map(Rule::json).collect()
}

/// Strict, so that a field that the server of the tests does not know is not taken for granted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

impl Rule {
    fn json(&self) -> Value {
        json!({"apiGroups": self.api_groups, "resources": self.resources, "verbs": self.verbs})
    }
}

#[tokio::test(start_paused = true)]
async fn the_cluster_role_is_enough_to_follow_all_and_to_tell_of_it() {
    let mut world = World::new();
    world.server.grant(&rules());
    world.server.require_token("secret");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, world.server.kubeconfig(Some("secret"))).expect("it can be written");
    let access = ClientSource::Kubeconfig { path, master: None };
    world.watch_as(&access).await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert_eq!(world.cluster().service_cidrs.len(), 1);
    assert!(world.cluster().node.is_some());
    world.server.apply(service("web", "10.96.0.10"));
    world.until("a change", |state| has_service(state, "web")).await;

    world.recorder().record(about(Kind::Service, "default", "web", "a note"));
    timeout(ApiServer::LIMIT, world.server.wait_for_events(1)).await.expect("it may be created");
}

/// Without the one rule that kube-proxy's own role has only since ServiceCIDRs are an API, there are
/// none; without any other, nothing is known.
#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_missed_but_for_service_cidrs() {
    for resource in Resource::ALL {
        let mut world = World::new();
        world.server.apply(service("web", "10.96.0.10"));
        let mut rules = rules();
        for rule in rules.as_array_mut().expect("a list") {
            let resources = rule["resources"].as_array_mut().expect("a list");
            resources.retain(|name| name != resource.plural());
        }
        world.server.grant(&rules);
        world.watch().await;
        world.pass(Duration::from_secs(300)).await;
        let is_known = world.state.cluster().is_some();
        assert_eq!(is_known, resource == Resource::ServiceCidrs, "{resource:?}");
        if is_known {
            assert!(world.cluster().service_cidrs.is_empty());
            world.server.apply(service("more", "10.96.0.11"));
            world.until("a change", |state| has_service(state, "more")).await;
        }
        // An administrator mends the role.
        world.server.grant(&self::rules());
        world.server.apply(service_cidr("more", "10.112.0.0/16"));
        world
            .until("all of it", |state| {
                state.cluster().is_some_and(|cluster| cluster.service_cidrs.len() == 2)
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_of_these_tests_refuses_what_no_rule_grants() {
    let mut world = World::new();
    world.server.grant(&json!([
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["services", "nodes"], "verbs": ["*"]},
    ]));
    world.watch().await;
    world.pass(Duration::from_secs(60)).await;
    assert!(world.state.cluster().is_none());
    let requests = world.server.requests();
    let is_of = |resource, verb| {
        requests.iter().any(|request| request.resource == resource && request.verb == verb)
    };
    for resource in [Resource::Services, Resource::EndpointSlices, Resource::Nodes] {
        assert!(is_of(resource, Verb::Watch), "{resource:?}");
        assert!(!is_of(resource, Verb::List), "403 is no reason to ask otherwise: {resource:?}");
    }
}
