//! The reconciler: keeps the kernel equal to a cluster that changes.

mod incremental;
mod quarantine_owners;
mod resync;

use std::mem;

use tokio::time::Instant;
use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName};
use weir_rules::config::Config;
use weir_rules::reconcile::mirror::{Compiled, Mirror};
use weir_rules::transaction::Tally;

use super::commit::ApplyError;
use super::drift::Drift;
use super::explained::Explained;
use super::quarantine::Quarantine;
use super::queue::Queue;
use super::{NfTables, SyncError, SyncReport};
use crate::kernel::generation::is_later;
use crate::kernel::{DumpError, ForeignChanges, Snapshot};

/// How many steps one sync has at most: each Service that is quarantined costs one or two.
const MAX_STEPS: u32 = 256;

/// How often one sync begins anew because others have changed weir's tables under its hands. Each
/// time all may have to be compared.
const MAX_DISTURBANCES: u32 = 4;

/// What is known of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// Nothing: all has to be compared.
    Unknown,
    /// Not that it holds what is desired, which was thought. All has to be compared, before
    /// anything else is wanted.
    Suspect,
    /// It holds what is desired, except for what has changed or drifted, and is of this generation.
    Synced(u32),
}

/// How far a sync has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncProgress {
    /// The kernel holds all that the cluster asks for.
    Done,
    /// It holds some of it, and more waits.
    Batch,
}

/// Keeps the kernel equal to what is wanted at the cost of what changes.
#[derive(Debug)]
pub struct Reconciler<K> {
    kernel: K,
    /// What the kernel holds, as far as it is trusted to.
    mirror: Mirror,
    knowledge: Knowledge,
    /// What has changed in the cluster and is not programmed.
    queue: Queue,
    /// What is compiled of a Service that takes several batches.
    compiled: Compiled,
    drift: Drift,
    /// What differs from what is desired without anybody else's doing.
    explained: Explained,
    /// Whether the kernel was ever equal to what is desired: before that, whatever differs is no repair.
    was_equal: bool,
    /// Whether all that was committed of a change that was refused is taken back.
    is_taken_back: bool,
    quarantine: Quarantine,
    /// A generation that had not been announced at the last check.
    unreported_generation: Option<u32>,
    /// All of the kernel's tables, as they were read in advance.
    prefetched: Option<Snapshot>,
}

impl<K: NfTables> Reconciler<K> {
    /// Nothing is known of the kernel yet.
    pub fn new(kernel: K) -> Self {
        Self {
            kernel,
            mirror: Mirror::default(),
            knowledge: Knowledge::Unknown,
            queue: Queue::default(),
            compiled: Compiled::default(),
            drift: Drift::default(),
            explained: Explained::default(),
            was_equal: false,
            is_taken_back: false,
            quarantine: Quarantine::default(),
            unreported_generation: None,
            prefetched: None,
        }
    }

    /// Reads all of the kernel's tables in advance: at the start there is time for it, while the
    /// cluster is not known. Whatever keeps it from that shows when it has to be.
    pub fn prefetch(&mut self) {
        self.prefetched = self.kernel.dump().ok();
    }

    /// Queues what has changed in the cluster. Changed settings are part of the environment.
    pub fn enqueue(&mut self, change_set: ChangeSet) {
        for service in &change_set.services {
            if self.quarantine.try_again(service) {
                self.knowledge = Knowledge::Unknown;
            }
        }
        self.compiled.invalidate(&change_set);
        self.queue.add(change_set);
    }

    /// Has all compared at the next sync.
    pub fn mark_unknown(&mut self) {
        self.knowledge = Knowledge::Unknown;
    }

    /// Learns what others have committed since.
    pub fn take_notifications(&mut self) -> ForeignChanges {
        let foreign = self.kernel.drain();
        self.take_note(&foreign);
        foreign
    }

    /// Asks the kernel whether there was an unannounced commit, and drains announced ones.
    ///
    /// The kernel counts a commit before it announces it. So one is missed only if it has not been
    /// announced by the next check either.
    ///
    /// # Errors
    /// If the kernel could not be asked.
    pub fn check_generation(&mut self) -> Result<ForeignChanges, DumpError> {
        let before = self.known();
        let now = self.kernel.generation()?;
        let mut foreign = self.take_notifications();
        let is_unreported =
            |generation: &u32| self.known().is_some_and(|it| is_later(*generation, it));
        // It went back where nf_tables was unloaded and loaded again.
        let went_back = before.is_some_and(|before| is_later(before, now));
        if went_back || self.unreported_generation.as_ref().is_some_and(is_unreported) {
            self.unreported_generation = None;
            let unheard = ForeignChanges { is_lossy: true, ..ForeignChanges::default() };
            self.take_note(&unheard);
            foreign.merge(unheard);
        } else {
            self.unreported_generation = Some(now).filter(is_unreported);
        }
        Ok(foreign)
    }

    /// The generation at which the kernel held what is desired, but for what is known to differ.
    fn known(&self) -> Option<u32> {
        match self.knowledge {
            Knowledge::Synced(generation) => Some(generation),
            Knowledge::Unknown | Knowledge::Suspect => None,
        }
    }

    /// When the next sync is due even if the cluster does not change: to repair what others have
    /// changed, or to try a Service again that the kernel has refused. Not before now.
    pub fn due(&self) -> Option<Instant> {
        let again = self.quarantine.next_due().map(|due| due.max(Instant::now()));
        [self.drift.due(), again].into_iter().flatten().min()
    }

