use serde::Deserialize;
use weir_rules::cluster::NamespacedName;
use weir_rules::config::NodePortAddresses;

use super::*;
use crate::source::api::{Received, Store, Update};
use crate::source::convert::{Converted, Object};
use crate::source::{Kind, ObjectKey, convert};

const LIMIT: Duration = Duration::from_secs(60);

fn observed() -> Arc<AgentStatus> {
    AgentStatus::new(String::new(), LIMIT)
}

/// The value of a line of /metrics that begins so.
fn value(observed: &AgentStatus, series: &str) -> f64 {
    let text = observed.metrics().text().unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    rest.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

fn sync(observed: &AgentStatus, cause: Cause) {
    let triggers = [].into_iter();
    observed.in_sync(
        cause,
        Duration::from_millis(3),
        Default::default(),
        &Default::default(),
        triggers,
    );
}

fn object(kind: Kind, name: &str, json: serde_json::Value) -> Received {
    let namespace = if kind.is_namespaced() { "default" } else { "" };
    let key = ObjectKey::new(kind, namespace, name);
    let outcome = match kind {
        Kind::Service => convert::service(&Deserialize::deserialize(&json).unwrap()),
        Kind::Node => Ok(convert::node(&serde_json::from_value(json).unwrap())),
        _ => convert::slice(&Deserialize::deserialize(&json).unwrap(), namespace),
    };
    Received { key, outcome: Ok(outcome.unwrap()) }
}

fn service(name: &str, ip: &str) -> Received {
    let json = serde_json::json!({"spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    object(Kind::Service, name, json)
}

fn slice(address: &str, trigger: Option<Timestamp>) -> Received {
    let mut json = serde_json::json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
    });
    if let Some(trigger) = trigger {
        let annotation = "endpoints.kubernetes.io/last-change-trigger-time";
        json["metadata"]["annotations"] = serde_json::json!({annotation: trigger.to_string()});
    }
    object(Kind::EndpointSlice, "web-1", json)
}

#[test]
fn changes_are_pending_until_they_are_programmed() {
    let observed = observed();
    let mut state = Store::default();
    state.apply(Update::Received(Kind::Service, vec![service("a", "10.96.0.1")]));
    state.apply(Update::Applied(slice("10.244.0.2", None)));
    state.apply(Update::Applied(slice("10.244.0.3", None)));
    // It is the same as before.
    state.apply(Update::Applied(slice("10.244.0.3", None)));
    observed.source_read(Some(&state));
    let told = |what: &str| value(&observed, &format!("kubeproxy_sync_proxy_rules_{what}"));
    assert_eq!(told("service_changes_total"), 1.0);
    assert_eq!(told("endpoint_changes_total"), 2.0);
    assert_eq!(told("service_changes_pending"), 1.0);
    assert_eq!(told("endpoint_changes_pending"), 2.0);
    // A repair programs what was wanted before.
    sync(&observed, Cause::Repair);
    assert_eq!(told("endpoint_changes_pending"), 2.0);
    observed.changes_queued();
    sync(&observed, Cause::Update);
    assert_eq!(told("endpoint_changes_pending"), 0.0);
    state.apply(Update::Received(Kind::Service, vec![service("a", "10.96.0.2")]));
    observed.source_read(Some(&state));
    assert_eq!(told("service_changes_total"), 2.0);
    assert_eq!(told("service_changes_pending"), 1.0);
    assert_eq!(told("endpoint_changes_total"), 2.0);
}

#[test]
fn the_way_of_a_change_is_measured_from_its_trigger_but_not_from_before_the_start() {
    let observed = observed();
    let count = |family: &str| {
        let name = "kubeproxy_network_programming_duration_seconds";
        let labels = format!("{{ip_family=\"{family}\"}}");
        let count = value(&observed, &format!("{name}_count{labels}"));
        (count, value(&observed, &format!("{name}_sum{labels}")))
    };
    let mut state = Store::default();
    let program = |state: &mut Store| {
        let triggers = state.changes_mut().take_triggers();
        observed.in_sync(
            Cause::Update,
            Duration::ZERO,
            Default::default(),
            &Default::default(),
            triggers,
        );
    };
    let before = observed.start - Duration::from_secs(1);
    state.apply(Update::Applied(slice("10.244.0.2", Some(before))));
    program(&mut state);
    assert_eq!(count("IPv4").0, 0.0);
    let behind = observed.start + Duration::from_nanos(1);
    state.apply(Update::Applied(slice("10.244.0.3", Some(behind))));
    program(&mut state);
    program(&mut state);
    let (found, sum) = count("IPv4");
    assert!(found == 1.0 && (0.0..60.0).contains(&sum), "{found} {sum}");
    assert_eq!(count("IPv6").0, 0.0);
    // When a slice went its annotation does not say.
    let gone = slice("10.244.0.4", Some(behind));
    let key = gone.key.clone();
    state.apply(Update::Applied(gone));
    state.apply(Update::Deleted(key));
    program(&mut state);
    assert_eq!(count("IPv4").0, 1.0);
}

#[test]
fn a_node_is_eligible_while_the_api_server_has_it_and_it_is_to_stay() {
    let observed = observed();
    let mut state = Store::default();
    let mut eligible = |update| {
        state.apply(update);
        observed.source_read(Some(&state));
        observed.health().is_eligible()
    };
    let tainted = serde_json::json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": ""}]);
    let node =
        |taints| object(Kind::Node, "node-a", serde_json::json!({"spec": {"taints": taints}}));
    let stays = || node(serde_json::Value::Null);
    assert!(!eligible(Update::Received(Kind::Service, vec![])));
    assert!(eligible(Update::Applied(stays())));
    assert!(!eligible(Update::Applied(node(tainted))));
    assert!(eligible(Update::Applied(stays())));
    assert!(!eligible(Update::Deleted(stays().key)));
}

#[tokio::test(start_paused = true)]
async fn an_update_is_measured_from_its_notice_with_all_attempts() {
    let observed = observed();
    observed.step_started();
    observed.changes_queued();
    observed.sync_failed();
    observed.step_ended(true);
    tokio::time::advance(Duration::from_secs(2)).await;
    observed.step_started();
    observed.changes_queued();
    sync(&observed, Cause::Update);
    observed.step_ended(false);
    assert_eq!(value(&observed, "weir_update_duration_seconds_sum"), 2.0);
    assert_eq!(value(&observed, "weir_update_duration_seconds_count"), 1.0);
    let failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";
    assert_eq!(value(&observed, &format!("{failures}{{ip_family=\"IPv6\"}}")), 1.0);
    // A repair is no update.
    sync(&observed, Cause::Repair);
    assert_eq!(value(&observed, "weir_update_duration_seconds_count"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn what_fails_or_never_ends_is_unhealthy_in_time_and_idleness_never_is() {
    let observed = observed();
    let is_healthy = || observed.health().is_healthy(Instant::now());
    observed.step_started();
    sync(&observed, Cause::Update);
    observed.step_ended(false);
    tokio::time::advance(100 * LIMIT).await;
    assert!(is_healthy(), "there was nothing to do");
    for _ in 0..LIMIT.as_secs() {
        assert!(is_healthy());
        observed.step_started();
        observed.step_ended(true);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(!is_healthy(), "it has failed all the time");
    sync(&observed, Cause::Retry);
    assert!(is_healthy());
    observed.step_started();
    tokio::time::advance(LIMIT).await;
    assert!(!is_healthy(), "it has not ended");
    observed.step_ended(false);
    assert!(is_healthy());
}

#[test]
fn the_first_sync_and_those_for_no_update_are_full_ones() {
    let observed = observed();
    let count = |kind: &str| {
        let series = format!("kubeproxy_sync_{kind}proxy_rules_duration_seconds_count");
        value(&observed, &format!("{series}{{ip_family=\"IPv4\"}}"))
    };
    sync(&observed, Cause::Update);
    assert_eq!((count("full_"), count("partial_")), (1.0, 0.0));
    sync(&observed, Cause::Update);
    sync(&observed, Cause::Full);
    sync(&observed, Cause::Repair);
    assert_eq!((count("full_"), count("partial_"), count("")), (3.0, 1.0, 4.0));
}

#[test]
fn the_numbers_are_those_of_what_is_programmed() {
    let observed = observed();
    let services = "weir_programmed_services{ip_family=\"IPv4\"}";
    let objects = [Tally { rules: 2, ..Tally::default() }, Tally { rules: 3, ..Tally::default() }];
    let text = observed.metrics().text().unwrap();
    assert!(!text.contains(services), "nothing is programmed yet\n{text}");
    let numbers = [Numbers { services: 1, ..Numbers::default() }, Numbers::default()];
    observed.in_sync(Cause::Update, Duration::ZERO, objects, &numbers, [].into_iter());
    assert_eq!(value(&observed, services), 1.0);
    let rules = |family: &str| {
        let labels = format!("{{ip_family=\"{family}\",kind=\"rule\"}}");
        value(&observed, &format!("weir_programmed_objects{labels}"))
    };
    assert_eq!((rules("IPv4"), rules("IPv6")), (2.0, 3.0));
}

#[test]
fn health_checks_stay_where_they_are_while_the_nodes_addresses_are_not_known() {
    let observed = observed();
    let json = serde_json::json!({"spec": {
        "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30100, "ports": [{"port": 80}],
    }});
    let Ok(Converted { object: Object::Service(service, _), .. }) =
        object(Kind::Service, "web", json).outcome
    else {
        panic!("a Service")
    };
    let services = [(NamespacedName::new("default", "web"), service)].into();
    let cluster = Cluster { services, ..Cluster::default() };
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let config =
        Config { node_port_addresses: NodePortAddresses::Cidrs(networks), ..Config::new("node-a") };
    let addresses = |own: Option<&str>| {
        let own = own.map(|own| [own.parse().unwrap()].into());
        let facts = DerivedState::of(&cluster, &config);
        observed.checks_programmed(&facts, &cluster, &config, own.as_ref());
        observed.checks().borrow().keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(addresses(Some("192.0.2.1")), ["192.0.2.1:30100"]);
    assert_eq!(addresses(None), ["192.0.2.1:30100"]);
    assert_eq!(addresses(Some("192.0.2.2")), ["192.0.2.2:30100"]);
}
