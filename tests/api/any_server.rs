//! What weir follows, and how, is the same with every server. Each test restores the state that it found.

use serde_json::json;
use weir::source::Kind;
use weir::source::api::Store;
use weir_apiserver::Resource;

use crate::events::about;
use crate::server::AnyServer;
use crate::world::{NODE, World, has_endpoints, has_service, node, service, service_cidr, slice};

/// A server, with Service `web` and its slice, of which all is known.
async fn watched<S: AnyServer>(server: S) -> World<S> {
    server.put(node(NODE, "192.0.2.1")).await;
    server.put(service("web", "10.96.0.10")).await;
    server.put(slice("web-1", "web", &["10.244.0.2"])).await;
    let mut world = World::of(server);
    world.watch().await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    world
}

async fn clean_up<S: AnyServer>(world: World<S>) -> S {
    let server = world.server;
    server.remove(Resource::EndpointSlices, "default", "web-1").await;
    server.remove(Resource::Services, "default", "web").await;
    server
}

fn has_cidrs(state: &Store, count: usize) -> bool {
    state.cluster().is_some_and(|cluster| cluster.service_cidrs.len() == count)
}

fn has_address(state: &Store, address: &str) -> bool {
    let address: std::net::IpAddr = address.parse().expect("an address");
    let node = state.cluster().and_then(|cluster| cluster.node.as_ref());
    node.is_some_and(|node| node.addresses == [address])
}

pub(crate) async fn changes_of_every_kind_are_followed<S: AnyServer>(server: S) -> S {
    let mut world = watched(server).await;
    assert!(has_service(&world.state, "web") && has_cidrs(&world.state, 1));
    world.server.put(service("more", "10.96.0.11")).await;
    world.until("a new Service", |state| has_service(state, "more")).await;
    world.server.remove(Resource::Services, "default", "more").await;
    world.until("a deletion", |state| !has_service(state, "more")).await;
    world.server.put(slice("web-1", "web", &["10.244.0.2", "10.244.0.3"])).await;
    world.until("an endpoint", |state| has_endpoints(state, "web-1", 2)).await;
    world.server.put(service_cidr("more", "10.112.0.0/16")).await;
    world.until("a ServiceCIDR", |state| has_cidrs(state, 2)).await;
    world.server.remove(Resource::ServiceCidrs, "", "more").await;
    world.until("no ServiceCIDR more", |state| has_cidrs(state, 1)).await;
    world.server.put(node(NODE, "192.0.2.77")).await;
    world.until("the Node's address", |state| has_address(state, "192.0.2.77")).await;
    world.server.remove(Resource::Nodes, "", NODE).await;
    world.until("no Node", |state| state.cluster().unwrap().node.is_none()).await;
    world.server.put(node(NODE, "192.0.2.1")).await;
    world.until("the Node", |state| has_address(state, "192.0.2.1")).await;
    clean_up(world).await
}

pub(crate) async fn what_is_for_others_is_not_seen<S: AnyServer>(server: S) -> S {
    let mut others = service("others", "10.96.0.20");
    others["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    server.put(others).await;
    server.put(service("headless", "None")).await;
    let mut headless = slice("headless-1", "headless", &["10.244.0.9"]);
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    server.put(headless).await;
    server.put(node("node-b", "192.0.2.2")).await;
    let world = watched(server).await;
    for name in ["others", "headless"] {
        assert!(!has_service(&world.state, name), "{name}");
    }
    assert!(!has_endpoints(&world.state, "headless-1", 1));
    assert!(has_address(&world.state, "192.0.2.1"));
    world.server.remove(Resource::Services, "default", "others").await;
    world.server.remove(Resource::Services, "default", "headless").await;
    world.server.remove(Resource::EndpointSlices, "default", "headless-1").await;
    clean_up(world).await
}

pub(crate) async fn a_label_can_take_a_service_away_and_give_it_back<S: AnyServer>(server: S) -> S {
    let mut world = watched(server).await;
    let mut others = service("web", "10.96.0.10");
    others["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    world.server.put(others).await;
    world.until("it is gone", |state| !has_service(state, "web")).await;
    world.server.put(service("web", "10.96.0.10")).await;
    world.until("it is back", |state| has_service(state, "web")).await;
    clean_up(world).await
}

/// Longer than a page, in case the server does not stream lists.
pub(crate) async fn a_long_list_is_complete<S: AnyServer>(server: S) -> S {
    const SLICES: usize = 600;
    let name = |index| format!("long-{index}");
    for index in 0..SLICES {
        server.put(slice(&name(index), "long", &["10.244.0.2"])).await;
    }
    let world = watched(server).await;
    for index in 0..SLICES {
        assert!(has_endpoints(&world.state, &name(index), 1), "{index}");
        world.server.remove(Resource::EndpointSlices, "default", &name(index)).await;
    }
    clean_up(world).await
}

pub(crate) async fn an_event_is_told_of_the_object_that_it_concerns<S: AnyServer>(server: S) -> S {
    let world = watched(server).await;
    let recorder = world.recorder();
    recorder.record(about(Kind::Service, "default", "web", "a note"));
    let event = world.server.event("default").await;
    let uid = world.server.uid(Resource::Services, "default", "web").await;
    assert_eq!(event["regarding"]["uid"], uid);
    assert_eq!((&event["note"], &event["type"]), (&json!("a note"), &json!("Warning")));
    clean_up(world).await
}

/// Each of these against the server of these tests, in virtual time; and all of them in turn against
/// one that takes long to start.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        mod here {
            use crate::world::World;
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(World::new().server).await;
                }
            )*
        }

        /// All tests, one after the other.
        pub(crate) async fn all<S: AnyServer>(mut server: S) -> S {
            $(
                println!("{} ...", stringify!($name));
                server = $name(server).await;
            )*
            server
        }
    };
}

tests!(
    changes_of_every_kind_are_followed,
    what_is_for_others_is_not_seen,
    a_label_can_take_a_service_away_and_give_it_back,
    a_long_list_is_complete,
    an_event_is_told_of_the_object_that_it_concerns,
);
