use serde::Deserialize;

use super::*;
use crate::source::convert;

fn service(name: &str, cluster_ip: &str) -> Listed {
    let service = serde_json::json!({
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]},
    });
    let service = Deserialize::deserialize(&service).expect("a Service");
    Listed { key: key(name), outcome: Ok(convert::service(&service).expect("a good one")) }
}

fn key(name: &str) -> ObjectKey {
    service_key(&NamespacedName::new("default", name))
}

/// A state that knows these Services.
fn state(services: Vec<Listed>) -> State {
    let mut state = State::default();
    for kind in NEEDED {
        state.apply(Update::Listed(kind, Vec::new()));
    }
    state.apply(Update::Listed(Kind::Service, services));
    assert!(!state.take_touched().is_empty());
    state
}

fn touched(names: &[&str]) -> Touched {
    let names = names.iter().map(|name| NamespacedName::new("default", *name));
    Touched { services: names.collect(), surroundings: false }
}

fn addresses(state: &State) -> Vec<(String, String)> {
    let services = state.cluster().expect("complete").services.iter();
    services.map(|(name, of)| (name.name().to_owned(), of.cluster_ips[0].to_string())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, ip)| ((*name).to_owned(), (*ip).to_owned())).collect()
}

#[test]
fn it_is_complete_with_the_last_kind_and_not_before() {
    for last in NEEDED {
        let mut state = State::default();
        for kind in NEEDED.into_iter().filter(|kind| *kind != last) {
            state.apply(Update::Listed(kind, Vec::new()));
        }
        assert!(state.cluster().is_none() && state.take_touched().is_empty(), "{last:?}");
        state.apply(Update::Listed(last, Vec::new()));
        assert!(state.cluster().is_some() && state.take_touched().surroundings, "{last:?}");
        assert!(state.take_touched().is_empty());
    }
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("a", "10.96.0.1")));
    state.apply(Update::Listed(Kind::Service, vec![service("a", "10.96.0.1")]));
    state.apply(Update::Deleted(key("unknown")));
    assert!(state.take_touched().is_empty());
    state.apply(Update::Deleted(key("a")));
    assert_eq!(state.take_touched(), touched(&["a"]));
}

#[test]
fn whoever_comes_second_waits_for_an_address_until_it_is_free() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    let news = state.apply(Update::Applied(service("b", "10.96.0.1")));
    let [News::Problem(problem)] = &news[..] else { panic!("{news:?}") };
    assert!(problem.is_conflict);
    assert_eq!(
        problem.to_string(),
        "Service default/b: 10.96.0.1 tcp port 80 is already claimed by Service default/a; left out"
    );
    assert_eq!(addresses(&state), pairs(&[("a", "10.96.0.1")]));
    let news = state.apply(Update::Applied(service("a", "10.96.0.2")));
    assert!(matches!(&news[..], [News::Resolved(_)]), "{news:?}");
    assert_eq!(addresses(&state), pairs(&[("a", "10.96.0.2"), ("b", "10.96.0.1")]));
}

#[test]
fn who_waits_and_is_deleted_never_comes() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("b", "10.96.0.1")));
    state.apply(Update::Deleted(key("b")));
    state.apply(Update::Deleted(key("a")));
    assert!(addresses(&state).is_empty());
}

