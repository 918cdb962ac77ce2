//! Updates metrics.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::Family;
use weir_rules::cluster::claims::ClaimKind;
use weir_rules::facts::counts::Numbers;
use weir_rules::transaction::Tally;

use super::{Metrics, family_name};
use crate::sync::{Cleaning, SyncReport};

impl Metrics {
    /// The configuration was read; it is in use if it is good.
    pub(crate) fn config_read(&self, is_good: bool) {
        self.own.config_is_good.set(is_good.into());
        if is_good {
            self.own.config_loaded.set(seconds(Timestamp::now()));
        }
    }

    /// So many more Services and EndpointSlices have changed.
    pub(crate) fn changes_seen(&self, [services, slices]: [u64; 2]) {
        self.proxy.service_changes.inc_by(services);
        self.proxy.endpoint_changes.inc_by(slices);
    }

    /// So many changes of Services and EndpointSlices are not programmed.
    pub(crate) fn set_pending(&self, [services, slices]: [u64; 2]) {
        self.proxy.service_changes_pending.set(services as i64);
        self.proxy.endpoint_changes_pending.set(slices as i64);
    }

    /// The cluster asks for something.
    pub(crate) fn queued(&self) {
        let now = seconds(Timestamp::now());
        for label in labels() {
            self.proxy.last_queued.with_label_values(&label).set(now);
        }
    }

    /// The kernel is equal since `now`, which took so long.
    pub(crate) fn in_sync(&self, is_full: bool, took: Duration, now: Timestamp) {
        let kind = if is_full { &self.proxy.full_sync } else { &self.proxy.partial_sync };
        for label in labels() {
            self.proxy.sync.with_label_values(&label).observe(took.as_secs_f64());
            kind.with_label_values(&label).observe(took.as_secs_f64());
            self.proxy.last_sync.with_label_values(&label).set(seconds(now));
        }
    }

    /// So many claims of each kind are another Service's, in the order of [`ClaimKind::ALL`], and so many
    /// Services are over their limits.
    pub(crate) fn services_told(
        &self,
        lost_claims: [usize; ClaimKind::ALL.len()],
        over_limit: usize,
    ) {
        self.own.over_limit.set(over_limit as i64);
        for (kind, count) in ClaimKind::ALL.into_iter().zip(lost_claims) {
            self.own.lost_claims.with_label_values(&[kind.label()]).set(count as i64);
        }
    }

    /// The kernel could not be made equal.
    pub(crate) fn sync_failed(&self) {
        for label in labels() {
            self.proxy.sync_failures.with_label_values(&label).inc();
        }
    }

    /// Whether another weir keeps the tables.
    pub(crate) fn waits(&self, waits: bool) {
        self.own.waits.set(waits.into());
    }

    /// So many transactions of others have changed weir's tables.
    pub(crate) fn foreign(&self, commits: usize) {
        self.own.foreign_commits.inc_by(commits as u64);
    }

    /// Records a sync, and the number of quarantined Services.
    pub(crate) fn sync_finished(&self, report: &SyncReport, quarantined: usize) {
        let own = &self.own;
        own.recompiled.inc_by(report.recompiled as u64);
        own.reads.with_label_values(&["all"]).inc_by(report.dumps);
        own.reads.with_label_values(&["part"]).inc_by(report.reads);
        own.refusals.inc_by(report.quarantined.len() as u64);
        own.quarantined.set(quarantined as i64);
        own.transactions.inc_by(report.commits.len() as u64);
        own.repairs.inc_by(u64::from(report.repairs() > 0));
        for commit in &report.commits {
            own.transaction_bytes.observe(commit.bytes as f64);
            let counts = &commit.counts;
            own.count("added", &counts.added);
            own.count("removed", &counts.removed);
        }
    }

    /// A change was noticed so long before its commit.
    pub(crate) fn update_took(&self, time: Duration) {
        self.own.update.observe(time.as_secs_f64());
    }

    /// A change of a Pod or Service happened so long before its commit.
    pub(crate) fn network_programmed(&self, family: Family, seconds: f64) {
        let histogram = &self.proxy.network_programming;
        histogram.with_label_values(&[family_name(family)]).observe(seconds);
    }

    /// This is programmed, in the order of [`Family::ALL`].
    pub(crate) fn programmed(&self, objects: &[Tally; 2], numbers: &[Numbers; 2]) {
        for (family, objects) in Family::ALL.into_iter().zip(objects) {
            self.count_objects(family, objects);
        }
        for (family, numbers) in Family::ALL.into_iter().zip(numbers) {
            let label = family_name(family);
            self.own.services.with_label_values(&[label]).set(numbers.services.into());
            self.own.endpoints.with_label_values(&[label]).set(numbers.endpoints.into());
            let without =
                [("internal", numbers.no_local_internal), ("external", numbers.no_local_external)];
            for (policy, count) in without {
                let gauge = &self.proxy.no_local_endpoints;
                gauge.with_label_values(&[policy, label]).set(count.into());
            }
        }
    }

    fn count_objects(&self, family: Family, objects: &Tally) {
        let kinds = [
            ("set", objects.sets),
            ("chain", objects.chains),
            ("rule", objects.rules),
            ("element", objects.elements),
        ];
        for (kind, count) in kinds {
            let label = [family_name(family), kind];
            self.own.objects.with_label_values(&label).set(count as i64);
        }
    }

    /// Stale flows were looked for.
    pub(crate) fn flows_cleaned(&self, cleaning: &Cleaning, took: Duration) {
        for (label, removed) in labels().into_iter().zip(cleaning.removed) {
            self.proxy.flows_removed.with_label_values(&label).inc_by(removed as u64);
            self.proxy.flows_cleaning.with_label_values(&label).observe(took.as_secs_f64());
        }
        self.own.flow_failures.inc_by(u64::from(cleaning.failed));
    }

    /// /healthz at healthzBindAddress was answered with this status.
    pub(crate) fn healthz_answered(&self, code: &str) {
        self.proxy.healthz.with_label_values(&[code]).inc();
    }

    /// /livez was answered with this status.
    pub(crate) fn livez_answered(&self, code: &str) {
        self.proxy.livez.with_label_values(&[code]).inc();
    }

    /// /healthz at metricsBindAddress was asked for. It answers, so that its only check, `ping`, is
    /// good.
    pub(crate) fn pinged(&self) {
        self.healthcheck.with_label_values(&["ping", "healthz"]).set(1);
        self.healthchecks.with_label_values(&["ping", "success", "healthz"]).inc();
    }
}

/// The values of `ip_family`.
fn labels() -> [[&'static str; 1]; 2] {
    Family::ALL.map(|family| [family_name(family)])
}

/// A point of time as Prometheus has it: seconds since 1970.
fn seconds(time: Timestamp) -> f64 {
    time.as_nanosecond() as f64 / 1e9
}
