//! A Service and its endpoints in, a ruleset out: `cargo run -p weir-rules --example print`.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use weir_rules::cluster::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol, Service,
    ServicePort,
};
use weir_rules::compile::compile;
use weir_rules::config::Config;

fn main() {
    print!("{}", compile(&web(), &Config::new("node-a")));
}

/// The Service `default/web`, TCP 80 at 10.96.0.10, with two endpoints at port 8080.
fn web() -> Cluster {
    let name = |text: &str| NamespacedName::new("default", text);
    let port = |number| NonZeroU16::new(number).expect("not 0");
    let service = Service {
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 10).into()],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(80),
            node_port: None,
        }],
        ..Service::default()
    };
    let slice = EndpointSlice {
        service: name("web"),
        family: Family::Ipv4,
        ports: vec![EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(8080),
        }],
        endpoints: [[10, 244, 1, 2], [10, 244, 2, 3]]
            .map(|address| Endpoint::new(address.into()))
            .into(),
    };
    let mut cluster = Cluster::default();
    cluster.services.insert(name("web"), service);
    cluster.slices.insert(name("web-1"), slice);
    cluster
}

#[test]
fn it_prints_the_endpoints_of_the_service() {
    let ruleset = compile(&web(), &Config::new("node-a")).to_string();
    assert!(ruleset.contains("10.96.0.10 . tcp . 80 . 1 : 10.244.2.3 . 8080"), "{ruleset}");
}
