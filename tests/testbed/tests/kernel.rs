//! The testbed against a ruleset written by hand: what the clients report is what the kernel does.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weir_testbed::{
    Family, Netns, Outcome, Process, Protocol, REFUSAL, SILENCE, Tally, Testbed, ask, ask_all,
    assert_even, nft_programs, tally, tool,
};

const BACKENDS: [&str; 3] = ["b1", "b2", "b3"];

/// In each family: port 80 of the virtual address goes to three endpoints, its other ports and the
/// address after it are refused, the one after that is dropped.
const RULES: &str = "
    table IP weir {
      map endpoints {
        typeof IP daddr . meta l4proto . th dport . numgen random mod 65536 : IP daddr . th dport
        elements = {
          VIRTUAL10 . tcp . 80 . 0 : POD2 . 8080,
          VIRTUAL10 . udp . 80 . 0 : POD2 . 8080,
          VIRTUAL10 . sctp . 80 . 0 : POD2 . 8080,
          VIRTUAL10 . tcp . 80 . 1 : POD3 . 8080,
          VIRTUAL10 . udp . 80 . 1 : POD3 . 8080,
          VIRTUAL10 . sctp . 80 . 1 : POD3 . 8080,
          VIRTUAL10 . tcp . 80 . 2 : POD4 . 8080,
          VIRTUAL10 . udp . 80 . 2 : POD4 . 8080,
          VIRTUAL10 . sctp . 80 . 2 : POD4 . 8080 }
      }
      chain services {
        IP daddr VIRTUAL10 th dport 80 dnat IP addr . port to \\
          IP daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
      }
      chain nat-pre { type nat hook prerouting priority -100; meta l4proto { tcp, udp, sctp } jump services; }
      chain nat-out { type nat hook output priority -100; meta l4proto { tcp, udp, sctp } jump services; }
      chain nat-post {
        type nat hook postrouting priority 100
        ct status dnat IP saddr != PODS masquerade
      }
      chain others {
        IP daddr VIRTUAL10-VIRTUAL11 reject
        IP daddr VIRTUAL12 drop
      }
      chain filter-forward { type filter hook forward priority filter; jump others; }
      chain filter-out { type filter hook output priority filter; jump others; }
    }";

