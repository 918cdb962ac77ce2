//! Isolation: what one Service cannot do to another, or to the node.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_testbed::{Outcome, Protocol, REFUSAL, ask, wait_for};

use crate::running::{LIMIT, Running, service, slice};
use crate::serve::{started, wait_for_metric};

/// The Service of another tenant, with this spec beside its own ClusterIP and port.
fn tenant(created: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "a-tenant", "namespace": "default", "creationTimestamp": created},
        "spec": {"clusterIP": "10.96.0.66", "clusterIPs": ["10.96.0.66"], "ports": [{"port": 80}]},
    });
    for (field, value) in spec.as_object().expect("fields") {
        object["spec"][field] = value.clone();
    }
    object
}

/// Its endpoint, which is another pod.
fn tenant_slice(addresses: &[&str]) -> Value {
    let endpoints: Vec<_> = addresses.iter().map(|it| json!({"addresses": [it]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "a-tenant-1", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "a-tenant"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    })
}

fn meets(running: &Running, address: &str) -> Outcome {
    let address: SocketAddr = address.parse().expect("an address");
    ask(running.bed.ns("client"), Protocol::Tcp, address, REFUSAL)
}

#[track_caller]
fn wait_for_server(running: &Running, address: &str, server: &str) {
    wait_for(&format!("{server} at {address}; log:\n{}", running.log()), LIMIT, || {
        meets(running, address).server() == Some(server)
    });
}

/// While weir runs, after a restart, and whoever is older: `web` is b1, the tenant b2.
#[test]
fn external_ips_take_no_cluster_ip_and_the_tenant_loses_nothing_else() {
    let grab =
        tenant("2020-01-01T00:00:00Z", &json!({"externalIPs": ["10.96.0.10", "203.0.113.7"]}));
    let mut running = started(&[service(), slice("10.244.0.2"), tenant_slice(&["10.244.0.3"])], "");
    running.wait_for_answer_of("b1");
    running.server.apply(grab);
    for _ in 0..2 {
        wait_for_server(&running, "10.96.0.66:80", "b2");
        wait_for_server(&running, "203.0.113.7:80", "b2");
        assert_eq!(running.ask().server(), Some("b1"));
        wait_for_metric(&running, "weir_lost_claims{kind=\"external-ip\"}", 1.0);
        running.wait_until_logged(
            "spec.externalIPs: 10.96.0.10 tcp port 80 is Service default/web's; all else",
        );
        running.stop();
        running.start_as_proxy();
    }
    wait_for("an Event on the tenant's Service", LIMIT, || {
        let events = running.server.events();
        let is_it = |event: &Value| {
            event["reason"] == "AddressConflict" && event["regarding"]["name"] == "a-tenant"
        };
        events.iter().any(is_it)
    });
}

/// Also where the Service whose address it is comes later.
#[test]
fn a_service_gets_its_cluster_ip_from_external_ips_that_were_there_before() {
    let grab = tenant("2020-01-01T00:00:00Z", &json!({"externalIPs": ["10.96.0.10"]}));
    let running = started(&[grab, tenant_slice(&["10.244.0.3"])], "");
    wait_for_server(&running, "10.96.0.10:80", "b2");
    running.server.apply(slice("10.244.0.2"));
    running.server.apply(service());
    running.wait_for_answer_of("b1");
    wait_for_server(&running, "10.96.0.66:80", "b2");
}

/// An address that Kubernetes has let in, and that is none to other parsers.
#[test]
fn an_entry_that_is_no_address_leaves_the_rest_in_service() {
    let external = json!({"externalIPs": ["", "203.0.113.011", "::ffff:203.0.113.13"]});
    let addresses = ["10.244.0.2", "::ffff:10.244.0.3", "10.244.0.999"];
    let running =
        started(&[tenant("2026-01-01T00:00:00Z", &external), tenant_slice(&addresses)], "");
    for address in ["10.96.0.66:80", "203.0.113.11:80", "203.0.113.13:80"] {
        for server in ["b1", "b2"] {
            wait_for_server(&running, address, server);
        }
    }
    running.wait_until_logged(
        "spec.externalIPs[0]: \"\" is not an IP address; all else of it is used",
    );
    // What was good before and is not in the slice any more goes.
    running.server.apply(tenant_slice(&["10.244.0.3", "not an address"]));
    wait_for("b1 to be out", LIMIT, || {
        (0..20).all(|_| meets(&running, "10.96.0.66:80").server() == Some("b2"))
    });
}

/// Nobody may use it until the entry is mended; all else of the Service works.
#[test]
fn source_ranges_of_which_none_is_good_close_that_address_alone() {
    let closed = |ranges: &[&str]| {
        let spec = json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges,
                          "externalIPs": ["203.0.113.7"]});
        let mut object = tenant("2026-01-01T00:00:00Z", &spec);
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}});
        object
    };
    let running = started(&[closed(&["10.0.0.0/99"]), tenant_slice(&["10.244.0.3"])], "");
    wait_for_server(&running, "10.96.0.66:80", "b2");
    wait_for_server(&running, "203.0.113.7:80", "b2");
    assert_eq!(meets(&running, "203.0.113.9:80"), Outcome::Silent);
    running.server.apply(closed(&["10.244.0.0/16"]));
    wait_for_server(&running, "203.0.113.9:80", "b2");
}

#[test]
fn a_service_over_its_limits_is_served_within_them_and_told() {
    let addresses: Vec<String> = (0..80).map(|last| format!("203.0.113.{last}")).collect();
    let port = |port: u32| json!({"name": format!("p{port}"), "port": port});
    let ports: Vec<_> = (1..=1000).map(port).collect();
    let large = tenant("2026-01-01T00:00:00Z", &json!({"externalIPs": addresses, "ports": ports}));
    let mut endpoints = tenant_slice(&["10.244.0.3"]);
    let target = |port: u32| json!({"name": format!("p{port}"), "port": 8080});
    endpoints["ports"] = (1..=1000).map(target).collect();
    let running = started(&[service(), slice("10.244.0.2")], "");
    running.wait_for_answer_of("b1");
    running.server.apply(large);
    running.server.apply(endpoints);
    // While that is programmed.
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    for address in ["10.96.0.66:1", "10.96.0.66:1000", "203.0.113.0:500"] {
        wait_for_server(&running, address, "b2");
    }
    wait_for_metric(&running, "weir_limited_services", 1.0);
    assert_ne!(meets(&running, "203.0.113.79:500").server(), Some("b2"));
    running.wait_until_logged("(--max-service-keys)");
}
