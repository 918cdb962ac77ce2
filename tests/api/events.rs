//! Events on objects of the server.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use weir::config::Limits;
use weir::source::api::{ApiClient, ClientSource, Event, EventScope, Notice, Recorder, Severity};
use weir::source::{Kind, ObjectKey};
use weir_apiserver::{Fault, Request, Resource, Verb};

use crate::world::{NODE, World, has_service, service};

async fn recorder(world: &World) -> Recorder {
    let access = ClientSource::Master(world.server.url());
    Recorder::start(ApiClient::new(access, Limits::default()).await.expect("a client"), NODE)
}

pub(crate) fn about(kind: Kind, namespace: &str, name: &str, note: &str) -> Event {
    Event {
        about: ObjectKey::new(kind, namespace, name),
        scope: if kind == Kind::Node { EventScope::Node } else { EventScope::Cluster },
        severity: Severity::Warning,
        reason: "InvalidObject",
        action: "SyncProxyRules",
        note: note.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_names_the_object_by_its_uid_and_says_who_tells_it() {
    let world = World::watched().await;
    let before = world.server.requests().len();
    let recorder = world.recorder();
    recorder.record(about(Kind::Service, "default", "web", "a note"));
    recorder.record(about(Kind::Node, "", NODE, &"é".repeat(600)));
    recorder.record(about(Kind::ServiceCidr, "", "gone", "of what is not there"));
    world.server.wait_for_events(3).await;
    // The watches have told the uid: nothing is asked for an Event's sake.
    let requests = &world.server.requests()[before..];
    assert!(requests.iter().all(|request| request.verb == Verb::Create), "{requests:?}");
    let events = world.server.events();
    let of = |kind: &str| {
        events.iter().find(|event| event["regarding"]["kind"] == kind).expect("it is told")
    };
    let (of_service, of_node, of_none) = (of("Service"), of("Node"), of("ServiceCIDR"));
    let uid = &of_service["regarding"]["uid"];
    assert_eq!(
        of_service["regarding"],
        json!({"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "web", "uid": uid})
    );
    assert!(uid.as_str().is_some_and(|uid| uid.len() == 36), "{uid}");
    assert_eq!(of_service["metadata"]["namespace"], "default");
    assert!(of_service["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("web.")));
    for (field, value) in [
        ("apiVersion", "events.k8s.io/v1"),
        ("kind", "Event"),
        ("type", "Warning"),
        ("reason", "InvalidObject"),
        ("action", "SyncProxyRules"),
        ("note", "a note"),
        ("reportingController", "weir"),
        ("reportingInstance", NODE),
    ] {
        assert_eq!(of_service[field], value, "{field}");
    }
    let time = of_service["eventTime"].as_str().expect("a time");
    assert!(time.ends_with('Z') && time.len() == "2026-01-02T03:04:05.678901Z".len(), "{time}");
    assert_eq!(of_node["metadata"]["namespace"], "default");
    assert_eq!(of_node["regarding"]["namespace"], json!(null));
    let note = of_node["note"].as_str().expect("a note");
    assert!(note.len() <= 1024 && note.ends_with("é… (1200 bytes)"), "{note}");
    assert_eq!(of_node["regarding"]["uid"].as_str().map(str::len), Some(36));
    assert_eq!(of_none["regarding"]["uid"], json!(null));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_told_once_in_a_while() {
    let world = World::new();
    let recorder = recorder(&world).await;
    let event = || about(Kind::Node, "", NODE, "again");
    for _ in 0..5 {
        recorder.record(event());
    }
    recorder.record(about(Kind::Node, "", NODE, "another"));
    world.server.wait_for_events(2).await;
    tokio::time::advance(std::time::Duration::from_secs(6 * 60)).await;
    recorder.record(event());
    world.server.wait_for_events(3).await;
    let notes: Vec<_> = world.server.events().iter().map(|event| event["note"].clone()).collect();
    assert_eq!(notes, ["again", "another", "again"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_tried_again_and_one_that_refuses_is_not() {
    let world = World::new();
    let recorder = recorder(&world).await;
    let creations = || {
        let requests = world.server.requests().into_iter();
        requests.filter(|request| request.verb == Verb::Create).count()
    };
    for fault in [
        Fault::InternalError,
        Fault::Hang,
        Fault::Drop,
        Fault::TooManyRequests,
        Fault::Unauthorized,
    ] {
        world.server.fail_once(Resource::Events, Verb::Create, fault);
    }
    recorder.record(about(Kind::Node, "", NODE, "first"));
    world.server.wait_for_events(1).await;
    assert_eq!(creations(), 6);
    world.server.fail_once(Resource::Events, Verb::Create, Fault::Forbidden);
    recorder.record(about(Kind::Node, "", NODE, "refused"));
    recorder.record(about(Kind::Node, "", NODE, "last"));
    world.server.wait_for_events(2).await;
    assert_eq!(creations(), 8);
    assert_eq!(world.server.events()[1]["note"], "last");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_answer_is_lost_is_there_once() {
    let world = World::new();
    let recorder = recorder(&world).await;
    world.server.fail_once(Resource::Events, Verb::Create, Fault::Half);
    recorder.record(about(Kind::Node, "", NODE, "first"));
    recorder.record(about(Kind::Node, "", NODE, "last"));
    world.server.wait_for_events(2).await;
    let notes: Vec<_> = world.server.events().iter().map(|event| event["note"].clone()).collect();
    assert_eq!(notes, ["first", "last"]);
}

/// A Service that is edited all the time, each time in another bad way, by somebody or a controller.
#[tokio::test(start_paused = true)]
async fn one_bad_object_costs_few_events_no_list_and_short_texts() {
    let mut world = World::watched().await;
    let (recorder, start) = (world.recorder(), Instant::now());
    let before = world.server.requests().len();
    let long = "1".repeat(200_000);
    for index in 0..475 {
        let mut bad = service("web", "10.96.0.10");
        bad["spec"]["externalIPs"] = json!([format!("{index}.{long}")]);
        world.server.apply(bad);
        world.step().await;
        for notice in world.notices.drain(..) {
            let Notice::Problem(problem) = notice else { panic!("{notice:?}") };
            let text = problem.to_string();
            assert!(text.len() < 700 && text.contains("bytes)"), "{} bytes: {text}", text.len());
            recorder.record(about(Kind::Service, "default", "web", &problem.text));
        }
        sleep(Duration::from_millis(53)).await;
    }
    sleep(Duration::from_secs(30)).await;
    // The clock also jumps while a connection is waited for, which takes longer on a busy machine.
    let most = 3 + start.elapsed().as_secs() / 360;
    let events = world.server.events();
    assert!((1..=most).contains(&(events.len() as u64)), "{} Events, not {most}", events.len());
    for event in &events {
        assert!(event["note"].as_str().expect("a note").len() <= 1024);
        assert_eq!(event["regarding"]["uid"].as_str().map(str::len), Some(36));
    }
    let requests = &world.server.requests()[before..];
    let is_list = |request: &&Request| {
        request.verb == Verb::List || request.query.contains("sendInitialEvents=true")
    };
    let lists: Vec<_> = requests.iter().filter(is_list).collect();
    assert!(lists.is_empty(), "{lists:?}");
}

/// The uid is that of the object that was bad, and not that of one that has its name later.
#[tokio::test(start_paused = true)]
async fn an_object_that_was_made_anew_has_another_uid() {
    let mut world = World::watched().await;
    let uid = |world: &World| {
        world.server.object(Resource::Services, "default", "web")["metadata"]["uid"].clone()
    };
    let recorder = world.recorder();
    let old = uid(&world);
    recorder.record(about(Kind::Service, "default", "web", "old"));
    world.server.delete(Resource::Services, "default", "web");
    world.until("it is gone", |state| !has_service(state, "web")).await;
    world.server.apply(service("web", "10.96.0.10"));
    world.until("it is back", |state| has_service(state, "web")).await;
    recorder.record(about(Kind::Service, "default", "web", "new"));
    world.server.wait_for_events(2).await;
    for event in world.server.events() {
        let expected = if event["note"] == "old" { old.clone() } else { uid(&world) };
        assert_eq!(event["regarding"]["uid"], expected, "{event}");
    }
    assert_ne!(old, uid(&world));
}
