//! What the API server rejects is rejected in manifests, too, with the file, the object, the field and the
//! rule. What the API server has let through all the same is used.

use serde_json::{Value, json};

use super::tests::problems;
use crate::source::decode::object;
use crate::source::{Kind, ObjectKey};

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    })
}

fn slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.1"]}],
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"podIP": "10.244.0.1"},
    })
}

/// The object with what stands at a pointer replaced, or put where there was nothing.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("it is there");
    match parent {
        Value::Array(list) => list[key.parse::<usize>().expect("an index")] = value,
        parent => parent[key] = value,
    }
    object
}

/// Each change of the object is refused with this message behind the file and the object.
fn must_be_refused(good: &Value, cases: &[(&str, Value, &str)]) {
    assert_eq!(problems(&[&good.to_string()]), Vec::<String>::new());
    for (pointer, value, expected) in cases {
        let found = problems(&[&with(good.clone(), pointer, value.clone()).to_string()]);
        let [found] = &found[..] else { panic!("{pointer} {value}: {found:?}") };
        let (place, message) =
            found.split_at(found.find(expected.split(':').next().unwrap()).unwrap_or(0));
        assert_eq!(message, *expected, "{found}");
        assert!(place.starts_with("a.yaml: document 1: "), "{found}");
        assert!(place.contains(good["kind"].as_str().unwrap()), "{found}");
    }
}

/// And what the API server hands out is used all the same: it may be older, or younger, than the rule.
fn must_be_used_from_the_api(kind: Kind, good: &Value, cases: &[(&str, Value, &str)]) {
    for (pointer, value, _) in cases {
        let object_json = with(good.clone(), pointer, value.clone()).to_string();
        let key = ObjectKey::new(kind, "shop", "web");
        assert!(object(&key, &object_json).is_ok(), "{pointer} {value}");
    }
}

#[test]
fn names_follow_the_rules_of_their_kind() {
    let label =
        "is not a DNS label: at most 63 lower-case letters, digits and `-`, no `-` at an end";
    let subdomain = "is not a DNS name: at most 253 lower-case letters, digits, `-` and `.`, the parts \
                     between dots not empty and without a `-` at an end";
    let long = "a".repeat(64);
    let quoted = format!("{long:?}");
    let refused = |good: &Value, pointer: &str, name: &str, field: &str, rule: &str| {
        must_be_refused(good, &[(pointer, json!(name), &format!("{field}: {rule}"))]);
    };
    for name in [&long, "web.shop", "-web", "web-"] {
        refused(&service(), "/metadata/name", name, "metadata.name", &format!("{name:?} {label}"));
        refused(
            &slice(),
            "/metadata/namespace",
            name,
            "metadata.namespace",
            &format!("{name:?} {label}"),
        );
        let field = "spec.ports[0].name";
        refused(&service(), "/spec/ports/0/name", name, field, &format!("{name:?} {label}"));
        let field = "ports[0].name";
        refused(&slice(), "/ports/0/name", name, field, &format!("{name:?} {label}"));
    }
    for name in [".web", "web.", "a..b", "a.-b", "a-.b"] {
        refused(
            &slice(),
            "/metadata/name",
            name,
            "metadata.name",
            &format!("{name:?} {subdomain}"),
        );
        refused(&pod(), "/metadata/name", name, "metadata.name", &format!("{name:?} {subdomain}"));
        let field = "endpoints[0].nodeName";
        let pointer = "/endpoints/0/nodeName";
        refused(&slice(), pointer, name, field, &format!("{name:?} {subdomain}"));
    }
    let value = "is not the value of a label: at most 63 letters, digits, `-`, `_` and `.`, the first and the \
                 last a letter or digit";
    let labels = "/metadata/labels";
    for (text, shown) in
        [(&*long, &*quoted), ("a b", "\"a b\""), ("-a", "\"-a\""), ("a.", "\"a.\"")]
    {
        let rule = format!("{shown} {value}");
        let key = "kubernetes.io/service-name";
        let field = format!("metadata.labels[{key}]: {rule}");
        must_be_refused(&slice(), &[(labels, json!({key: text}), &field)]);
        let key = "service.kubernetes.io/service-proxy-name";
        let field = format!("metadata.labels[{key}]: {rule}");
        must_be_refused(&service(), &[(labels, json!({key: text}), &field)]);
        let field = format!("metadata.labels[app]: {rule}");
        must_be_refused(&pod(), &[(labels, json!({"app": text}), &field)]);
        let field = format!("spec.selector[app]: {rule}");
        must_be_refused(&service(), &[("/spec/selector", json!({"app": text}), &field)]);
    }
    let port = "is not the name of a port: at most 15 lower-case letters, digits and `-`, with a letter among \
                them and no `-` at an end or beside another";
    for name in ["a234567890123456", "80", "a--b", "-a", "a-", "HTTP", "a_b"] {
        let field = format!("spec.ports[0].targetPort: {name:?} {port}");
        must_be_refused(&service(), &[("/spec/ports/0/targetPort", json!(name), &field)]);
        let field = format!("spec.containers[0].ports[0].name: {name:?} {port}");
        must_be_refused(&pod(), &[("/spec/containers/0/ports/0/name", json!(name), &field)]);
    }
}

