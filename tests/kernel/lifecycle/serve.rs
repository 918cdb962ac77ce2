//! What weir answers over HTTP on a node.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use weir_apiserver::Resource;
use weir_testbed::{Netns, Process, Testbed, eventually, nft_programs, wait_for};

use crate::running::{LIMIT, Running};

const HEALTH_CHECK: &str = "192.0.2.1:30100";
const HEALTH_CHECK_V6: &str = "[2001:db8::1]:30100";
pub(crate) const HEALTHZ: &str = "192.0.2.1:10256";
const HEALTHZ_V6: &str = "[2001:db8::1]:10256";
const METRICS: &str = "127.0.0.1:10249";

/// An API server that knows the node, and weir as kube-proxy's replacement, with these fields.
pub(crate) fn started(objects: &[Value], fields: &str) -> Running {
    let mut running = prepared(objects);
    running.write_config(&format!("mode: nftables\n{fields}\n"));
    running.start_as_proxy();
    running
}

pub(crate) fn prepared(objects: &[Value]) -> Running {
    let running = Running::new();
    running.server.apply(node(json!([])));
    objects.iter().for_each(|object| running.server.apply(object.clone()));
    running
}

/// Somebody who is not the node.
fn visitor(running: &Running) -> &Netns {
    running.bed.ns("client")
}

/// Waits until the node answers this visitor with a status and this in the answer; gives it.
pub(crate) fn answer(
    running: &Running,
    ns: &Netns,
    url: (&str, &str),
    status: u16,
    part: &str,
) -> String {
    let start = format!("HTTP/1.1 {status} ");
    let mut last = None;
    let answer = eventually(LIMIT, || {
        let answer = get(ns, url).map_err(|error| last = Some(error.to_string())).ok()?;
        let is_it = answer.starts_with(&start) && answer.contains(part);
        last = Some(answer.clone());
        is_it.then_some(answer)
    });
    let log = running.log();
    answer.unwrap_or_else(|| panic!("no {status} with {part} of {url:?}: {last:?}\n{log}"))
}

fn wait_until_refused(ns: &Netns, address: &str) {
    wait_for(&format!("{address} to be refused"), LIMIT, || is_refused(ns, address));
}

/// The value of a line of /metrics that begins so.
pub(crate) fn metric(running: &Running, series: &str) -> Option<f64> {
    let text = get(running.bed.node(), (METRICS, "/metrics")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

pub(crate) fn wait_for_metric(running: &Running, series: &str, value: f64) {
    let mut last = None;
    let is_it = eventually(LIMIT, || {
        last = metric(running, series);
        (last == Some(value)).then_some(())
    });
    assert!(is_it.is_some(), "{series} is {last:?}, not {value}; log:\n{}", running.log());
}

/// Asks once; gives all of the answer.
pub(crate) fn get(ns: &Netns, (address, path): (&str, &str)) -> io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

pub(crate) fn is_refused(ns: &Netns, address: &str) -> bool {
    get(ns, (address, "/")).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

pub(crate) fn node(taints: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"},
        "spec": {"taints": taints},
        "status": {"addresses": [{"type": "InternalIP", "address": Testbed::NODE_V4},
                                 {"type": "InternalIP", "address": Testbed::NODE_V6}]},
    })
}

/// A Service of both families whose load balancer asks for its health at a port.
fn service(name: &str, number: u8, health_check: u16) -> Value {
    let ips = [format!("10.96.0.{number}"), format!("fd00:96::{number}")];
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "clusterIP": ips[0], "clusterIPs": ips,
                 "externalTrafficPolicy": "Local", "healthCheckNodePort": health_check,
                 "ports": [{"name": "http", "port": 80, "nodePort": 30000 + u16::from(number)}]},
    })
}

/// A slice with an endpoint on the node and one elsewhere.
fn slice(family: &str, address: &str, elsewhere: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("web-{}", family.to_lowercase()), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family,
        "endpoints": [{"addresses": [address], "nodeName": "node-a"},
                      {"addresses": [elsewhere], "nodeName": "node-b"}],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    })
}

