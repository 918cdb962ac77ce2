//! What a new connection costs with session affinity, by the number of endpoints: `bench-affinity
//! WEIR`, in a network namespace. Prints a table for docs/performance.md.
//!
//! A client pod sends datagrams, each from a socket of its own and so a new flow, to a ClusterIP.
//! The kernel does all up to the endpoint's socket within the call that sends, which is timed. All
//! Services are asked in turn, a batch each, so that what disturbs the machine disturbs all.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Instant;

use weir_testbed::Testbed;

/// Below the usual limit on open files.
const BATCH: usize = 400;
const ROUNDS: usize = 41;
const PORT: u16 = 8080;

struct Service {
    endpoints: u32,
    affinity: bool,
}

const SERVICES: [Service; 6] = [
    Service { endpoints: 2, affinity: false },
    Service { endpoints: 1000, affinity: false },
    Service { endpoints: 2, affinity: true },
    Service { endpoints: 10, affinity: true },
    Service { endpoints: 100, affinity: true },
    Service { endpoints: 1000, affinity: true },
];

fn main() {
    let weir = std::env::args().nth(1).expect("bench-affinity WEIR");
    let bed = Testbed::new().pod("client", "10.244.0.9", "fd00:10:244::9").pod(
        "b1",
        "10.244.0.2",
        "fd00:10:244::2",
    );
    // Any number of endpoints in one pod, and of clients in another.
    bed.ns("b1").cmd("ip", words("route add local 10.245.0.0/16 dev lo"));
    bed.node().cmd("ip", words("route add 10.245.0.0/16 via 10.244.0.2"));
    bed.ns("client").cmd("ip", words("route add local 10.246.0.0/16 dev lo"));
    bed.node().cmd("ip", words("route add 10.246.0.0/16 via 10.244.0.9"));
    // It takes what comes, and when it is full the rest is dropped behind all that is measured.
    let _sink = bed.ns("b1").run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("free"));
    apply(&bed, &weir);

    let known: fn(usize) -> Ipv4Addr = |_| Ipv4Addr::new(10, 244, 0, 9);
    let new: fn(usize) -> Ipv4Addr = |n| Ipv4Addr::from_bits(0x0af6_0001 + n as u32);
    println!("| endpoints | affinity | known client | new client |\n|---|---|---|---|");
    let [known, new] = [known, new].map(|source| measure(&bed, source));
    let maps = bed.node().cmd("nft", words("list maps"));
    assert!(maps.contains(" : 10.245."), "nothing got through: {maps}");
    for ((service, known), new) in SERVICES.iter().zip(known).zip(new) {
        let affinity = if service.affinity { "ClientIP" } else { "none" };
        println!("| {} | {affinity} | {known} | {new} |", service.endpoints);
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

fn cluster_ip(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, 1 + number as u8)
}

fn apply(bed: &Testbed, weir: &str) {
    let mut manifests = String::new();
    for (number, Service { endpoints, affinity }) in SERVICES.iter().enumerate() {
        let affinity = if *affinity { "ClientIP" } else { "None" };
        let address = cluster_ip(number);
        let _ = write!(
            manifests,
            "apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: default}}
spec:
  clusterIPs: [{address}]
  ports: [{{port: 80, protocol: UDP}}]
  sessionAffinity: {affinity}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{number}-1, namespace: default, labels: {{kubernetes.io/service-name: s{number}}}}}
addressType: IPv4
ports: [{{name: '', port: {PORT}, protocol: UDP}}]
endpoints:
"
        );
        for endpoint in 1..=*endpoints {
            let address = Ipv4Addr::from_bits(0x0af5_0000 + endpoint);
            let _ = writeln!(manifests, "- {{addresses: [{address}]}}");
        }
        manifests.push_str("---\n");
    }
    let path = std::env::temp_dir().join(format!("bench-affinity-{}.yaml", std::process::id()));
    std::fs::write(&path, manifests).expect("it can be written");
    let mut command = Command::new(weir);
    command.args(["apply", "--nodeport-addresses", "0.0.0.0/0", "-f"]).arg(&path);
    let output = bed.node().run(|| command.output()).expect("weir runs");
    let _ = std::fs::remove_file(&path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// For each Service the median cost of a new flow and how far batches are apart, in microseconds.
fn measure(bed: &Testbed, source: fn(usize) -> Ipv4Addr) -> Vec<String> {
    bed.ns("client").run(|| {
        let mut times = vec![Vec::new(); SERVICES.len()];
        // The first round warms up.
        for round in 0..=ROUNDS {
            for (service, times) in times.iter_mut().enumerate() {
                // No client that is new to a Service has been in an earlier round.
                let client = |i| IpAddr::V4(source(round * BATCH + i));
                let sockets: Vec<UdpSocket> = (0..BATCH)
                    .map(|i| UdpSocket::bind((client(i), 0)).expect("a free port"))
                    .collect();
                let start = Instant::now();
                for socket in &sockets {
                    socket.send_to(b"?", (cluster_ip(service), 80)).expect("there is a route");
                }
                let each = start.elapsed().as_secs_f64() * 1e6 / BATCH as f64;
                times.push(each);
            }
        }
        times
            .into_iter()
            .map(|mut times| {
                times.remove(0);
                times.sort_by(f64::total_cmp);
                let at = |part: usize| times[(times.len() - 1) * part / 4];
                format!("{:.2} µs ({:.2} to {:.2})", at(2), at(1), at(3))
            })
            .collect()
    })
}