/// [`RULES`] for both families.
fn rules() -> String {
    let v4 = [
        ("IP", "ip"),
        ("VIRTUAL", "10.96.0."),
        ("PODS", Testbed::POD_CIDR_V4),
        ("POD", "10.244.0."),
    ];
    let v6 = [
        ("IP", "ip6"),
        ("VIRTUAL", "fd00:10:96::"),
        ("PODS", Testbed::POD_CIDR_V6),
        ("POD", "fd00:10:244::"),
    ];
    let table = |words: [(&str, &str); 4]| {
        words.into_iter().fold(RULES.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    table(v4) + &table(v6)
}

fn testbed() -> Testbed {
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

fn virtual_address(family: Family, last: u16, port: u16) -> SocketAddr {
    let address: IpAddr = match family {
        Family::V4 => format!("10.96.0.{last}").parse().unwrap(),
        Family::V6 => format!("fd00:10:96::{last}").parse().unwrap(),
    };
    SocketAddr::new(address, port)
}

fn cases() -> impl Iterator<Item = (Protocol, Family)> {
    Protocol::ALL.into_iter().flat_map(|protocol| Family::ALL.map(|family| (protocol, family)))
}

#[test]
fn connections_spread_over_three_endpoints() {
    let bed = testbed();
    bed.node().nft(&rules());
    for (protocol, family) in cases() {
        let to = virtual_address(family, 10, 80);
        let tally = tally(bed.ns("client"), protocol, to, 300);
        let counts = tally.counts(BACKENDS);
        assert_eq!(counts.iter().sum::<u64>(), 300);
        assert_even(&counts);
    }
}

#[test]
fn a_server_sees_a_pod_as_it_is_and_others_masqueraded() {
    let bed = testbed();
    bed.node().nft(&rules());
    for (protocol, family) in cases() {
        let to = virtual_address(family, 10, 80);
        let gateway: IpAddr = match family {
            Family::V4 => Testbed::GATEWAY_V4.into(),
            Family::V6 => Testbed::GATEWAY_V6.into(),
        };
        let pod = bed.host("client").address(family);
        for (from, seen) in [("client", pod), ("visitor", gateway), ("node", gateway)] {
            let Tally { sources, .. } = tally(bed.ns(from), protocol, to, 3);
            assert_eq!(sources.into_iter().collect::<Vec<_>>(), [seen], "{protocol} from {from}");
        }
    }
}

#[test]
fn a_reject_is_a_refusal_and_a_drop_is_silence() {
    let bed = testbed();
    bed.node().nft(&rules());
    let at = |places: &[(u16, u16)]| -> Vec<_> {
        let questions = cases().flat_map(|(protocol, family)| {
            places.iter().map(move |&(last, port)| (protocol, virtual_address(family, last, port)))
        });
        questions.collect()
    };
    for from in ["client", "visitor", "node"] {
        let refused = at(&[(10, 81), (11, 80)]);
        let asked = Instant::now();
        let outcomes = ask_all(bed.ns(from), &refused, REFUSAL);
        assert_eq!(outcomes, vec![Outcome::Refused; refused.len()], "{refused:?} from {from}");
        assert!(asked.elapsed() < REFUSAL, "a refusal is reported when it comes");

        let dropped = at(&[(12, 80)]);
        let outcomes = ask_all(bed.ns(from), &dropped, SILENCE);
        assert_eq!(outcomes, vec![Outcome::Silent; dropped.len()], "{dropped:?} from {from}");
    }
}

#[test]
fn an_address_that_no_rule_takes_is_silent() {
    let bed = testbed();
    let questions: Vec<_> =
        cases().map(|(protocol, family)| (protocol, virtual_address(family, 10, 80))).collect();
    for from in ["client", "visitor", "node"] {
        let outcomes = ask_all(bed.ns(from), &questions, SILENCE);
        assert_eq!(outcomes, vec![Outcome::Silent; questions.len()], "{questions:?} from {from}");
    }
}

#[test]
fn hosts_reach_each_other_and_a_stopped_server_refuses() {
    let mut bed = testbed()
        .outside("node-2", "192.0.2.2", "2001:db8::2")
        .behind("node-2", "10.244.1.5")
        .behind("node-2", "fd00:10:244:1::5");
    bed.serve("visitor", 9000);
    bed.serve("node", 9000);
    let remote = ["10.244.1.5:9000", "[fd00:10:244:1::5]:9000"].map(|to| to.parse().unwrap());
    let _remote = weir_testbed::EchoServer::start(bed.ns("node-2"), "remote-pod", &remote);

    for (protocol, family) in cases() {
        for (from, to) in [("client", "visitor"), ("b1", "node"), ("visitor", "node")] {
            let address = SocketAddr::new(bed.host(to).address(family), 9000);
            let outcome = ask(bed.ns(from), protocol, address, REFUSAL);
            assert_eq!(outcome.server(), Some(to), "{protocol} from {from}: {outcome:?}");
            assert_eq!(outcome.source().map(|it| it.ip()), Some(bed.host(from).address(family)));
        }
        let address = *remote.iter().find(|it| it.is_ipv4() == (family == Family::V4)).unwrap();
        for from in ["client", "visitor", "node"] {
            let outcome = ask(bed.ns(from), protocol, address, REFUSAL);
            assert_eq!(outcome.server(), Some("remote-pod"), "{protocol} from {from}");
        }
    }

    bed.stop("node", 9000);
    for (protocol, family) in cases().filter(|(protocol, _)| *protocol != Protocol::Sctp) {
        let address = SocketAddr::new(bed.host("node").address(family), 9000);
        let asked = Instant::now();
        assert_eq!(ask(bed.ns("client"), protocol, address, REFUSAL), Outcome::Refused);
        assert!(asked.elapsed() < Duration::from_millis(900), "a reset needs no retransmit");
    }
}

#[test]
fn a_tally_that_does_not_add_up_is_refused() {
    let bed = testbed();
    bed.node().nft(&rules());
    let refused = virtual_address(Family::V4, 11, 80);
    let tally = tally(bed.ns("client"), Protocol::Tcp, refused, 2);
    assert_eq!(tally.refused, 2);
    std::panic::catch_unwind(|| tally.counts(BACKENDS)).unwrap_err();
}

#[test]
fn a_failing_program_fails_the_test_with_its_words() {
    let ns = Netns::new("lone");
    let panic = std::panic::catch_unwind(|| ns.nft("table ip weir { nonsense }")).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    for part in ["`nft -f -` in namespace lone", "exit status: 1", "syntax error", "{ nonsense }"] {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    // A work's value and borrows cross the border, and so does its namespace to children.
    let links = ns.run(|| ns.cmd("ip", ["-o", "link"]));
    assert_eq!(links.lines().count(), 1, "only lo: {links}");
}

#[test]
fn a_process_ends_by_sigterm_and_does_not_outlive_its_owner() {
    let ns = Netns::new("lone");
    let sleep = || {
        let mut command = tool("sleep");
        command.arg("1000");
        Process::spawn(&ns, command)
    };
    let status = sleep().terminate(Duration::from_secs(10));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));

    let mut process = sleep();
    let pid = process.child().id();
    assert_eq!(process.ended(), None);
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn both_nft_programs_load_and_list() {
    for nft in nft_programs() {
        let ns = Netns::new("lone");
        ns.cmd_with_input(&nft, ["-f", "-"], &rules());
        let listed = ns.cmd(&nft, ["list", "table", "ip6", "weir"]);
        assert!(listed.contains("numgen random mod 3 map @endpoints"), "{nft}: {listed}");
    }
    let newer = Netns::new("lone").cmd(&nft_programs()[1], ["--version"]);
    assert!(newer.starts_with("nftables v1.1."), "{newer}");
}
