//! Compares the kernel's tables with the desired ones: all of them, or what foreign commits may have changed.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::{ChangeSet, Cluster, Family};
use weir_rules::config::Config;
use weir_rules::reconcile::mirror::{Mirror, RejectedObject};
use weir_rules::transaction::diff::diff;

use super::{Knowledge, Reconciler};
use crate::kernel::{Parts, TableParts};
use crate::sync::commit::{ApplyError, MAX_ELEMENTS};
use crate::sync::converge::converge;
use crate::sync::queue::estimated_elements;
use crate::sync::scopes::{FullScope, RepairScope};
use crate::sync::{NfTables, SyncError, SyncReport};

impl<K: NfTables> Reconciler<K> {
    /// Compares all. Where the kernel has none of weir's tables, and there is much to put into them, makes
    /// them without any Service, so that these come in bites; what was desired before is of no use then.
    pub(super) fn resync(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        report: &mut SyncReport,
    ) -> Result<(), ApplyError> {
        let since = Instant::now();
        let prefetched = self.prefetched.take();
        let names = cluster.services.keys();
        let is_large =
            names.map(|it| estimated_elements(cluster, it)).sum::<usize>() > MAX_ELEMENTS;
        // What quarantined Services have is known from the mirror only.
        let may_begin_anew = self.knowledge == Knowledge::Unknown && self.quarantine.len() == 0;
        let is_blank = may_begin_anew && is_large && self.kernel_is_blank(report)?;
        let change_set = match self.knowledge {
            Knowledge::Suspect => ChangeSet::default(),
            _ if is_blank => {
                report.is_rebuilt |= self.was_equal;
                self.mirror = Mirror::default();
                self.queue.add(ChangeSet::all(cluster));
                ChangeSet { environment: true, ..ChangeSet::default() }
            }
            _ => self.take_queue(self.quarantine.frozen_in_resync()),
        };
        report.recompiled += self.expect(cluster, config, &change_set);
        let mut scope = FullScope::keeping(&mut self.mirror, self.quarantine.unknown());
        scope.prefetched = prefetched;
        let before = report.commits.len();
        let result = converge(&mut self.kernel, &mut scope, &mut report.commits);
        report.dumps += scope.dumps;
        match result {
            Ok(generation) => {
                if let Some(aligned) = scope.aligned {
                    self.mirror.accept_slots(&aligned);
                }
                self.quarantine.mark_all_known();
                // All of every Service is there; what was compiled of a large one is of no more use.
                self.compiled.clear();
                self.queue.only_begun(&self.quarantine.services().cloned().collect());
                self.settle(since, before, report);
                self.mark_synced(generation, report)
            }
            Err(ApplyError::Rejected { object, error }) => {
                let find = |(family, object): &(Family, RejectedObject)| {
                    self.mirror.owners_of(*family, object)
                };
                let users = object.as_deref().map(find).unwrap_or_default();
                self.quarantine_owners(users, object, error, true, report)
            }
            Err(apply_error) => Err(apply_error),
        }
    }

    /// Whether the kernel has none of weir's tables.
    fn kernel_is_blank(&mut self, report: &mut SyncReport) -> Result<bool, SyncError> {
        let structure = || TableParts { structure: true, sets: BTreeMap::new() };
        let tables = Family::ALL.map(|family| (family, structure())).into();
        report.reads += 1;
        Ok(self.kernel.read(&Parts { tables })?.ruleset.tables.is_empty())
    }

    /// Undoes what others have done.
    pub(super) fn repair(&mut self, report: &mut SyncReport) -> Result<(), ApplyError> {
        let since = Instant::now();
        let Some(suspects) = self.drift.suspects() else { return Err(ApplyError::Drifted) };
        let Some(mut scope) = RepairScope::new(suspects, &self.mirror) else {
            return Err(ApplyError::Drifted);
        };
        let before = report.commits.len();
        report.reads += 1;
        let result = converge(&mut self.kernel, &mut scope, &mut report.commits);
        let generation = result.map_err(|apply_error| match apply_error {
            // Whose fault it is shows where all is compared.
            ApplyError::Rejected { .. } => ApplyError::Drifted,
            apply_error => apply_error,
        })?;
        if let Some(aligned) = scope.aligned {
            self.mirror.accept_slots(&aligned);
        }
        self.settle(since, before, report);
        self.mark_synced(generation, report)
    }

    /// Applies queued changes to the mirror, which then explain the resulting differences. Returns how many
    /// Services were compiled.
    fn expect(&mut self, cluster: &Cluster, config: &Config, change_set: &ChangeSet) -> usize {
        if !self.was_equal {
            return self.mirror.set(cluster, config, change_set);
        }
        let mut plan = self.mirror.plan(cluster, config, change_set);
        let (before, after) = (mem::take(&mut plan.before), mem::take(&mut plan.after));
        self.explained.add(&diff(&before, &after));
        let recompiled = plan.recompiled;
        self.mirror.accept(plan);
        recompiled
    }

    /// Nothing differs any more. What was put right and weir's own changes do not explain, is a repair.
    fn settle(&mut self, since: Instant, before: usize, report: &mut SyncReport) {
        let mut was_repaired = report.is_rebuilt;
        for commit in &mut report.commits[before..] {
            let is_explained =
                commit.transaction.as_ref().is_none_or(|it| self.explained.explains(it));
            commit.is_repair |= self.was_equal && !is_explained;
            was_repaired |= commit.is_repair;
        }
        let took = if self.drift.is_pending() { since.elapsed() } else { Duration::ZERO };
        report.pause = self.drift.on_converged(was_repaired, took).or(report.pause);
    }
}
