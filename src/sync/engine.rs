//! Keeping the kernel equal to a cluster that changes.

mod change;
mod compare;
mod refuse;

use std::mem;

use tokio::time::Instant;
use weir_rules::cluster::{Cluster, NamespacedName, Touched};
use weir_rules::config::Config;
use weir_rules::desired::{Compiled, Desired};
use weir_rules::transaction::Tally;

use super::aside::Aside;
use super::commit::Setback;
use super::drift::Drift;
use super::explained::Explained;
use super::queue::Queue;
use super::{SyncError, Synced, Tables};
use crate::kernel::generation::is_later;
use crate::kernel::{DumpError, Heard, Snapshot};

/// How many steps one sync has at most: each Service that is set aside costs one or two.
const MOST_STEPS: u32 = 256;

/// How often one sync begins anew because others have changed weir's tables under its hands. Each
/// time all may have to be compared.
const MOST_DISTURBANCES: u32 = 4;

/// What is known of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing: all has to be compared.
    Unknown,
    /// Not that it holds what is desired, which was thought. All has to be compared, before
    /// anything else is wanted.
    Doubtful,
    /// It holds what is desired, but for what has been touched or drifted, and is of this
    /// generation.
    Equal(u32),
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
pub struct Engine<K> {
    kernel: K,
    /// What the kernel holds, as far as it is trusted to.
    desired: Desired,
    trust: Trust,
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
    aside: Aside,
    /// A generation of which nobody had told at the last look.
    untold: Option<u32>,
    /// All of the kernel's tables, as they were read in advance.
    ahead: Option<Snapshot>,
}

impl<K: Tables> Engine<K> {
    /// Nothing is known of the kernel yet.
    pub fn new(kernel: K) -> Self {
        Self {
            kernel,
            desired: Desired::default(),
            trust: Trust::Unknown,
            queue: Queue::default(),
            compiled: Compiled::default(),
            drift: Drift::default(),
            explained: Explained::default(),
            was_equal: false,
            is_taken_back: false,
            aside: Aside::default(),
            untold: None,
            ahead: None,
        }
    }

    /// Reads all of the kernel's tables in advance: at the start there is time for it, while the
    /// cluster is not known. Whatever keeps it from that shows when it has to be.
    pub fn read_ahead(&mut self) {
        self.ahead = self.kernel.dump().ok();
    }

    /// Takes note of what has changed in the cluster. Other settings touch the surroundings.
    pub fn touch(&mut self, touched: Touched) {
        for service in &touched.services {
            if self.aside.try_again(service) {
                self.trust = Trust::Unknown;
            }
        }
        self.compiled.touch(&touched);
        self.queue.add(touched);
    }

    /// Has all compared at the next sync.
    pub fn distrust(&mut self) {
        self.trust = Trust::Unknown;
    }

    /// Learns what others have committed since.
    pub fn hear(&mut self) -> Heard {
        let heard = self.kernel.heard();
        self.take_note(&heard);
        heard
    }

    /// Asks the kernel whether there was a commit that was not heard of, and learns what was.
    ///
    /// The kernel counts a commit before it tells of it. So one is missed only if it has not been
    /// told by the next look either.
    ///
    /// # Errors
    /// If the kernel could not be asked.
    pub fn look(&mut self) -> Result<Heard, DumpError> {
        let before = self.known();
        let now = self.kernel.generation()?;
        let mut heard = self.hear();
        let is_untold = |generation: &u32| self.known().is_some_and(|it| is_later(*generation, it));
        // It went back where nf_tables was unloaded and loaded again.
        let went_back = before.is_some_and(|before| is_later(before, now));
        if went_back || self.untold.as_ref().is_some_and(is_untold) {
            self.untold = None;
            let unheard = Heard { is_lossy: true, ..Heard::default() };
            self.take_note(&unheard);
            heard.merge(unheard);
        } else {
            self.untold = Some(now).filter(is_untold);
        }
        Ok(heard)
    }

    /// The generation at which the kernel held what is desired, but for what is known to differ.
    fn known(&self) -> Option<u32> {
        match self.trust {
            Trust::Equal(generation) => Some(generation),
            Trust::Unknown | Trust::Doubtful => None,
        }
    }

    /// When the next sync is due even if the cluster does not change: to repair what others have
    /// changed, or to try a Service again that the kernel has refused. Not before now.
    pub fn due(&self) -> Option<Instant> {
        let again = self.aside.next_due().map(|due| due.max(Instant::now()));
        [self.drift.due(), again].into_iter().flatten().min()
    }

