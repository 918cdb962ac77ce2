//! UDP flows that the kernel remembers: those that the ruleset has overtaken go, all others stay.
//!
//! Endpoints go on answering when they have left their Service, so that a flow that stays where it
//! was is heard.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use weir::netlink::addresses::own_addresses;
use weir::netlink::conntrack::ConntrackTable;
use weir_rules::facts::stale_flows::Flow;
use weir_testbed::{Family, Netns, Outcome, Process, SILENCE, Testbed, wait_for};

use crate::common::weir;
use crate::listing::output;
use crate::packets::at;

/// How long anything may take before it counts as not happening.
const LIMIT: Duration = Duration::from_secs(20);

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-a}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: \"2001:db8::1\"}
---
";

fn cluster_ip(family: Family) -> SocketAddr {
    at(family, "10.96.0.10", "fd00:10:96::10", 53)
}
fn load_balancer(family: Family) -> SocketAddr {
    at(family, "203.0.113.10", "2001:db8:113::10", 53)
}
fn external_ip(family: Family) -> SocketAddr {
    at(family, "203.0.113.20", "2001:db8:113::20", 53)
}
fn node_port(family: Family) -> SocketAddr {
    at(family, "192.0.2.1", "2001:db8::1", 30053)
}

type AddressOf = fn(Family) -> SocketAddr;

/// Clients at every kind of address.
const KINDS: [(&str, AddressOf); 6] = [
    ("client", cluster_ip),
    ("node", cluster_ip),
    ("client", load_balancer),
    ("visitor", load_balancer),
    ("visitor", external_ip),
    ("visitor", node_port),
];

const FULL: &str = "
  externalIPs: [203.0.113.20, \"2001:db8:113::20\"]
  ports: [{name: udp, protocol: UDP, port: 53, nodePort: 30053},
          {name: tcp, protocol: TCP, port: 53, nodePort: 30053}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}, {ip: \"2001:db8:113::10\"}]}}";

/// The Service `dns` with these endpoints, each a pod's name and conditions, and the Node.
fn manifests(fields: &str, endpoints: &[(&str, &str)]) -> String {
    let mut text = format!(
        "{NODE}apiVersion: v1
kind: Service
metadata: {{name: dns, namespace: default}}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.10, \"fd00:10:96::10\"]{fields}
---
"
    );
    for (number, family, prefix) in [(4, "IPv4", "10.244.0."), (6, "IPv6", "fd00:10:244::")] {
        let endpoints: String = endpoints
            .iter()
            .map(|(name, more)| {
                let number = 1 + name[1..].parse::<u8>().expect("b and a number");
                format!("- {{addresses: [\"{prefix}{number}\"]{more}}}\n")
            })
            .collect();
        text += &format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: dns-{number}, namespace: default, labels: {{kubernetes.io/service-name: dns}}}}
addressType: {family}
ports: [{{name: udp, protocol: UDP, port: 8080}}, {{name: tcp, protocol: TCP, port: 9000}}]
endpoints:
{endpoints}---
"
        );
    }
    text.replace("endpoints:\n---", "endpoints: []\n---")
}

fn testbed() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .pod("b1", "10.244.0.2", "fd00:10:244::2")
        .pod("b2", "10.244.0.3", "fd00:10:244::3")
        .outside("visitor", "198.51.100.7", "2001:db8:51::7");
    for pod in ["b1", "b2"] {
        for port in [8080, 30053, 5300] {
            bed.serve(pod, port);
        }
    }
    bed
}

/// What `weir apply` says.
fn apply(bed: &Testbed, manifests: &str) -> String {
    apply_with(bed, manifests, &[])
}

