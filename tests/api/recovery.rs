//! How soon weir follows again, and how seldom it asks.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use weir_apiserver::{Break, Fault, Request, Resource, Verb};

use crate::world::{World, has_service, service};

const SECOND: Duration = Duration::from_secs(1);

/// The longest pause that is there only to spread the nodes of a cluster, and some for the machine.
const SPREAD: Duration = Duration::from_millis(1300);

fn of(world: &World, resource: Resource) -> Vec<Request> {
    let requests = world.server.requests().into_iter();
    requests.filter(|request| request.resource == resource).collect()
}

fn is_list(request: &Request) -> bool {
    request.verb == Verb::List || request.query.contains("sendInitialEvents=true")
}

/// Applies updates for a time, however long each of them takes.
async fn pass(world: &mut World, time: Duration) {
    let end = Instant::now() + time;
    while timeout(end - Instant::now(), world.step()).await.is_ok() {}
}

/// Waits until so many requests of Services have come.
async fn asked(world: &World, count: usize) {
    let is_of = |request: &&Request| request.resource == Resource::Services;
    let wanted = |requests: &[Request]| requests.iter().filter(is_of).count() >= count;
    timeout(3600 * SECOND, world.server.wait_for_requests(wanted)).await.expect("it asks again");
}

/// A balancer that lets no connection live for long must not cost changes.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_often_misses_nothing_for_long() {
    for how in [Break::End, Break::Reset, Break::Half, Break::HalfChunk] {
        let mut world = World::watched().await;
        for round in 0..40 {
            let name = format!("round-{round}");
            world.server.break_watches(how);
            let start = Instant::now();
            world.server.apply(service(&name, &format!("10.96.1.{round}")));
            world.until(&name, |state| has_service(state, &name)).await;
            let took = start.elapsed();
            assert!(took <= SPREAD, "{how:?}, round {round}: {took:?}");
            pass(&mut world, 3 * SECOND).await;
        }
    }
}

/// What comes to an end at once and brings nothing is a failure, and pauses grow.
#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_not_stormed() {
    let mut world = World::watched().await;
    world.server.fail(Resource::Services, Verb::Watch, Fault::Empty);
    world.server.break_watches(Break::End);
    let before = of(&world, Resource::Services).len();
    pass(&mut world, 3600 * SECOND).await;
    let requests = of(&world, Resource::Services).len() - before;
    assert!((60..400).contains(&requests), "{requests} requests in an hour");
}