    /// Whether others have changed something that is not repaired.
    pub fn has_drifted(&self) -> bool {
        self.drift.is_pending()
    }

    /// How many Services are set aside.
    pub fn set_aside(&self) -> usize {
        self.aside.len()
    }

    /// The Services that are set aside, and of each whether the kernel holds anything for it.
    pub fn aside(&self) -> impl Iterator<Item = (&NamespacedName, bool)> {
        self.aside.services().map(|service| (service, self.desired.has(service)))
    }

    /// How many things each table holds, in the order of [`Family::ALL`](weir_rules::cluster::Family::ALL).
    pub fn objects(&self) -> [Tally; 2] {
        self.desired.objects()
    }

    /// Whether the next sync compiles any Service: one that waits, or is tried again.
    pub fn compiles(&self) -> bool {
        !self.queue.is_empty() || !self.aside.due().is_empty()
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

    /// Makes the kernel equal to what the cluster asks for. What was done is told also of a failure,
    /// after which it is to be called again.
    pub fn sync(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        synced: &mut Synced,
    ) -> Result<(), SyncError> {
        while self.sync_batch(cluster, config, synced)? == SyncProgress::Batch {}
        Ok(())
    }

    /// The same, but comes back behind a batch if more waits, so that what has changed meanwhile is known
    /// before the next.
    pub fn sync_batch(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        synced: &mut Synced,
    ) -> Result<SyncProgress, SyncError> {
        for service in self.aside.due() {
            let touched = Touched::services([service]);
            self.touch(touched);
        }
        let (mut has_repaired, mut has_compared) = (false, false);
        let mut disturbances = 0;
        for _ in 0..MOST_STEPS {
            let heard = self.kernel.heard();
            self.note(heard, synced);
            let committed = synced.changes.len();
            let result = match self.trust {
                Trust::Unknown | Trust::Doubtful => {
                    (has_repaired, has_compared) = (true, true);
                    self.compare(cluster, config, synced)
                }
                // What comes on top of one repair waits for the next.
                Trust::Equal(_) if self.drift.is_pending() && !has_repaired => {
                    has_repaired = true;
                    self.repair(synced)
                }
                Trust::Equal(generation) if !self.queue.is_empty() => {
                    // What was heard since may be why the kernel refuses something.
                    let is_sure = has_compared && !self.drift.is_pending();
                    let result = self.change(cluster, config, (generation, is_sure), synced);
                    if result.is_ok() && !self.queue.is_empty() {
                        synced.finish(committed);
                        return Ok(SyncProgress::Batch);
                    }
                    result
                }
                Trust::Equal(_) => {
                    synced.taken.extend(self.aside.accepted());
                    synced.finish(committed);
                    return Ok(SyncProgress::Done);
                }
            };
            synced.shorten(committed);
            let Err(setback) = result else { continue };
            let is_taken_back = mem::take(&mut self.is_taken_back);
            let is_untouched = is_taken_back || synced.changes.len() == committed;
            self.trust = match setback {
                Setback::Refused { .. } if is_untouched => self.trust,
                Setback::Doubtful(_) if is_untouched => Trust::Doubtful,
                _ => Trust::Unknown,
            };
            match setback {
                Setback::Failed(error) => return Err(error),
                Setback::Refused { .. } => {}
                _ if disturbances == MOST_DISTURBANCES => return Err(SyncError::Unsteady),
                _ => disturbances += 1,
            }
        }
        Err(match synced.set_aside.len() {
            0 => SyncError::Unsteady,
            count => SyncError::ManyRefused(count),
        })
    }

    fn note(&mut self, heard: Heard, synced: &mut Synced) {
        self.take_note(&heard);
        synced.heard.merge(heard);
    }

    fn take_note(&mut self, heard: &Heard) {
        self.drift.note(heard);
        // What is told late is behind what is known: weir's own commits, of which it knows by the answer.
        let told =
            self.known().zip(heard.generation).filter(|(known, told)| is_later(*told, *known));
        if let Some((_, generation)) = told {
            self.trust = Trust::Equal(generation);
        }
    }

    /// The kernel is equal, and was so at this generation.
    fn equal_at(&mut self, generation: Option<u32>, synced: &mut Synced) -> Result<(), Setback> {
        let generation = match generation {
            Some(generation) => generation,
            None => self.kernel.generation()?,
        };
        self.trust = Trust::Equal(generation);
        self.explained.clear();
        self.was_equal = true;
        // Whatever came in between is heard behind that.
        let heard = self.kernel.heard();
        self.note(heard, synced);
        Ok(())
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod look_tests;