#[test]
fn names_of_the_greatest_length_are_good() {
    let label = "a".repeat(63);
    let service = with(service(), "/metadata/name", json!(label));
    let service = with(service, "/metadata/namespace", json!(label));
    let service = with(service, "/spec/ports/0/name", json!(label));
    let service = with(service, "/spec/ports/0/targetPort", json!("a23456789012345"));
    let service =
        with(service, "/metadata/labels", json!({"app": format!("A{}z", "_".repeat(61)), "b": ""}));
    assert_eq!(problems(&[&service.to_string()]), Vec::<String>::new());
    let slice = with(slice(), "/metadata/name", json!(["a"; 127].join(".")));
    assert_eq!(problems(&[&slice.to_string()]), Vec::<String>::new());
}

#[test]
fn port_names_of_a_slice_are_different() {
    let ports = json!([{"name": "a", "port": 1}, {"name": "a", "port": 1, "protocol": "UDP"}]);
    must_be_refused(
        &slice(),
        &[("/ports", ports, "ports[1].name: \"a\" is the name of ports[0] too")],
    );
}

#[test]
fn addresses_that_mean_something_else_are_no_endpoints_and_no_external_ips() {
    let cases = [
        ("0.0.0.0", "is unspecified"),
        ("127.0.0.1", "is a loopback address"),
        ("127.255.255.254", "is a loopback address"),
        ("169.254.169.254", "is a link-local address"),
        ("224.0.0.1", "is a link-local multicast address"),
        ("::ffff:127.0.0.1", "is a loopback address"),
    ];
    for (address, reason) in cases {
        let reason = format!("{address:?} {reason}");
        let external =
            [("/spec/externalIPs", json!([address]), &*format!("spec.externalIPs[0]: {reason}"))];
        must_be_refused(&service(), &external);
        must_be_used_from_the_api(Kind::Service, &service(), &external);
        let field = format!("endpoints[0].addresses[0]: {reason}");
        let endpoint = [("/endpoints/0/addresses", json!([address]), &*field)];
        must_be_refused(&slice(), &endpoint);
        must_be_used_from_the_api(Kind::EndpointSlice, &slice(), &endpoint);
        let field = format!("status.podIP: {reason}");
        must_be_refused(&pod(), &[("/status/podIP", json!(address), &field)]);
        let field = format!("status.podIPs[0].ip: {reason}");
        must_be_refused(&pod(), &[("/status/podIPs", json!([{"ip": address}]), &field)]);
    }
    let ipv6 = [
        ("::", "is unspecified"),
        ("::1", "is a loopback address"),
        ("fe80::1", "is a link-local address"),
        ("febf::1", "is a link-local address"),
        ("ff02::1", "is a link-local multicast address"),
    ];
    for (address, reason) in ipv6 {
        let field = format!("spec.externalIPs[0]: {address:?} {reason}");
        must_be_refused(&service(), &[("/spec/externalIPs", json!([address]), &field)]);
    }
    for good in ["239.0.0.1", "ff05::1", "192.0.2.1", "2001:db8::1", "fec0::1"] {
        let service = with(service(), "/spec/externalIPs", json!([good]));
        assert_eq!(problems(&[&service.to_string()]), Vec::<String>::new(), "{good}");
    }
}

/// The API server takes a ClusterIP only from the networks that it has for them.
#[test]
fn a_cluster_ip_is_an_address_that_a_network_of_cluster_ips_can_have() {
    for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "239.0.0.1", "::", "::1", "ff05::1"] {
        let field = format!("spec.clusterIP: {address:?} can be no ClusterIP");
        let cases = [("/spec/clusterIP", json!(address), &*field)];
        must_be_refused(&service(), &cases);
        must_be_used_from_the_api(Kind::Service, &service(), &cases);
    }
    let second = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "::1"], "ports": [{"port": 80}]});
    must_be_refused(
        &service(),
        &[("/spec", second, "spec.clusterIPs[1]: \"::1\" can be no ClusterIP")],
    );
}

