use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::source::convert::Object;

/// A Service that says all that a proxy reads, and more.
fn full_service() -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {
            "name": "web", "namespace": "shop", "resourceVersion": "7", "uid": "u",
            "labels": {"app": "we\"b"}, "annotations": {"note": "line\nline"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10", "fd00::10"], "externalIPs": ["192.0.2.1"],
            "ipFamilies": ["IPv4", "IPv6"], "selector": {"app": "we\"b"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web",
                       "nodePort": 30080},
                      {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353}],
            "publishNotReadyAddresses": true, "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "sessionAffinity": "ClientIP", "healthCheckNodePort": 30081,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"},
                                                {"hostname": "lb"}]}},
    })
}

fn full_slice() -> Value {
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "web-1", "namespace": "shop", "resourceVersion": "8",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {
                "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
            },
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.0.1"], "nodeName": "node-1", "zone": "a",
             "conditions": {"ready": false, "serving": true, "terminating": true},
             "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "node-1"}]},
             "targetRef": {"kind": "Pod", "name": "web-0", "namespace": "shop"}},
            {"addresses": ["10.244.0.2"], "conditions": null, "hints": null, "nodeName": null},
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080, "appProtocol": "h2c"},
                  {"name": null, "protocol": null, "port": null}],
    })
}

/// The object with another value in this place.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).expect("a path of the object") = value;
    object
}

fn objects() -> Vec<(Kind, Value)> {
    let service = |pointer, value| (Kind::Service, with(full_service(), pointer, value));
    let slice = |pointer, value| (Kind::EndpointSlice, with(full_slice(), pointer, value));
    vec![
        (Kind::Service, full_service()),
        (Kind::EndpointSlice, full_slice()),
        service("/spec/clusterIP", json!("None")),
        service("/spec/clusterIPs", json!(null)),
        service("/spec/ports/0/port", json!(0)),
        service("/spec/selector", json!(null)),
        service("/spec/sessionAffinityConfig", json!(null)),
        service("/spec", json!(null)),
        service("/status", json!(null)),
        service("/metadata/labels", json!({"service.kubernetes.io/service-proxy-name": "other"})),
        service("/metadata/name", json!("Not a name")),
        slice("/metadata/labels", json!(null)),
        slice("/metadata/annotations", json!(null)),
        slice("/endpoints", json!(null)),
        slice("/endpoints/0/addresses", json!([])),
        slice("/endpoints/0/addresses/0", json!("10.244.0.256")),
        slice("/ports", json!(null)),
        slice("/addressType", json!("IPv5")),
        slice("/metadata/labels/kubernetes.io~1service-name", json!("")),
    ]
}

fn event_of(r#type: &str, object: &Value) -> String {
    json!({"type": r#type, "object": object}).to_string()
}

fn show(event: &WatchEvent) -> String {
    format!("{event:?}")
}

#[test]
fn an_event_means_the_same_whole_and_by_parts() {
    for (kind, object) in objects() {
        for r#type in ["ADDED", "MODIFIED", "DELETED"] {
            let json = event_of(r#type, &object);
            let bulk = match kind {
                Kind::Service => bulk::event::<Service<'_>>(&json),
                _ => bulk::event::<EndpointSlice<'_>>(&json),
            };
            let bulk = bulk.unwrap_or_else(|| panic!("not understood: {json}"));
            let parts = event_by_parts(kind, &json).expect("a good event");
            assert_eq!(show(&bulk), show(&parts), "{json}");
        }
    }
}

#[test]
fn a_page_means_the_same_whole_and_by_object() {
    let (services, slices): (Vec<_>, Vec<_>) =
        objects().into_iter().partition(|(kind, _)| *kind == Kind::Service);
    let list = |objects: Vec<(Kind, Value)>| {
        let items: Vec<Value> = objects.into_iter().map(|(_, object)| object).collect();
        json!({"kind": "List", "metadata": {"resourceVersion": "9", "continue": "more"},
               "items": items})
        .to_string()
    };
    let (services, slices) = (list(services), list(slices));
    let bulk = [bulk::page::<Service<'_>>(&services), bulk::page::<EndpointSlice<'_>>(&slices)];
    let parts = [(Kind::Service, &services), (Kind::EndpointSlice, &slices)]
        .map(|(kind, json)| page_by_object(kind, json).expect("a good page"));
    for (bulk, parts) in bulk.into_iter().zip(parts) {
        let bulk = bulk.expect("it is understood");
        assert_eq!(format!("{bulk:?}"), format!("{parts:?}"));
        assert_eq!((bulk.version.as_deref(), bulk.continue_token.is_some()), (Some("9"), true));
    }
}

/// The names of the fields that are read are those that the API has: what its types know of an object
/// means the same as the object.
#[test]
fn nothing_that_is_read_is_unknown_to_the_api() {
    fn known<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
    }
    for (kind, object) in objects() {
        let known = match kind {
            Kind::Service => known::<core::Service>(&object),
            _ => known::<discovery::EndpointSlice>(&object),
        };
        let [meant, known] = [object, known]
            .map(|object| show(&event(kind, &event_of("ADDED", &object)).expect("a good event")));
        assert_eq!(meant, known);
    }
}

/// Each field that a proxy reads has an effect: without it, something else is kept of the object.
#[test]
fn each_field_that_matters_is_read() {
    let fields = [
        (
            Kind::Service,
            "spec",
            "clusterIPs externalIPs ports selector publishNotReadyAddresses \
            internalTrafficPolicy externalTrafficPolicy loadBalancerSourceRanges sessionAffinity \
            healthCheckNodePort sessionAffinityConfig type",
        ),
        (Kind::Service, "spec/ports/0", "name port targetPort nodePort"),
        (Kind::Service, "spec/ports/1", "protocol"),
        (Kind::Service, "status", "loadBalancer"),
        (Kind::Service, "metadata", "name namespace resourceVersion"),
        (Kind::EndpointSlice, "", "addressType endpoints ports"),
        (Kind::EndpointSlice, "metadata", "labels annotations"),
        (Kind::EndpointSlice, "endpoints/0", "addresses conditions nodeName hints"),
        (Kind::EndpointSlice, "endpoints/0/conditions", "ready terminating"),
        (Kind::EndpointSlice, "endpoints/0/hints", "forZones forNodes"),
        (Kind::EndpointSlice, "ports/0", "name port"),
    ];
    for (kind, place, names) in fields {
        for name in names.split_whitespace() {
            let object = if kind == Kind::Service { full_service() } else { full_slice() };
            let pointer = if place.is_empty() { String::new() } else { format!("/{place}") };
            let mut without = object.clone();
            let parent = without.pointer_mut(&pointer).and_then(Value::as_object_mut);
            assert!(parent.expect("an object").remove(name).is_some(), "{place}/{name}");
            let [with, without] = [object, without].map(|object| {
                event(kind, &event_of("ADDED", &object)).map_or_else(|bad| bad.0, |it| show(&it))
            });
            assert_ne!(with, without, "{place}/{name}");
        }
    }
}

#[test]
fn an_object_that_cannot_be_decoded_is_told_by_its_name_and_leaves_the_others() {
    let bad = with(full_slice(), "/endpoints/0/addresses/0", json!(7));
    let bad = with(bad, "/metadata/name", json!("web-2"));
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [full_slice(), bad]});
    let page = page(Kind::EndpointSlice, &list.to_string()).expect("a good page");
    let outcomes: Vec<_> =
        page.objects.iter().map(|it| (it.key.name(), it.outcome.as_ref().err())).collect();
    let message = "endpoints[0].addresses[0]: invalid type: integer `7`, expected a string";
    assert_eq!(outcomes, [("web-1", None), ("web-2", Some(&message.to_owned()))]);
    assert!(matches!(page.objects[0].outcome, Ok(Converted { object: Object::Slice(..), .. })));
}

