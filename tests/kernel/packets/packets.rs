//! What becomes of packets: real connections between namespaces, through the kernel as weir has
//! programmed it, by TCP, UDP and SCTP, over IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};

use weir_testbed::{
    Family, Outcome, Protocol, REFUSAL, SILENCE, Testbed, ask, ask_all, assert_even, tally,
};

use crate::common::weir;
use crate::listing::output;

const BACKENDS: [&str; 3] = ["b1", "b2", "b3"];

/// `web` has every kind of address and three endpoints, `alone` one endpoint, `nobody` none.
const MANIFESTS: &str = include_str!("packets.yaml");

pub(crate) const CLUSTER_CIDR: [&str; 2] = ["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"];

/// A node with pods and a visitor, on which the manifests are applied with these options.
pub(crate) fn testbed(options: &[&str]) -> Testbed {
    let bed = bare_testbed();
    apply(&bed, MANIFESTS, &[&["--hostname-override", "node-a"], options].concat());
    bed
}

pub(crate) fn bare_testbed() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .pod("b1", "10.244.0.2", "fd00:10:244::2")
        .pod("b2", "10.244.0.3", "fd00:10:244::3")
        .pod("b3", "10.244.0.4", "fd00:10:244::4")
        .outside("visitor", "198.51.100.7", "2001:db8:51::7");
    for backend in BACKENDS {
        bed.serve(backend, 8080);
    }
    bed
}

pub(crate) fn apply(bed: &Testbed, manifests: &str, options: &[&str]) {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::io::Write::write_all(&mut file, manifests.as_bytes()).expect("it can be written");
    let mut weir = weir();
    weir.args(["apply", "-f"]).arg(file.path()).args(options);
    let applied = output(bed.node(), weir);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

pub(crate) fn cases() -> impl Iterator<Item = (Protocol, Family)> {
    Protocol::ALL.into_iter().flat_map(|protocol| Family::ALL.map(|family| (protocol, family)))
}

pub(crate) fn at(family: Family, v4: &str, v6: &str, port: u16) -> SocketAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    SocketAddr::new(text.parse().expect("an address"), port)
}

fn web_cluster_ip(family: Family) -> SocketAddr {
    at(family, "10.96.0.10", "fd00:10:96::10", 80)
}
fn web_load_balancer(family: Family) -> SocketAddr {
    at(family, "203.0.113.10", "2001:db8:113::10", 80)
}
fn web_external_ip(family: Family) -> SocketAddr {
    at(family, "203.0.113.20", "2001:db8:113::20", 80)
}
fn web_node_port(family: Family) -> SocketAddr {
    at(family, "192.0.2.1", "2001:db8::1", 30080)
}
fn alone(family: Family) -> SocketAddr {
    at(family, "10.96.0.11", "fd00:10:96::11", 80)
}

/// What a pod sees of masqueraded traffic.
pub(crate) fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => Testbed::GATEWAY_V4.into(),
        Family::V6 => Testbed::GATEWAY_V6.into(),
    }
}

#[test]
fn connections_spread_evenly_over_the_endpoints_at_every_kind_of_address() {
    let bed = testbed(&CLUSTER_CIDR);
    type AddressOf = fn(Family) -> SocketAddr;
    let kinds: [(&str, AddressOf); 5] = [
        ("client", web_cluster_ip),
        ("node", web_cluster_ip),
        ("visitor", web_node_port),
        ("visitor", web_load_balancer),
        ("visitor", web_external_ip),
    ];
    for (from, address) in kinds {
        for (protocol, family) in cases() {
            let tally = tally(bed.ns(from), protocol, address(family), 150);
            let counts = tally.counts(BACKENDS);
            assert_eq!(counts.iter().sum::<u64>(), 150, "{from} {protocol} {}", address(family));
            assert_even(&counts);
        }
    }
}

#[test]
fn every_kind_of_address_answers_from_everywhere() {
    let bed = testbed(&CLUSTER_CIDR);
    let addresses = [web_cluster_ip, web_node_port, web_load_balancer, web_external_ip];
    for from in ["client", "visitor", "node", "b1"] {
        for (protocol, family) in cases() {
            for address in addresses.map(|address| address(family)) {
                let tally = tally(bed.ns(from), protocol, address, 6);
                assert_eq!(tally.unanswered(), 0, "{from} {protocol} {address}");
            }
        }
    }
}