#[test]
fn load_balancers_learn_on_the_primary_addresses_whether_a_service_is_here() {
    let web = [service("web", 10, 30100), slice("IPv4", "10.244.0.2", "10.244.1.2")];
    let running = started(&web, "");
    let visitor = visitor(&running);
    let weight = "\r\nX-Load-Balancing-Endpoint-Weight: 1\r\n";
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, weight);
    // Each family has its own endpoints.
    answer(&running, visitor, (HEALTH_CHECK_V6, "/"), 503, "\"localEndpoints\": 0");
    running.server.apply(slice("IPv6", "fd00:10:244::2", "fd00:10:244:1::2"));
    answer(&running, visitor, (HEALTH_CHECK_V6, "/"), 200, "\"serviceProxyHealthy\": true");
    assert!(is_refused(running.bed.node(), "127.0.0.1:30100"), "primary addresses only");

    running.server.delete(Resource::EndpointSlices, "default", "web-ipv4");
    answer(&running, visitor, (HEALTH_CHECK, "/"), 503, "\"localEndpoints\": 0");
    running.server.apply(service("web", 10, 30101));
    answer(&running, visitor, ("[2001:db8::1]:30101", "/"), 200, "\"name\": \"web\"");
    wait_until_refused(visitor, HEALTH_CHECK_V6);
    running.server.delete(Resource::Services, "default", "web");
    wait_until_refused(visitor, "192.0.2.1:30101");
}

#[test]
fn without_node_port_addresses_health_checks_are_answered_everywhere() {
    let web = [service("web", 10, 30100), slice("IPv6", "fd00:10:244::2", "fd00:10:244:1::2")];
    let running = started(&web, "nodePortAddresses: [0.0.0.0/0]");
    answer(&running, running.bed.node(), ("127.0.0.1:30100", "/"), 503, "\"localEndpoints\": 0");
    answer(&running, running.bed.node(), ("[::1]:30100", "/"), 200, "\"localEndpoints\": 1");
    answer(&running, visitor(&running), (HEALTH_CHECK, "/"), 503, "\"name\": \"web\"");
}

