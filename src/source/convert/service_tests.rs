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

/// What is wrong with it, whether it is left out entirely or in part.
fn bad(change: Value) -> String {
    converted(spec(change)).map_or_else(|bad| bad.to_string(), |it| it.left_out.to_string())
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
        assert_eq!(converted, Object::Nothing.into());
    }
    for change in [json!({"clusterIP": ""}), json!({"clusterIP": null, "clusterIPs": []})] {
        let converted = converted(spec(change)).unwrap();
        assert_eq!(converted.object, Object::Nothing);
        assert_eq!(converted.remarks, [Advisory::NoClusterIp]);
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
    assert_eq!(converted.remarks, [Advisory::OtherFamily]);
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
    for seconds in [0, -1, 86401] {
        assert_eq!(of("ClientIP", json!(seconds)), Ok(Some(10800)), "the default counts");
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        let change = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config});
        assert_eq!(
            bad(change),
            format!(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {seconds} is not a number of \
                 seconds from 1 to 86400"
            )
        );
    }
    assert_eq!(of("Cookie", null), Ok(None));
    assert_eq!(
        bad(json!({"sessionAffinity": "Cookie"})),
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
        (json!({"clusterIP": "10.96.0"}), "spec.clusterIP: \"10.96.0\" is not an IP address"),
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
        assert_eq!(bad(change.clone()), expected, "{change}");
    }
}

/// A Service with two good ones of everything, and between them one that is bad.
#[test]
fn what_makes_no_sense_in_a_list_is_left_out_and_the_rest_is_used() {
    let ports = |bad: Value| {
        let good =
            |name: &str, port: u16| json!({"name": name, "port": port, "nodePort": 30000 + port});
        json!([good("a", 80), bad, good("b", 81)])
    };
    let good = json!({
        "clusterIPs": ["10.96.0.10", "fd00::10"],
        "externalIPs": ["192.0.2.1", "192.0.2.2"],
        "loadBalancerSourceRanges": ["198.51.100.0/24", "2001:db8::/32"],
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2"}]}},
        "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}],
        "selector": {"app": "web"},
    });
    let expected = accepted(good.clone());
    let cases = [
        json!({"clusterIPs": ["10.96.0.10", "10.96.0.300", "fd00::10"]}),
        json!({"clusterIPs": ["10.96.0.10", "10.96.0.11", "fd00::10"]}),
        json!({"externalIPs": ["192.0.2.1", "", "192.0.2.2"]}),
        json!({"externalIPs": ["192.0.2.1", "example.com", "192.0.2.2"]}),
        json!({"status": {"loadBalancer": {"ingress": [
            {"ip": "203.0.113.1"}, {"ip": "203.0.113"}, {"ip": "203.0.113.2"},
        ]}}}),
        json!({"ports": ports(json!({"name": "c", "port": 0}))}),
        json!({"ports": ports(json!({"name": "c", "port": 82, "protocol": "ICMP"}))}),
        json!({"ports": ports(json!({"name": "Under_Score", "port": 82}))}),
        json!({"ports": ports(json!({"name": "a", "port": 82}))}),
        json!({"ports": ports(json!({"name": "c", "port": 80}))}),
        json!({"internalTrafficPolicy": "Nearby"}),
        json!({"externalTrafficPolicy": "Nearby"}),
        json!({"sessionAffinity": "Cookie"}),
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": -1}),
    ];
    for change in cases {
        let mut object = good.clone();
        change.as_object().unwrap().iter().for_each(|(key, value)| object[key] = value.clone());
        let converted = converted(spec(object)).unwrap_or_else(|bad| panic!("{change}: {bad}"));
        assert!(converted.left_out.first().is_some(), "{change}");
        let Object::Service(mut service, selection) = converted.object else { panic!("{change}") };
        if change["externalTrafficPolicy"] == "Local" {
            service.external_traffic_policy = TrafficPolicy::Cluster;
        }
        assert_eq!(service, expected, "{change}");
        let names: Vec<_> = selection.unwrap().ports.iter().map(|port| port.name.clone()).collect();
        assert_eq!(names, ["a".into(), "b".into()], "{change}");
    }
    // The port is served at the other addresses.
    let twice = json!({"ports": [{"name": "a", "port": 80, "nodePort": 30080},
        {"name": "b", "port": 81, "nodePort": 30080}, {"name": "c", "port": 82, "nodePort": 99999}]});
    let node_ports: Vec<_> = accepted(twice).ports.iter().map(|port| port.node_port).collect();
    assert_eq!(node_ports, [NonZeroU16::new(30080), None, None]);
}

/// As `ParseIPSloppy` and `ParseCIDRSloppy` read them.
#[test]
fn addresses_are_read_as_kubernetes_reads_them() {
    let service = accepted(json!({
        "clusterIPs": ["010.096.0.010", "FD00:0:0::10"],
        "externalIPs": ["203.0.113.011", "::ffff:203.0.113.13"],
        "loadBalancerSourceRanges": [" 198.051.100.000/24", "::ffff:192.0.2.0/120"],
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.010"}]}},
    }));
    assert_eq!(service.cluster_ips, ips(&["10.96.0.10", "fd00::10"]));
    assert_eq!(service.external_ips, ips(&["203.0.113.11", "203.0.113.13"]));
    assert_eq!(service.load_balancer_ips, ips(&["203.0.113.10"]));
    let ranges: Vec<String> = service.source_ranges.iter().map(IpNet::to_string).collect();
    assert_eq!(ranges, ["198.51.100.0/24", "192.0.2.0/24"]);
}

/// Who may use its load-balancer addresses is not known then.
#[test]
fn a_source_range_that_makes_no_sense_is_remembered() {
    let service = accepted(json!({"loadBalancerSourceRanges": ["10.0.0.0/8", "10.0.0.0/99"]}));
    assert_eq!((service.source_ranges.len(), service.has_bad_source_range), (1, true));
    let service = accepted(json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}));
    assert!(!service.has_bad_source_range);
}

/// Somebody may write a megabyte there.
#[test]
fn what_is_told_of_bad_entries_is_short() {
    let long = "é".repeat(100_000);
    let text = bad(json!({"externalIPs": vec![long; 1000]}));
    assert!(text.len() < 1000, "{} bytes", text.len());
    assert!(text.ends_with("; and 997 more"), "{text}");
}

#[test]
fn when_it_was_created_is_read_and_never_a_reason_to_refuse_it() {
    let created = |text: &str| {
        let object = json!({"metadata": {"name": "web", "creationTimestamp": text},
                            "spec": {"clusterIP": "10.96.0.1"}});
        let converted = service(&Deserialize::deserialize(&object).unwrap()).unwrap();
        let Object::Service(service, _) = converted.object else { panic!() };
        service.created
    };
    assert_eq!(created("2026-03-01T12:00:00Z"), Some(1_772_366_400));
    assert_eq!(created("1960-01-01T00:00:00Z"), Some(0));
    assert_eq!(created("yesterday"), None);
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
    let converted = converted(spec(bad)).unwrap();
    assert_eq!(converted.left_out.first().unwrap().field, "spec.healthCheckNodePort");
}
