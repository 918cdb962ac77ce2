//! The kubelet asks where weir answers.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::common::weir;
use crate::config::data;
use crate::render::{base, chart, document, kubeadm, objects, only};
use crate::tools::succeed;

/// The container of a manifest's DaemonSet.
fn container(yaml: &str) -> Value {
    only(&objects(yaml), "DaemonSet")["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Where weir serves /livez with the configuration of a manifest.
fn served(yaml: &str) -> SocketAddr {
    let folder = tempfile::tempdir().expect("a folder");
    let [config, written] = ["config.conf", "written.conf"].map(|name| folder.path().join(name));
    fs::write(&config, data(yaml, "config.conf")).expect("it can be written");
    let mut weir = weir();
    weir.arg("--config").arg(&config).arg("--hostname-override=node-a");
    succeed(weir.arg("--write-config-to").arg(&written));
    let all = document(&fs::read_to_string(&written).expect("it is there"));
    let address = all["healthzBindAddress"].as_str().expect("text");
    address.parse().expect("an address and a port")
}

/// Asserts that both probes ask there, and neither for what is bad on a node that is about to go.
fn assert_asked(container: &Value, address: SocketAddr, what: &str) {
    assert_eq!(container["ports"].as_array().map(Vec::len), Some(1), "{what}");
    assert_eq!(container["ports"][0]["name"], "healthz", "{what}");
    assert_eq!(container["ports"][0]["containerPort"], address.port(), "{what}");
    let host = Some(address.ip()).filter(|host| !host.is_unspecified());
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["path"], path, "{what}: {probe}");
        assert_eq!(get["port"], "healthz", "{what}: {probe}");
        let asked = get.get("host").map(|host| {
            let host = host.as_str().expect("text");
            host.parse::<IpAddr>().expect("an address as Go's net.JoinHostPort takes it")
        });
        assert_eq!(asked, host, "{what}: {probe}");
    }
}

#[test]
fn every_manifest_asks_at_the_nodes_address() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 10256));
    for (what, yaml) in [("kustomize", base()), ("helm", chart(&[]))] {
        assert_eq!(served(&yaml), everywhere, "{what}");
        assert_asked(&container(&yaml), everywhere, what);
    }
    assert_asked(&container(&kubeadm()[1]), everywhere, "kubeadm, tightened");
}

#[test]
fn the_chart_asks_where_its_configuration_has_weir_serve() {
    for (address, expected) in [
        ("127.0.0.1:10256", "127.0.0.1:10256"),
        ("127.0.0.1", "127.0.0.1:10256"),
        ("192.0.2.1:10356", "192.0.2.1:10356"),
        ("0.0.0.0:10356", "0.0.0.0:10356"),
        ("0.0.0.0", "0.0.0.0:10256"),
        ("[::1]:10356", "[::1]:10356"),
        ("::1", "[::1]:10256"),
        ("[2001:db8::10]:80", "[2001:db8::10]:80"),
        ("[::]:10356", "[::]:10356"),
        ("::", "[::]:10256"),
    ] {
        let yaml = chart(&[&format!("config.healthzBindAddress={}", json!(address))]);
        let expected = expected.parse().expect("an address and a port");
        assert_eq!(served(&yaml), expected, "{address}");
        assert_asked(&container(&yaml), expected, address);
    }
    let ipv6 = chart(&[r#"config.bindAddress="::""#]);
    assert_asked(&container(&ipv6), served(&ipv6), "a node with IPv6 only");
    let none = chart(&["config.healthzBindAddress=null"]);
    assert_asked(&container(&none), served(&none), "no address");
}
