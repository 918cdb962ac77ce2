//! What a new connection costs in the packets' path.
//!
//! A client pod sends datagrams, each from a socket of its own and so a new flow, and each to another
//! Service; the kernel does all up to the endpoint's socket within the call that sends, which is timed.
//! There is no sleep, no wake-up and no second process in it, and no packet back: that is why UDP, and
//! not connections of TCP, whose answers come when the scheduler lets them. All rulesets are there at the
//! same time, each on a node of its own, and are asked in turn, a batch each, so that what disturbs the
//! machine disturbs all.

mod per_service;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir::kernel::Kernel;
use weir_rules::cluster::Cluster;
use weir_rules::compile::compile;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::diff::diff;
use weir_testbed::Testbed;

use crate::cluster;
use crate::node::{BACKENDS, CLIENT, address_of};
use crate::summary::{Sample, Unit};
use crate::workload::{ENDPOINT_CIDR, Shape, TARGET_PORT};

/// Flows of a batch: few, so that another program that takes its turn on the processor meets few of
/// the batches.
const BATCH: usize = 50;
const ROUNDS: usize = 401;
/// The time to load a chain and a map for each Service grows with the square of their number.
const MAX_PER_SERVICE: u32 = 10_000;
/// The smallest table that has the kernel track connections.
const TRACKING: &str = "table ip tracking {
 chain prerouting {
  type filter hook prerouting priority 0;
  ct state new accept
 }
}
";
/// How long a datagram may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What packets meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Nothing at all, and no connection tracking.
    None,
    /// Connection tracking, which any table of a Service proxy brings with it.
    Tracking,
    /// weir's.
    Weir,
    /// A chain and a map for each Service.
    PerService,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::None => "no table",
            Table::Tracking => "connection tracking alone",
            Table::Weir => "weir",
            Table::PerService => "a chain and a map for each Service",
        }
    }

    fn load(self, bed: &Testbed, shape: Shape) {
        match self {
            Table::None => {}
            Table::Tracking => bed.node().nft(TRACKING),
            Table::PerService => {
                per_service::tables(shape).for_each(|table| bed.node().nft(&table));
            }
            Table::Weir => {
                let mut cluster = Cluster::default();
                for number in 0..shape.services {
                    cluster::add_udp(&mut cluster, number, &shape.endpoints_of(number));
                }
                let ruleset = compile(&cluster, &cluster::config());
                let kernel = bed.node().run(|| Kernel::open().expect("there is nf_tables"));
                let all = diff(&Ruleset::default(), &ruleset);
                kernel.commit(all, None).expect("the namespace is empty");
            }
        }
    }

    /// Where a client sends to for a Service.
    fn destination(self, shape: Shape, service: u32) -> SocketAddr {
        match self {
            Table::None | Table::Tracking => (shape.endpoints_of(service)[0], TARGET_PORT).into(),
            Table::Weir | Table::PerService => address_of(service),
        }
    }
}

/// A node with a table, a client and a pod that has all endpoints.
struct Lane {
    table: Table,
    bed: Testbed,
    /// Takes what comes, and when it is full the rest is dropped behind all that is measured.
    sink: UdpSocket,
    /// Seconds for each new flow, a batch each.
    times: Vec<f64>,
}

/// Measures all tables with Services of these shapes; gives a table in Markdown.
pub(crate) fn measure(shapes: &[Shape]) -> String {
    let mut text = "| Services x endpoints | ruleset | new flow, median | p10 to p90 \
                    | above no table | above tracking | a second and core |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for &shape in shapes {
        let lanes = measure_shape(shape);
        let median = |lane: &Lane| Sample::new(Unit::Time, lane.times.iter().copied()).median();
        let [none, tracking] = [0, 1].map(|lane: usize| median(&lanes[lane]));
        for lane in &lanes {
            let sample = Sample::new(Unit::Time, lane.times.iter().copied());
            // Nothing is above itself, nor above what is more.
            let above = |base: f64| match median(lane) - base {
                ..=0.0 => String::new(),
                more => show(more),
            };
            let row = format!(
                "| {shape} | {} | {} | {} to {} | {} | {} | {:.0} |",
                lane.table.name(),
                show(sample.median()),
                show(sample.percentile(10)),
                show(sample.percentile(90)),
                above(none),
                above(tracking),
                1.0 / sample.median(),
            );
            eprintln!("{row}");
            let _ = writeln!(text, "{row}");
        }
    }
    text
}

/// Microseconds with two places: the differences here are small.
fn show(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}

fn measure_shape(shape: Shape) -> Vec<Lane> {
    let tables = [Table::None, Table::Tracking, Table::Weir, Table::PerService];
    let is_asked = |table: &Table| *table != Table::PerService || shape.services <= MAX_PER_SERVICE;
    let mut lanes: Vec<Lane> =
        tables.into_iter().filter(is_asked).map(|table| Lane::new(table, shape)).collect();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for lane in &mut lanes {
            lane.send_batch(shape, round);
        }
    }
    for lane in &mut lanes {
        lane.times.remove(0);
    }
    lanes
}

impl Lane {
    fn new(table: Table, shape: Shape) -> Self {
        let (backend, address) = BACKENDS[0];
        let bed = Testbed::new().pod(CLIENT, "10.244.0.9", "fd00:10:244::9").pod(
            backend,
            &address.to_string(),
            "fd00:10:244::2",
        );
        bed.ns(backend).ip(&format!("route add local {ENDPOINT_CIDR} dev lo\n"));
        bed.node().ip(&format!("route add {ENDPOINT_CIDR} via {address}\n"));
        let sink = bed.ns(backend).run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT)));
        let sink = sink.expect("it is free");
        sink.set_read_timeout(Some(PATIENCE)).expect("a time");
        table.load(&bed, shape);
        let lane = Self { table, bed, sink, times: Vec::new() };
        lane.assert_delivers(shape);
        lane
    }

    /// Makes sure that packets arrive at all, of the first Service and of the last.
    fn assert_delivers(&self, shape: Shape) {
        for service in [0, shape.services - 1] {
            self.bed.ns(CLIENT).run(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
                let to = self.table.destination(shape, service);
                socket.send_to(&service.to_be_bytes(), to).expect("there is a route");
            });
            let mut data = [0; 4];
            let received = self.sink.recv(&mut data);
            assert!(received.is_ok() && data == service.to_be_bytes(), "{:?}", self.table);
        }
    }

    fn send_batch(&mut self, shape: Shape, round: usize) {
        let first = (round * BATCH) as u64;
        // Prime, so that one flow's Service is far from that of the one before.
        let service = |flow: u64| (flow * 7_919 % u64::from(shape.services)) as u32;
        let flows = first..first + BATCH as u64;
        let to: Vec<_> = flows.map(|of| self.table.destination(shape, service(of))).collect();
        let elapsed = self.bed.ns(CLIENT).run(|| {
            let bind = |_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
            let sockets: Vec<UdpSocket> = (0..BATCH).map(bind).collect();
            let start = Instant::now();
            for (socket, to) in sockets.iter().zip(&to) {
                socket.send_to(b"?", to).expect("there is a route");
            }
            start.elapsed()
        });
        self.times.push(elapsed.as_secs_f64() / BATCH as f64);
    }
}
