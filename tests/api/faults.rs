//! Faults between weir and the server.

use std::time::Duration;

use weir::source::api::ClientSource;
use weir_apiserver::{Break, Fault, Resource, Verb};

use crate::world::{World, has_service, service, slice};

/// All that can go wrong with a request, whatever it asks for.
pub(crate) const FAULTS: [Fault; 15] = [
    Fault::Drop,
    Fault::Hang,
    Fault::HangAfterHead,
    Fault::Unauthorized,
    Fault::Forbidden,
    Fault::Gone,
    Fault::TooManyRequests,
    Fault::InternalError,
    Fault::Unavailable,
    Fault::Garbage,
    Fault::OtherJson,
    Fault::Half,
    Fault::Empty,
    Fault::GoneEvent,
    Fault::NotFound,
];

const BREAKS: [Break; 8] = [
    Break::End,
    Break::Reset,
    Break::Half,
    Break::HalfChunk,
    Break::Garbage,
    Break::Gone,
    Break::InternalError,
    Break::Stall,
];

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_first_complete_list_of_each_kind() {
    for resource in Resource::ALL {
        let mut world = World::new();
        world.server.apply(service("web", "10.96.0.10"));
        for verb in [Verb::List, Verb::Watch] {
            world.server.fail(resource, verb, Fault::InternalError);
        }
        world.watch().await;
        world.pass(Duration::from_secs(600)).await;
        assert!(world.state.cluster().is_none(), "{resource:?}");
        world.server.heal();
        world.until("all is known", |state| state.cluster().is_some()).await;
        assert_eq!(world.services(), ["web"], "{resource:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_with_the_first_list_it_is_complete_in_the_end() {
    for fault in FAULTS {
        for verbs in [&[Verb::Watch][..], &[Verb::Watch, Verb::List]] {
            let mut world = World::new();
            world.server.apply(service("web", "10.96.0.10"));
            world.server.apply(service("more", "10.96.0.11"));
            for (verb, _) in verbs.iter().flat_map(|verb| [(verb, 1), (verb, 2)]) {
                world.server.fail_once(Resource::Services, *verb, fault);
            }
            world.watch().await;
            world.until(&format!("{fault:?}"), |state| state.cluster().is_some()).await;
            assert_eq!(world.services(), ["more", "web"], "{fault:?} {verbs:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn however_a_watch_breaks_no_change_is_lost() {
    for how in BREAKS {
        let mut world = World::watched().await;
        world.server.break_watches(how);
        world.server.apply(service("more", "10.96.0.11"));
        world.server.delete(Resource::Services, "default", "web");
        world.until(&format!("{how:?}"), |state| has_service(state, "more")).await;
        world.until(&format!("{how:?}"), |state| !has_service(state, "web")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_with_the_next_watch_no_change_is_lost() {
    for fault in FAULTS {
        let mut world = World::watched().await;
        world.server.fail_once(Resource::Services, Verb::Watch, fault);
        world.server.fail_once(Resource::Services, Verb::Watch, fault);
        world.server.break_watches(Break::Reset);
        world.server.apply(service("more", "10.96.0.11"));
        world.server.delete(Resource::Services, "default", "web");
        world.until(&format!("{fault:?}"), |state| has_service(state, "more")).await;
        world.until(&format!("{fault:?}"), |state| !has_service(state, "web")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_leaves_the_last_state_and_is_not_stormed() {
    for fault in [Fault::Drop, Fault::InternalError, Fault::Unauthorized, Fault::Forbidden] {
        let mut world = World::watched().await;
        let before = world.cluster().clone();
        for resource in Resource::ALL {
            world.server.fail(resource, Verb::Watch, fault);
            world.server.fail(resource, Verb::List, fault);
        }
        world.server.compact();
        world.server.delete(Resource::Services, "default", "web");
        world.server.break_watches(Break::Reset);
        let requests = world.requests(Resource::Services);
        world.pass(Duration::from_secs(3600)).await;
        let requests = world.requests(Resource::Services) - requests;
        // The deletion may have come before the break.
        let mut after = world.cluster().clone();
        after.services = before.services.clone();
        assert_eq!(after, before, "{fault:?}");
        assert!((60..400).contains(&requests), "{fault:?}: {requests} requests in an hour");
        world.server.heal();
        world.until(&format!("{fault:?}"), |state| !has_service(state, "web")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_no_reason_to_list_again() {
    for how in [Break::End, Break::Reset, Break::Half, Break::HalfChunk] {
        let mut world = World::watched().await;
        let before = world.server.requests().len();
        world.server.break_watches(how);
        world.server.apply(service("more", "10.96.0.11"));
        world.until("the change", |state| has_service(state, "more")).await;
        for request in &world.server.requests()[before..] {
            assert!(!request.query.contains("sendInitialEvents"), "{how:?}: {request:?}");
            assert_eq!(request.verb, Verb::Watch, "{how:?}: {request:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_keeps_a_quiet_watch_from_being_too_old() {
    let mut world = World::watched().await;
    // Many changes of other kinds, then the server forgets them.
    for address in ["10.244.0.3", "10.244.0.4", "10.244.0.5"] {
        world.server.apply(slice("web-1", "web", &[address]));
    }
    world.server.compact();
    world.server.bookmark();
    world.pass(Duration::from_secs(30)).await;
    let before = world.requests(Resource::Services);
    world.server.break_watches(Break::Reset);
    world.server.apply(service("more", "10.96.0.11"));
    world.until("the change", |state| has_service(state, "more")).await;
    let requests = world.server.requests();
    let of_services = requests.iter().filter(|of| of.resource == Resource::Services);
    let again: Vec<_> = of_services.skip(before).collect();
    let is_resumed = |query: &str| !query.contains("sendInitialEvents") && query.contains("watch");
    assert!(!again.is_empty() && again.iter().all(|of| is_resumed(&of.query)), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_list_takes_the_place_of_the_old_state_at_once() {
    let mut world = World::watched().await;
    for index in 0..50 {
        world.server.apply(service(&format!("old-{index}"), &format!("10.96.1.{index}")));
    }
    world.until("all of them", |state| has_service(state, "old-49")).await;
    // While weir does not look, all are replaced, with the same addresses.
    for resource in Resource::ALL {
        world.server.fail(resource, Verb::Watch, Fault::Drop);
    }
    world.server.break_watches(Break::Reset);
    world.pass(Duration::from_secs(10)).await;
    for index in 0..50 {
        world.server.delete(Resource::Services, "default", &format!("old-{index}"));
        world.server.apply(service(&format!("new-{index}"), &format!("10.96.1.{index}")));
    }
    world.server.compact();
    world.server.heal();
    loop {
        world.step().await;
        let services = world.services();
        let old = services.iter().filter(|name| name.starts_with("old")).count();
        let new = services.iter().filter(|name| name.starts_with("new")).count();
        assert!(matches!((old, new), (50, 0) | (0, 50)), "{old} old ones and {new} new ones");
        assert!(services.contains(&"web"));
        if new == 50 {
            break;
        }
    }
}

/// It is silent to those who watch from where it was.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_set_back_is_noticed() {
    let mut world = World::watched().await;
    world.server.set_back();
    world.server.apply(service("more", "10.96.0.11"));
    world.until("a new list", |state| has_service(state, "more")).await;
    let requests = world.server.requests();
    let last = requests.iter().rfind(|request| request.resource == Resource::Services).unwrap();
    assert!(last.query.contains("sendInitialEvents"), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_expired_are_read_again() {
    let mut world = World::watched().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, world.server.kubeconfig(Some("old"))).expect("it can be written");
    world.server.require_token("old");
    world.state = weir::source::api::Store::default();
    world.watch_as(&ClientSource::Kubeconfig { path: path.clone(), master: None }).await;
    world.until("all is known", |state| state.cluster().is_some()).await;

    world.server.require_token("new");
    world.server.break_watches(Break::Reset);
    world.server.apply(service("more", "10.96.0.11"));
    world.pass(Duration::from_secs(60)).await;
    assert!(!has_service(&world.state, "more"));
    std::fs::write(&path, world.server.kubeconfig(Some("new"))).expect("it can be written");
    world.until("the change", |state| has_service(state, "more")).await;
}
