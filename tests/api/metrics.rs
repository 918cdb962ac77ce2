//! Metrics of the watches.

use weir_apiserver::{Break, Fault, Resource, Verb};

use crate::world::{World, has_service, service};

fn restarts(kind: &str, reason: &str) -> String {
    format!("weir_api_watch_restarts_total{{kind=\"{kind}\",reason=\"{reason}\"}}")
}

fn connected(world: &World, kind: &str) -> Option<f64> {
    world.metric(&format!("weir_api_connected{{kind=\"{kind}\"}}"))
}

fn requests(world: &World, code: &str) -> Option<f64> {
    let host = world.server.url().replace("http://", "");
    let labels = format!("code=\"{code}\",host=\"{host}\",method=\"GET\"");
    world.metric(&format!("rest_client_requests_total{{{labels}}}"))
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_their_answer_and_what_ends_by_its_reason() {
    let mut world = World::watched().await;
    assert_eq!(requests(&world, "200"), Some(4.0));
    assert_eq!(connected(&world, "Service"), Some(1.0));
    assert_eq!(world.metric(&restarts("Service", "broken")), None);

    world.server.break_watches(Break::Half);
    world.server.apply(service("more", "10.96.0.11"));
    world.until("a new Service", |state| has_service(state, "more")).await;
    assert_eq!(world.metric(&restarts("Service", "broken")), Some(1.0));
    assert_eq!(connected(&world, "Service"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_the_server_does_not_tell_of_is_not_connected() {
    let mut world = World::new();
    for verb in [Verb::List, Verb::Watch] {
        world.server.fail(Resource::Services, verb, Fault::Unavailable);
        world.server.fail(Resource::Nodes, verb, Fault::Drop);
        world.server.fail(Resource::ServiceCidrs, verb, Fault::Forbidden);
    }
    world.watch().await;
    world.pass(std::time::Duration::from_secs(60)).await;
    assert_eq!(connected(&world, "Service"), Some(0.0));
    assert_eq!(connected(&world, "Node"), Some(0.0));
    assert_eq!(connected(&world, "EndpointSlice"), Some(1.0));
    // It has said that there are none for weir.
    assert_eq!(connected(&world, "ServiceCIDR"), Some(1.0));
    assert!(world.metric(&restarts("Service", "status")) >= Some(2.0));
    assert!(world.metric(&restarts("Node", "unreachable")) >= Some(2.0));
    assert!(world.metric(&restarts("ServiceCIDR", "forbidden")) >= Some(1.0));
    assert!(requests(&world, "503") >= Some(2.0) && requests(&world, "<error>") >= Some(2.0));
    world.server.heal();
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert_eq!(connected(&world, "Service"), Some(1.0));
    assert_eq!(connected(&world, "Node"), Some(1.0));
}
