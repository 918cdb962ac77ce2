//! Programming what has changed in the cluster.

use std::collections::HashSet;
use std::mem;

use weir_rules::cluster::{Cluster, Family, NamespacedName, Touched};
use weir_rules::config::Config;
use weir_rules::nft::Ruleset;
use weir_rules::reconcile::mirror::{Batch, Compiled, Desired, Object, Plan};
use weir_rules::transaction::Tally;
use weir_rules::transaction::diff::diff;

use super::{Engine, Trust};
use crate::kernel::CommitError;
use crate::sync::bring::bring;
use crate::sync::commit::{MOST_ELEMENTS, Setback, commit, is_there_or_not};
use crate::sync::views::Differences;
use crate::sync::{Synced, Tables};

impl<K: Tables> Engine<K> {
    /// Programs what has changed, since this generation. It may be sure that the kernel holds what
    /// it is thought to hold.
    pub(super) fn change(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        (generation, is_sure): (u32, bool),
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        let batch = self.next_batch(cluster, config);
        let plan_batch = |desired: &Desired, compiled: &mut Compiled| {
            desired.plan_batch(cluster, config, &batch, compiled)
        };
        let mut plan = plan_batch(&self.desired, &mut self.compiled);
        synced.recompiled += plan.recompiled;
        let (before, after) = (mem::take(&mut plan.before), mem::take(&mut plan.after));
        let mut view = Differences::new(before, after, generation);
        let committed = synced.changes.len();
        let result = bring(&mut self.kernel, &mut view, &mut synced.changes);
        synced.reads += view.reads;
        self.note(mem::take(&mut view.heard), synced);
        let setback = match result {
            Ok(generation) => {
                if let Some(fitted) = view.fitted {
                    plan.adopt_slots(&fitted);
                }
                let finished = mem::take(&mut plan.finished);
                self.queue.begin(mem::take(&mut plan.begun));
                self.desired.accept(plan);
                self.queue.finish(&finished);
                return self.equal_at(generation, synced);
            }
            Err(setback) => setback,
        };
        let is_refused = matches!(setback, Setback::Refused { .. });
        if !is_refused || synced.changes.len() > committed {
            let Plan { before, after, .. } = plan_batch(&self.desired, &mut self.compiled);
            self.is_taken_back = is_refused && self.take_back(&view, &before, committed, synced);
            if !self.is_taken_back {
                // Nobody knows how much of it the kernel has.
                self.explained.add(&diff(&before, &after));
            }
        }
        let is_of_state = |error: &CommitError| matches!(error, CommitError::Refused { source, .. } if is_there_or_not(source.kind()));
        match setback {
            Setback::Refused { error, .. } if !is_sure && is_of_state(&error) => {
                Err(Setback::Doubtful(error))
            }
            Setback::Refused { object, error } => {
                let find = |(family, object): &(Family, Object)| {
                    plan.users(*family, object, &self.desired)
                };
                let users = object.as_deref().map(find).unwrap_or_default();
                self.refuse(users, object, error, false, synced)
            }
            setback => Err(setback),
        }
    }

    /// Takes back what was made in advance for a change of which the kernel has refused the rest, if that
    /// is only what nothing leads to. Says whether the kernel holds again what it held `before`.
    fn take_back(
        &mut self,
        view: &Differences,
        before: &Ruleset,
        committed: usize,
        synced: &mut Synced,
    ) -> bool {
        let mut made = synced.changes[committed..].iter().map(|change| &change.counts);
        if made.any(|counts| counts.added.elements > 0 || counts.removed != Tally::default()) {
            return false;
        }
        let transaction = diff(&view.before, before);
        let mut generation = Some(view.generation);
        let result = commit(&mut self.kernel, transaction, &mut generation, &mut synced.changes);
        if let (Ok(()), Some(generation)) = (&result, generation) {
            self.trust = Trust::Equal(generation);
        }
        result.is_ok()
    }

    /// All that waits, to be programmed in one piece while these Services are left as they are. Those of
    /// them that are tried again wait.
    pub(super) fn take_queue(&mut self, left: HashSet<NamespacedName>) -> Touched {
        let mut touched = self.queue.take();
        let out = self.aside.out();
        let is_tried = |service: &NamespacedName| left.contains(service) && !out.contains(service);
        let tried: Vec<_> =
            touched.services.iter().filter(|service| is_tried(service)).cloned().collect();
        self.queue.add(Touched::services(tried));
        touched.services.retain(|service| !left.contains(service));
        self.desired.leave(left);
        touched
    }

    /// As much of what waits as goes well into one transaction, so that what is made for it on the way
    /// takes little memory, and nobody else waits for long.
    fn next_batch(&mut self, cluster: &Cluster, config: &Config) -> Batch {
        if self.queue.surroundings() {
            let touched = Touched { surroundings: true, ..Touched::default() };
            let concerned = self.desired.concerned(cluster, config, &touched);
            self.queue.add(Touched::services(concerned));
        }
        let out = self.aside.out();
        self.queue.remove(&out);
        self.desired.leave(out);
        self.queue.next_batch(cluster, &self.desired, MOST_ELEMENTS)
    }
}