/// Nothing in an object but its name can keep it from being reported by its name.
#[test]
fn an_object_with_labels_of_no_sense_leaves_the_others_and_can_go() {
    let label = json!({"kubernetes.io/service-name": 5});
    let bad = with(with(full_slice(), "/metadata/labels", label), "/metadata/name", json!("bad"));
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [full_slice(), bad]});
    let page = page(Kind::EndpointSlice, &list.to_string()).expect("a good page");
    let is_good = page.objects.iter().map(|it| (it.key.name(), it.outcome.is_ok()));
    assert_eq!(is_good.collect::<Vec<_>>(), [("web-1", true), ("bad", false)]);
    let gone = event(Kind::EndpointSlice, &event_of("DELETED", &bad)).expect("a good event");
    assert!(matches!(gone, WatchEvent::Deleted { key, .. } if key.name() == "bad"));
}

#[test]
fn what_is_no_object_is_told() {
    let bookmark = |annotations: Value| {
        let metadata = json!({"resourceVersion": "9", "annotations": annotations});
        let object = json!({"kind": "Service", "metadata": metadata});
        show(&event(Kind::Service, &event_of("BOOKMARK", &object)).expect("a good event"))
    };
    let end = json!({"k8s.io/initial-events-end": "true"});
    let text = |ends| format!("Bookmark {{ version: \"9\", ends_initial_events: {ends} }}");
    assert_eq!([bookmark(json!(null)), bookmark(end)], [text(false), text(true)]);

    let status = json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old"});
    let error = event(Kind::Service, &event_of("ERROR", &status)).expect("a good event");
    assert!(matches!(error, WatchEvent::Error(Status { code: 410, .. })), "{error:?}");

    let unversioned = with(full_service(), "/metadata/resourceVersion", json!(""));
    let nameless = with(full_service(), "/metadata/name", json!(""));
    let garbage = [
        (event_of("ADDED", &unversioned), "metadata.resourceVersion: is missing"),
        (event_of("ADDED", &nameless), "a Service without name and namespace"),
        (event_of("ADDED", &json!({"spec": {}})), "missing field `metadata`"),
        (event_of("LOST", &full_service()), "type: \"LOST\" is no type of event"),
        (full_service().to_string(), "missing field `type`"),
    ];
    for (json, message) in garbage {
        let error = event(Kind::Service, &json).expect_err("garbage");
        assert!(error.0.contains(message), "{}", error.0);
    }
}

#[test]
fn a_list_may_have_nothing_in_the_place_of_no_items() {
    let list = |kind: &str| {
        let list = json!({"kind": kind, "metadata": {"resourceVersion": "9"}, "items": null});
        page(Kind::Service, &list.to_string()).map(|page| page.objects.len())
    };
    assert_eq!(list("ServiceList").unwrap(), 0);
    assert_eq!(list("Status").unwrap_err().0, "items: is missing");
}

#[test]
fn what_is_escaped_in_the_text_is_understood() {
    let json = event_of("ADDED", &full_service()).replace("\"web\"", "\"\\u0077eb\"");
    let plain = event(Kind::Service, &event_of("ADDED", &full_service())).unwrap();
    assert!(json.contains("\\u0077"));
    let bulk = bulk::event::<Service<'_>>(&json).expect("it is understood");
    assert_eq!(show(&bulk), show(&plain));
}
