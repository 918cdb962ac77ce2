//! Keeping the kernel equal to a cluster that changes.

mod change;
mod compare;
mod refuse;

use tokio::time::Instant;
use weir_rules::cluster::{Cluster, NamespacedName, Touched};
use weir_rules::config::Config;
use weir_rules::desired::Desired;
use weir_rules::transaction::Tally;

use super::aside::Aside;
use super::commit::Setback;
use super::drift::Drift;
use super::{Change, SyncError, Synced, Tables};
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

/// Keeps the kernel equal to what is wanted at the cost of what changes.
#[derive(Debug)]
pub struct Engine<K> {
    kernel: K,
    /// What the kernel holds, as far as it is trusted to.
    desired: Desired,
    trust: Trust,
    /// What has changed in the cluster and is not programmed.
    dirty: Touched,
    drift: Drift,
    aside: Aside,
    /// The last generation that was known when the last look found another that nobody had told of.
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
            dirty: Touched::default(),
            drift: Drift::default(),
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
        self.dirty.merge(touched);
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
        let now = self.kernel.generation()?;
        let mut heard = self.hear();
        let untold = match (self.trust, now) {
            (Trust::Equal(known), now) if now != known && heard.generation.is_none() => Some(known),
            _ => None,
        };
        if untold.is_some() && untold == self.untold {
            let unheard = Heard { is_lossy: true, ..Heard::default() };
            self.take_note(&unheard);
            heard.merge(unheard);
        }
        self.untold = untold;
        Ok(heard)
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

    /// Makes the kernel equal to what the cluster asks for. What was done is told also of a failure,
    /// after which it is to be called again.
    pub fn sync(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        synced: &mut Synced,
    ) -> Result<(), SyncError> {
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
                Trust::Equal(generation) if !self.dirty.is_empty() => {
                    // What was heard since may be why the kernel refuses something.
                    let is_sure = has_compared && !self.drift.is_pending();
                    self.change(cluster, config, (generation, is_sure), synced)
                }
                Trust::Equal(_) => {
                    synced.taken.extend(self.aside.accepted());
                    if synced.is_rebuilt {
                        synced.changes.iter_mut().for_each(|change| change.is_repair = true);
                    }
                    return Ok(());
                }
            };
            synced.changes[committed..].iter_mut().for_each(Change::shorten);
            let Err(setback) = result else { continue };
            let is_untouched = synced.changes.len() == committed;
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
        if let (Trust::Equal(_), Some(generation)) = (self.trust, heard.generation) {
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
        // Whatever came in between is heard behind that.
        let heard = self.kernel.heard();
        self.note(heard, synced);
        Ok(())
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod look_tests;
