//! Measures the time from a change to its commit, and to the first packet that meets it.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::{Figure, Share};
use crate::client;
use crate::commits::Commits;
use crate::node::{BACKENDS, CLIENT, LIMIT, Node, address_of};
use crate::summary::Sample;
use crate::workload::{Endpoints, RESERVED, slice};

/// Between two changes at least: what weir does behind a commit is no part of the next.
pub(super) const PAUSE: Duration = Duration::from_millis(3);

/// How many changes, and how long to go on with them at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) changes: usize,
    pub(crate) time: Duration,
}

impl Effort {
    fn goes_on(self, done: usize, start: Instant) -> bool {
        // Two are no measurement, however long they take.
        done < self.changes && (done < 5 || start.elapsed() < self.time)
    }
}

/// Changes one Service after the other: an endpoint for another; then one endpoint more, and one less.
pub(crate) fn measure(node: &Node, new: &mut Endpoints, effort: Effort) -> Vec<Figure> {
    let commits = Commits::listen(node.bed.node());
    let shape = node.shape;
    let mean = Mean::begin(node);
    let one = shape.changeable().map(|service| (service, new.replace(service)));
    let replaced = changes(node, &commits, effort, one);
    let own = mean.end(node);
    // Each Service gets one endpoint more and, the next time, one less.
    let turns = shape.changeable().flat_map(|service| [(service, true), (service, false)]);
    let one = turns.map(|(service, is_more)| match is_more {
        true => (service, new.add(service)),
        false => (service, new.remove(service)),
    });
    let counted = changes(node, &commits, effort, one);
    let figure = |what: &str, times: &[Duration]| Figure::new(what, shape, Sample::times(times));
    vec![
        figure(REPLACED, &replaced).budget("p50 1 ms, p99 3 ms").share(Share::REPLACE),
        figure("the same by weir's own metric: mean", &[own]).share(Share::REPLACE),
        figure(COUNTED, &counted).budget("p50 3 ms, p99 6 ms").share(Share::Count),
    ]
}

/// The names of two figures that others refer to.
pub(crate) const REPLACED: &str = "event to commit: an endpoint replaced";
pub(crate) const COUNTED: &str = "event to commit: the number of endpoints changed";

/// From the moment at which the server begins to write the event to the moment at which the commit has
/// been told, of each change.
fn changes(
    node: &Node,
    commits: &Commits,
    effort: Effort,
    changes: impl Iterator<Item = (u32, Vec<Ipv4Addr>)>,
) -> Vec<Duration> {
    let start = Instant::now();
    let mut times = Vec::new();
    for (service, endpoints) in changes {
        if !effort.goes_on(times.len(), start) {
            break;
        }
        commits.forget();
        node.apply(slice(service, &endpoints));
        let commit = commits.next(LIMIT);
        let event = node.last_write();
        let time = commit.at - event;
        times.push(time);
        // A slow proxy has its rest, too.
        thread::sleep(PAUSE.max(time));
    }
    times
}

/// The mean of weir's own histogram of updates between two moments.
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn begin(node: &Node) -> Self {
        let value = |part| node.metric(&format!("weir_update_duration_seconds_{part}"));
        Self { sum: value("sum"), count: value("count") }
    }

    fn end(self, node: &Node) -> Duration {
        let now = Self::begin(node);
        Duration::from_secs_f64((now.sum - self.sum) / (now.count - self.count))
    }
}

/// From a write to the API to the first connection that the new endpoint answers, while a client
/// connects again and again. A Service of one endpoint, which moves between two pods.
pub(crate) fn measure_packets(node: &Node, effort: Effort) -> Vec<Figure> {
    let service = RESERVED;
    let address = address_of(service);
    let move_to = |place: usize| node.apply(slice(service, &[BACKENDS[place].1]));
    let wait_for = |place: usize| {
        let start = Instant::now();
        while client::ask(address).as_deref() != Some(BACKENDS[place].0) {
            assert!(start.elapsed() < LIMIT, "the new endpoint does not answer: {}", node.log());
        }
    };
    let mut connections = Vec::new();
    let times = node.bed.ns(CLIENT).run(|| {
        move_to(0);
        wait_for(0);
        let (mut times, start) = (Vec::new(), Instant::now());
        while effort.goes_on(times.len(), start) {
            let place = (times.len() + 1) % 2;
            let start = Instant::now();
            assert!(client::ask(address).is_some());
            connections.push(start.elapsed());
            let write = Instant::now();
            move_to(place);
            wait_for(place);
            times.push(write.elapsed());
            thread::sleep(PAUSE);
        }
        times
    });
    // What is measured next must not meet with this.
    let commits = Commits::listen(node.bed.node());
    node.apply(slice(service, &node.shape.endpoints_of(service)));
    commits.next(LIMIT);
    let what = "API write to a connection with the new endpoint";
    let figure = Figure::new(what, node.shape, Sample::times(&times)).budget("p50 10 ms");
    let beside = Sample::times(&connections).median();
    vec![figure.share(Share::Replace { times: 1.0, beside })]
}
