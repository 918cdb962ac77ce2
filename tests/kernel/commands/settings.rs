//! What weir does with its settings, its Node and its host while it runs.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use weir_apiserver::Resource;
use weir_testbed::{Protocol, REFUSAL, Testbed, ask, eventually, wait_for};

use crate::common::weir;
use crate::listing::output;
use crate::running::{LIMIT, Running, service, slice};

fn mark(bit: u32) -> String {
    format!("meta mark set meta mark | {:#010x}", 1_u32 << bit)
}

fn running(config: &str) -> Running {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.write_config(config);
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    running
}

#[test]
fn a_changed_configuration_applies_live_and_an_invalid_one_not_at_all() {
    let running = running("mode: nftables\n");
    assert!(running.listed().contains(&mark(14)));
    running.write_config("mode: nftables\nnftables: {masqueradeBit: 15}\n");
    wait_for("another mark", LIMIT, || running.listed().contains(&mark(15)));
    running.wait_until_logged("configuration: nftables.masqueradeBit: applied");

    let before = running.listed();
    running.write_config("mode: nftables\nnftables: {masqueradeBit: 32}\n");
    running
        .wait_until_logged("must be within the range [0, 31]; the configuration stays as it was");
    running.write_config("mode: [");
    running.wait_until_logged("config.conf: ");
    assert_eq!(running.listed(), before);

    running.write_config("mode: nftables\nlogging: {verbosity: 4}\n");
    wait_for("the first mark", LIMIT, || running.listed().contains(&mark(14)));
    running.wait_until_logged("DEBUG");
}

/// The kubelet writes a new folder and swaps the link `..data`, through which the file is reached.
#[test]
fn a_swapped_volume_of_a_config_map_is_a_change() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    let volume = running.folder.path().join("volume");
    for (name, bit) in [("..1", 14), ("..2", 16)] {
        running.write_config(&format!("mode: nftables\nnftables: {{masqueradeBit: {bit}}}\n"));
        fs::create_dir_all(volume.join(name)).expect("a folder");
        fs::rename(running.config_path(), volume.join(name).join("config.conf")).expect("a file");
    }
    symlink("..1", volume.join("..data")).expect("a link");
    symlink("..data/config.conf", volume.join("config.conf")).expect("a link");
    symlink("volume/config.conf", running.config_path()).expect("a link");
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    assert!(running.listed().contains(&mark(14)));
    symlink("..2", volume.join("..tmp")).expect("a link");
    fs::rename(volume.join("..tmp"), volume.join("..data")).expect("it can be swapped");
    wait_for("another mark", LIMIT, || running.listed().contains(&mark(16)));
}

#[test]
fn what_needs_a_restart_ends_weir_and_says_why() {
    let mut running = running("mode: nftables\n");
    let before = running.listed();
    running.write_config("mode: nftables\nhealthzBindAddress: 127.0.0.1:10257\n");
    let process = running.weir.as_mut().expect("it was started");
    let status = eventually(LIMIT, || process.ended()).expect("it ends");
    assert!(status.success(), "{}", running.log());
    running.wait_until_logged("healthzBindAddress: needs a restart: its socket is bound");
    assert_eq!(running.listed(), before);
}

fn node(zone: &str, addresses: &[&str], pod_cidrs: &[&str]) -> Value {
    let address = |address: &&str| json!({"type": "InternalIP", "address": address});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"podCIDRs": pod_cidrs},
        "status": {"addresses": addresses.iter().map(address).collect::<Vec<_>>()},
    })
}

#[test]
fn the_nodes_addresses_zone_and_networks_are_followed() {
    let running = Running::new();
    running.server.apply(node("a", &["192.0.2.1"], &["10.244.0.0/24"]));
    let mut web = service();
    web["spec"]["type"] = json!("NodePort");
    web["spec"]["ports"][0]["nodePort"] = json!(30080);
    running.server.apply(web);
    let mut both = slice("10.244.0.2");
    both["endpoints"] = json!([
        {"addresses": ["10.244.0.2"], "zone": "a", "hints": {"forZones": [{"name": "a"}]}},
        {"addresses": ["10.244.0.3"], "zone": "b", "hints": {"forZones": [{"name": "b"}]}},
    ]);
    running.server.apply(both);
    running.write_config("mode: nftables\ndetectLocalMode: NodeCIDR\n");
    let mut running = running;
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    running.bed.node().ip("address add 192.0.2.99/32 dev lo");
    let node_port = |address: &str| {
        let address = format!("{address}:30080").parse().expect("an address");
        ask(running.bed.ns("client"), Protocol::Tcp, address, REFUSAL)
    };
    assert_eq!(node_port("192.0.2.1").server(), Some("b1"));
    assert_eq!(node_port("192.0.2.99").server(), None);

    running.server.apply(node("b", &["192.0.2.1"], &["10.244.0.0/24"]));
    running.wait_for_answer_of("b2");
    running.server.apply(node("b", &["192.0.2.99"], &["10.244.0.0/24"]));
    wait_for("the new address", LIMIT, || node_port("192.0.2.99").server() == Some("b2"));
    assert_eq!(node_port("192.0.2.1").server(), None);
    running.server.apply(node("b", &["192.0.2.99"], &["10.245.0.0/24"]));
    wait_for("the new network of Pods", LIMIT, || running.listed().contains("10.245.0.0/24"));
    running.server.apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]},
    }));
    wait_for("the new network of Services", LIMIT, || running.listed().contains("10.97.0.0/16"));
    running.server.delete(Resource::ServiceCidrs, "", "more");
    wait_for("its end", LIMIT, || !running.listed().contains("10.97.0.0/16"));
}