#[test]
fn health_checks_are_answered_at_an_address_that_comes_later() {
    let web = [service("web", 10, 30100), slice("IPv4", "10.244.0.2", "10.244.1.2")];
    let running = started(&web, "nodePortAddresses: [192.0.2.0/24]");
    let node = running.bed.node();
    answer(&running, node, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");
    let later = "192.0.2.99:30100";
    assert!(get(node, (later, "/")).is_err());
    node.ip("address add 192.0.2.99/32 dev lo");
    answer(&running, node, (later, "/"), 200, "\"localEndpoints\": 1");
    node.ip("address del 192.0.2.99/32 dev lo");
    wait_for("its end", LIMIT, || get(node, (later, "/")).is_err());
}

/// What is only held back must not keep a balancer from hearing that the node is to go.
#[test]
fn min_sync_period_holds_back_what_is_programmed_and_nothing_else() {
    let web = [service("web", 10, 30100), slice("IPv4", "10.244.0.2", "10.244.1.2")];
    let running = started(&web, "nftables: {syncPeriod: 1h, minSyncPeriod: 1h}");
    let visitor = visitor(&running);
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");
    running.server.delete(Resource::EndpointSlices, "default", "web-ipv4");
    running.server.apply(node(json!([{"key": "ToBeDeletedByClusterAutoscaler"}])));
    answer(&running, visitor, (HEALTHZ, "/healthz"), 503, "\"nodeEligible\":false");
    let pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
    wait_for_metric(&running, pending, 1.0);
    // Also a repair programs what was wanted before.
    running.bed.node().cmd("nft", ["delete", "table", "ip", "weir"]);
    wait_for_metric(&running, "weir_repairs_total", 1.0);
    assert_eq!(metric(&running, pending), Some(1.0));
    answer(&running, visitor, (HEALTH_CHECK, "/"), 200, "\"localEndpoints\": 1");

    running.write_config("mode: nftables\n");
    answer(&running, visitor, (HEALTH_CHECK, "/"), 503, "\"localEndpoints\": 0");
    wait_for_metric(&running, pending, 0.0);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_service_and_the_others_are_served() {
    let mut running = prepared(&[service("web", 10, 30100), service("other", 11, 30101)]);
    let taken = running.bed.node().run(|| TcpListener::bind(HEALTH_CHECK).expect("it is free"));
    running.write_config("mode: nftables\n");
    running.start_as_proxy();
    answer(&running, visitor(&running), ("192.0.2.1:30101", "/"), 503, "\"name\": \"other\"");
    let why = "cannot listen on 192.0.2.1:30100 for the health check: Address already in use (os \
               error 98); its load balancer does not send to this node; trying again every 5 s";
    running.wait_until_logged(&format!("Service default/web: {why}"));
    let event = eventually(LIMIT, || {
        let events = running.server.events().into_iter();
        let is_it = |event: &Value| event["reason"] == "FailedToStartServiceHealthcheck";
        events.into_iter().find(is_it)
    });
    let event = event.expect("an event");
    assert_eq!((&event["type"], &event["action"]), (&json!("Warning"), &json!("Listen")));
    assert_eq!(event["regarding"]["kind"], "Service");
    assert_eq!(event["regarding"]["name"], "web");
    assert_eq!(event["note"], format!("node node-a: {why}"));
    drop(taken);
    // With the next change at the latest.
    running.server.apply(slice("IPv4", "10.244.0.2", "10.244.1.2"));
    answer(&running, visitor(&running), (HEALTH_CHECK, "/"), 200, "\"name\": \"web\"");
}

#[test]
fn a_node_tells_its_health_its_metrics_and_its_configuration() {
    let running = started(&[service("web", 10, 30100)], "bindAddressHardFail: true");
    let (visitor, node_ns) = (visitor(&running), running.bed.node());
    let eligible = "\"nodeEligible\":true,\"healthy\":true,\"status\":{\"IPv4\":{\"lastUpdated\":";
    answer(&running, visitor, (HEALTHZ, "/healthz"), 200, eligible);
    answer(&running, visitor, (HEALTHZ_V6, "/livez"), 200, ",\"healthy\":true,\"status\":");

    let autoscaler = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    running.server.apply(node(autoscaler));
    answer(
        &running,
        visitor,
        (HEALTHZ, "/healthz"),
        503,
        "\"nodeEligible\":false,\"healthy\":true",
    );
    answer(&running, visitor, (HEALTHZ, "/livez"), 200, "\"healthy\":true");
    running.server.apply(node(json!([])));
    answer(&running, visitor, (HEALTHZ, "/healthz"), 200, "");
    running.server.delete(Resource::Nodes, "", "node-a");
    answer(&running, visitor, (HEALTHZ, "/healthz"), 503, "\"nodeEligible\":false");

    assert!(is_refused(visitor, "192.0.2.1:10249"), "metrics are for the node itself");
    answer(&running, node_ns, (METRICS, "/proxyMode"), 200, "\r\n\r\nnftables");
    let configz = answer(&running, node_ns, (METRICS, "/configz"), 200, "");
    let (_, json) = configz.split_once("\r\n\r\n").expect("a body");
    let json: Value = serde_json::from_str(json).expect("JSON");
    let configuration = &json["kubeproxy.config.k8s.io"];
    assert_eq!(configuration["kind"], "KubeProxyConfiguration");
    assert_eq!(configuration["apiVersion"], "kubeproxy.config.k8s.io/v1alpha1");
    assert_eq!(configuration["bindAddressHardFail"], true);
    assert_eq!(configuration["nodePortAddresses"], json!(["primary"]));
}

#[test]
fn metrics_tell_of_the_cluster_the_kernel_and_the_api_server() {
    let running = started(&[service("web", 10, 30100)], "");
    answer(&running, running.bed.node(), (METRICS, "/metrics"), 200, "\nprocess_open_fds ");
    let wait = |series: &str, value| wait_for_metric(&running, series, value);
    wait("weir_programmed_services{ip_family=\"IPv4\"}", 1.0);
    for kind in ["Service", "EndpointSlice", "Node", "ServiceCIDR"] {
        wait(&format!("weir_api_connected{{kind=\"{kind}\"}}"), 1.0);
    }
    let host = running.server.url().replace("http://", "");
    let requests =
        format!("rest_client_requests_total{{code=\"200\",host=\"{host}\",method=\"GET\"}}");
    wait(&requests, 4.0);

    let mut with_trigger = slice("IPv4", "10.244.1.3", "10.244.1.2");
    with_trigger["endpoints"][0]["nodeName"] = json!("node-b");
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    with_trigger["metadata"]["annotations"] =
        json!({"endpoints.kubernetes.io/last-change-trigger-time": now});
    running.server.apply(with_trigger);
    let programming = "kubeproxy_network_programming_duration_seconds_count";
    wait(&format!("{programming}{{ip_family=\"IPv4\"}}"), 1.0);
    wait(&format!("{programming}{{ip_family=\"IPv6\"}}"), 0.0);
    wait("weir_programmed_endpoints{ip_family=\"IPv4\"}", 2.0);
    let without = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    wait(&format!("{without}{{ip_family=\"IPv4\",traffic_policy=\"external\"}}"), 1.0);
    wait(&format!("{without}{{ip_family=\"IPv4\",traffic_policy=\"internal\"}}"), 0.0);

    running.bed.node().cmd("nft", ["delete", "table", "ip", "weir"]);
    wait("weir_repairs_total", 1.0);
}

/// A process that owns the table `ip weir`, which the kernel then refuses to everybody else until it ends,
/// and where it reads commands.
pub(crate) fn table_owner(running: &Running) -> (Process, ChildStdin) {
    let [_, nft] = nft_programs();
    let mut command = Command::new(nft);
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut owner = Process::spawn(running.bed.node(), command);
    let mut commands = owner.child().stdin.take().expect("is piped");
    commands.write_all(b"add table ip weir { flags owner; }\n").expect("it reads");
    wait_for("the owner's table", LIMIT, || {
        running.bed.node().cmd("nft", ["list", "tables"]).contains("weir")
    });
    (owner, commands)
}

#[test]
fn a_node_that_cannot_be_programmed_is_unhealthy_until_it_can() {
    let mut running = prepared(&[service("web", 10, 30100)]);
    let (owner, _commands) = table_owner(&running);

    running.write_config("mode: nftables\nnftables: {syncPeriod: 50ms, minSyncPeriod: 1ms}\n");
    running.start_as_proxy();
    let visitor = visitor(&running);
    let unhealthy =
        "\"healthy\":false,\"status\":{\"IPv4\":{\"lastUpdated\":\"0001-01-01T00:00:00Z\"";
    answer(&running, visitor, (HEALTHZ, "/livez"), 503, unhealthy);
    answer(
        &running,
        visitor,
        (HEALTHZ, "/healthz"),
        503,
        "\"nodeEligible\":true,\"healthy\":false",
    );
    assert!(is_refused(visitor, HEALTH_CHECK), "nothing is programmed");
    let failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"}";
    wait_for("a failure to be counted", LIMIT, || {
        metric(&running, failures).is_some_and(|count| count >= 1.0)
    });

    drop(owner);
    answer(&running, visitor, (HEALTHZ, "/healthz"), 200, "\"healthy\":true,\"status\":");
    answer(&running, visitor, (HEALTH_CHECK, "/"), 503, "\"serviceProxyHealthy\": true");
}

#[test]
fn an_address_that_is_taken_is_waited_for_or_fatal_as_configured() {
    let mut running = prepared(&[]);
    let taken = running.bed.node().run(|| TcpListener::bind("0.0.0.0:10256").expect("it is free"));
    running.write_config("mode: nftables\n");
    running.start_as_proxy();
    running.wait_until_logged(
        "cannot listen on 0.0.0.0:10256 for /healthz, /livez and /readyz: Address already in use (os error \
         98); trying again every 5 s",
    );
    answer(&running, running.bed.node(), (METRICS, "/healthz"), 200, "ok");
    running.stop();

    running.write_config("mode: nftables\nbindAddressHardFail: true\n");
    running.start_as_proxy();
    let mut process = running.weir.take().expect("it runs");
    let status = eventually(LIMIT, || process.ended()).expect("its end");
    assert_eq!(status.code(), Some(1));
    let expected = "ERROR weir::commands::proxy: cannot listen on 0.0.0.0:10256 for /healthz, /livez and /readyz: Address";
    assert!(running.log().contains(expected), "{}", running.log());
    drop(taken);
}

#[test]
fn configz_follows_the_file_and_metrics_tell_of_a_bad_one() {
    let running = started(&[], "nftables: {syncPeriod: 20s}");
    let node = running.bed.node();
    answer(&running, node, (METRICS, "/configz"), 200, "\"syncPeriod\":\"20s\"");
    wait_for_metric(&running, "weir_config_last_reload_successful", 1.0);
    running.write_config("mode: nftables\noomScoreAdj: 5000\n");
    wait_for_metric(&running, "weir_config_last_reload_successful", 0.0);
    answer(&running, node, (METRICS, "/configz"), 200, "\"syncPeriod\":\"20s\"");
    running.write_config("mode: nftables\nnftables: {syncPeriod: 10s}\n");
    answer(&running, node, (METRICS, "/configz"), 200, "\"syncPeriod\":\"10s\"");
    wait_for_metric(&running, "weir_config_last_reload_successful", 1.0);
}
