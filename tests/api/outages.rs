//! Servers that are slow, forgetful in the middle of a list, or away for a while.

use std::time::Duration;

use tokio::time::Instant;
use weir::config::Limits;
use weir::source::api::{ApiClient, ClientSource, Reflectors};
use weir_apiserver::{Fault, Request, Resource, Verb};

use crate::faults::FAULTS;
use crate::world::{NODE, World, has_service, service};

/// A page of a list that comes as it should.
const GOOD_PAGE: Fault = Fault::Delay(Duration::ZERO);

fn of_services(world: &World) -> Vec<Request> {
    let requests = world.server.requests().into_iter();
    requests.filter(|request| request.resource == Resource::Services).collect()
}

/// A server with a list of three pages, which weir has to ask for because it does not stream lists.
fn paged_world() -> World {
    let world = World::new();
    for index in 0..1100 {
        let cluster_ip = format!("10.97.{}.{}", index / 250, index % 250 + 1);
        world.server.apply(service(&format!("service-{index}"), &cluster_ip));
    }
    world.server.fail(Resource::Services, Verb::Watch, Fault::InvalidWatchList);
    world
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_waited_for_and_one_that_is_too_slow_is_asked_again() {
    for (seconds, is_known) in [(29, true), (59, true), (90, false)] {
        let mut world = World::new();
        world.server.apply(service("web", "10.96.0.10"));
        let slow = Fault::Delay(Duration::from_secs(seconds));
        for verb in [Verb::Watch, Verb::List] {
            world.server.fail(Resource::Services, verb, slow);
        }
        world.watch().await;
        world.pass(Duration::from_secs(600)).await;
        assert_eq!(world.state.cluster().is_some(), is_known, "{seconds} s");
        let requests = of_services(&world);
        // No more than one at a time, whatever the server makes of those that were given up.
        assert!(requests.len() <= 600 / 30, "{seconds} s: {requests:?}");
        world.server.heal();
        world.until("all is known", |state| state.cluster().is_some()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_later_pages_are_gone_is_asked_for_in_one_piece() {
    let mut world = paged_world();
    world.server.fail_once(Resource::Services, Verb::List, GOOD_PAGE);
    let late = Fault::Delay(Duration::from_secs(20));
    world.server.fail_once(Resource::Services, Verb::List, late);
    world.watch().await;
    world.server.wait_for_requests(lists(2)).await;
    world.server.delete(Resource::Services, "default", "service-1");
    world.server.compact();
    world.until("all is known", |state| state.cluster().is_some()).await;
    assert_eq!(world.services().len(), 1099);
    let requests = of_services(&world);
    let lists: Vec<_> = requests.iter().filter(|request| request.verb == Verb::List).collect();
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(lists[0].query.contains("limit=500") && !lists[0].query.contains("continue"));
    assert!(lists[1].query.contains("continue="), "{:?}", lists[1]);
    assert!(!lists[2].query.contains("limit="), "{:?}", lists[2]);
}

/// Whether there have been so many lists of Services.
fn lists(count: usize) -> impl FnMut(&[Request]) -> bool {
    move |requests| {
        let is_list = |of: &&Request| of.resource == Resource::Services && of.verb == Verb::List;
        requests.iter().filter(is_list).count() >= count
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_list_is_never_taken_for_the_whole() {
    // The others are no answers to a list.
    let of_lists = |fault: &Fault| !matches!(fault, Fault::GoneEvent | Fault::NotFound);
    for fault in FAULTS.into_iter().filter(of_lists) {
        let mut world = paged_world();
        for fault in [GOOD_PAGE, GOOD_PAGE, fault] {
            world.server.fail_once(Resource::Services, Verb::List, fault);
        }
        world.watch().await;
        world.until(&format!("{fault:?}"), |state| state.cluster().is_some()).await;
        assert_eq!(world.services().len(), 1100, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_is_found_again_and_nothing_is_lost() {
    let mut world = World::watched().await;
    let before = world.cluster().clone();
    world.server.close();
    world.server.apply(service("more", "10.96.0.11"));
    world.pass(Duration::from_secs(90)).await;
    assert_eq!(*world.cluster(), before);
    let requests = world.server.requests().len();
    world.server.open();
    world.until("the change", |state| has_service(state, "more")).await;
    for request in &world.server.requests()[requests..] {
        assert!(!request.query.contains("sendInitialEvents"), "no list: {request:?}");
    }
}

/// Fifty nodes, with four watches each.
#[tokio::test(start_paused = true)]
async fn many_nodes_do_not_come_back_to_a_server_at_once() {
    const NODES: usize = 50;
    let world = World::new();
    let access = ClientSource::Master(world.server.url());
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        let server = ApiClient::new(access.clone(), Limits::default()).await.expect("a client");
        nodes.push(Reflectors::start(&server, NODE, world.metrics.api()));
    }
    let watches = NODES * Resource::ALL.len();
    world.server.wait_for_requests(|requests| requests.len() >= watches).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    world.server.close();
    // Each has tried in vain for a while.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.server.requests().len(), watches);
    let opened = Instant::now();
    world.server.open();
    world.server.wait_for_requests(|requests| requests.len() >= 2 * watches).await;

    let requests = world.server.requests().split_off(watches);
    assert!(requests.iter().all(|of| !of.query.contains("sendInitialEvents")), "nobody lists");
    let times: Vec<f64> = requests.iter().map(|of| (of.time - opened).as_secs_f64()).collect();
    let busiest = times
        .iter()
        .map(|start| times.iter().filter(|time| (*start..start + 1.0).contains(time)).count());
    // Evenly spread there would be about 5 of them in a second of the 45 that the longest pause has.
    let busiest = busiest.max().expect("there are some");
    assert!(busiest <= watches / 8, "{busiest} of {watches} within a second: {times:?}");
    let last = times.iter().copied().fold(0.0, f64::max);
    assert!(last > 20.0, "the last came after {last} s");
    drop(nodes);
}
