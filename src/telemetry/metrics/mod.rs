//! What /metrics serves. docs/metrics.md lists it, and a test compares the two.

mod proxy;
mod record;
mod weir;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounterVec, IntGaugeVec, Registry, TextEncoder};
use weir_rules::cluster::Family;

use proxy::Proxy;
use weir::WeirMetrics;

use crate::logging;
pub use crate::registry::Descriptor;
use crate::registry::MetricsBuilder;
use crate::source::api::ApiMetrics;

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// kube-proxy serves these at /metrics/slis alone.
    slis: Registry,
    entries: Vec<Descriptor>,
    proxy: Proxy,
    own: WeirMetrics,
    api: ApiMetrics,
    healthcheck: IntGaugeVec,
    healthchecks: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut book = MetricsBuilder::default();
        let proxy = Proxy::new(&mut book);
        let own = WeirMetrics::new(&mut book);
        let api = ApiMetrics::new(&mut book);
        let build_labels = build_info();
        let names: Vec<&str> = build_labels.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = build_labels.iter().map(|(_, value)| *value).collect();
        let build: IntGaugeVec =
            book.gauges("kubernetes_build_info", &names, "Always 1; its labels tell the version.");
        build.with_label_values(&values).set(1);
        let (registry, mut entries) = book.close();
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("process metrics have names of their own");

        let mut slis = MetricsBuilder::default();
        let healthcheck = slis.gauges(
            "kubernetes_healthcheck",
            &["name", "type"],
            "1 if the check was good when /healthz at metricsBindAddress was last asked for.",
        );
        let healthchecks = slis.counters(
            "kubernetes_healthchecks_total",
            &["name", "status", "type"],
            "How often /healthz at metricsBindAddress was asked for.",
        );
        let (slis, sli_entries) = slis.close();
        entries.extend(sli_entries);
        for family in Family::ALL {
            proxy.begin(family_name(family));
        }
        Self { registry, slis, entries, proxy, own, api, healthcheck, healthchecks }
    }
}

impl Metrics {
    /// What the source that follows an API server counts.
    pub fn api(&self) -> &ApiMetrics {
        &self.api
    }

    /// All metrics but those of the process itself (`process_*`).
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// All values, in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        // The log counts these for the entire process.
        let dropped = &self.own.dropped_log_lines;
        dropped.inc_by(logging::dropped_lines().saturating_sub(dropped.get()));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The values of /metrics/slis.
    pub fn sli_text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.slis.gather())
    }
}

/// kube-proxy's word for a family.
fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// The labels of `kubernetes_build_info`, as k8s.io/component-base has them; what weir does not
/// know is empty.
fn build_info() -> [(&'static str, &'static str); 9] {
    const PLATFORM: &str = match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "linux/amd64",
        b"aarch64" => "linux/arm64",
        _ => "linux",
    };
    [
        ("build_date", ""),
        ("compiler", "rustc"),
        ("git_commit", ""),
        ("git_tree_state", ""),
        ("git_version", concat!("v", env!("CARGO_PKG_VERSION"))),
        ("go_version", ""),
        ("major", env!("CARGO_PKG_VERSION_MAJOR")),
        ("minor", env!("CARGO_PKG_VERSION_MINOR")),
        ("platform", PLATFORM),
    ]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
