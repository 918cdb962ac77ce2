//! Events on objects of the server.

use serde_json::json;
use weir::source::api::{Access, Event, Limits, Recorder, Server, Severity};
use weir::source::{Kind, ObjectKey};
use weir_apiserver::{Fault, Resource, Verb};

use crate::world::{NODE, World, service};

async fn recorder(world: &World) -> Recorder {
    let access = Access::Master(world.server.url());
    Recorder::start(Server::new(access, Limits::default()).await.expect("a client"), NODE)
}

pub(crate) fn about(kind: Kind, namespace: &str, name: &str, note: &str) -> Event {
    Event {
        about: ObjectKey::new(kind, namespace, name),
        severity: Severity::Warning,
        reason: "InvalidObject",
        action: "SyncProxyRules",
        note: note.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_names_the_object_by_its_uid_and_says_who_tells_it() {
    let world = World::new();
    world.server.apply(service("web", "10.96.0.10"));
    let recorder = recorder(&world).await;
    recorder.record(about(Kind::Service, "default", "web", "a note"));
    recorder.record(about(Kind::Node, "", NODE, &"é".repeat(600)));
    recorder.record(about(Kind::ServiceCidr, "", "gone", "of what is not there"));
    world.server.wait_for_events(3).await;
    let [of_service, of_node, of_none] = &world.server.events()[..] else { panic!("three") };
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
    assert_eq!(of_node["note"], "é".repeat(512), "cut to 1024 bytes");
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
