//! Session affinity: what the kernel learns, for how long, and what weir keeps of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use weir::kernel::Kernel;
use weir_rules::cluster::Family as RulesFamily;
use weir_rules::nft::{
    Data, Element, Elements, Lifetime, Name, RawKey, RawValue, Selector, Set, Statement, Table,
    jhash,
};
use weir_rules::transaction::{Action, Operation, Transaction};
use weir_testbed::{Netns, Protocol, Testbed, nft_programs, tally, wait_for};

use crate::common::weir;
use crate::listing::output;

const LIMIT: Duration = Duration::from_secs(40);
const CLUSTER_IP: &str = "10.96.0.10:80";

/// The Service `web` with this timeout, and its endpoints.
fn manifests(seconds: u32, endpoints: &[&str]) -> String {
    let list: String =
        endpoints.iter().map(|address| format!("- {{addresses: [{address}]}}\n")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  clusterIPs: [10.96.0.10]
  ports: [{{port: 80}}]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: \"\", port: 8080}}]
endpoints:
{list}"
    )
}

const B1: &str = "10.244.0.2";
const B2: &str = "10.244.0.3";

fn testbed() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .pod("b1", B1, "fd00:10:244::2")
        .pod("b2", B2, "fd00:10:244::3");
    for pod in ["b1", "b2"] {
        bed.serve(pod, 8080);
    }
    bed
}

/// What `weir` says about these manifests, and its exit code.
fn run(bed: &Testbed, command: &[&str], manifests: &str) -> (String, Option<i32>) {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(manifests.as_bytes()).expect("it can be written");
    let mut weir = weir();
    weir.args(command).args(["--nodeport-addresses", "0.0.0.0/0", "-f"]).arg(file.path());
    let done = output(bed.node(), weir);
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    (String::from_utf8_lossy(&done.stdout).into_owned(), done.status.code())
}

fn apply(bed: &Testbed, manifests: &str) -> String {
    let (text, code) = run(bed, &["apply", "--verbose"], manifests);
    assert_eq!(code, Some(0), "{text}");
    text
}

/// The servers that the client reaches, with so many connections.
fn reached(bed: &Testbed, connections: usize) -> BTreeSet<&'static str> {
    let to: SocketAddr = CLUSTER_IP.parse().expect("an address");
    let tally = tally(bed.ns("client"), Protocol::Tcp, to, connections);
    assert_eq!(tally.unanswered(), 0);
    ["b1", "b2"].into_iter().filter(|server| tally.count(server) > 0).collect()
}

fn kernel(bed: &Testbed) -> Kernel {
    bed.node().run(|| Kernel::open().expect("nf_tables can be used"))
}

/// The map that holds the clients of `web`, and what names its list there.
struct Clients {
    map: Name,
    set: Set,
    list: Vec<u8>,
}

fn clients(kernel: &Kernel) -> Clients {
    let mut tables = kernel.dump().expect("it can be read").ruleset.tables;
    let Table { mut sets, chains, .. } = tables.remove(&RulesFamily::Ipv4).expect("a table");
    let (map, key) = chains["learn-default/web/tcp/80"]
        .statements()
        .find_map(|statement| match statement {
            Statement::Update { map, key, .. } => Some((map.clone(), key.clone())),
            _ => None,
        })
        .expect("it learns");
    let words = key[1..].iter().flat_map(|selector| match selector {
        Selector::Random { modulus: 1, offset } => offset.to_be_bytes(),
        other => panic!("{other:?} is no constant"),
    });
    Clients { set: sets.remove(&map).expect("it is there"), list: words.collect(), map }
}

fn learned(kernel: &Kernel) -> Elements {
    clients(kernel).set.elements
}

/// The key of the client with this hash.
fn key(clients: &Clients, hash: u32) -> RawKey {
    RawKey::from_bytes(&[&hash.to_be_bytes()[..], &clients.list].concat()).expect("it is short")
}

/// The key of the client, by what the rules say of it and by the interpreter's own hash.
fn client(clients: &Clients) -> RawKey {
    let address = RawKey::new().address(IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9)));
    key(clients, jhash(address.as_bytes(), 262_144, 0x7765_6972))
}

/// For how long the client is still known.
fn lifetime(kernel: &Kernel) -> Option<Lifetime> {
    let clients = clients(kernel);
    match clients.set.elements.get(&client(&clients))?.data {
        Data::Learned(_, lifetime) => Some(lifetime),
        _ => None,
    }
}

#[test]
fn a_client_is_forgotten_when_its_time_is_over() {
    let bed = testbed();
    apply(&bed, &manifests(8, &[B1, B2]));
    assert_eq!(reached(&bed, 1).len(), 1);
    let kernel = kernel(&bed);
    assert!(lifetime(&kernel).is_some(), "the client is known");
    wait_for("the client is forgotten", LIMIT, || lifetime(&kernel).is_none());
}

