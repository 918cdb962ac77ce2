use super::*;
use crate::source::convert;

fn service(name: &str, cluster_ip: &str) -> Listed {
    let service = serde_json::json!({
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]},
    });
    let service = serde_json::from_value(service).expect("a Service");
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
    assert!(state.take_change());
    state
}

fn addresses(state: &State) -> Vec<(String, String)> {
    let services = state.cluster().expect("complete").services.iter();
    services.map(|(name, of)| (name.name.clone(), of.cluster_ips[0].to_string())).collect()
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
        assert!(state.cluster().is_none() && !state.take_change(), "{last:?}");
        state.apply(Update::Listed(last, Vec::new()));
        assert!(state.cluster().is_some() && state.take_change(), "{last:?}");
        assert!(!state.take_change());
    }
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut state = state(vec![service("a", "10.96.0.1")]);
    state.apply(Update::Applied(service("a", "10.96.0.1")));
    state.apply(Update::Listed(Kind::Service, vec![service("a", "10.96.0.1")]));
    state.apply(Update::Deleted(key("unknown")));
    assert!(!state.take_change());
    state.apply(Update::Deleted(key("a")));
    assert!(state.take_change());
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
