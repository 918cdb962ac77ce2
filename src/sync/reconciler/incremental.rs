//! Programs queued changes.

use std::collections::HashSet;
use std::mem;

use weir_rules::cluster::{ChangeSet, Cluster, Family, NamespacedName};
use weir_rules::config::Config;
use weir_rules::nft::Ruleset;
use weir_rules::reconcile::mirror::{Batch, Compiled, Mirror, Plan, RejectedObject};
use weir_rules::transaction::Tally;
use weir_rules::transaction::diff::diff;

use super::{Knowledge, Reconciler};
use crate::kernel::CommitError;
use crate::sync::commit::{ApplyError, MAX_ELEMENTS, commit, is_existence_conflict};
use crate::sync::converge::converge;
use crate::sync::scopes::DeltaScope;
use crate::sync::{NfTables, SyncReport};

impl<K: NfTables> Reconciler<K> {
    /// Programs what has changed, since this generation. It may be sure that the kernel holds what
    /// it is thought to hold.
    pub(super) fn apply_changes(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        (generation, is_sure): (u32, bool),
        report: &mut SyncReport,
    ) -> Result<(), ApplyError> {
        let batch = self.next_batch(cluster, config);
        let plan_batch = |mirror: &Mirror, compiled: &mut Compiled| {
            mirror.plan_batch(cluster, config, &batch, compiled)
        };
        let mut plan = plan_batch(&self.mirror, &mut self.compiled);
        report.recompiled += plan.recompiled;
        let (before, after) = (mem::take(&mut plan.before), mem::take(&mut plan.after));
        let mut scope = DeltaScope::new(before, after, generation);
        let committed = report.commits.len();
        let result = converge(&mut self.kernel, &mut scope, &mut report.commits);
        report.reads += scope.reads;
        self.note(mem::take(&mut scope.foreign), report);
        let apply_error = match result {
            Ok(generation) => {
                if let Some(aligned) = scope.aligned {
                    plan.accept_slots(&aligned);
                }
                let finished = mem::take(&mut plan.finished);
                let begun = mem::take(&mut plan.begun);
                report.services.extend(finished.iter().chain(&begun).cloned());
                self.queue.begin(begun);
                self.mirror.accept(plan);
                self.queue.finish(&finished);
                return self.mark_synced(generation, report);
            }
            Err(apply_error) => apply_error,
        };
        let is_refused = matches!(apply_error, ApplyError::Rejected { .. });
        if !is_refused || report.commits.len() > committed {
            let Plan { before, after, .. } = plan_batch(&self.mirror, &mut self.compiled);
            self.is_taken_back = is_refused && self.take_back(&scope, &before, committed, report);
            if !self.is_taken_back {
                // Nobody knows how much of it the kernel has.
                self.explained.add(&diff(&before, &after));
            }
        }
        let is_of_state = |error: &CommitError| matches!(error, CommitError::Refused { source, .. } if is_existence_conflict(source.kind()));
        match apply_error {
            ApplyError::Rejected { error, .. } if !is_sure && is_of_state(&error) => {
                Err(ApplyError::Suspect(error))
            }
            ApplyError::Rejected { object, error } => {
                let find = |(family, object): &(Family, RejectedObject)| {
                    plan.owners_of(*family, object, &self.mirror)
                };
                let users = object.as_deref().map(find).unwrap_or_default();
                self.quarantine_owners(users, object, error, false, report)
            }
            apply_error => Err(apply_error),
        }
    }

    /// Takes back what was made in advance for a change of which the kernel has refused the rest, if that
    /// is only what nothing refers to. Returns whether the kernel holds again what it held `before`.
    fn take_back(
        &mut self,
        scope: &DeltaScope,
        before: &Ruleset,
        committed: usize,
        report: &mut SyncReport,
    ) -> bool {
        let mut made = report.commits[committed..].iter().map(|commit| &commit.counts);
        if made.any(|counts| counts.added.elements > 0 || counts.removed != Tally::default()) {
            return false;
        }
        let transaction = diff(&scope.before, before);
        let mut generation = Some(scope.generation);
        let result = commit(&mut self.kernel, transaction, &mut generation, &mut report.commits);
        if let (Ok(()), Some(generation)) = (&result, generation) {
            self.knowledge = Knowledge::Synced(generation);
        }
        result.is_ok()
    }

    /// Takes everything that is queued, to be programmed in one batch while these Services are frozen.
    /// Those of them that are tried again wait.
    pub(super) fn take_queue(&mut self, left: HashSet<NamespacedName>) -> ChangeSet {
        let mut change_set = self.queue.take();
        let waiting = self.quarantine.waiting();
        let is_tried =
            |service: &NamespacedName| left.contains(service) && !waiting.contains(service);
        let tried: Vec<_> =
            change_set.services.iter().filter(|service| is_tried(service)).cloned().collect();
        self.queue.add(ChangeSet::services(tried));
        change_set.services.retain(|service| !left.contains(service));
        self.mirror.freeze(left);
        change_set
    }

    /// As much of what waits as goes well into one transaction, so that what is made for it on the way
    /// takes little memory, and nobody else waits for long.
    fn next_batch(&mut self, cluster: &Cluster, config: &Config) -> Batch {
        if self.queue.environment() {
            let change_set = ChangeSet { environment: true, ..ChangeSet::default() };
            let concerned = self.mirror.concerned(cluster, config, &change_set);
            self.queue.add(ChangeSet::services(concerned));
        }
        let waiting = self.quarantine.waiting();
        self.queue.remove(&waiting);
        self.mirror.freeze(waiting);
        self.queue.next_batch(cluster, &self.mirror, MAX_ELEMENTS)
    }
}