#[test]
fn a_new_connection_lets_a_client_be_known_as_long_again() {
    let bed = testbed();
    apply(&bed, &manifests(600, &[B1, B2]));
    let first = reached(&bed, 1);
    let kernel = kernel(&bed);
    let begin = lifetime(&kernel).expect("the client is known");
    assert_eq!(begin.timeout, 600_000);
    wait_for("time passes", LIMIT, || {
        lifetime(&kernel).expect("still").expires + 50 < begin.expires
    });
    let before = lifetime(&kernel).expect("still");
    assert_eq!(reached(&bed, 1), first);
    let after = lifetime(&kernel).expect("still");
    assert!(after.expires > before.expires, "{before:?} then {after:?}");
}

#[test]
fn another_timeout_holds_for_those_who_are_known_already() {
    let bed = testbed();
    apply(&bed, &manifests(10800, &[B1, B2]));
    let first = reached(&bed, 1);
    apply(&bed, &manifests(600, &[B1, B2]));
    let kernel = kernel(&bed);
    let lifetime = lifetime(&kernel).expect("the client is known");
    assert_eq!(lifetime.timeout, 600_000);
    assert!(lifetime.expires <= 600_000, "{lifetime:?}");
    assert_eq!(reached(&bed, 20), first);
}

#[test]
fn what_was_learned_is_no_difference_and_outlives_a_restart() {
    let bed = testbed();
    let manifests = manifests(10800, &[B1, B2]);
    apply(&bed, &manifests);
    let first = reached(&bed, 20);
    assert_eq!(first.len(), 1);
    assert_eq!(run(&bed, &["diff"], &manifests), (String::new(), Some(0)));
    assert!(apply(&bed, &manifests).contains("nothing"), "nothing to change");
    assert_eq!(reached(&bed, 20), first);
}

#[test]
fn the_clients_of_an_endpoint_that_goes_are_taken_away_with_it() {
    let bed = testbed();
    apply(&bed, &manifests(10800, &[B1]));
    assert_eq!(reached(&bed, 1), ["b1"].into());
    let changes = apply(&bed, &manifests(10800, &[B2]));
    let gone = |line: &str| {
        line.starts_with("- element ip weir affinity-clients-") && line.ends_with(": 10.244.0.2 }")
    };
    assert_eq!(changes.lines().filter(|line| gone(line)).count(), 1, "{changes}");
    assert_eq!(learned(&kernel(&bed)), Elements::new());
    assert_eq!(reached(&bed, 20), ["b2"].into());
    apply(&bed, &manifests(10800, &[B1, B2]));
    assert_eq!(reached(&bed, 20), ["b2"].into());
}

#[test]
fn when_the_map_is_full_new_clients_are_served_and_known_ones_stay() {
    let bed = testbed();
    apply(&bed, &manifests(10800, &[B1, B2]));
    let kernel = kernel(&bed);
    let clients = clients(&kernel);
    let spec = clients.set.spec.clone();
    let size = spec.dynamic.expect("it has a bound");
    let endpoint = RawValue::new().address(B1.parse().expect("an address"));
    let lifetime = Lifetime { timeout: 10_800_000, expires: 10_800_000 };
    // No list has clients of these numbers.
    let strange = |i| key(&clients, 0x8000_0000 + i);
    let elements: Elements =
        (0..size).map(|i| (strange(i), Element::new(Data::Learned(endpoint, lifetime)))).collect();
    let map = &clients.map;
    let action = Action::AddElements { set: map.clone(), spec: spec.clone(), elements };
    let commit = |action| {
        let operation = Operation { family: RulesFamily::Ipv4, action };
        kernel.commit(Transaction { operations: vec![operation] }, None)
    };
    commit(action).expect("there is room for just so many");

    // Each of 60 connections has its own choice: one of two never comes with a chance of 2^-59.
    assert_eq!(reached(&bed, 60), ["b1", "b2"].into());
    assert!(!learned(&kernel).contains_key(&client(&clients)));
    let one = [(strange(0), Element::new(Data::Learned(endpoint, lifetime)))];
    commit(Action::DeleteElements { set: map.clone(), spec, elements: one.into() })
        .expect("it is there");
    assert_eq!(reached(&bed, 60).len(), 1, "there is room for one more");
}

/// With what packets have learned in it.
#[test]
fn a_saved_ruleset_with_clients_in_it_loads_again_and_keeps_them() {
    let bed = testbed();
    let manifests = manifests(10800, &[B1, B2]);
    apply(&bed, &manifests);
    assert_eq!(reached(&bed, 1).len(), 1);
    let known = learned(&kernel(&bed)).into_keys().collect::<Vec<_>>();
    assert_eq!(known.len(), 1);
    for nft in nft_programs() {
        let saved = bed.node().cmd(&nft, ["list", "ruleset"]);
        assert!(saved.contains(" timeout 3h expires "), "{saved}");
        let booted = Netns::new("booted");
        booted.cmd_with_input(&nft, ["-f", "-"], &saved);
        let kernel = booted.run(|| Kernel::open().expect("nf_tables can be used"));
        assert_eq!(learned(&kernel).into_keys().collect::<Vec<_>>(), known, "{nft}");
    }
}