#[test]
fn two_that_have_changed_places_between_two_lists_get_each_others() {
    let mut state = state(vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")]);
    let swapped = vec![service("a", "10.96.0.2"), service("b", "10.96.0.1")];
    assert!(state.apply(Update::Listed(Kind::Service, swapped)).is_empty());
    assert_eq!(addresses(&state), pairs(&[("a", "10.96.0.2"), ("b", "10.96.0.1")]));
}

/// What a list of these Services, of a name and an address, is told and leads to.
fn relisted(state: &mut State, services: &[(&str, &str)]) -> (Vec<String>, Vec<(String, String)>) {
    let services = services.iter().map(|(name, ip)| service(name, ip)).collect();
    let news = state.apply(Update::Listed(Kind::Service, services));
    (news.iter().filter_map(problem).collect(), addresses(state))
}

#[test]
fn who_claims_what_another_has_in_a_list_keeps_what_it_had() {
    let mut state = state(vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")]);
    let conflict = [("a", "10.96.0.1"), ("b", "10.96.0.1")];
    let (told, kept) = relisted(&mut state, &conflict);
    let reason = "Service default/b: 10.96.0.1 tcp port 80 is already claimed by Service default/a";
    assert_eq!(told, [format!("{reason}; its last good state is kept")]);
    assert_eq!(kept, pairs(&[("a", "10.96.0.1"), ("b", "10.96.0.2")]));
    // And in the next list.
    assert_eq!(relisted(&mut state, &conflict), (Vec::new(), kept));
    state.apply(Update::Deleted(key("a")));
    assert_eq!(addresses(&state), pairs(&[("b", "10.96.0.1")]));
}

/// As if each had come alone.
#[test]
fn nobody_gets_what_one_keeps_that_cannot_have_what_it_claims() {
    let before = [("a", "10.96.0.1"), ("b", "10.96.0.2"), ("c", "10.96.0.3")];
    let mut state = state(before.iter().map(|(name, ip)| service(name, ip)).collect());
    let next = [("a", "10.96.0.1"), ("b", "10.96.0.1"), ("c", "10.96.0.2"), ("d", "10.96.0.3")];
    let (told, kept) = relisted(&mut state, &next);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(kept, pairs(&before));
    state.apply(Update::Deleted(key("a")));
    assert_eq!(
        addresses(&state),
        pairs(&[("b", "10.96.0.1"), ("c", "10.96.0.2"), ("d", "10.96.0.3")])
    );
}

#[test]
fn who_kept_what_it_had_changes_places_with_another_in_the_next_list() {
    let mut state = state(vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")]);
    relisted(&mut state, &[("a", "10.96.0.1"), ("b", "10.96.0.1")]);
    let swapped = [("a", "10.96.0.2"), ("b", "10.96.0.1")];
    assert_eq!(relisted(&mut state, &swapped), (Vec::new(), pairs(&swapped)));
}

/// It would keep one from its new place, and so the other, too.
#[test]
fn a_newcomer_does_not_keep_two_from_changing_places() {
    let mut state = state(vec![service("b", "10.96.0.1"), service("c", "10.96.0.2")]);
    let next = [("a", "10.96.0.1"), ("b", "10.96.0.2"), ("c", "10.96.0.1")];
    let (told, kept) = relisted(&mut state, &next);
    let reason = "Service default/a: 10.96.0.1 tcp port 80 is already claimed by Service default/c";
    assert_eq!(told, [format!("{reason}; left out")]);
    assert_eq!(kept, pairs(&next[1..]));
}

#[test]
fn who_goes_on_waiting_in_a_list_is_not_told_to_wait_no_longer() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    let both = || vec![service("a", "10.96.0.1"), service("b", "10.96.0.1")];
    assert_eq!(state.apply(Update::Listed(Kind::Service, both())).len(), 1);
    assert_eq!(state.apply(Update::Listed(Kind::Service, both())), []);
}

#[test]
fn who_waits_for_two_addresses_comes_when_both_are_free() {
    let both = || {
        let ips = serde_json::json!({"spec": {
            "clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.1"], "ports": [{"port": 80}],
        }});
        let service = convert::service(&Deserialize::deserialize(&ips).unwrap()).unwrap();
        Listed { key: key("both"), outcome: Ok(service) }
    };
    // What keeps it is told once more only if it is another claim.
    let other = "192.0.2.1 tcp port 80 is already claimed by Service default/b; left out";
    for (first, second, expected) in [("a", "b", Some(other)), ("b", "a", None)] {
        let mut state = state(vec![service("a", "10.96.0.1"), service("b", "192.0.2.1")]);
        state.apply(Update::Applied(both()));
        let told = state.apply(Update::Deleted(key(first)));
        let expected = expected.map(|reason| format!("Service default/both: {reason}"));
        assert_eq!(told.iter().find_map(problem), expected);
        assert_eq!(addresses(&state).len(), 1, "{second} still has it");
        state.apply(Update::Deleted(key(second)));
        assert_eq!(addresses(&state), pairs(&[("both", "10.96.0.1")]));
    }
}

fn problem(news: &News) -> Option<String> {
    match news {
        News::Problem(problem) => Some(problem.to_string()),
        _ => None,
    }
}

#[test]
fn who_goes_on_waiting_is_told_when_another_has_what_it_claims() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("b", "10.96.0.1")));
    state.apply(Update::Applied(service("c", "10.96.0.1")));
    state.take_touched();
    let told = state.apply(Update::Deleted(key("a")));
    assert_eq!(
        told.iter().filter_map(problem).collect::<Vec<_>>(),
        [
            "Service default/c: 10.96.0.1 tcp port 80 is already claimed by Service default/b; left out"
        ]
    );
    assert_eq!(state.take_touched(), touched(&["a", "b"]));
    assert_eq!(addresses(&state), pairs(&[("b", "10.96.0.1")]));
}

/// A Service and an EndpointSlice may have the same name.
#[test]
fn a_bad_slice_does_not_make_a_service_of_its_name_wait_for_good() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("b", "10.96.0.1")));
    let slice = ObjectKey { kind: Kind::EndpointSlice, ..key("b") };
    state.apply(Update::Applied(Listed { key: slice, outcome: Err("bad".to_owned()) }));
    state.apply(Update::Deleted(key("a")));
    assert_eq!(addresses(&state), pairs(&[("b", "10.96.0.1")]));
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
        Update::Applied(Listed { key, outcome: Ok(slice) })
    };
    let mut state = state(vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")]);
    let mut touches = |update| {
        state.apply(update);
        state.take_touched()
    };
    assert_eq!(touches(Update::Applied(service("a", "10.96.0.3"))), touched(&["a"]));
    assert_eq!(touches(slice("a")), touched(&["a"]));
    assert_eq!(touches(slice("a")), touched(&[]));
    assert_eq!(touches(slice("b")), touched(&["a", "b"]), "it has moved");
    let slice_key = ObjectKey { kind: Kind::EndpointSlice, ..key("slice") };
    assert_eq!(touches(Update::Deleted(slice_key)), touched(&["b"]));
    let node = convert::node(&serde_json::from_value(serde_json::json!({})).unwrap()).unwrap();
    let node_key = cluster_wide(Kind::Node, "node-a");
    let surroundings = Touched { surroundings: true, ..Touched::default() };
    let node = Listed { key: node_key.clone(), outcome: Ok(node) };
    assert_eq!(touches(Update::Applied(node)), surroundings);
    assert_eq!(touches(Update::Deleted(node_key)), surroundings);
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
        Listed {
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
