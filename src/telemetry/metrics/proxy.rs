//! kube-proxy's metrics: its names, types, labels and buckets (pkg/proxy/metrics/metrics.go).

use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::registry::MetricsBuilder;

/// `ip_family` is `IPv4` or `IPv6`.
pub(super) const FAMILY: &str = "ip_family";

/// kube-proxy's metrics that mean something in nftables mode.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) sync: HistogramVec,
    pub(super) full_sync: HistogramVec,
    pub(super) partial_sync: HistogramVec,
    pub(super) network_programming: HistogramVec,
    pub(super) flows_cleaning: HistogramVec,
    pub(super) flows_removed: IntCounterVec,
    pub(super) last_sync: GaugeVec,
    pub(super) last_queued: GaugeVec,
    pub(super) no_local_endpoints: IntGaugeVec,
    pub(super) endpoint_changes: IntCounter,
    pub(super) endpoint_changes_pending: IntGauge,
    pub(super) service_changes: IntCounter,
    pub(super) service_changes_pending: IntGauge,
    pub(super) sync_failures: IntCounterVec,
    pub(super) cleanup_failures: IntCounterVec,
    pub(super) healthz: IntCounterVec,
    pub(super) livez: IntCounterVec,
}

impl Proxy {
    pub(super) fn new(book: &mut MetricsBuilder) -> Self {
        let by_family = &[FAMILY];
        Self {
            sync: book.histograms(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                by_family,
                doubling(),
                "Time that it took to make the kernel equal to what the cluster asks for.",
            ),
            full_sync: book.histograms(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                by_family,
                doubling(),
                "The same of the first sync, regular comparisons, repairs and new attempts.",
            ),
            partial_sync: book.histograms(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                by_family,
                doubling(),
                "The same of syncs because the cluster has changed.",
            ),
            network_programming: book.histograms(
                "kubeproxy_network_programming_duration_seconds",
                by_family,
                programming_buckets(),
                "Time from a change of a Pod or Service to the commit that follows from it.",
            ),
            flows_cleaning: book.histograms(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                by_family,
                doubling(),
                "Time that it took to look for stale UDP flows and to remove them.",
            ),
            flows_removed: book.counters(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                by_family,
                "Stale UDP flows that were removed from connection tracking.",
            ),
            last_sync: book.gauges(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                by_family,
                "When the kernel was last made, or found, equal to what the cluster asks for.",
            ),
            last_queued: book.gauges(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                by_family,
                "When the cluster last asked for something new.",
            ),
            no_local_endpoints: book.gauges(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                &["traffic_policy", FAMILY],
                "Service ports of policy Local with endpoints on other nodes only.",
            ),
            endpoint_changes: book.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "EndpointSlices that have come, changed or gone.",
            ),
            endpoint_changes_pending: book.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Those of them that are not programmed yet.",
            ),
            service_changes: book.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "Services that have come, changed or gone.",
            ),
            service_changes_pending: book.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Those of them that are not programmed yet.",
            ),
            sync_failures: book.counters(
                "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                by_family,
                "Syncs that failed; each is tried again.",
            ),
            cleanup_failures: book.counters(
                "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
                by_family,
                "Always 0: what cannot be removed is a sync that failed.",
            ),
            healthz: book.counters(
                "kubeproxy_proxy_healthz_total",
                &["code"],
                "Answers of /healthz at healthzBindAddress.",
            ),
            livez: book.counters("kubeproxy_proxy_livez_total", &["code"], "Answers of /livez."),
        }
    }

    /// Makes the series of a family, so that they exist before the first value.
    pub(super) fn begin(&self, family: &str) {
        let histograms = [
            &self.sync,
            &self.full_sync,
            &self.partial_sync,
            &self.network_programming,
            &self.flows_cleaning,
        ];
        for histogram in histograms {
            histogram.with_label_values(&[family]);
        }
        for counter in [&self.flows_removed, &self.sync_failures, &self.cleanup_failures] {
            counter.with_label_values(&[family]);
        }
        self.last_sync.with_label_values(&[family]);
        self.last_queued.with_label_values(&[family]);
        for policy in ["internal", "external"] {
            self.no_local_endpoints.with_label_values(&[policy, family]);
        }
    }
}

/// From 1 ms to 16 s.
fn doubling() -> Vec<f64> {
    (0..15).map(|power| 0.001 * f64::from(1 << power)).collect()
}

/// kube-proxy's first bucket is that of 0. To a second in quarters and halves, to a minute in seconds, to two minutes in steps of 5 s, to
/// five in steps of 30 s.
fn programming_buckets() -> Vec<f64> {
    let steps = |from: u32, step: usize, count: usize| {
        (from..).step_by(step).take(count).map(f64::from).collect::<Vec<_>>()
    };
    [vec![0.0, 0.25, 0.5], steps(1, 1, 59), steps(60, 5, 12), steps(120, 30, 7)].concat()
}