fn apply_with(bed: &Testbed, manifests: &str, options: &[&str]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(manifests.as_bytes()).expect("it can be written");
    let mut weir = weir();
    weir.args(["apply", "--hostname-override", "node-a", "-f"]).arg(file.path());
    weir.args(["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"]).args(options);
    let applied = output(bed.node(), weir);
    let errors = String::from_utf8_lossy(&applied.stderr);
    // Notes on the manifests are no errors.
    let is_quiet = errors.lines().all(|line| line.starts_with("weir: note: "));
    assert!(applied.status.success() && is_quiet, "{errors}");
    String::from_utf8_lossy(&applied.stdout).into_owned()
}

/// A client that keeps its source port.
struct Client {
    socket: UdpSocket,
    name: String,
}

impl Client {
    fn new(bed: &Testbed, from: &str, to: SocketAddr) -> Self {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let socket = bed.ns(from).run(|| UdpSocket::bind((any, 0))).expect("a free port");
        socket.connect(to).expect("there is a route");
        Self { socket, name: format!("{from} to {to}") }
    }

    /// Sends a datagram and waits this long for what comes of it.
    fn ask(&self, patience: Duration) -> Outcome {
        self.socket.set_read_timeout(Some(patience)).expect("it is not zero");
        let mut line = [0; 512];
        let received = self.socket.send(b"?").and_then(|_| self.socket.recv(&mut line));
        match received {
            Ok(len) => {
                let text = String::from_utf8_lossy(&line[..len]);
                let (server, source) = text.trim_end().split_once(' ').expect("two words");
                let source = source.parse().expect("an address");
                Outcome::Answered { server: server.to_owned(), source }
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Outcome::Silent,
                ErrorKind::ConnectionRefused => Outcome::Refused,
                other => Outcome::Failed(other),
            },
        }
    }

    #[track_caller]
    fn is_answered_by(&self, server: &str) {
        let outcome = self.ask(LIMIT);
        assert_eq!(outcome.server(), Some(server), "{}: {outcome:?}", self.name);
    }
}

fn clients(bed: &Testbed) -> Vec<Client> {
    Family::ALL
        .into_iter()
        .flat_map(|family| KINDS.map(|(from, to)| Client::new(bed, from, to(family))))
        .collect()
}

fn is_udp(flow: &Flow) -> bool {
    flow.protocol == weir_rules::cluster::Protocol::Udp
}

#[test]
fn a_client_that_never_pauses_moves_from_an_endpoint_that_goes_to_the_one_that_comes() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    let said = apply(&bed, &manifests(FULL, &[("b2", "")]));
    assert!(said.contains("removed 12 stale UDP flows"), "{said}");
    clients.iter().for_each(|client| client.is_answered_by("b2"));
    // Nothing is left to do, and flows that are right stay.
    assert_eq!(apply(&bed, &manifests(FULL, &[("b2", "")])), "nothing to change\n");
}

#[test]
fn after_the_last_endpoint_clients_are_refused() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    apply(&bed, &manifests(FULL, &[]));
    for client in &clients {
        // The node's own packet is refused as it is sent.
        let outcome = client.ask(LIMIT);
        let refused = [Outcome::Refused, Outcome::Failed(ErrorKind::PermissionDenied)];
        assert!(refused.contains(&outcome), "{}: {outcome:?}", client.name);
    }
}

/// Deleted, or without one of its addresses, its port or its node port.
#[test]
fn what_a_service_loses_its_clients_lose() {
    let only_cluster_ip = "\n  ports: [{name: udp, protocol: UDP, port: 53}]";
    let other_ports = FULL.replace("port: 53", "port: 54").replace("30053", "30054");
    let cases = [
        (NODE.to_owned(), 12),
        (manifests(only_cluster_ip, &[("b1", "")]), 8),
        (manifests(&other_ports, &[("b1", "")]), 12),
    ];
    for (after, lost) in cases {
        let bed = testbed();
        apply(&bed, &manifests(FULL, &[("b1", "")]));
        let clients = clients(&bed);
        clients.iter().for_each(|client| client.is_answered_by("b1"));
        let said = apply(&bed, &after);
        assert!(said.contains(&format!("removed {lost} stale UDP flows")), "{said}");
        let answered = std::thread::scope(|scope| {
            let asked: Vec<_> =
                clients.iter().map(|client| scope.spawn(|| client.ask(SILENCE))).collect();
            let outcomes = asked.into_iter().map(|asked| asked.join().expect("no panic"));
            outcomes.filter(|outcome| outcome.server().is_some()).count()
        });
        assert_eq!(answered, 12 - lost);
    }
}

