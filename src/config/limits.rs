//! Flags for the limits on one Service.

use clap::Args;
use weir_rules::cluster::limits::{DEFAULT_MAX_SERVICE_ELEMENTS, DEFAULT_MAX_SERVICE_KEYS};
use weir_rules::config::Config;

/// How much one Service may take of a node.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
pub struct LimitArgs {
    /// How many addresses with a port, and node ports, a Service has at most; further ones are not
    /// served (with --config, too)
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SERVICE_KEYS)]
    pub max_service_keys: usize,
    /// How many map elements the endpoints of a Service take at most in one family, one for each
    /// address with a port and each endpoint; further endpoints are not used (with --config, too)
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SERVICE_ELEMENTS)]
    pub max_service_elements: usize,
}

impl Default for LimitArgs {
    fn default() -> Self {
        Self {
            max_service_keys: DEFAULT_MAX_SERVICE_KEYS,
            max_service_elements: DEFAULT_MAX_SERVICE_ELEMENTS,
        }
    }
}

impl LimitArgs {
    /// The settings with these limits.
    pub fn apply(self, config: Config) -> Config {
        let Self { max_service_keys, max_service_elements } = self;
        Config { max_service_keys, max_service_elements, ..config }
    }
}
