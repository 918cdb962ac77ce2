//! Comparing what the kernel holds, all of it or what others may have changed.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::{Cluster, Family, Touched};
use weir_rules::config::Config;
use weir_rules::reconcile::mirror::{Desired, Object};
use weir_rules::transaction::diff::diff;

use super::{Engine, Trust};
use crate::kernel::{Parts, TableParts};
use crate::sync::bring::bring;
use crate::sync::commit::{MOST_ELEMENTS, Setback};
use crate::sync::queue::weight;
use crate::sync::views::{Suspected, Whole};
use crate::sync::{SyncError, Synced, Tables};

impl<K: Tables> Engine<K> {
    /// Compares all. Where the kernel has none of weir's tables, and there is much to put into them, makes
    /// them without any Service, so that these come in bites; what was desired before is of no use then.
    pub(super) fn compare(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        let since = Instant::now();
        let ahead = self.ahead.take();
        let names = cluster.services.keys();
        let is_large = names.map(|it| weight(cluster, it)).sum::<usize>() > MOST_ELEMENTS;
        // What Services have that are set aside can only come from what is desired.
        let may_begin_anew = self.trust == Trust::Unknown && self.aside.len() == 0;
        let is_blank = may_begin_anew && is_large && self.kernel_is_blank(synced)?;
        let touched = match self.trust {
            Trust::Doubtful => Touched::default(),
            _ if is_blank => {
                synced.is_rebuilt |= self.was_equal;
                self.desired = Desired::default();
                self.queue.add(Touched::all(cluster));
                Touched { surroundings: true, ..Touched::default() }
            }
            _ => self.take_queue(self.aside.left_in_comparison()),
        };
        synced.recompiled += self.expect(cluster, config, &touched);
        let mut view = Whole::keeping(&mut self.desired, self.aside.unknown());
        view.ahead = ahead;
        let before = synced.changes.len();
        let result = bring(&mut self.kernel, &mut view, &mut synced.changes);
        synced.dumps += view.dumps;
        match result {
            Ok(generation) => {
                if let Some(fitted) = view.fitted {
                    self.desired.adopt_slots(&fitted);
                }
                self.aside.all_known();
                self.queue.only_begun(&self.aside.services().cloned().collect());
                self.settle(since, before, synced);
                self.equal_at(generation, synced)
            }
            Err(Setback::Refused { object, error }) => {
                let find =
                    |(family, object): &(Family, Object)| self.desired.users(*family, object);
                let users = object.as_deref().map(find).unwrap_or_default();
                self.refuse(users, object, error, true, synced)
            }
            Err(setback) => Err(setback),
        }
    }

    /// Whether the kernel has none of weir's tables.
    fn kernel_is_blank(&mut self, synced: &mut Synced) -> Result<bool, SyncError> {
        let structure = || TableParts { structure: true, sets: BTreeMap::new() };
        let tables = Family::ALL.map(|family| (family, structure())).into();
        synced.reads += 1;
        Ok(self.kernel.read(&Parts { tables })?.ruleset.tables.is_empty())
    }

    /// Undoes what others have done.
    pub(super) fn repair(&mut self, synced: &mut Synced) -> Result<(), Setback> {
        let since = Instant::now();
        let Some(suspects) = self.drift.suspects() else { return Err(Setback::Drifted) };
        let Some(mut view) = Suspected::new(suspects, &self.desired) else {
            return Err(Setback::Drifted);
        };
        let before = synced.changes.len();
        synced.reads += 1;
        let result = bring(&mut self.kernel, &mut view, &mut synced.changes);
        let generation = result.map_err(|setback| match setback {
            // Whose fault it is shows where all is compared.
            Setback::Refused { .. } => Setback::Drifted,
            setback => setback,
        })?;
        if let Some(fitted) = view.fitted {
            self.desired.adopt_slots(&fitted);
        }
        self.settle(since, before, synced);
        self.equal_at(generation, synced)
    }

    /// Desires what has changed in the cluster, which then explains what differs by it. Gives how many Services
    /// were compiled.
    fn expect(&mut self, cluster: &Cluster, config: &Config, touched: &Touched) -> usize {
        if !self.was_equal {
            return self.desired.set(cluster, config, touched);
        }
        let mut plan = self.desired.plan(cluster, config, touched);
        let (before, after) = (mem::take(&mut plan.before), mem::take(&mut plan.after));
        self.explained.add(&diff(&before, &after));
        let recompiled = plan.recompiled;
        self.desired.accept(plan);
        recompiled
    }

    /// Nothing differs any more. What was put right and weir's own changes do not explain, is a repair.
    fn settle(&mut self, since: Instant, before: usize, synced: &mut Synced) {
        let mut was_repaired = synced.is_rebuilt;
        for change in &mut synced.changes[before..] {
            let is_explained =
                change.transaction.as_ref().is_none_or(|it| self.explained.explains(it));
            change.is_repair |= self.was_equal && !is_explained;
            was_repaired |= change.is_repair;
        }
        let took = if self.drift.is_pending() { since.elapsed() } else { Duration::ZERO };
        synced.pause = self.drift.settled(was_repaired, took).or(synced.pause);
    }
}