/// The world drops what is sent to a virtual address that no rule takes; the kernel remembers it
/// as sent there.
#[test]
fn clients_that_were_there_before_the_service_reach_its_first_endpoint() {
    let bed = testbed();
    apply(&bed, NODE);
    let clients = clients(&bed);
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| assert_eq!(client.ask(SILENCE).server(), None, "{}", client.name));
        }
    });
    let early = bed.node().run(|| ConntrackTable::open().unwrap().select(is_udp)).unwrap();
    assert_eq!(early.len(), 12, "{early:?}");
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    clients.iter().for_each(|client| client.is_answered_by("b1"));
}

#[test]
fn an_endpoint_keeps_its_flows_while_it_serves_though_it_terminates() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    let conditions =
        |serving| format!(", conditions: {{ready: false, serving: {serving}, terminating: true}}");
    let draining = conditions(true);
    apply(&bed, &manifests(FULL, &[("b1", &draining), ("b2", "")]));
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    self::clients(&bed).iter().for_each(|client| client.is_answered_by("b2"));
    // No element changes: the ruleset has no draining endpoint while another is ready.
    let said = apply(&bed, &manifests(FULL, &[("b1", &conditions(false)), ("b2", "")]));
    assert_eq!(said, "nothing to change\nremoved 12 stale UDP flows\n");
    clients.iter().for_each(|client| client.is_answered_by("b2"));
}

/// Pods and the node may use endpoints elsewhere still.
#[test]
fn under_external_policy_local_the_outside_leaves_endpoints_on_other_nodes() {
    let bed = testbed();
    let endpoints = [("b1", ", nodeName: node-b")];
    apply(&bed, &manifests(FULL, &endpoints));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    let local = format!("\n  externalTrafficPolicy: Local{FULL}");
    let endpoints = [endpoints[0], ("b2", ", nodeName: node-a")];
    apply(&bed, &manifests(&local, &endpoints));
    for client in &clients {
        let is_outside = client.name.starts_with("visitor");
        client.is_answered_by(if is_outside { "b2" } else { "b1" });
    }
}