#[test]
fn cluster_ips_agree_with_each_other_and_with_their_families() {
    let spec = |ips: Value, families: Value| json!({"clusterIP": "10.96.0.1", "clusterIPs": ips, "ipFamilies": families, "ports": [{"port": 80}]});
    let cases = [
        (
            "/spec",
            spec(json!(["10.96.0.2"]), json!(null)),
            "spec.clusterIPs[0]: \"10.96.0.2\" is not the spec.clusterIP \"10.96.0.1\"",
        ),
        (
            "/spec",
            spec(json!(["None"]), json!(null)),
            "spec.clusterIPs[0]: \"None\" is not the spec.clusterIP \"10.96.0.1\"",
        ),
        (
            "/spec",
            spec(json!(["10.96.0.1", "fd00::1"]), json!(["IPv4", "IPv4"])),
            "spec.ipFamilies[1]: \"IPv4\" is there twice",
        ),
        (
            "/spec",
            spec(json!(["10.96.0.1", "fd00::1"]), json!(["IPv6", "IPv4"])),
            "spec.clusterIPs[0]: \"10.96.0.1\" is not of the family IPv6 of spec.ipFamilies[0]",
        ),
        (
            "/spec/ipFamilies",
            json!(["IPv6"]),
            "spec.clusterIP: \"10.96.0.1\" is not of the family IPv6 of spec.ipFamilies[0]",
        ),
    ];
    must_be_refused(&service(), &cases);
    must_be_used_from_the_api(Kind::Service, &service(), &cases[2..]);
    let dual = spec(json!(["10.96.0.1", "fd00::1"]), json!(["IPv4", "IPv6"]));
    assert_eq!(problems(&[&with(service(), "/spec", dual).to_string()]), Vec::<String>::new());
}

#[test]
fn a_field_with_a_set_of_values_has_one_of_these() {
    let of_services = [
        (
            "/spec/type",
            "Foo",
            "spec.type: \"Foo\" is none of ClusterIP, NodePort, LoadBalancer and ExternalName",
        ),
        (
            "/spec/sessionAffinity",
            "clientIP",
            "spec.sessionAffinity: \"clientIP\" is none of ClientIP and None",
        ),
        (
            "/spec/internalTrafficPolicy",
            "local",
            "spec.internalTrafficPolicy: \"local\" is none of Cluster and Local",
        ),
        (
            "/spec/externalTrafficPolicy",
            "local",
            "spec.externalTrafficPolicy: \"local\" is none of Cluster and Local",
        ),
        (
            "/spec/ipFamilyPolicy",
            "Dual",
            "spec.ipFamilyPolicy: \"Dual\" is none of SingleStack, PreferDualStack and RequireDualStack",
        ),
        (
            "/spec/trafficDistribution",
            "Close",
            "spec.trafficDistribution: \"Close\" is none of PreferClose, PreferSameZone and PreferSameNode",
        ),
        (
            "/spec/ports/0/protocol",
            "tcp",
            "spec.ports[0].protocol: \"tcp\" is none of TCP, UDP and SCTP",
        ),
        (
            "/status/loadBalancer/ingress/0/ipMode",
            "foo",
            "status.loadBalancer.ingress[0].ipMode: \"foo\" is none of VIP and Proxy",
        ),
        (
            "/status/loadBalancer/ingress/0/ipMode",
            "",
            "status.loadBalancer.ingress[0].ipMode: \"\" is none of VIP and Proxy",
        ),
    ];
    let of_services =
        of_services.map(|(pointer, value, expected)| (pointer, json!(value), expected));
    must_be_refused(&service(), &of_services);
    must_be_used_from_the_api(Kind::Service, &service(), &of_services);
    let families = (
        "/spec/ipFamilies",
        json!(["IPv5"]),
        "spec.ipFamilies[0]: \"IPv5\" is none of IPv4 and IPv6",
    );
    must_be_refused(&service(), std::slice::from_ref(&families));
    must_be_used_from_the_api(Kind::Service, &service(), &[families]);

    // Also of a Service that has nothing to serve: the API server would not have it either.
    let headless = with(service(), "/spec/clusterIP", json!("None"));
    must_be_refused(&headless, &of_services);

    let of_slices = [
        ("/addressType", json!("ipv4"), "addressType: \"ipv4\" is none of IPv4, IPv6 and FQDN"),
        (
            "/ports/0/protocol",
            json!("ICMP"),
            "ports[0].protocol: \"ICMP\" is none of TCP, UDP and SCTP",
        ),
    ];
    must_be_refused(&slice(), &of_slices);
    let labels = json!({"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""});
    must_be_refused(&with(slice(), "/metadata/labels", labels), &of_slices);

    // Nothing is as good as the default.
    for pointer in [
        "/spec/type",
        "/spec/sessionAffinity",
        "/spec/externalTrafficPolicy",
        "/spec/ports/0/protocol",
    ] {
        assert_eq!(
            problems(&[&with(service(), pointer, json!("")).to_string()]),
            Vec::<String>::new(),
            "{pointer}"
        );
    }
}
