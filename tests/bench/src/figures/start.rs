//! A cold start: from nothing programmed to every Service answering.

use std::time::Duration;

use super::{Figure, Share};
use crate::node::Node;
use crate::summary::{Sample, Unit};
use crate::turn::{Turns, Waits};
use crate::usage::Cpu;

/// One cold start.
struct Start {
    all_answer: Duration,
    cpu: Cpu,
    waits: Waits,
    /// Bytes.
    peak: f64,
}

/// The name of the figure that knows how long the kernel takes to load all tables.
pub(crate) const ALL_ANSWER: &str = "cold start: all Services answer";

/// Starts weir so often, from nothing each time, and leaves it running.
pub(crate) fn measure(node: &mut Node, runs: usize) -> Vec<Figure> {
    let mut starts = Vec::new();
    for run in 0..runs {
        if run > 0 {
            node.stop();
            node.clean_up();
        }
        starts.push(start(node));
    }
    let of = |value: fn(&Start) -> f64| starts.iter().map(value).collect::<Vec<_>>();
    let times = |value| Sample::new(Unit::Time, of(value));
    let load = Share::Known(times(|start| start.waits.total.as_secs_f64()).median());
    let shape = node.shape;
    let figure = |what: &str, sample| Figure::new(what, shape, sample);
    vec![
        figure(ALL_ANSWER, times(|start| start.all_answer.as_secs_f64())).budget("2 s").share(load),
        figure("cold start: CPU", times(|start| start.cpu.total.as_secs_f64())).share(load),
        figure(
            "cold start: CPU outside of the kernel",
            times(|start| start.cpu.total.saturating_sub(start.cpu.system).as_secs_f64()),
        )
        .budget("0.8 s")
        .share(load),
        figure(
            "cold start: longest wait of others for nf_tables",
            times(|start| start.waits.longest.as_secs_f64()),
        )
        .budget("150 ms")
        .share(load),
        figure(
            "cold start: peak of resident memory",
            Sample::new(Unit::Memory, of(|start| start.peak)),
        )
        .budget("120 MB")
        .share(Share::Memory),
    ]
}

fn start(node: &mut Node) -> Start {
    let turns = Turns::start(node.bed.node());
    let begin = node.start();
    let all_answer = node.wait_for_answers() - begin;
    let cpu = node.usage().cpu();
    let waits = turns.stop();
    node.wait_until_ready();
    node.assert_all_answer();
    let peak = node.usage().memory("VmHWM");
    Start { all_answer, cpu, waits, peak }
}