#[test]
fn an_endpoint_sees_pods_as_they_are_and_others_as_the_node() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases() {
        let pod = bed.host("client").address(family);
        let node = gateway(family);
        let seen = [
            ("client", web_cluster_ip(family), pod),
            ("visitor", web_cluster_ip(family), node),
            ("node", web_cluster_ip(family), node),
            ("visitor", web_node_port(family), node),
            ("visitor", web_load_balancer(family), node),
            ("visitor", web_external_ip(family), node),
            // As kube-proxy does, since the address could as well be routed by way of elsewhere.
            ("client", web_node_port(family), node),
            ("client", web_load_balancer(family), node),
        ];
        for (from, to, source) in seen {
            let tally = tally(bed.ns(from), protocol, to, 3);
            assert_eq!(tally.unanswered(), 0, "{from} {protocol} {to}");
            assert_eq!(tally.sources.into_iter().collect::<Vec<_>>(), [source], "{from} {to}");
        }
    }
}

#[test]
fn without_a_network_of_pods_nothing_to_a_cluster_ip_is_masqueraded() {
    let bed = testbed(&[]);
    for (protocol, family) in cases() {
        let visitor = bed.host("visitor").address(family);
        for (to, source) in
            [(web_cluster_ip(family), visitor), (web_node_port(family), gateway(family))]
        {
            let tally = tally(bed.ns("visitor"), protocol, to, 3);
            assert_eq!(tally.sources.into_iter().collect::<Vec<_>>(), [source], "{protocol} {to}");
        }
    }
}

#[test]
fn masquerade_all_hides_pods_too() {
    let bed = testbed(&["--masquerade-all"]);
    for (protocol, family) in cases() {
        let tally = tally(bed.ns("client"), protocol, web_cluster_ip(family), 3);
        assert_eq!(tally.sources.into_iter().collect::<Vec<_>>(), [gateway(family)], "{protocol}");
    }
}

#[test]
fn the_mark_is_one_bit_that_does_not_leave_the_node() {
    let bed = testbed(&[CLUSTER_CIDR[0], CLUSTER_CIDR[1], "--iptables-masquerade-bit", "20"]);
    // Somebody else's bits of the mark stay; ours is seen before postrouting, and not behind it.
    bed.node().nft(
        "table inet watch {
           counter others { }
           counter ours { }
           counter left { }
           chain first {
             type filter hook prerouting priority -150
             iifname uplink meta mark set 0x1
           }
           chain forward {
             type filter hook forward priority 0
             ct direction original meta mark 0x100001 counter name ours
           }
           chain last {
             type filter hook postrouting priority 200
             ct direction original meta mark and 0x100000 != 0 counter name left
             ct direction original meta mark 0x1 counter name others
           }
         }",
    );
    let tally = tally(bed.ns("visitor"), Protocol::Tcp, web_node_port(Family::V4), 5);
    assert_eq!(tally.unanswered(), 0);
    let counter = |name| {
        let text = bed.node().cmd("nft", ["list", "counter", "inet", "watch", name]);
        let (_, rest) = text.split_once("packets ").expect("a counter");
        rest.split(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    assert!(counter("ours") >= 5, "{}", counter("ours"));
    assert!(counter("others") >= 5, "{}", counter("others"));
    assert_eq!(counter("left"), 0);
}

/// Without masquerade, the endpoint would answer itself past the node, from the wrong address.
#[test]
fn an_endpoint_reaches_itself_through_its_service() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases() {
        let tally = tally(bed.ns("b1"), protocol, alone(family), 3);
        assert_eq!((tally.count("b1"), tally.unanswered()), (3, 0), "{protocol} {family:?}");
        assert_eq!(tally.sources.into_iter().collect::<Vec<_>>(), [gateway(family)], "{protocol}");
    }
}

#[test]
fn a_service_without_endpoints_refuses_at_every_address() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases().filter(|(protocol, _)| *protocol != Protocol::Sctp) {
        let questions = [
            ("client", at(family, "10.96.0.12", "fd00:10:96::12", 80)),
            ("node", at(family, "10.96.0.12", "fd00:10:96::12", 80)),
            ("visitor", at(family, "10.96.0.12", "fd00:10:96::12", 80)),
            ("visitor", at(family, "203.0.113.12", "2001:db8:113::12", 80)),
            ("visitor", at(family, "203.0.113.22", "2001:db8:113::22", 80)),
            ("visitor", at(family, "192.0.2.1", "2001:db8::1", 30082)),
        ];
        for (from, to) in questions {
            let outcome = ask(bed.ns(from), protocol, to, REFUSAL);
            assert_eq!(outcome, Outcome::Refused, "{from} {protocol} {to}");
        }
    }
}

#[test]
fn an_unused_port_of_a_cluster_ip_refuses_and_an_unallocated_cluster_ip_is_silent() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases().filter(|(protocol, _)| *protocol != Protocol::Sctp) {
        for from in ["client", "node", "visitor"] {
            let unused = at(family, "10.96.0.10", "fd00:10:96::10", 81);
            let outcome = ask(bed.ns(from), protocol, unused, REFUSAL);
            assert_eq!(outcome, Outcome::Refused, "{from} {protocol} {unused}");
            let unallocated = at(family, "10.96.0.99", "fd00:10:96::99", 80);
            let outcome = ask(bed.ns(from), protocol, unallocated, SILENCE);
            assert_eq!(outcome, Outcome::Silent, "{from} {protocol} {unallocated}");
        }
    }
}

