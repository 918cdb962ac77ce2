use std::num::NonZeroU16;

use serde::Deserialize;
use weir_rules::cluster::Protocol;
use weir_rules::cluster::claims::Claim;

use super::*;
use crate::source::convert;

fn service(name: &str, cluster_ip: &str) -> Received {
    let service = serde_json::json!({
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]},
    });
    let service = Deserialize::deserialize(&service).expect("a Service");
    Received { key: key(name), outcome: Ok(convert::service(&service).expect("a good one")) }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Service, "default", name)
}

/// A state that knows these Services.
fn state(services: Vec<Received>) -> Store {
    let mut state = Store::default();
    for kind in NEEDED {
        state.apply(Update::Received(kind, Vec::new()));
    }
    state.apply(Update::Received(Kind::Service, services));
    assert!(!state.take_changes().is_empty());
    state
}

fn change_set(names: &[&str]) -> ChangeSet {
    let names = names.iter().map(|name| NamespacedName::new("default", *name));
    ChangeSet::services(names)
}

fn addresses(state: &Store) -> Vec<(String, String)> {
    let services = state.cluster().expect("complete").services.iter();
    services.map(|(name, of)| (name.name().to_owned(), of.cluster_ips[0].to_string())).collect()
}

#[test]
fn it_is_complete_with_the_last_kind_and_not_before() {
    for last in NEEDED {
        let mut state = Store::default();
        for kind in NEEDED.into_iter().filter(|kind| *kind != last) {
            state.apply(Update::Received(kind, Vec::new()));
        }
        assert!(state.cluster().is_none() && state.take_changes().is_empty(), "{last:?}");
        state.apply(Update::Received(last, Vec::new()));
        assert!(state.cluster().is_some() && state.take_changes().environment, "{last:?}");
        assert!(state.take_changes().is_empty());
    }
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("a", "10.96.0.1")));
    state.apply(Update::Received(Kind::Service, vec![service("a", "10.96.0.1")]));
    state.apply(Update::Deleted(key("unknown")));
    assert!(state.take_changes().is_empty());
    state.apply(Update::Deleted(key("a")));
    assert_eq!(state.take_changes(), change_set(&["a"]));
}

/// Who owns the contested address, by the name of the Service.
fn owner(state: &Store) -> String {
    let claim = Claim::Address {
        address: [10, 96, 0, 1].into(),
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(80).unwrap(),
    };
    let owner = state.cluster().expect("complete").services.owner(&claim);
    owner.expect("somebody has it").name().to_owned()
}

/// While running, after a restart, and with a list that is new: one answer.
#[test]
fn who_has_an_address_does_not_depend_on_who_came_first() {
    let at = |name| service(name, "10.96.0.1");
    for order in [["a", "b"], ["b", "a"]] {
        let mut state = state(vec![at(order[0])]);
        state.apply(Update::Applied(at(order[1])));
        assert_eq!((owner(&state).as_str(), addresses(&state).len()), ("a", 2));
        state.apply(Update::Received(Kind::Service, order.map(at).into()));
        assert_eq!(owner(&state), "a");
        state.apply(Update::Deleted(key("a")));
        assert_eq!(owner(&state), "b");
        assert!(state.take_changes().services.contains(&NamespacedName::new("default", "b")));
    }
}

#[test]
fn an_entry_that_makes_no_sense_is_told_once_and_the_rest_is_used() {
    let with = |external: &[&str]| {
        let service = serde_json::json!({"spec": {
            "clusterIP": "10.96.0.1", "externalIPs": external, "ports": [{"port": 80}],
        }});
        let service = convert::service(&Deserialize::deserialize(&service).unwrap()).unwrap();
        Received { key: key("a"), outcome: Ok(service) }
    };
    let mut state = state(vec![]);
    let told = state.apply(Update::Applied(with(&["", "192.0.2.1"])));
    let text = "Service default/a: spec.externalIPs[0]: \"\" is not an IP address; \
                all else of it is used";
    assert_eq!(told.iter().filter_map(problem).collect::<Vec<_>>(), [text]);
    let services = &state.cluster().unwrap().services;
    assert_eq!(services.values().next().unwrap().external_ips.len(), 1);
    assert_eq!(state.apply(Update::Applied(with(&["", "192.0.2.2"]))), []);
    let told = state.apply(Update::Applied(with(&["192.0.2.2"])));
    assert!(matches!(&told[..], [Notice::Resolved(_)]), "{told:?}");
}

fn problem(notices: &Notice) -> Option<String> {
    match notices {
        Notice::Problem(problem) => Some(problem.to_string()),
        _ => None,
    }
}

#[test]
fn an_object_touches_its_service_and_the_node_touches_the_surroundings() {
    let slice = |service: &str| {
        let slice = serde_json::json!({
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.1"]}],
        });
        let slice = convert::slice(&Deserialize::deserialize(&slice).unwrap(), "default").unwrap();
        let key = ObjectKey { kind: Kind::EndpointSlice, ..key("slice") };
        Update::Applied(Received { key, outcome: Ok(slice) })
    };
    let mut state = state(vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")]);
    let mut touches = |update| {
        state.apply(update);
        state.take_changes()
    };
    assert_eq!(touches(Update::Applied(service("a", "10.96.0.3"))), change_set(&["a"]));
    assert_eq!(touches(slice("a")), change_set(&["a"]));
    assert_eq!(touches(slice("a")), change_set(&[]));
    assert_eq!(touches(slice("b")), change_set(&["a", "b"]), "it has moved");
    let slice_key = ObjectKey { kind: Kind::EndpointSlice, ..key("slice") };
    assert_eq!(touches(Update::Deleted(slice_key)), change_set(&["b"]));
    let node = convert::node(&serde_json::from_value(serde_json::json!({})).unwrap());
    let node_key = cluster_wide(Kind::Node, "node-a");
    let environment = ChangeSet { environment: true, ..ChangeSet::default() };
    let node = Received { key: node_key.clone(), outcome: Ok(node) };
    assert_eq!(touches(Update::Applied(node)), environment);
    assert_eq!(touches(Update::Deleted(node_key)), environment);
}

/// There are many of them.
#[test]
fn a_service_and_its_slices_have_one_text_for_its_name_whichever_comes_first() {
    let slice = || {
        let slice = serde_json::json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "endpoints": [],
        });
        let slice = Deserialize::deserialize(&slice).expect("a slice");
        let converted = convert::slice(&slice, "default").expect("a good one");
        Received {
            key: ObjectKey::new(Kind::EndpointSlice, "default", "web-1"),
            outcome: Ok(converted),
        }
    };
    for is_service_first in [true, false] {
        let mut state = state(vec![service("other", "10.96.0.9")]);
        let mut updates = [service("web", "10.96.0.1"), slice()];
        if !is_service_first {
            updates.reverse();
        }
        updates.into_iter().for_each(|object| drop(state.apply(Update::Applied(object))));
        let cluster = state.cluster().expect("complete");
        let web = NamespacedName::new("default", "web");
        let (name, _) = cluster.services.get_key_value(&web).expect("it is there");
        let of_slice = &cluster.slices.of(&web)[0].service;
        assert_eq!(name.name().as_ptr(), of_slice.name().as_ptr(), "{is_service_first}");
    }
}
