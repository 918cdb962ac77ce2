//! What becomes of a connection to a Service, and by which rules:
//! `cargo run -p weir-rules --features testing --example packet -- 10.96.0.16 80`.
//!
//! The cluster is one of 100 Services with three endpoints each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use weir_rules::cluster::Protocol;
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::simulate::{Packet, simulate};
use weir_rules::testing::scale::large;

fn main() {
    let mut args = std::env::args().skip(1);
    let address = args.next().map(|text| text.parse().expect("an address"));
    let port = args.next().map(|text| text.parse().expect("a port"));
    print!("{}", follow(address.unwrap_or(FIRST), port.unwrap_or(PORT)));
}

/// The first Service's ClusterIP and port.
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 16));
const PORT: NonZeroU16 = NonZeroU16::new(80).expect("not 0");

/// Each end that a Pod's connection may come to, with its probability and the rules on the way.
fn follow(destination: IpAddr, port: NonZeroU16) -> String {
    let ruleset = compile(&large(100, 3), &Config::new("node"));
    let packet = Packet {
        source: IpAddr::from([10, 244, 0, 9]),
        destination,
        protocol: Protocol::Tcp,
        port,
        input_interface: Some("veth-pod".to_owned()),
        mark: 0,
    };
    let mut text = String::new();
    for end in simulate(&ruleset, &packet, &BTreeSet::new()).outcomes {
        text += &format!("{:?}, probability {}\n", end.outcome, end.probability);
        text.extend(end.steps.iter().map(|step| format!("  {step}\n")));
    }
    text
}

#[test]
fn each_endpoint_of_the_service_is_as_probable_as_the_others() {
    let text = follow(FIRST, PORT);
    assert_eq!(text.matches("probability 1/3").count(), 3, "{text}");
}
