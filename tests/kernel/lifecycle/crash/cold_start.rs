//! A large cluster meets an empty kernel, and weir is killed while it programs it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use weir::kernel::Kernel;
use weir_testbed::{ANSWER, EchoServer, Outcome, Protocol, Testbed, ask_here, tcp_ask, wait_for};

use super::cluster::{PODS, of_cluster_ip, pod_address, testbed};
use super::dice::Dice;
use super::{End, assert_next_start_writes_nothing};
use crate::running::Running;

const SERVICES: usize = 5000;
/// Services share this many lists of endpoints, each at two ports of every Pod.
const PORTS: usize = 10;
const FIRST_PORT: usize = 9000;
/// Elements of a Service: its address twice, and its endpoints.
const ELEMENTS: usize = 2 + 2 * PODS;

/// How long a whole start may take where the machine is busy.
const LIMIT: Duration = Duration::from_secs(60);
/// A patience for answers that need not come.
const MOMENT: Duration = Duration::from_millis(200);

/// Behind each piece of it a Service answers rightly or not at all, and the next weir goes on from
/// there.
#[test]
fn a_cold_start_that_is_killed_in_the_middle_is_made_up_for_by_the_next() {
    let mut dice = Dice::new();
    let running = Running::on(testbed());
    let _servers = servers(&running.bed);
    for service in 0..SERVICES {
        objects(service).into_iter().for_each(|object| running.server.apply(object));
    }
    let kernel = running.bed.node().run(|| Kernel::open().expect("nf_tables is there"));
    let programmed = || kernel.dump().expect("it can be read").ruleset.element_count();

    let (is_over, complaints) = (AtomicBool::default(), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let _end = End(&is_over);
        let mut dice = dice.another();
        let (is_over, complaints) = (&is_over, &complaints);
        let client = running.bed.ns("client");
        scope.spawn(move || {
            client.run(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let service = dice.below(SERVICES);
                    let outcome =
                        ask_here(Protocol::Tcp, address(service).parse().unwrap(), MOMENT);
                    if matches!(outcome, Outcome::Answered { .. }) && !is_right(service, &outcome) {
                        complaints.lock().expect("not poisoned").push((service, outcome));
                    }
                }
            });
        });
        // Each weir is killed behind its first transaction, until one finds only the last to do.
        let mut left_at = Vec::new();
        let mut now = 0;
        while now < SERVICES * ELEMENTS {
            let generation = kernel.generation().expect("it can be asked");
            let weir = running.follower();
            wait_for("a transaction", LIMIT, || kernel.generation().unwrap() != generation);
            drop(weir);
            now = programmed();
            left_at.push(now);
        }
        println!("killed at {left_at:?} elements");
        assert!(left_at.len() > 1 && left_at.is_sorted(), "not in the middle: {left_at:?}");
    });
    let complaints = complaints.into_inner().expect("not poisoned");
    assert!(complaints.is_empty(), "{complaints:?}");

    for _ in 0..300 {
        let service = dice.below(SERVICES);
        let address = address(service).parse().expect("an address");
        let outcome = tcp_ask(running.bed.ns("client"), address, ANSWER);
        assert!(is_right(service, &outcome), "{service}: {outcome:?}");
    }
    assert_next_start_writes_nothing(&running, LIMIT);
}

/// The ports at which a Service is served.
fn ports(service: usize) -> [usize; 2] {
    [service, service + 1].map(|port| FIRST_PORT + port % PORTS)
}

fn is_right(service: usize, outcome: &Outcome) -> bool {
    let right = ports(service).map(|port| port.to_string());
    outcome.server().is_some_and(|server| right.iter().any(|right| right == server))
}

/// A server at each port of each Pod, called by the port.
fn servers(bed: &Testbed) -> Vec<EchoServer> {
    let all =
        (0..PODS).flat_map(|pod| (FIRST_PORT..FIRST_PORT + PORTS).map(move |port| (pod, port)));
    let start = |(pod, port): (usize, usize)| {
        let address = (pod_address(pod), port as u16).into();
        EchoServer::start(bed.ns(&format!("p{pod}")), &port.to_string(), &[address])
    };
    all.map(start).collect()
}

fn cluster_ip(service: usize) -> String {
    format!("10.97.{}.{}", service / 200, 1 + service % 200)
}

fn address(service: usize) -> String {
    format!("{}:80", cluster_ip(service))
}

/// A Service, and its endpoints in two slices.
fn objects(service: usize) -> Vec<Value> {
    let name = format!("s{service}");
    let endpoints: Vec<Value> =
        (0..PODS).map(|pod| json!({"addresses": [pod_address(pod)]})).collect();
    let slice = |(index, port): (usize, usize)| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-{index}"), "namespace": "default",
                         "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "tcp", "protocol": "TCP", "port": port}],
        })
    };
    let slices = ports(service).into_iter().enumerate().map(slice);
    slices.chain([of_cluster_ip(&name, &cluster_ip(service), "TCP")]).collect()
}