/// Each of these would be sent elsewhere if the kernel forgot it: by then, somebody else's table
/// translates new flows to b2.
#[test]
fn what_is_not_weirs_stays() {
    let bed = testbed();
    // Node ports at all of the node's addresses, but at no other host's.
    let everywhere = ["--nodeport-addresses", "0.0.0.0/0,::/0"];
    apply_with(&bed, &manifests(FULL, &[("b1", "")]), &everywhere);
    let others = |to: &str| {
        bed.node().nft(&format!(
            "table inet other {{}}
             delete table inet other
             table inet other {{
               chain pre {{
                 type nat hook prerouting priority -90;
                 ip daddr 192.0.2.1 udp dport 5300 dnat ip to 10.244.0.{to}
                 ip6 daddr 2001:db8::1 udp dport 5300 dnat ip6 to fd00:10:244::{to}
                 ip daddr 10.244.0.2 udp dport {{ 30053, 5300 }} dnat ip to 10.244.0.{to}
                 ip6 daddr fd00:10:244::2 udp dport {{ 30053, 5300 }} dnat ip6 to fd00:10:244::{to}
               }}
             }}"
        ));
    };
    others("2");
    let (mut kept, mut connections, mut listeners, mut moved) = (vec![], vec![], vec![], vec![]);
    for family in Family::ALL {
        // A hostPort.
        kept.push(Client::new(&bed, "visitor", at(family, "192.0.2.1", "2001:db8::1", 5300)));
        // In transit, to what is a node port at the node's own addresses, and to another port.
        for port in [30053, 5300] {
            let to = SocketAddr::new(bed.host("b1").address(family), port);
            kept.push(Client::new(&bed, "visitor", to));
            kept.push(Client::new(&bed, "client", to));
        }
        moved.push(Client::new(&bed, "visitor", node_port(family)));
        // TCP, through the same Service.
        let address = SocketAddr::new(bed.host("b1").address(family), 9000);
        listeners.push(bed.ns("b1").run(|| TcpListener::bind(address)).expect("a free port"));
        for (from, to) in [("client", cluster_ip(family)), ("visitor", node_port(family))] {
            let connection = bed.ns(from).run(|| TcpStream::connect(to)).expect("b1 listens");
            let (accepted, _) = listeners.last().expect("one").accept().expect("it is there");
            connections.push((connection, accepted));
        }
    }
    kept.iter().chain(&moved).for_each(|client| client.is_answered_by("b1"));
    others("3");
    let said = apply_with(&bed, &manifests(FULL, &[("b2", "")]), &everywhere);
    assert!(said.contains("removed 2 stale UDP flows"), "{said}");
    moved.iter().for_each(|client| client.is_answered_by("b2"));
    kept.iter().for_each(|client| client.is_answered_by("b1"));
    for (near, far) in &mut connections {
        near.write_all(b"still there?").expect("it can be sent");
        far.set_read_timeout(Some(LIMIT)).expect("it is not zero");
        let mut foreign = [0; 12];
        far.read_exact(&mut foreign).expect("it is");
    }
    // The test's own premise: forgotten, they go to b2.
    bed.node().run(|| {
        let mut table = ConntrackTable::open().unwrap();
        for entry in table.select(is_udp).unwrap() {
            assert!(table.delete(&entry).unwrap());
        }
    });
    kept.iter().for_each(|client| client.is_answered_by("b2"));
}

/// A neighbour tracks everything on the node in a zone of its own, in both directions or one.
fn use_zone(bed: &Testbed, set: &str) {
    bed.node().nft(&format!(
        "table inet zones {{
           chain pre {{ type filter hook prerouting priority raw; {set} 7; }}
           chain out {{ type filter hook output priority raw; {set} 7; }}
         }}"
    ));
}

const ZONES: [&str; 3] = ["ct zone set", "ct original zone set", "ct reply zone set"];

#[test]
fn in_whatever_zone_a_flow_is_tracked_it_leaves_an_endpoint_that_goes() {
    for set in ZONES {
        let bed = testbed();
        use_zone(&bed, set);
        apply(&bed, &manifests(FULL, &[("b1", "")]));
        let clients = clients(&bed);
        clients.iter().for_each(|client| client.is_answered_by("b1"));
        let entries = bed.node().run(|| ConntrackTable::open().unwrap().select(is_udp)).unwrap();
        let zoned = entries.iter().filter(|entry| !entry.as_ref().is_in_default_zone);
        assert_eq!(zoned.count(), 12, "the premise, with {set}: {entries:?}");
        let said = apply(&bed, &manifests(FULL, &[("b2", "")]));
        assert!(said.contains("removed 12 stale UDP flows"), "{set}: {said}");
        clients.iter().for_each(|client| client.is_answered_by("b2"));
        assert_eq!(apply(&bed, &manifests(FULL, &[("b2", "")])), "nothing to change\n", "{set}");
    }
}

