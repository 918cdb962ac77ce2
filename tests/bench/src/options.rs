//! What to measure, by the environment: `BENCH=change,burst SERVICES=10000 make bench`.

use std::env;
use std::time::Duration;

use crate::figures::change::Effort;
use crate::workload::{RESERVED, Shape};

/// What can be chosen, in the order in which it is measured.
pub(crate) const PARTS: [&str; 11] = [
    "start", "change", "packet", "burst", "rate", "memory", "idle", "drift", "restart", "kernel",
    PATH,
];
/// The part that needs no weir process.
const PATH: &str = "path";

/// The size with all the figures, and with budgets.
pub(crate) const MAIN: Shape = Shape { services: 10_000, endpoints: 10 };
/// The others: how starts, changes, repairs, restarts and memory grow.
const OTHERS: [Shape; 3] = [
    Shape { services: 1000, endpoints: 10 },
    Shape { services: 44_000, endpoints: 3 },
    Shape { services: 5000, endpoints: 50 },
];
/// The parts that are measured of these.
const GROWTH: [&str; 6] = ["start", "change", "memory", "drift", "restart", "kernel"];

/// What a run measures.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    chosen: Option<Vec<String>>,
    sizes: Option<Vec<Shape>>,
}

impl Options {
    /// Reads BENCH, SERVICES and ENDPOINTS.
    ///
    /// # Errors
    /// If one of them makes no sense, with what it may be.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let text = |name| env::var(name).ok().filter(|text| !text.is_empty());
        Self::read(
            text("BENCH").as_deref(),
            text("SERVICES").as_deref(),
            text("ENDPOINTS").as_deref(),
        )
    }

    fn read(
        parts: Option<&str>,
        services: Option<&str>,
        endpoints: Option<&str>,
    ) -> Result<Self, String> {
        let chosen = parts.map(|parts| parts.split(',').map(str::to_owned).collect::<Vec<_>>());
        if let Some(other) = chosen.iter().flatten().find(|part| !PARTS.contains(&part.as_str())) {
            return Err(format!("BENCH={other}: it is one or more of {}", PARTS.join(",")));
        }
        let endpoints = match endpoints {
            None => MAIN.endpoints,
            Some(text) => match text.parse() {
                Ok(number @ 2..=1000) => number,
                _ => return Err(format!("ENDPOINTS={text}: it is a number from 2 to 1000")),
            },
        };
        let size = |text: &str| match text.parse() {
            Ok(services) if services >= 10 * RESERVED => Ok(Shape { services, endpoints }),
            _ => Err(format!("SERVICES={text}: it is a number, not below {}", 10 * RESERVED)),
        };
        let sizes = services.map(|text| text.split(',').map(size).collect::<Result<Vec<_>, _>>());
        Ok(Self { chosen, sizes: sizes.transpose()? })
    }

    /// The sizes to measure.
    pub(crate) fn sizes(&self) -> Vec<Shape> {
        let all = || [MAIN].into_iter().chain(OTHERS).collect();
        self.sizes.clone().unwrap_or_else(all)
    }

    /// Whether a part is to be measured of this size.
    pub(crate) fn measures(&self, part: &str, shape: Shape) -> bool {
        let is_for_size = self.sizes.is_some() || shape == MAIN || GROWTH.contains(&part);
        let is_chosen = self.chosen.as_ref().is_none_or(|of| of.iter().any(|of| of == part));
        is_for_size && is_chosen
    }

    /// Whether anything is measured in the packets' path.
    pub(crate) fn measures_path(&self) -> bool {
        self.chosen.as_ref().is_none_or(|of| of.iter().any(|of| of == PATH))
    }

    /// Whether anything is measured with weir running.
    pub(crate) fn measures_node(&self, shape: Shape) -> bool {
        PARTS.iter().any(|part| *part != PATH && self.measures(part, shape))
    }

    /// The sizes of which the packets' path is measured.
    pub(crate) fn path_sizes(&self) -> Vec<Shape> {
        let sizes = [1000, 10_000, 44_000].map(|services| Shape {
            services,
            endpoints: if services > MAIN.services { 3 } else { MAIN.endpoints },
        });
        self.sizes.clone().unwrap_or_else(|| sizes.to_vec())
    }

    /// How often something is done of which each takes seconds.
    pub(crate) fn runs(&self, shape: Shape) -> usize {
        if shape == MAIN || self.sizes.is_some() { 5 } else { 3 }
    }

    /// How many changes are measured.
    pub(crate) fn effort(&self, shape: Shape) -> Effort {
        match shape == MAIN || self.sizes.is_some() {
            true => Effort { changes: 1000, time: Duration::from_secs(20) },
            false => Effort { changes: 300, time: Duration::from_secs(15) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_measured_of_all_sizes_and_the_rest_of_one() {
        let options = Options::read(None, None, None).unwrap();
        assert_eq!(options.sizes().len(), 4);
        assert!(options.sizes().iter().all(|size| options.measures("change", *size)));
        let idle = options.sizes().into_iter().filter(|size| options.measures("idle", *size));
        assert_eq!(idle.collect::<Vec<_>>(), [MAIN]);
    }

    #[test]
    fn what_is_chosen_is_measured_of_the_sizes_that_are_chosen() {
        let options = Options::read(Some("idle,burst"), Some("2000"), None).unwrap();
        assert_eq!(options.sizes(), [Shape { services: 2000, endpoints: 10 }]);
        let parts = PARTS.into_iter().filter(|part| options.measures(part, options.sizes()[0]));
        assert_eq!(parts.collect::<Vec<_>>(), ["burst", "idle"]);
        assert!(!options.measures_path() && options.measures_node(options.sizes()[0]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let error = |parts, services| Options::read(parts, services, None).unwrap_err();
        assert!(error(Some("changes"), None).contains("start,change,packet"));
        assert!(error(None, Some("10")).contains("not below 660"));
        assert!(error(None, Some("1e4")).contains("a number"));
    }
}
