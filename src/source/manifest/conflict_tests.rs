use super::tests::{load_limited, problems, service};

fn with(name: &str, ip: &str, fields: &str) -> String {
    service(name, ip).replace("spec:", &format!("spec:\n  {fields}"))
}

#[test]
fn two_services_cannot_claim_one_address_and_port() {
    let a = service("a", "10.96.0.1");
    let node_port = |name: &str, ip: &str, protocol: &str| {
        let port = format!("port: 80\n    nodePort: 30080\n    protocol: {protocol}");
        service(name, ip).replace("port: 80", &port)
    };
    let ingress = "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n";
    let external = with("a", "10.96.0.1", "externalIPs: [192.0.2.1]");
    let cases = [
        (&a, service("b", "10.96.0.1"), "spec.clusterIPs: 10.96.0.1 tcp port 80"),
        (
            &a,
            with("b", "10.96.0.2", "externalIPs: [10.96.0.1]"),
            "spec.externalIPs: 10.96.0.1 tcp port 80",
        ),
        (&external, service("b", "10.96.0.2") + ingress, ""),
        (
            &node_port("a", "10.96.0.1", "UDP"),
            node_port("b", "10.96.0.2", "UDP"),
            "spec.ports[0].nodePort: udp node port 30080",
        ),
    ];
    for (first, second, claim) in cases {
        let expected = match claim {
            // Of the two, an external IP is the lesser right.
            "" => {
                "a.yaml: document 1: Service default/a: spec.externalIPs: 192.0.2.1 tcp port 80 is \
                   already claimed by Service default/b in b.yaml, document 1"
                    .to_owned()
            }
            claim => format!(
                "b.yaml: document 1: Service default/b: {claim} is already claimed by Service \
                 default/a in a.yaml, document 1"
            ),
        };
        assert_eq!(problems(&[first, &second]), [expected]);
    }
    let other = node_port("b", "10.96.0.2", "TCP");
    assert_eq!(problems(&[&node_port("a", "10.96.0.1", "UDP"), &other]), Vec::<String>::new());
}

#[test]
fn a_service_may_claim_an_address_twice_itself() {
    let twice = with("a", "10.96.0.1", "externalIPs: [192.0.2.1, 192.0.2.1]")
        + "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n";
    assert_eq!(problems(&[&twice]), Vec::<String>::new());
}

#[test]
fn an_object_cannot_be_there_twice() {
    let headless = service("a", "None");
    let text = service("b", "10.96.0.3") + &service("a", "10.96.0.1");
    for second in [&service("a", "10.96.0.2"), &headless] {
        let expected =
            "b.yaml: document 1: Service default/a: this object is also in a.yaml, document 2";
        assert_eq!(problems(&[&text, second]), [expected]);
    }
    let elsewhere = service("a", "10.96.0.2").replace("name: a", "name: a\n  namespace: shop");
    assert_eq!(problems(&[&text, &elsewhere]), Vec::<String>::new());
}

/// Looking for conflicts among a Service's millions of keys would cost what the limit is there to save.
#[test]
fn what_is_over_the_limit_of_a_service_claims_nothing() {
    let small = service("a", "10.96.0.1");
    let large = with("b", "10.96.0.2", "externalIPs: [192.0.2.1, 10.96.0.1]");
    let conflicts = |max_keys| load_limited(&[&small, &large], max_keys).problems.len();
    assert_eq!((conflicts(3), conflicts(2)), (1, 0));
    let loaded = load_limited(&[&large], 2);
    let (_, service) = loaded.cluster.services.iter().next().expect("it is there");
    assert_eq!((service.keys(), service.excess_keys), (2, 1), "and what is left out is told");
}