#[test]
fn bind_address_is_the_nodes_primary_address() {
    let mut running = Running::new();
    let mut web = service();
    web["spec"]["type"] = json!("NodePort");
    web["spec"]["ports"][0]["nodePort"] = json!(30080);
    running.server.apply(web);
    running.server.apply(slice("10.244.0.2"));
    running.write_config(&format!("mode: nftables\nbindAddress: {}\n", Testbed::NODE_V4));
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    let address = (Testbed::NODE_V4, 30080).into();
    let outcome = ask(running.bed.ns("client"), Protocol::Tcp, address, REFUSAL);
    assert_eq!(outcome.server(), Some("b1"));
}

/// Has `conntrack` do something with a UDP flow of the client to a node port.
fn flow(running: &Running, command: &str, address: &str, more: &[&str]) -> String {
    let flow = [command, "-p", "udp", "-s", "10.244.0.9", "-d", address, "--dport", "30053"];
    running.bed.node().cmd("conntrack", flow.iter().chain(more))
}

/// A flow that went through the node becomes one of a node port when the node gets its address.
#[test]
fn flows_to_an_address_that_becomes_the_nodes_are_compared_again() {
    let mut running = Running::new();
    let mut dns = service();
    dns["spec"]["type"] = json!("NodePort");
    dns["spec"]["ports"] = json!([{"port": 53, "protocol": "UDP", "nodePort": 30053}]);
    running.server.apply(dns);
    let mut endpoint = slice("10.244.0.2");
    endpoint["ports"][0]["protocol"] = json!("UDP");
    running.server.apply(endpoint.clone());
    running.write_config("nodePortAddresses: [192.0.2.0/24]\n");
    // It goes when weir compares the table at its start; after that, a change has to tell it to.
    flow(&running, "-I", "192.0.2.1", &["--sport", "3999", "-t", "600"]);
    running.start_as_proxy();
    let is_there = |address: &str| flow(&running, "-L", address, &[]).contains("dport=30053");
    wait_for("the first comparison", LIMIT, || !is_there("192.0.2.1"));
    for address in ["192.0.2.1", "192.0.2.99"] {
        flow(&running, "-I", address, &["--sport", "4000", "-t", "600"]);
    }
    assert!(is_there("192.0.2.1") && is_there("192.0.2.99"));
    endpoint["endpoints"][0]["addresses"] = json!(["10.244.0.3"]);
    running.server.apply(endpoint);
    wait_for("the flow to the node to go", LIMIT, || !is_there("192.0.2.1"));
    assert!(is_there("192.0.2.99"));
    running.bed.node().ip("address add 192.0.2.99/32 dev lo");
    wait_for("the other flow to go", LIMIT, || !is_there("192.0.2.99"));
}

#[test]
fn timeouts_are_set_and_by_default_not_shortened_and_the_oom_score_is_set() {
    let mut running = running("mode: nftables\noomScoreAdj: 300\n");
    let sysctl = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        running.bed.node().cmd("cat", [path]).trim().to_owned()
    };
    assert_eq!(sysctl("tcp_timeout_close_wait"), "3600");
    assert_eq!(sysctl("tcp_timeout_established"), "432000", "the kernel's default is longer");
    running.wait_until_logged("never lowered");
    let process = running.weir.as_mut().expect("it was started");
    let oom = format!("/proc/{}/oom_score_adj", process.child().id());
    assert_eq!(fs::read_to_string(&oom).expect("it runs").trim(), "300");

    running.write_config(
        "mode: nftables\noomScoreAdj: 400\nconntrack: {maxPerCore: 1, tcpEstablishedTimeout: 2h}\n",
    );
    let sysctl = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        running.bed.node().cmd("cat", [path]).trim().to_owned()
    };
    wait_for("a shorter timeout", LIMIT, || sysctl("tcp_timeout_established") == "7200");
    wait_for("another score", LIMIT, || fs::read_to_string(&oom).expect("it runs").trim() == "400");
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let mut running = running("mode: iptables\nlogging: {format: json}\n");
    running.stop();
    let log = running.log();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() >= 3, "{log}");
    for line in lines {
        let line: Value = serde_json::from_str(line).expect("a JSON object");
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
    }
    assert!(log.contains("uses nftables all the same"), "{log}");
}

#[test]
fn users_are_told_by_events() {
    let running = running("mode: nftables\n");
    let mut bad = service();
    bad["metadata"]["name"] = json!("bad");
    bad["spec"]["clusterIPs"] = json!(["10.96.0.256"]);
    running.server.apply(bad);
    let mut second = service();
    second["metadata"]["name"] = json!("web-2");
    running.server.apply(second);
    wait_for("three events", LIMIT, || running.server.events().len() == 3);
    let events = running.server.events();
    let of = |reason: &str| events.iter().find(|event| event["reason"] == reason);
    let starting = of("Starting").expect("weir says that it starts");
    assert_eq!(starting["regarding"]["name"], "node-a");
    let invalid = of("InvalidObject").expect("a Service has a bad address");
    assert_eq!(invalid["regarding"]["name"], "bad");
    let note = invalid["note"].as_str().expect("a note");
    assert!(note.starts_with("spec.clusterIPs[0]: \"10.96.0.256\""), "{note}");
    running.wait_until_logged("there is no such Node");
    let conflict = of("AddressConflict").expect("two Services claim one address");
    assert_eq!(conflict["regarding"]["name"], "web-2");
}

#[test]
fn init_only_sets_the_host_and_programs_nothing() {
    let running = Running::new();
    running.write_config("mode: nftables\nconntrack: {udpTimeout: 77s}\n");
    let mut command = weir();
    command.arg("--init-only").arg(format!("--config={}", running.config_path().display()));
    let output = output(running.bed.node(), command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
    assert_eq!(running.bed.node().cmd("cat", [path]).trim(), "77");
    assert_eq!(running.listed(), "");
}