/// Where node ports are served, by the setting.
#[test]
fn node_ports_are_served_at_the_chosen_addresses_only() {
    let all = "0.0.0.0/0,::/0";
    // The setting, and whether the node's first address, its address towards pods and its
    // loopback address serve node ports.
    let settings: [(&[&str], [bool; 3]); 5] = [
        (&[], [true, false, false]),
        (&["--nodeport-addresses", "primary"], [true, false, false]),
        (&["--nodeport-addresses", all], [true, true, false]),
        (&["--nodeport-addresses", "10.244.0.0/24,fd00:10:244::/64"], [false, true, false]),
        (&["--nodeport-addresses", "127.0.0.0/8,::1/128"], [false, false, false]),
    ];
    for (options, served) in settings {
        let bed = testbed(&[&CLUSTER_CIDR, options].concat());
        for family in Family::ALL {
            let loopback = at(family, "127.0.0.1", "::1", 30080);
            let questions = [
                ("visitor", web_node_port(family)),
                ("client", SocketAddr::new(gateway(family), 30080)),
                ("node", loopback),
            ];
            for ((from, to), served) in questions.into_iter().zip(served) {
                let outcome = ask(bed.ns(from), Protocol::Tcp, to, REFUSAL);
                assert_eq!(outcome.server().is_some(), served, "{options:?} {from} {to}");
                // Nobody else listens there either.
                assert!(served || outcome == Outcome::Refused, "{options:?} {to}: {outcome:?}");
            }
        }
    }
}

#[test]
fn node_ports_without_a_known_node_are_closed() {
    let bed = bare_testbed();
    apply(&bed, MANIFESTS, &["--hostname-override", "another-node"]);
    for family in Family::ALL {
        let outcome = ask(bed.ns("visitor"), Protocol::Tcp, web_node_port(family), REFUSAL);
        assert_eq!(outcome, Outcome::Refused);
    }
}

/// A node port is the node's, not that of everything that passes it.
#[test]
fn traffic_to_others_with_the_number_of_a_node_port_passes_untouched() {
    let mut bed = testbed(&["--nodeport-addresses", "0.0.0.0/0,::/0"]);
    bed.serve("b2", 30080);
    for (protocol, family) in cases() {
        let to = SocketAddr::new(bed.host("b2").address(family), 30080);
        let outcome = ask(bed.ns("client"), protocol, to, REFUSAL);
        assert_eq!(outcome.server(), Some("b2"), "{protocol} {to}: {outcome:?}");
        assert_eq!(outcome.source().map(|s| s.ip()), Some(bed.host("client").address(family)));
    }
}

#[test]
fn established_connections_survive_a_change_of_endpoints() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    let bed = testbed(&CLUSTER_CIDR);
    // A server that answers on the connection as often as it is asked.
    let listener = bed.ns("b1").run(|| std::net::TcpListener::bind("10.244.0.2:9090")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
        }
        std::io::Result::Ok(())
    });
    let mut stream = bed.ns("client").run(|| TcpStream::connect("10.96.0.11:90")).unwrap();
    let mut echo = |byte: u8| {
        let mut answer = [0];
        stream.write_all(&[byte]).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [byte]);
    };
    echo(1);
    // The Service goes altogether, and so do all others.
    apply(&bed, "apiVersion: v1\nkind: List\nitems: []\n", &CLUSTER_CIDR);
    echo(2);
    drop(stream);
    server.join().unwrap().unwrap();
}

#[test]
fn a_changed_service_is_served_as_it_is_now() {
    let bed = testbed(&CLUSTER_CIDR);
    let without_b3 = MANIFESTS.replace("- addresses: [\"10.244.0.4\"]\n", "");
    assert_ne!(without_b3, MANIFESTS);
    apply(&bed, &without_b3, &CLUSTER_CIDR);
    for protocol in Protocol::ALL {
        let tally = tally(bed.ns("client"), protocol, web_cluster_ip(Family::V4), 60);
        let [b1, b2, b3] = tally.counts(BACKENDS);
        assert!(b1 > 0 && b2 > 0 && b3 == 0 && b1 + b2 == 60, "{protocol} {b1} {b2} {b3}");
    }
    let questions: Vec<_> = (0..20).map(|_| (Protocol::Tcp, web_cluster_ip(Family::V6))).collect();
    let answered = ask_all(bed.ns("client"), &questions, REFUSAL);
    assert!(answered.iter().any(|outcome| outcome.server() == Some("b3")), "IPv6 is unchanged");
}