/// The server is away, forgets meanwhile, and comes back.
#[tokio::test(start_paused = true)]
async fn a_version_that_has_expired_in_an_outage_costs_no_further_pause() {
    for seconds in [2, 5, 20, 60] {
        let mut world = World::watched().await;
        world.server.close();
        world.server.apply(service("more", "10.96.0.11"));
        world.server.compact();
        pass(&mut world, seconds * SECOND).await;
        let before = of(&world, Resource::Services).len();
        world.server.open();
        world.until("the change", |state| has_service(state, "more")).await;
        let requests = of(&world, Resource::Services).split_off(before);
        // The first hears of 410, the second is the list.
        assert!(!is_list(&requests[0]) && is_list(&requests[1]), "{requests:?}");
        let pause = requests[1].time - requests[0].time;
        assert!(pause < SECOND / 10, "{seconds} s: {pause:?} from the answer to the list");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_of_an_expired_version_is_followed_by_a_list_at_once() {
    let mut world = World::watched().await;
    let before = of(&world, Resource::Services).len();
    pass(&mut world, 60 * SECOND).await;
    let start = Instant::now();
    world.server.break_watches(Break::Gone);
    asked(&world, before + 1).await;
    assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
    assert!(is_list(&of(&world, Resource::Services)[before]));
}

/// Whether lists are answered or not.
#[tokio::test(start_paused = true)]
async fn a_server_to_which_every_version_has_expired_is_not_stormed() {
    for fault in [Fault::Gone, Fault::GoneEvent, Fault::GoneFromVersion] {
        let mut world = World::watched().await;
        for verb in [Verb::Watch, Verb::List] {
            if verb == Verb::Watch || fault == Fault::Gone {
                world.server.fail(Resource::Services, verb, fault);
            }
        }
        // A watch that begins with a list is refused, so that it is list, watch, list, watch.
        if fault == Fault::GoneFromVersion {
            world.server.fail_once(Resource::Services, Verb::Watch, Fault::InvalidWatchList);
        }
        world.server.break_watches(Break::Gone);
        let before = of(&world, Resource::Services).len();
        pass(&mut world, 3600 * SECOND).await;
        let requests = of(&world, Resource::Services).split_off(before);
        assert!(requests.len() < 500, "{fault:?}: {} requests in an hour", requests.len());
        world.server.heal();
        world.server.apply(service("more", "10.96.0.11"));
        world.until("the change", |state| has_service(state, "more")).await;
    }
}

/// A kind that nothing happens to, of a server whose storage tells of no progress: no bookmark comes.
#[tokio::test(start_paused = true)]
async fn a_quiet_watch_lasts_for_its_own_time() {
    let mut world = World::watched().await;
    pass(&mut world, 4 * 3600 * SECOND).await;
    for resource in Resource::ALL {
        let requests = of(&world, resource);
        for pair in requests.windows(2) {
            let lasted = pair[1].time - pair[0].time;
            assert!(lasted >= 299 * SECOND, "{resource:?}: {lasted:?}, {pair:?}");
            assert!(lasted <= 601 * SECOND, "{resource:?}: {lasted:?}, {pair:?}");
        }
    }
    assert_eq!(
        world.metric("weir_api_watch_restarts_total{kind=\"Service\",reason=\"late\"}"),
        None
    );
}

/// It was set back to an older state, or has lost track of this watch.
#[tokio::test(start_paused = true)]
async fn twenty_minutes_without_a_word_end_in_a_list() {
    let mut world = World::watched().await;
    pass(&mut world, 3600 * SECOND).await;
    let requests = of(&world, Resource::Services);
    let lists: Vec<_> = requests.iter().filter(|request| is_list(request)).collect();
    for pair in lists.windows(2) {
        let apart = pair[1].time - pair[0].time;
        assert!((600 * SECOND..=1202 * SECOND).contains(&apart), "{apart:?}");
    }
    assert!(lists.len() >= 3, "{requests:?}");
}

/// The connection lives, and whatever is behind it does not: a balancer whose server has gone.
#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_does_not_end_is_ended_by_weir() {
    let mut world = World::watched().await;
    world.server.break_watches(Break::Stall);
    pass(&mut world, SECOND).await;
    world.server.apply(service("more", "10.96.0.11"));
    let start = Instant::now();
    world.until("the change", |state| has_service(state, "more")).await;
    let took = start.elapsed();
    assert!((299 * SECOND..=632 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_says_when_to_come_back() {
    let world = World::watched().await;
    let retry_after = Fault::RetryAfter(20 * SECOND);
    world.server.fail_once(Resource::Services, Verb::Watch, retry_after);
    world.server.break_watches(Break::End);
    let before = of(&world, Resource::Services).len();
    asked(&world, before + 2).await;
    let requests = of(&world, Resource::Services).split_off(before);
    let pause = requests[1].time - requests[0].time;
    assert!((20 * SECOND..=31 * SECOND).contains(&pause), "{pause:?}");
    assert!(!requests.iter().any(is_list), "it is no reason to list: {requests:?}");
}

/// What stands between weir and the server says 504 when the server is slow. The server itself says it
/// of a version that it has not reached, which is a reason to list.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_gives_up_is_no_reason_to_list() {
    for (fault, lists) in [(Fault::GatewayTimeout, false), (Fault::TooLargeVersion, true)] {
        let world = World::watched().await;
        world.server.fail_once(Resource::Services, Verb::Watch, fault);
        world.server.break_watches(Break::End);
        let before = of(&world, Resource::Services).len();
        asked(&world, before + 2).await;
        let requests = of(&world, Resource::Services).split_off(before);
        assert_eq!(requests.iter().any(is_list), lists, "{fault:?}: {requests:?}");
    }
}

/// A failed answer is not a lost version, however often it comes.
#[tokio::test(start_paused = true)]
async fn an_error_event_of_a_busy_server_is_no_reason_to_list() {
    let world = World::watched().await;
    let before = of(&world, Resource::Services).len();
    world.server.break_watches(Break::Busy);
    asked(&world, before + 1).await;
    let requests = of(&world, Resource::Services).split_off(before);
    assert!(!requests.iter().any(is_list), "{requests:?}");
}

/// A role that is bound a moment after weir has started, as in a new cluster.
#[tokio::test(start_paused = true)]
async fn service_cidrs_that_become_readable_are_read_soon() {
    let mut world = World::new();
    world.server.fail(Resource::ServiceCidrs, Verb::Watch, Fault::Forbidden);
    world.watch().await;
    world.until("all is known", |state| state.cluster().is_some()).await;
    pass(&mut world, 5 * SECOND).await;
    world.server.heal();
    let start = Instant::now();
    world.until("ServiceCIDRs", |s| !s.cluster().unwrap().service_cidrs.is_empty()).await;
    assert!(start.elapsed() < 30 * SECOND, "{:?}", start.elapsed());
}
