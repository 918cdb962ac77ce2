//! weir's own metrics.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use weir_rules::transaction::Tally;

use super::proxy::FAMILY;
use crate::registry::MetricsBuilder;

/// What kube-proxy has no metrics for.
#[derive(Debug)]
pub(super) struct WeirMetrics {
    pub(super) services: IntGaugeVec,
    pub(super) endpoints: IntGaugeVec,
    pub(super) objects: IntGaugeVec,
    pub(super) changes: IntCounterVec,
    pub(super) transactions: IntCounter,
    pub(super) transaction_bytes: Histogram,
    pub(super) repairs: IntCounter,
    pub(super) foreign_commits: IntCounter,
    pub(super) waits: IntGauge,
    pub(super) recompiled: IntCounter,
    pub(super) reads: IntCounterVec,
    pub(super) refusals: IntCounter,
    pub(super) quarantined: IntGauge,
    pub(super) lost_claims: IntGaugeVec,
    pub(super) over_limit: IntGauge,
    pub(super) update: Histogram,
    pub(super) flow_failures: IntCounter,
    pub(super) config_is_good: IntGauge,
    pub(super) config_loaded: Gauge,
    pub(super) dropped_log_lines: IntCounter,
}

impl WeirMetrics {
    pub(super) fn new(book: &mut MetricsBuilder) -> Self {
        Self {
            services: book.gauges(
                "weir_programmed_services",
                &[FAMILY],
                "Services that are programmed.",
            ),
            endpoints: book.gauges(
                "weir_programmed_endpoints",
                &[FAMILY],
                "Endpoints in the EndpointSlices of these Services, ready or not.",
            ),
            objects: book.gauges(
                "weir_programmed_objects",
                &[FAMILY, "kind"],
                "What weir's table holds: sets, chains, rules and elements.",
            ),
            changes: book.counters(
                "weir_changes_total",
                &["kind", "change"],
                "Tables, sets, chains, rules and elements that were added and removed.",
            ),
            transactions: book
                .counter("weir_transactions_total", "Transactions that the kernel has committed."),
            transaction_bytes: book.histogram(
                "weir_transaction_bytes",
                (0..10).map(|power| 256.0 * 4f64.powi(power)).collect(),
                "The length of each transaction.",
            ),
            repairs: book.counter(
                "weir_repairs_total",
                "How often weir has repaired foreign changes to its tables.",
            ),
            foreign_commits: book.counter(
                "weir_foreign_commits_total",
                "Foreign transactions that changed weir's tables.",
            ),
            waits: book.gauge(
                "weir_waits_for_other",
                "1 while another weir keeps the tables, for whose end this one waits.",
            ),
            recompiled: book.counter(
                "weir_recompiled_services_total",
                "Services that were compiled because something changed that they depend on.",
            ),
            reads: book.counters(
                "weir_kernel_reads_total",
                &["what"],
                "How often weir's tables were read from the kernel: all of them, or parts.",
            ),
            refusals: book.counter(
                "weir_refused_services_total",
                "How often the kernel has rejected a Service for a new reason.",
            ),
            quarantined: book.gauge(
                "weir_set_aside_services",
                "Quarantined Services: the kernel rejects them. They stay as programmed last, and are retried.",
            ),
            over_limit: book.gauge(
                "weir_limited_services",
                "Services that exceed a limit on addresses with ports, or on endpoints.",
            ),
            lost_claims: book.gauges(
                "weir_lost_claims",
                &["kind"],
                "Addresses with a port, and node ports, that a Service has lost to another.",
            ),
            update: book.histogram(
                "weir_update_duration_seconds",
                update_buckets(),
                "Time from the notification of a change to its commit, with all attempts.",
            ),
            flow_failures: book.counter(
                "weir_stale_flow_failures_total",
                "How often stale UDP flows could not be removed; removal is retried.",
            ),
            config_is_good: book.gauge(
                "weir_config_last_reload_successful",
                "Whether the configuration file was good when it was last read.",
            ),
            config_loaded: book.gauge(
                "weir_config_last_reload_success_timestamp_seconds",
                "When the configuration that is in use was read.",
            ),
            dropped_log_lines: book.counter(
                "weir_dropped_log_lines_total",
                "Lines of the log that were dropped because nobody read it.",
            ),
        }
    }

    /// Counts what a transaction has added (`change` is `added`) or removed.
    pub(super) fn count(&self, change: &str, tally: &Tally) {
        let kinds = [
            ("table", tally.tables),
            ("set", tally.sets),
            ("chain", tally.chains),
            ("rule", tally.rules),
            ("element", tally.elements),
        ];
        for (kind, count) in kinds {
            self.changes.with_label_values(&[kind, change]).inc_by(count as u64);
        }
    }
}

/// From 50 µs to 10 s.
fn update_buckets() -> Vec<f64> {
    let decades = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let buckets = decades.iter().flat_map(|decade| [1.0, 2.5, 5.0].map(|step| step * decade));
    buckets.skip(2).chain([10.0]).collect()
}
