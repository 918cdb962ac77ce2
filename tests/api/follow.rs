//! What is watched, and the result while nothing fails.

use serde_json::json;
use weir::source::api::Notice;
use weir_apiserver::{Fault, Resource, Verb};

use crate::world::{NODE, World, has_service, node, service, slice};

#[tokio::test(start_paused = true)]
async fn what_is_for_others_is_not_asked_for() {
    let mut world = World::new();
    let mut others = service("others", "10.96.0.20");
    others["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    world.server.apply(others);
    world.server.apply(service("headless", "None"));
    world.server.apply(service("web", "10.96.0.10"));
    let mut headless = slice("headless-1", "headless", &["10.244.0.9"]);
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    world.server.apply(headless);
    world.watch().await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert_eq!(world.services(), ["web"]);
    assert!(world.cluster().slices.is_empty());
    assert_eq!(
        world.cluster().node.as_ref().unwrap().addresses,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
    );
    // By the server, not by weir.
    let queries = |resource| {
        let requests = world.server.requests();
        requests.into_iter().find(|request| request.resource == resource).unwrap().query
    };
    let services = queries(Resource::Services);
    assert!(services.contains("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"));
    assert!(services.contains("fieldSelector=spec.clusterIP%21%3DNone"));
    let slices = queries(Resource::EndpointSlices);
    assert!(slices.contains("labelSelector=%21service.kubernetes.io%2Fheadless"));
    assert!(queries(Resource::Nodes).contains("fieldSelector=metadata.name%3Dnode-a"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_stream_lists_is_asked_for_pages() {
    for fault in [Fault::RefuseWatchList, Fault::InvalidWatchList] {
        let mut world = World::new();
        for index in 0..1100 {
            let cluster_ip = format!("10.97.{}.{}", index / 250, index % 250 + 1);
            world.server.apply(service(&format!("service-{index}"), &cluster_ip));
        }
        world.server.fail_once(Resource::Services, Verb::Watch, fault);
        world.watch().await;
        world.until("all is known", |state| state.cluster().is_some()).await;
        assert_eq!(world.services().len(), 1100, "{fault:?}");
        let requests = world.server.requests();
        let of_services = requests.iter().filter(|of| of.resource == Resource::Services);
        let verbs: Vec<Verb> = of_services.map(|request| request.verb).collect();
        assert_eq!(verbs[..4], [Verb::Watch, Verb::List, Verb::List, Verb::List], "{fault:?}");
        world.server.apply(service("more", "10.96.0.11"));
        world.until("a new Service", |state| has_service(state, "more")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_there_and_an_api_that_is_not_there_hold_nothing_up() {
    let mut world = World::new();
    world.server.delete(Resource::Nodes, "", NODE);
    world.server.fail(Resource::ServiceCidrs, Verb::Watch, Fault::NotFound);
    world.server.fail(Resource::ServiceCidrs, Verb::List, Fault::NotFound);
    world.watch().await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert!(world.cluster().service_cidrs.is_empty() && world.cluster().node.is_none());
    // The control plane gets its update, and the Node comes.
    world.server.heal();
    world.server.apply(node(NODE, "192.0.2.1"));
    world.until("the Node", |state| state.cluster().unwrap().node.is_some()).await;
    world.until("ServiceCIDRs", |s| !s.cluster().unwrap().service_cidrs.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_bad_keeps_its_last_good_state_and_what_is_bad_at_first_is_left_out() {
    let mut world = World::new();
    world.server.apply(service("web", "10.96.0.10"));
    world.server.apply(service("bad", "10.96.0.999"));
    let mut undecodable = service("undecodable", "10.96.0.30");
    undecodable["spec"]["ports"] = json!("many");
    world.server.apply(undecodable);
    world.watch().await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert_eq!(world.services(), ["web"]);
    let problem = |notice: &Notice, text: &str| matches!(notice, Notice::Problem(p) if p.to_string().contains(text));
    assert!(
        world
            .notices
            .iter()
            .any(|notice| problem(notice, "Service default/bad: spec.clusterIPs[0]"))
    );
    assert!(world.notices.iter().any(|notice| problem(notice, "default/undecodable: spec.ports")));

    world.server.apply(service("web", "10.96.0.998"));
    world.server.apply(service("bad", "10.96.0.11"));
    world.until("the bad one is good", |state| has_service(state, "bad")).await;
    assert_eq!(world.services(), ["bad", "web"]);
    assert!(world.notices.iter().any(|notice| problem(notice, "its last good state is kept")));
    // A new list does not lose it either.
    world.server.compact();
    world.server.break_watches(weir_apiserver::Break::Gone);
    world.server.apply(service("last", "10.96.0.40"));
    world.until("the new list", |state| has_service(state, "last")).await;
    assert_eq!(world.services(), ["bad", "last", "web"]);
    // A deletion does.
    world.server.delete(Resource::Services, "default", "web");
    world.until("it is gone", |state| !has_service(state, "web")).await;
}
