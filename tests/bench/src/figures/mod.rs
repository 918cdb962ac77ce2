//! What is measured.

pub(crate) mod change;
pub(crate) mod kernel;
pub(crate) mod load;
pub(crate) mod recovery;
pub(crate) mod start;
pub(crate) mod steady;

use crate::summary::Sample;
use crate::workload::Shape;

/// A line of the report.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) shape: Shape,
    pub(crate) sample: Sample,
    /// What it should be, as text.
    pub(crate) budget: &'static str,
    /// What the kernel alone takes for the same, in the same unit.
    pub(crate) kernel: Option<f64>,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, shape: Shape, sample: Sample) -> Self {
        Self { what: what.into(), shape, sample, budget: "", kernel: None }
    }

    pub(crate) fn budget(self, budget: &'static str) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn kernel(self, kernel: Option<f64>) -> Self {
        Self { kernel, ..self }
    }
}
