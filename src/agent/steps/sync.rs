//! One sync of the agent: its follow-up work and its reports.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use weir_rules::cluster::NamespacedName;

use super::{Agent, ClusterSource};
use crate::config::closed_node_ports;
use crate::error::chain;
use crate::host;
use crate::sync::{Commit, SyncProgress, SyncReport};
use crate::takeover::Takeover;
use crate::telemetry::status::Cause;

/// How often flows are cleaned, at most, while more waits to be programmed.
const CLEAN_INTERVAL: Duration = Duration::from_secs(1);

/// How many Services a line names.
const SERVICES_LOGGED: usize = 8;
/// How many lines of a transaction are logged at level debug.
const LINES_LOGGED: usize = 1000;

impl Agent {
    /// Makes the kernel equal to the cluster, if that is known; a failure is tried again in its time. A
    /// repair leaves what is held back where it is. But a Service is compiled from the cluster as it is, in
    /// which an address may have passed to it: then nobody who gave that up must be missing in the queue.
    pub(super) fn sync(&mut self, start: Instant, cause: Cause) {
        if !self.is_deferred || self.reconciler.compiles() {
            self.deliver(false);
        }
        let Some(cluster) = self.reader.cluster().filter(|_| !self.is_waiting) else { return };
        let mut report = SyncReport::default();
        let result = self.reconciler.sync_batch(cluster, &self.config, &mut report);
        self.has_more = matches!(result, Ok(SyncProgress::Batch));
        self.observed.sync_finished(&report, self.reconciler.quarantined());
        self.tell(start, cause, &report);
        match result {
            Ok(SyncProgress::Batch) => {
                self.note_programmed();
                if self.tables_retry.succeeded() {
                    info!("the kernel takes the changes of the {} again", self.reader.name());
                }
                // Reading all flows behind each batch would hold up the next.
                if self.cleaned.is_none_or(|cleaned| cleaned.elapsed() > CLEAN_INTERVAL) {
                    self.clean_flows();
                }
            }
            Ok(SyncProgress::Done) => {
                self.note_programmed();
                self.note_equal(start, cause);
                let is_all_there = report.commits.is_empty() && self.reconciler.quarantined() == 0;
                let is_first = !std::mem::replace(&mut self.was_equal, true);
                if is_first && is_all_there {
                    info!("the kernel holds all of it already");
                }
                if is_first {
                    self.look_at_network();
                }
                if self.tables_retry.succeeded() {
                    info!("the kernel is equal to the {} again", self.reader.name());
                }
                self.clean_flows();
                self.take_over();
            }
            Err(failure) => {
                self.is_cut_off = failure.is_final();
                self.observed.sync_failed();
                if let Some(news) = self.tables_retry.failed(chain(&failure), self.periods.sync) {
                    error!("{news}; trying again");
                    self.events.not_programmed(news);
                }
            }
        }
        self.is_bloated |=
            report.dumps > 0 || report.commits.iter().any(|commit| commit.transaction.is_none());
        // The next batch would ask for it again.
        if !self.has_more() && std::mem::take(&mut self.is_bloated) {
            host::give_back_memory();
        }
    }

    /// The kernel is equal to the cluster, except for Services that are quarantined or queued: updates
    /// derived state.
    fn note_programmed(&mut self) {
        let Some(cluster) = self.reader.cluster() else { return };
        let is_queued = |service: &NamespacedName| self.reconciler.is_queued(service);
        let is_begun = |service: &NamespacedName| self.reconciler.is_begun(service);
        let quarantine = self.reconciler.quarantine();
        let change = self.programmed.update(cluster, &self.config, quarantine, is_queued, is_begun);
        let facts = self.programmed.facts();
        self.cleaner.note(change.effect);
        if change.checks {
            let own = self.addresses.known();
            self.observed.checks_programmed(facts, cluster, &self.config, own);
        }
        let node = cluster.node.as_ref();
        let closed = closed_node_ports(facts.has_node_ports(), node, &self.config);
        if let Some(note) = closed.as_ref().filter(|_| !self.ports_are_closed) {
            warn!("{note}");
        }
        self.ports_are_closed = closed.is_some();
    }

    /// The kernel is equal to the cluster, except for quarantined Services.
    fn note_equal(&mut self, start: Instant, cause: Cause) {
        let (took, triggers) = (start.elapsed(), self.triggers.take());
        let numbers = self.programmed.facts().numbers();
        self.observed.in_sync(cause, took, self.reconciler.objects(), numbers, triggers);
    }

    /// Reports what a sync has done.
    fn tell(&mut self, start: Instant, cause: Cause, report: &SyncReport) {
        self.report_foreign_changes(&report.foreign);
        if report.repairs() > 0 {
            warn!("{}", self.foreign_writers.text(report.pause));
            self.events.repaired(&self.foreign_writers.note(report.pause.is_some()));
        }
        // Who has changed what is still to be repaired is reported with that repair.
        if !self.reconciler.has_drifted() {
            self.foreign_writers.forget();
        }
        for refused in &report.quarantined {
            let (service, reason) = (&refused.service, &refused.reason);
            let is_begun = self.reconciler.is_begun(service);
            let rest = if is_begun { "the rest of the Service" } else { "the Service" };
            error!(%service, "{reason}; {rest} stays as it was, and is tried again");
            self.events.refused(service, reason, rest);
        }
        for service in &report.taken {
            info!(%service, "the kernel takes the Service now");
        }
        // A repair is no reason to hold back what the cluster asks for.
        self.has_programmed |= report.commits.iter().any(|commit| !commit.is_repair);
        let services = named(&report.services);
        for commit in &report.commits {
            self.cleaner.note(commit.effect.clone());
            let cause = match cause {
                _ if commit.is_repair => "repair",
                // What others have done may have been found while looking for it, or may not.
                Cause::Update | Cause::Repair => self.reader.name(),
                Cause::Retry => "retry",
                Cause::Full => "full",
            };
            log(commit, cause, &services, start);
        }
    }

    /// Has kube-proxy's leftovers removed, once weir's own tables are there. Only who follows an API
    /// server has taken kube-proxy's place on the node; and every cluster has at least the Service
    /// of its API server, so that one without is no reason to remove what may still serve.
    fn take_over(&mut self) {
        // What the kernel refuses of weir's, kube-proxy's rules may still serve.
        let serves = self.programmed.facts().has_endpoints() && self.reconciler.quarantined() == 0;
        if self.takeover.is_none() && serves && matches!(self.reader, ClusterSource::Api(_)) {
            self.takeover = Some(Takeover::start());
        }
    }
}

/// The first of these Services by name, and how many more there are.
fn named(services: &[NamespacedName]) -> String {
    let mut text: Vec<_> = services.iter().take(SERVICES_LOGGED).map(ToString::to_string).collect();
    if services.len() > SERVICES_LOGGED {
        text.push(format!("and {} more", services.len() - SERVICES_LOGGED));
    }
    text.join(" ")
}

/// Logs a commit, and at level debug each line of it.
fn log(commit: &Commit, cause: &str, services: &str, start: Instant) {
    let elapsed_us = start.elapsed().as_micros();
    let services = Some(services).filter(|_| !commit.is_repair && !services.is_empty());
    let Commit { bytes, generation, counts, .. } = commit;
    info!(cause, services, generation, bytes, elapsed_us, "{counts}");
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    if commit.transaction.is_none() {
        debug!("too much to be listed");
    }
    let lines = commit.transaction.iter().flat_map(|it| it.lines());
    for (sign, line) in lines.take(LINES_LOGGED) {
        debug!("{sign} {line}");
    }
}