    /// Whether others have changed something that is not repaired.
    pub fn has_drifted(&self) -> bool {
        self.drift.is_pending()
    }

    /// How many Services are quarantined.
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// The quarantined Services, and of each whether the kernel holds anything for it.
    pub fn quarantine(&self) -> impl Iterator<Item = (&NamespacedName, bool)> {
        self.quarantine.services().map(|service| (service, self.mirror.has(service)))
    }

    /// How many things each table holds, in the order of [`Family::ALL`](weir_rules::cluster::Family::ALL).
    pub fn objects(&self) -> [Tally; 2] {
        self.mirror.objects()
    }

    /// Whether the next sync compiles any Service: one that waits, or is tried again.
    pub fn compiles(&self) -> bool {
        !self.queue.is_empty() || !self.quarantine.due().is_empty()
    }

    /// Whether a Service has changed and is not programmed yet as it is now.
    pub fn is_queued(&self, service: &NamespacedName) -> bool {
        self.queue.contains(service)
    }

    /// Whether the kernel has a part of what a Service is to have, and the rest as it was.
    pub fn is_begun(&self, service: &NamespacedName) -> bool {
        self.queue.is_begun(service)
    }

    /// Since when the Service waits that has waited longest since it changed last.
    pub fn oldest_queued(&self) -> Option<Instant> {
        self.queue.oldest()
    }

    /// Makes the kernel equal to what the cluster asks for. What was done is reported even for a
    /// failure, after which it is to be called again.
    pub fn sync(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        report: &mut SyncReport,
    ) -> Result<(), SyncError> {
        while self.sync_batch(cluster, config, report)? == SyncProgress::Batch {}
        Ok(())
    }

    /// The same, but comes back behind a batch if more waits, so that what has changed meanwhile is known
    /// before the next.
    pub fn sync_batch(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        report: &mut SyncReport,
    ) -> Result<SyncProgress, SyncError> {
        for service in self.quarantine.due() {
            let change_set = ChangeSet::services([service]);
            self.enqueue(change_set);
        }
        let (mut has_repaired, mut has_compared) = (false, false);
        let mut disturbances = 0;
        for _ in 0..MAX_STEPS {
            let foreign = self.kernel.drain();
            self.note(foreign, report);
            let committed = report.commits.len();
            let result = match self.knowledge {
                Knowledge::Unknown | Knowledge::Suspect => {
                    (has_repaired, has_compared) = (true, true);
                    self.resync(cluster, config, report)
                }
                // What comes on top of one repair waits for the next.
                Knowledge::Synced(_) if self.drift.is_pending() && !has_repaired => {
                    has_repaired = true;
                    self.repair(report)
                }
                Knowledge::Synced(generation) if !self.queue.is_empty() => {
                    // Foreign changes since then may be why the kernel rejects something.
                    let is_sure = has_compared && !self.drift.is_pending();
                    let result = self.apply_changes(cluster, config, (generation, is_sure), report);
                    if result.is_ok() && !self.queue.is_empty() {
                        report.finish(committed);
                        return Ok(SyncProgress::Batch);
                    }
                    result
                }
                Knowledge::Synced(_) => {
                    report.taken.extend(self.quarantine.accepted());
                    report.finish(committed);
                    return Ok(SyncProgress::Done);
                }
            };
            report.shorten(committed);
            let Err(apply_error) = result else { continue };
            let is_taken_back = mem::take(&mut self.is_taken_back);
            let is_untouched = is_taken_back || report.commits.len() == committed;
            self.knowledge = match apply_error {
                ApplyError::Rejected { .. } if is_untouched => self.knowledge,
                ApplyError::Suspect(_) if is_untouched => Knowledge::Suspect,
                _ => Knowledge::Unknown,
            };
            match apply_error {
                ApplyError::Failed(error) => return Err(error),
                ApplyError::Rejected { .. } => {}
                _ if disturbances == MAX_DISTURBANCES => return Err(SyncError::Unsteady),
                _ => disturbances += 1,
            }
        }
        Err(match report.quarantined.len() {
            0 => SyncError::Unsteady,
            count => SyncError::ManyRefused(count),
        })
    }

    fn note(&mut self, foreign: ForeignChanges, report: &mut SyncReport) {
        self.take_note(&foreign);
        report.foreign.merge(foreign);
    }

    fn take_note(&mut self, foreign: &ForeignChanges) {
        self.drift.note(foreign);
        // Late announcements lag behind what is known: weir learns of its own commits from the answer.
        let told =
            self.known().zip(foreign.generation).filter(|(known, told)| is_later(*told, *known));
        if let Some((_, generation)) = told {
            self.knowledge = Knowledge::Synced(generation);
        }
    }

    /// The kernel is equal, and was so at this generation.
    fn mark_synced(
        &mut self,
        generation: Option<u32>,
        report: &mut SyncReport,
    ) -> Result<(), ApplyError> {
        let generation = match generation {
            Some(generation) => generation,
            None => self.kernel.generation()?,
        };
        self.knowledge = Knowledge::Synced(generation);
        self.explained.clear();
        self.was_equal = true;
        // Foreign commits in between are announced after that.
        let foreign = self.kernel.drain();
        self.note(foreign, report);
        Ok(())
    }
}

#[cfg(test)]
#[path = "generation_tests.rs"]
mod generation_tests;