/// One may be the same as weir's but for the zone: it stays, and weir's own goes.
#[test]
fn what_a_neighbour_tracks_in_a_zone_and_nobody_has_translated_stays() {
    for set in ZONES {
        let bed = testbed();
        use_zone(&bed, set);
        apply(&bed, NODE);
        let clients = clients(&bed);
        std::thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| assert_eq!(client.ask(SILENCE).server(), None, "{}", client.name));
            }
        });
        let entries = || bed.node().run(|| ConntrackTable::open().unwrap().select(is_udp)).unwrap();
        let before = entries();
        assert_eq!(before.len(), 12, "{set}");
        let said = apply(&bed, &manifests(FULL, &[("b1", "")]));
        assert!(!said.contains("stale UDP flows"), "{set}: {said}");
        assert_eq!(entries(), before, "{set}");
    }
}

/// Two that are the same but for their zone: each goes alone.
#[test]
fn an_entry_is_deleted_in_its_own_zone() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    use_zone(&bed, ZONES[0]);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    bed.node().run(|| {
        let mut table = ConntrackTable::open().unwrap();
        let zoned = |flow: &Flow| is_udp(flow) && !flow.is_in_default_zone;
        let plain = |flow: &Flow| is_udp(flow) && flow.is_in_default_zone;
        let plain_entries = table.select(plain).unwrap();
        let zoned_entries = table.select(zoned).unwrap();
        assert_eq!((plain_entries.len(), zoned_entries.len()), (12, 12));
        for entry in &zoned_entries {
            assert!(table.delete(entry).unwrap());
            assert!(!table.delete(entry).unwrap(), "it is gone already");
        }
        assert_eq!(table.select(zoned).unwrap(), []);
        assert_eq!(table.select(plain).unwrap(), plain_entries);
    });
}

#[test]
fn an_entry_is_deleted_once_and_alone() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    bed.node().run(|| {
        let mut table = ConntrackTable::open().unwrap();
        let entries = table.select(is_udp).unwrap();
        assert_eq!(entries.len(), 12);
        for (gone, entry) in entries.iter().enumerate() {
            assert!(table.delete(entry).unwrap());
            assert!(!table.delete(entry).unwrap(), "it is gone already");
            assert_eq!(table.select(is_udp).unwrap(), entries[gone + 1..]);
        }
    });
}

/// A dump is many datagrams then.
#[test]
fn a_long_table_is_read_whole() {
    let bed = testbed();
    apply(&bed, NODE);
    let to = SocketAddr::new(bed.host("b1").v4.into(), 8080);
    let sockets = bed.ns("client").run(|| {
        let bind = |_| UdpSocket::bind("0.0.0.0:0").expect("a free port");
        (0..900).map(bind).collect::<Vec<_>>()
    });
    for socket in &sockets {
        socket.send_to(b"?", to).expect("it can be sent");
        socket.set_read_timeout(Some(LIMIT)).expect("it is not zero");
        socket.recv(&mut [0; 512]).expect("b1 answers");
    }
    let flows = bed.node().run(|| ConntrackTable::open().unwrap().select(is_udp)).unwrap();
    let mut ports: Vec<u16> = flows.iter().map(|entry| entry.as_ref().source.port()).collect();
    let mut sent: Vec<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
    ports.sort_unstable();
    sent.sort_unstable();
    assert_eq!(ports, sent);
}

#[test]
fn a_namespace_in_which_nothing_is_tracked_has_nothing_to_remove() {
    let ns = Netns::new("empty");
    assert_eq!(ns.run(|| ConntrackTable::open().unwrap().select(|_| true)).unwrap(), []);
    let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), "::1".parse().unwrap()];
    assert_eq!(ns.run(|| own_addresses().unwrap()), loopback.into());
}

