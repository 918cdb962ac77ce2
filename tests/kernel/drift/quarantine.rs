//! A Service that the kernel rejects, and how weir reports it.

use serde_json::{Value, json};
use weir_testbed::wait_for;

use crate::running::{LIMIT, Running};
use crate::serve::{answer, is_refused, metric, prepared, started, wait_for_metric};

/// Where the load balancer of the Service asks for its health.
const HEALTH_CHECK: &str = "192.0.2.1:30100";

/// As long as the name of an object may be. A Service's is shorter on a real API server, as it is a
/// DNS label; with this one the names of chains for session affinity are longer than the kernel takes
/// (`NFT_NAME_MAXLEN` of linux/netfilter/nf_tables.h), and nothing else is.
pub(crate) fn long_name() -> String {
    "x".repeat(253)
}

/// A Service that the kernel refuses if it `learns` clients.
pub(crate) fn service(learns: bool) -> Value {
    let affinity = if learns { "ClientIP" } else { "None" };
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": long_name(), "namespace": "default"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"],
                 "externalTrafficPolicy": "Local", "healthCheckNodePort": 30100,
                 "sessionAffinity": affinity, "ports": [{"port": 80, "nodePort": 30020}]},
    })
}

/// Its endpoints on the node.
pub(crate) fn slice(addresses: &[&str]) -> Value {
    let endpoint = |address: &&str| json!({"addresses": [address], "nodeName": "node-a"});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "long", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": long_name()}},
        "addressType": "IPv4", "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    })
}

fn wait_until_set_aside(running: &Running) {
    wait_for_metric(running, "weir_set_aside_services", 1.0);
}

#[test]
fn of_a_service_that_is_set_aside_is_told_what_was_programmed_last() {
    let web = crate::running::service();
    let running = started(&[web, service(false), slice(&["10.244.0.2"])], "");
    let visitor = running.bed.ns("client");
    let endpoints = "weir_programmed_endpoints{ip_family=\"IPv4\"}";
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");
    running.server.apply(service(true));
    wait_until_set_aside(&running);
    running.server.apply(slice(&["10.244.0.2", "10.244.0.3"]));
    // What comes behind that is programmed behind it.
    running.server.apply(crate::running::slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    wait_for_metric(&running, endpoints, 2.0);
    assert_eq!(metric(&running, "weir_programmed_services{ip_family=\"IPv4\"}"), Some(2.0));
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");

    running.server.apply(service(false));
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 2");
    wait_for_metric(&running, endpoints, 3.0);
    wait_for_metric(&running, "weir_set_aside_services", 0.0);
}

#[test]
fn a_service_that_the_kernel_never_took_has_no_health_check() {
    let running = started(&[service(true), slice(&["10.244.0.2"])], "");
    let visitor = running.bed.ns("client");
    wait_until_set_aside(&running);
    wait_for_metric(&running, "weir_programmed_services{ip_family=\"IPv4\"}", 0.0);
    assert!(is_refused(visitor, HEALTH_CHECK), "{}", running.log());
    running.server.apply(service(false));
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");
    running.server.delete(weir_apiserver::Resource::Services, "default", &long_name());
    wait_for("its end", LIMIT, || is_refused(visitor, HEALTH_CHECK));
}

/// kube-proxy's rules may serve it on.
#[test]
fn kube_proxys_leftovers_stay_while_a_service_is_set_aside() {
    let web = [crate::running::service(), crate::running::slice("10.244.0.2")];
    let mut running = prepared(&[&web[..], &[service(true), slice(&["10.244.0.2"])]].concat());
    running.bed.node().nft("table ip kube-proxy { chain services { }; }");
    running.write_config("mode: nftables\n");
    running.start_as_proxy();
    wait_until_set_aside(&running);
    // And not behind the next sync either.
    running.server.apply(crate::running::slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    assert!(running.listed().contains("table ip kube-proxy"), "{}", running.log());
    running.server.apply(service(false));
    running.wait_until_logged("took over from kube-proxy: removed ");
    let log = running.log();
    let taken = log.find("the kernel takes the Service now").expect("it is taken");
    assert!(log.find("took over from kube-proxy") > Some(taken), "{log}");
    assert!(!running.listed().contains("table ip kube-proxy"), "{}", running.listed());
}
