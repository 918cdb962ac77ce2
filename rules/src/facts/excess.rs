//! Reports what was left out of Services that exceed a limit.

use std::fmt;

use crate::cluster::{EndpointSlice, Family, Service};
use crate::config::Config;
use crate::endpoints::{PortSlices, has_more_usable};

/// What is left out of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// How many of its keys.
    pub keys: u32,
    /// Whether some of its endpoints are, in each family.
    pub endpoints: [bool; 2],
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts = Vec::new();
        if self.keys > 0 {
            texts.push(format!(
                "{} more addresses with a port and node ports than a Service may have are not served \
                 (--max-service-keys)",
                self.keys
            ));
        }
        if self.endpoints.contains(&true) {
            texts.push(
                "it has more endpoints than it may with so many addresses and ports, and not all are \
                 used (--max-service-elements)"
                    .to_owned(),
            );
        }
        f.write_str(&texts.join("; "))
    }
}

/// What is left out of a Service with these slices, if anything is. Endpoints are those of the port that
/// has the most, on whatever node, so that all nodes report the same.
pub fn excess(service: &Service, slices: &[&EndpointSlice], config: &Config) -> Option<Excess> {
    let endpoints = Family::ALL.map(|family| {
        let max = service.max_endpoints(family, config.max_service_elements);
        let slices = PortSlices::new(family, slices);
        service.serves(family)
            && service.ports.iter().any(|port| has_more_usable(port, &slices, max))
    });
    let excess = Excess { keys: service.excess_keys, endpoints };
    (excess.keys > 0 || endpoints.contains(&true)).then_some(excess)
}
