use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

/// A slice of the Service shop/web with one endpoint and one port, changed by `change`.
fn converted(change: Value) -> Result<Converted, InvalidField> {
    let mut object = json!({
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.1"]}],
    });
    for (key, value) in change.as_object().unwrap() {
        object[key] = value.clone();
    }
    slice(&Deserialize::deserialize(&object).unwrap(), "shop")
}

fn accepted(change: Value) -> EndpointSlice {
    match converted(change).unwrap().object {
        Object::Slice(slice, _) => slice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slice_belongs_to_the_service_of_its_namespace_that_its_label_names() {
    let slice = accepted(json!({}));
    assert_eq!(slice.service, NamespacedName::new("shop", "web"));
    assert_eq!(slice.family, Family::Ipv4);
    assert_eq!(slice.ports.len(), 1);
    assert_eq!((&*slice.ports[0].name, slice.ports[0].port.get()), ("http", 8080));
}

#[test]
fn slices_of_no_service_or_a_headless_one_are_nothing() {
    for labels in [
        json!({}),
        json!({"kubernetes.io/service-name": ""}),
        json!({"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}),
    ] {
        let change = json!({"metadata": {"labels": labels}, "addressType": "wrong"});
        assert_eq!(converted(change).unwrap().object, Object::Nothing, "{labels}");
    }
    let fqdn = converted(json!({"addressType": "FQDN"})).unwrap();
    assert_eq!(fqdn, Converted { remarks: vec![Advisory::Fqdn], ..Object::Nothing.into() });
}

#[test]
fn an_endpoint_is_ready_unless_it_says_no() {
    let slice = accepted(json!({"endpoints": [
        {"addresses": ["10.244.0.1"], "nodeName": "node-1"},
        {"addresses": ["10.244.0.2", "10.244.0.99"], "conditions": {}},
        {"addresses": ["10.244.0.3"], "conditions": {"ready": true}},
        {"addresses": ["10.244.0.4"], "conditions": {"ready": false}},
    ]}));
    let endpoints: Vec<_> = slice
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address.to_string(), endpoint.ready, endpoint.node()))
        .collect();
    let expected = [
        ("10.244.0.1".to_owned(), true, Some("node-1")),
        ("10.244.0.2".to_owned(), true, None),
        ("10.244.0.3".to_owned(), true, None),
        ("10.244.0.4".to_owned(), false, None),
    ];
    assert_eq!(endpoints, expected);
}

#[test]
fn ports_without_name_or_number_are_left_out() {
    let slice = accepted(json!({"ports": [
        {"port": 1}, {"name": "a"}, {"name": "b", "port": 0}, {"name": "", "port": 2},
        {"name": "c", "port": 3, "protocol": "SCTP"},
    ]}));
    let ports: Vec<_> =
        slice.ports.iter().map(|of| (&*of.name, of.protocol.number(), of.port.get())).collect();
    assert_eq!(ports, [("", 6, 2), ("c", 132, 3)]);
    let remarks = |ports: Value| converted(json!({"ports": ports})).unwrap().remarks;
    assert_eq!(remarks(json!([{"port": 1}])), [Advisory::UnnamedPort]);
    assert_eq!(remarks(json!([{"name": "a"}])), [Advisory::UnnumberedPort]);
    assert_eq!(remarks(json!([{"name": "a", "port": 0}])), [Advisory::UnnumberedPort]);
    let both = [Advisory::UnnamedPort, Advisory::UnnumberedPort];
    assert_eq!(remarks(json!([{"name": "a"}, {"port": 1}, {"name": "b"}])), both);
    assert_eq!(remarks(json!([{}])), both);
    assert_eq!(remarks(json!([{"name": "", "port": 1}])), []);
    assert_eq!(accepted(json!({"ports": null, "endpoints": null})).endpoints, []);
}

#[test]
fn conditions_and_hints_are_read() {
    let endpoint = |key: &str, value: Value| {
        let change = json!({"endpoints": [{"addresses": ["10.244.0.1"], key: value}]});
        accepted(change).endpoints.remove(0)
    };
    let conditions = |value: Value| {
        let Endpoint { ready, serving, terminating, .. } = endpoint("conditions", value);
        (ready, serving, terminating)
    };
    assert_eq!(conditions(json!({})), (true, true, false));
    assert_eq!(conditions(json!({"ready": false, "terminating": true})), (false, true, true));
    assert_eq!(conditions(json!({"serving": false})), (true, false, false));
    let hinted = endpoint(
        "hints",
        json!({"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "c"}]}),
    );
    assert_eq!(hinted.zone_hints(), ["a", "b"]);
    assert_eq!(hinted.node_hints(), ["c"]);
}

#[test]
fn bad_fields_are_named() {
    let cases = [
        (json!({"addressType": "ipv4"}), "addressType: \"ipv4\" is none of IPv4, IPv6 and FQDN"),
        (json!({"addressType": null}), "addressType: is missing"),
        (
            json!({"endpoints": [{"addresses": ["10.244.0.1"]}, {"addresses": ["fd00::1"]}]}),
            "endpoints[1].addresses[0]: fd00::1 is not of the slice's address type IPv4",
        ),
        (
            json!({"endpoints": [{"addresses": ["10.244.0"]}]}),
            "endpoints[0].addresses[0]: \"10.244.0\" is not an IP address",
        ),
        (json!({"endpoints": [{"addresses": []}]}), "endpoints[0].addresses[0]: is missing"),
        (
            json!({"ports": [{"name": "a", "port": 70000}]}),
            "ports[0].port: 70000 is not a port, expected 1 to 65535",
        ),
        (
            json!({"ports": [{"name": "a", "port": 1, "protocol": "ICMP"}]}),
            "ports[0].protocol: \"ICMP\" is none of TCP, UDP and SCTP",
        ),
    ];
    for (change, expected) in cases {
        let bad = converted(change.clone());
        let bad = bad.map_or_else(|bad| bad.to_string(), |it| it.left_out.to_string());
        assert_eq!(bad, expected, "{change}");
    }
}

/// Else a slice that comes to have one such entry goes on leading to Pods that are gone.
#[test]
fn what_makes_no_sense_is_left_out_and_the_rest_is_used() {
    let bad = ["", "::ffff:10.244.0.999", "fd00::1", "10.244.0.256", "pod.example.com"];
    for text in bad {
        let slice = accepted(json!({"endpoints": [
            {"addresses": ["10.244.0.1"]}, {"addresses": [text]}, {"addresses": []},
            {"addresses": ["010.244.0.002"]}, {"addresses": ["::ffff:10.244.0.3"]},
        ]}));
        let addresses: Vec<_> = slice.endpoints.iter().map(|it| it.address.to_string()).collect();
        assert_eq!(addresses, ["10.244.0.1", "10.244.0.2", "10.244.0.3"], "{text}");
    }
    let slice = accepted(json!({"ports": [
        {"name": "a", "port": 1}, {"name": "b", "port": 70000},
        {"name": "c", "port": 2, "protocol": "ICMP"}, {"name": "d", "port": 4},
    ]}));
    let names: Vec<_> = slice.ports.iter().map(|port| port.name.to_string()).collect();
    assert_eq!(names, ["a", "d"]);
}

#[test]
fn when_a_change_happened_is_read_and_never_a_reason_to_refuse_a_slice() {
    let trigger = |text: &str| {
        let metadata = json!({"labels": {"kubernetes.io/service-name": "web"},
                              "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": text}});
        match converted(json!({"metadata": metadata})).unwrap().object {
            Object::Slice(_, trigger) => trigger,
            other => panic!("{other:?}"),
        }
    };
    let time = Timestamp::from_second(1_772_366_400).unwrap();
    assert_eq!(trigger("2026-03-01T12:00:00Z"), Some(time));
    assert_eq!(trigger("2026-03-01T13:00:00.000000000+01:00"), Some(time));
    assert_eq!(trigger("yesterday"), None);
}
