use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_rules::cluster::TrafficPolicy;

use super::*;

/// A Service with this `spec`; `status` is taken out of it.
fn converted(mut spec: Value) -> Result<Converted, InvalidField> {
    let status = spec.as_object_mut().and_then(|spec| spec.remove("status"));
    let object = json!({"metadata": {"name": "web"}, "spec": spec, "status": status});
    service(&Deserialize::deserialize(&object).unwrap())
}

/// A `spec` with one port and an address, changed by `change`.
fn spec(change: Value) -> Value {
    let mut spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn accepted(change: Value) -> Service {
    match converted(spec(change)).unwrap().object {
        Object::Service(service, _) => service,
        other => panic!("{other:?}"),
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_protocol_is_tcp_and_no_node_port_is_served_unless_given() {
    let port =
        &accepted(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 0}]})).ports[0];
    assert_eq!((&*port.name, port.protocol, port.port.get()), ("", Protocol::Tcp, 80));
    assert_eq!(port.node_port, None);
    let port = &accepted(
        json!({"ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]}),
    )
    .ports[0];
    assert_eq!((&*port.name, port.protocol), ("dns", Protocol::Udp));
    assert_eq!(port.node_port, NonZeroU16::new(30053));
}

#[test]
fn addresses_are_taken_from_every_field() {
    let service = accepted(json!({
        "clusterIP": "10.96.0.10",
        "clusterIPs": ["10.96.0.10", "fd00::10"],
        "externalIPs": ["192.0.2.1"],
        "status": {"loadBalancer": {"ingress": [
            {"hostname": "lb.example.com"},
            {"ip": "198.51.100.1"},
            {"ip": "198.51.100.2", "ipMode": "VIP"},
            {"ip": "198.51.100.3", "ipMode": "Proxy"},
        ]}},
    }));
    assert_eq!(service.cluster_ips, ips(&["10.96.0.10", "fd00::10"]));
    assert_eq!(service.external_ips, ips(&["192.0.2.1"]));
    assert_eq!(service.load_balancer_ips, ips(&["198.51.100.1", "198.51.100.2"]));
}

#[test]
fn services_without_a_virtual_address_are_nothing() {
    for change in [
        json!({"type": "ExternalName", "externalName": "example.com"}),
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        // Nobody looks at the ports of a headless Service.
        json!({"clusterIP": "None", "ports": [{"port": 0}]}),
    ] {
        let converted = converted(spec(change)).unwrap();
        assert_eq!(converted, Converted { object: Object::Nothing, remarks: vec![] });
    }
    for change in [json!({"clusterIP": ""}), json!({"clusterIP": null, "clusterIPs": []})] {
        let converted = converted(spec(change)).unwrap();
        assert_eq!(converted.object, Object::Nothing);
        assert_eq!(converted.remarks, [Remark::NoClusterIp]);
    }
}

#[test]
fn the_service_of_another_proxy_is_nothing_even_when_it_is_bad() {
    let labels = json!({"service.kubernetes.io/service-proxy-name": ""});
    let object = json!({"metadata": {"labels": labels}, "spec": {"clusterIP": "x"}});
    let converted = service(&Deserialize::deserialize(&object).unwrap()).unwrap();
    assert_eq!(converted.object, Object::Nothing);
}

#[test]
fn external_addresses_of_a_family_without_a_cluster_ip_are_left_out() {
    let ingress = json!([{"ip": "2001:db8::2"}, {"ip": "192.0.2.2"}]);
    let converted = converted(spec(json!({
        "externalIPs": ["2001:db8::1", "192.0.2.1"],
        "status": {"loadBalancer": {"ingress": ingress}},
    })))
    .unwrap();
    assert_eq!(converted.remarks, [Remark::OtherFamily]);
    let Object::Service(service, _) = converted.object else { panic!() };
    assert_eq!(service.external_ips, ips(&["192.0.2.1"]));
    assert_eq!(service.load_balancer_ips, ips(&["192.0.2.2"]));
}

#[test]
fn session_affinity_is_read_with_the_default_and_the_bounds_of_the_api_server() {
    let of = |affinity, seconds: serde_json::Value| {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        let change = json!({"sessionAffinity": affinity, "sessionAffinityConfig": config});
        converted(spec(change)).map(|converted| match converted.object {
            Object::Service(service, _) => service.session_affinity.map(|it| it.get()),
            other => panic!("{other:?}"),
        })
    };
    let null = serde_json::Value::Null;
    assert_eq!(of("None", null.clone()), Ok(None));
    assert_eq!(of("", json!(7)), Ok(None));
    assert_eq!(of("ClientIP", null.clone()), Ok(Some(10800)));
    assert_eq!(of("ClientIP", json!(1)), Ok(Some(1)));
    assert_eq!(of("ClientIP", json!(86400)), Ok(Some(86400)));
    let plain = converted(spec(json!({"sessionAffinity": "ClientIP"}))).unwrap();
    let Object::Service(service, _) = plain.object else { panic!() };
    assert_eq!(service.session_affinity.map(|it| it.get()), Some(10800));
    for bad in [0, -1, 86401] {
        assert_eq!(
            of("ClientIP", json!(bad)).unwrap_err().to_string(),
            format!(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {bad} is not a number of \
                 seconds from 1 to 86400"
            )
        );
    }
    assert_eq!(
        of("Cookie", null).unwrap_err().to_string(),
        "spec.sessionAffinity: \"Cookie\" is neither ClientIP nor None"
    );
}

#[test]
fn traffic_policies_and_source_ranges_are_read() {
    let of = |change| match converted(spec(change)).unwrap().object {
        Object::Service(service, _) => service,
        other => panic!("{other:?}"),
    };
    let plain = of(json!({}));
    assert_eq!(plain.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(plain.external_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(plain.source_ranges, []);
    let local = of(json!({"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster"}));
    assert_eq!(local.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(local.external_traffic_policy, TrafficPolicy::Local);
    let ranges = of(json!({"loadBalancerSourceRanges": [" 192.0.2.7/24 ", "2001:db8::/32"]}));
    let expected: [IpNet; 2] = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    assert_eq!(ranges.source_ranges, expected);
}

#[test]
fn the_target_port_is_a_number_a_name_or_the_port_itself() {
    let object = converted(spec(json!({
        "selector": {"app": "web"},
        "ports": [
            {"name": "a", "port": 80},
            {"name": "b", "port": 81, "targetPort": 8081},
            {"name": "c", "port": 82, "targetPort": "http"},
        ],
    })));
    let Object::Service(_, Some(selection)) = object.unwrap().object else { panic!() };
    let targets: Vec<_> = selection.ports.into_iter().map(|port| port.target).collect();
    let number = |number| TargetPort::Number(NonZeroU16::new(number).unwrap());
    assert_eq!(targets, [number(80), number(8081), TargetPort::Name("http".into())]);
    let without = converted(spec(json!({"selector": {}}))).unwrap();
    assert!(matches!(without.object, Object::Service(_, None)));
}

#[test]
fn bad_fields_are_named() {
    let cases = [
        (
            json!({"clusterIPs": ["10.96.0.1", "10.96.0.999"]}),
            "spec.clusterIPs[1]: \"10.96.0.999\" is not an IP address",
        ),
        (json!({"clusterIP": "10.96.00.1"}), "spec.clusterIP: \"10.96.00.1\" is not an IP address"),
        (
            json!({"clusterIP": "::ffff:10.0.0.1"}),
            "spec.clusterIP: \"::ffff:10.0.0.1\" is an IPv4-mapped IPv6 address, write 10.0.0.1",
        ),
        (
            json!({"clusterIPs": ["10.96.0.1", "10.96.0.2"]}),
            "spec.clusterIPs[1]: 10.96.0.2 is a second address of the same family",
        ),
        (json!({"externalIPs": ["web"]}), "spec.externalIPs[0]: \"web\" is not an IP address"),
        (
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2"}]}}}),
            "status.loadBalancer.ingress[1].ip: \"192.0.2\" is not an IP address",
        ),
        (json!({"ports": [{}]}), "spec.ports[0].port: 0 is not a port, expected 1 to 65535"),
        (
            json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 65536}]}),
            "spec.ports[1].port: 65536 is not a port, expected 1 to 65535",
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": -1}]}),
            "spec.ports[0].nodePort: -1 is not a port, expected 1 to 65535",
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "tcp"}]}),
            "spec.ports[0].protocol: \"tcp\" is none of TCP, UDP and SCTP",
        ),
        (
            json!({"ports": [{"port": 80}, {"port": 81}]}),
            "spec.ports[1].name: is missing, and a Service with several ports must name each",
        ),
        (
            json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 80, "protocol": "UDP"}]}),
            "spec.ports[1].name: \"a\" is the name of spec.ports[0] too",
        ),
        (
            json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}),
            "spec.ports[1].port: 80 is the tcp port of spec.ports[0] too",
        ),
        (
            json!({"ports": [{"name": "a", "port": 80, "nodePort": 30000},
                {"name": "b", "port": 81, "nodePort": 30000}]}),
            "spec.ports[1].nodePort: 30000 is the tcp node port of spec.ports[0] too",
        ),
        (
            json!({"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 70000}]}),
            "spec.ports[0].targetPort: 70000 is not a port, expected 1 to 65535",
        ),
    ];
    for (change, expected) in cases {
        let error = converted(spec(change.clone())).map_err(|error| error.to_string());
        assert_eq!(error, Err(expected.to_owned()), "{change}");
    }
}

#[test]
fn one_port_number_serves_two_protocols() {
    let ports = json!([{"name": "a", "port": 53, "nodePort": 30053},
        {"name": "b", "port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    assert_eq!(accepted(json!({"ports": ports})).ports.len(), 2);
}

#[test]
fn only_a_load_balancer_with_the_external_policy_local_has_a_health_check() {
    let port = |kind: &str, policy: &str| {
        let change =
            json!({"type": kind, "externalTrafficPolicy": policy, "healthCheckNodePort": 30100});
        accepted(change).health_check_node_port.map(NonZeroU16::get)
    };
    assert_eq!(port("LoadBalancer", "Local"), Some(30100));
    assert_eq!(port("LoadBalancer", "Cluster"), None);
    assert_eq!(port("NodePort", "Local"), None);
    let bad = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                     "healthCheckNodePort": 70000});
    let error = converted(spec(bad)).unwrap_err();
    assert_eq!(error.field, "spec.healthCheckNodePort");
}