/// Removing so many takes longer than a change of the cluster may wait.
#[test]
fn changes_are_programmed_while_many_flows_are_removed() {
    const PORTS: std::ops::Range<u16> = 10_000..60_000;
    let bed = testbed();
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        bed.node().sysctl(&format!("net/netfilter/nf_conntrack_{timeout}"), "3600");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let hidden = folder.path().join(".hidden");
        std::fs::write(&hidden, text).expect("it can be written");
        std::fs::rename(hidden, folder.path().join(name)).expect("it can be renamed");
    };
    write("dns.yaml", &manifests(FULL, &[("b1", "")]));
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut command = weir();
    command.args(["run", "--hostname-override", "node-a", "--manifests"]).arg(folder.path());
    command.args(["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"]);
    command.stdout(Stdio::null()).stderr(log.reopen().expect("the file"));
    let _process = Process::spawn(bed.node(), command);
    let logged = || std::fs::read_to_string(log.path()).expect("the log");
    wait_for("the first commit", LIMIT, || logged().contains("added"));
    let is_listed = |map: &str, text: &str| {
        bed.node().cmd("nft", ["list", "map", "ip", "weir", map]).contains(text)
    };
    // Nobody needs to answer: b1's port is the Service's, and what it says is not waited for.
    bed.ns("client").run(|| {
        for family in Family::ALL {
            let any: IpAddr = match family {
                Family::V4 => [0; 4].into(),
                Family::V6 => [0; 16].into(),
            };
            for port in PORTS {
                if let Ok(socket) = UdpSocket::bind((any, port)) {
                    socket.send_to(b"?", cluster_ip(family)).expect("it can be sent");
                }
            }
        }
    });
    write("dns.yaml", &manifests(FULL, &[("b2", "")]));
    wait_for("b2", LIMIT, || is_listed("endpoints", "10.244.0.3"));
    write("second.yaml", &crate::commands::service("second", "10.96.0.11", 1));
    wait_for("the second change", LIMIT, || logged().matches("cause=").count() >= 3);
    wait_for("the end of it", 3 * LIMIT, || logged().contains("removed stale UDP flows"));
    let log = logged();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("cause=") || line.contains("removed stale UDP flows"))
        .collect();
    let removed = lines.iter().position(|line| line.contains("stale")).expect("it is there");
    assert_eq!(
        removed, 3,
        "three changes, and then the flows of which they made some stale:\n{log}"
    );
    assert!(is_listed("services", "10.96.0.11"));
    let count = |text: &str| text.split("removed=").nth(1)?.split(' ').next()?.parse::<u32>().ok();
    assert!(count(lines[removed]).expect("a number") > 90_000, "{}", lines[removed]);
}

/// `weir run` compares the whole table when it starts, and what a change affects from then on.
#[test]
fn run_moves_flows_that_are_older_than_it_and_then_follows() {
    let bed = testbed();
    apply(&bed, &manifests(FULL, &[("b1", "")]));
    let clients = clients(&bed);
    clients.iter().for_each(|client| client.is_answered_by("b1"));

    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| {
        let hidden = folder.path().join(".hidden");
        std::fs::write(&hidden, text).expect("it can be written");
        std::fs::rename(hidden, folder.path().join("dns.yaml")).expect("it can be renamed");
    };
    write(&manifests(FULL, &[("b2", "")]));
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut command = weir();
    command.args(["run", "--hostname-override", "node-a", "--manifests"]).arg(folder.path());
    command.args(["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"]);
    command.stdout(Stdio::null()).stderr(log.reopen().expect("the file"));
    let process = Process::spawn(bed.node(), command);
    let wait_until_logged = |text: &str| {
        wait_for(text, LIMIT, || {
            std::fs::read_to_string(log.path()).expect("the log").contains(text)
        });
    };
    wait_until_logged("removed=12 total=12");
    clients.iter().for_each(|client| client.is_answered_by("b2"));
    write(&manifests(FULL, &[("b1", "")]));
    wait_until_logged("removed=12 total=24");
    clients.iter().for_each(|client| client.is_answered_by("b1"));
    // A Service that is deleted while weir is down.
    assert!(process.terminate(LIMIT).success());
    let said = apply(&bed, NODE);
    assert!(said.contains("removed 12 stale UDP flows"), "{said}");
}
