use weir_rules::cluster::{Cluster, Slices};

use crate::source::manifest::tests::load_all;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIPs: [10.96.0.1, 'fd00::1']
  selector: {app: web, tier: front}
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: metrics, port: 9090}
---
";

/// A ready Pod that the Service selects, with its port `web` at 8080.
fn pod(name: &str, ips: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web, tier: front, other: x}}}}
spec:
  nodeName: node-1
  containers:
  - {{name: a, ports: [{{name: web, containerPort: 53, protocol: UDP}}]}}
  - {{name: b, ports: [{{name: web, containerPort: 8080}}]}}
status: {{phase: Running, podIPs: {ips}, conditions: [{{type: Ready, status: 'True'}}]}}
---
"
    )
}

fn cluster(texts: &[&str]) -> Cluster {
    let loaded = load_all(&[&texts.concat()]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.cluster
}

/// Each slice's name, ports and addresses.
fn listed(slices: &Slices) -> Vec<String> {
    let list = slices.iter().map(|(name, slice)| {
        let ports: Vec<_> = slice
            .ports
            .iter()
            .map(|of| format!("{} {} {}", of.name, of.protocol, of.port))
            .collect();
        let endpoints: Vec<_> = slice.endpoints.iter().map(|of| of.address.to_string()).collect();
        format!("{name} {ports:?} {endpoints:?}").replace('"', "")
    });
    list.collect()
}

#[test]
fn endpoints_come_from_ready_pods_of_each_family() {
    let cluster = cluster(&[
        SERVICE,
        &pod("a", "[{ip: 10.244.0.1}, {ip: 'fd00:1::1'}]"),
        &pod("b", "[{ip: 10.244.0.2}]"),
    ]);
    assert_eq!(
        listed(&cluster.slices),
        [
            "default/web-derived-ipv4-1 [http tcp 8080, metrics tcp 9090] [10.244.0.1, 10.244.0.2]",
            "default/web-derived-ipv6-1 [http tcp 8080, metrics tcp 9090] [fd00:1::1]",
        ]
    );
    let slice = cluster.slices.values().next().unwrap();
    assert_eq!(slice.service.to_string(), "default/web");
    assert!(slice.endpoints.iter().all(|of| of.ready && of.node() == Some("node-1")));
}

#[test]
fn pods_that_cannot_serve_are_left_out() {
    let good = pod("a", "[{ip: 10.244.0.1}]");
    for (from, to) in [
        ("name: a, labels", "name: a, namespace: other, labels"),
        ("tier: front", "tier: back"),
        ("status: 'True'", "status: 'False'"),
        ("type: Ready", "type: Initialized"),
        ("phase: Running", "phase: Succeeded"),
        ("phase: Running", "phase: Failed"),
        ("name: a, labels", "name: a, deletionTimestamp: '2026-01-01T00:00:00Z', labels"),
        ("[{ip: 10.244.0.1}]", "[]"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        assert_eq!(listed(&cluster(&[SERVICE, &changed]).slices), Vec::<String>::new(), "{to}");
    }
    let on_host = good.replace("nodeName", "hostNetwork: true\n  nodeName");
    assert_eq!(cluster(&[SERVICE, &on_host]).slices.len(), 1, "the host's network is no hindrance");
}

#[test]
fn pods_that_are_not_ready_count_where_the_service_says_so() {
    let service = SERVICE.replace("selector", "publishNotReadyAddresses: true\n  selector");
    let pod = pod("a", "[{ip: 10.244.0.1}]").replace("'True'", "'False'");
    let slices = cluster(&[&service, &pod]).slices;
    assert!(slices.values().next().unwrap().endpoints[0].ready);
}

#[test]
fn pods_that_resolve_ports_differently_are_in_slices_of_their_own() {
    let other = pod("b", "[{ip: 10.244.0.2}]").replace("8080", "8081");
    let without = pod("c", "[{ip: 10.244.0.3}]")
        .replace("name: web, containerPort: 8080", "containerPort: 8080");
    let cluster = cluster(&[SERVICE, &pod("a", "[{ip: 10.244.0.1}]"), &other, &without]);
    assert_eq!(
        listed(&cluster.slices),
        [
            "default/web-derived-ipv4-1 [metrics tcp 9090] [10.244.0.3]",
            "default/web-derived-ipv4-2 [http tcp 8080, metrics tcp 9090] [10.244.0.1]",
            "default/web-derived-ipv4-3 [http tcp 8081, metrics tcp 9090] [10.244.0.2]",
        ]
    );
}

#[test]
fn a_service_with_a_slice_keeps_to_it() {
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: own, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
---
";
    let pod = pod("a", "[{ip: 10.244.0.1}]");
    assert_eq!(listed(&cluster(&[SERVICE, slice, &pod]).slices), ["default/own [] []"]);
    let elsewhere = slice.replace("name: own", "name: own, namespace: shop");
    assert_eq!(cluster(&[SERVICE, &elsewhere, &pod]).slices.len(), 2);
}
