//! The measurements.

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
    pub(crate) share: Share,
}

/// What the kernel alone takes for the same, in the unit of the figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Share {
    /// It has no part in it, or that was not measured.
    None,
    /// The value itself.
    Known(f64),
    /// So many replacements of one endpoint, and what is known beside.
    Replace { times: f64, beside: f64 },
    /// One endpoint more or less.
    Count,
    /// The load of all tables.
    Load,
    /// The dump of all elements.
    Dump,
    /// The memory of the tables.
    Memory,
}

impl Share {
    /// One endpoint replaced.
    pub(crate) const REPLACE: Self = Self::Replace { times: 1.0, beside: 0.0 };

    /// The value, if it is known.
    pub(crate) fn value(self) -> Option<f64> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, shape: Shape, sample: Sample) -> Self {
        Self { what: what.into(), shape, sample, budget: "", share: Share::None }
    }

    pub(crate) fn budget(self, budget: &'static str) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn share(self, share: Share) -> Self {
        Self { share, ..self }
    }
}
