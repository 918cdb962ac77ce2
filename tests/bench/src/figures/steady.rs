//! Measures an idle weir.

use std::thread;
use std::time::Duration;

use super::{Figure, Share};
use crate::node::Node;
use crate::summary::{Sample, Unit};

/// What was begun before is over then.
const SETTLING: Duration = Duration::from_secs(3);

/// Resident memory.
pub(crate) fn measure_memory(node: &mut Node) -> Figure {
    thread::sleep(SETTLING);
    let resident = Sample::one(Unit::Memory, node.usage().memory("VmRSS"));
    Figure::new(MEMORY, node.shape, resident).budget("60 MB").share(Share::Memory)
}

/// The name of a figure that another is made of.
pub(crate) const MEMORY: &str = "resident memory, steady";

/// The CPU that nothing takes, in this time.
pub(crate) fn measure_idle(node: &mut Node, time: Duration) -> Figure {
    thread::sleep(SETTLING);
    let before = node.usage().cpu().total;
    thread::sleep(time);
    let cpu = node.usage().cpu().total - before;
    let cores = Sample::one(Unit::Cores, cpu.as_secs_f64() / time.as_secs_f64());
    Figure::new("idle CPU, of one core", node.shape, cores).budget("0.1 %")
}
