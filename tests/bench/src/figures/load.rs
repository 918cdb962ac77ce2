//! Measures bursts of changes, and a sustained rate of them.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::{Figure, Share};
use crate::commits::Commits;
use crate::node::{LIMIT, Node};
use crate::summary::{Sample, Unit};
use crate::workload::{Endpoints, slice};

const BURST: usize = 300;
const BURSTS: usize = 11;
/// Changes a second.
const RATE: u32 = 1000;

/// Bursts: from the last write to the commit with which all of the burst is live.
pub(crate) fn measure_bursts(node: &Node, new: &mut Endpoints) -> Vec<Figure> {
    let commits = Commits::listen(node.bed.node());
    let mut services = node.shape.changeable();
    let times: Vec<Duration> = (0..BURSTS)
        .map(|_| {
            commits.forget();
            let mut last = Ipv4Addr::UNSPECIFIED;
            for service in services.by_ref().take(BURST) {
                last = replace(node, new, service);
            }
            let write = Instant::now();
            // Changes of a kind are read in their order, so that with the last all are live.
            let commit = loop {
                let commit = commits.next(LIMIT);
                if commit.added.contains(&last) {
                    break commit;
                }
            };
            commit.at.saturating_duration_since(write)
        })
        .collect();
    let what = format!("burst of {BURST} changes: last write to commit of all");
    let figure = Figure::new(what, node.shape, Sample::times(&times)).budget("50 ms");
    vec![figure.share(Share::REPLACE)]
}

/// Replaces one endpoint of a Service; gives the new one.
fn replace(node: &Node, new: &mut Endpoints, service: u32) -> Ipv4Addr {
    node.apply(slice(service, &new.replace(service)));
    new.newest()
}

/// So many changes a second for so long: how far the kernel lags behind each, and what it costs.
pub(crate) fn measure_rate(node: &mut Node, new: &mut Endpoints, time: Duration) -> Vec<Figure> {
    let commits = Commits::listen(node.bed.node());
    let usage = node.usage();
    let cpu = usage.cpu().total;
    let start = Instant::now();
    let mut writes = Vec::new();
    for (turn, service) in (0..RATE * time.as_secs() as u32).zip(node.shape.changeable()) {
        let due = start + turn * Duration::from_secs(1) / RATE;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let address = replace(node, new, service);
        writes.push((Endpoints::number(address), Instant::now()));
    }
    let busy = start.elapsed();
    let cpu = usage.cpu().total - cpu;
    let lags = lags(&writes, &commits);
    let shape = node.shape;
    let seconds = time.as_secs();
    let what = |part: &str| format!("{RATE} changes a second for {seconds} s: {part}");
    let written = f64::from(RATE) * time.as_secs_f64() / busy.as_secs_f64();
    let cores = cpu.as_secs_f64() / busy.as_secs_f64();
    vec![
        Figure::new(what("lag of the kernel"), shape, Sample::times(&lags)).share(Share::REPLACE),
        Figure::new(what("longest lag"), shape, Sample::times(&lags[lags.len() - 1..]))
            .budget("100 ms")
            .share(Share::REPLACE),
        Figure::new(what("CPU, of one core"), shape, Sample::one(Unit::Cores, cores))
            .budget("50 %")
            .share(Share::Replace { times: f64::from(RATE), beside: 0.0 }),
        Figure::new(what("written in a second"), shape, Sample::one(Unit::Count, written)),
    ]
}

/// From each write to the first commit of it or of a later one, in order of length.
fn lags(writes: &[(Option<u32>, Instant)], commits: &Commits) -> Vec<Duration> {
    let mut lags = Vec::new();
    while lags.len() < writes.len() {
        let commit = commits.next(LIMIT);
        let newest = commit.added.iter().filter_map(|address| Endpoints::number(*address)).max();
        let is_live = |write: &&(Option<u32>, Instant)| newest.is_some() && write.0 <= newest;
        let live = writes[lags.len()..].iter().take_while(is_live);
        lags.extend(live.map(|write| commit.at.saturating_duration_since(write.1)));
    }
    lags.sort();
    lags
}
