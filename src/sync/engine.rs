//! Keeping the kernel equal to a cluster that changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::{Cluster, Family, NamespacedName, Touched};
use weir_rules::config::Config;
use weir_rules::desired::{Desired, Object};
use weir_rules::transaction::Tally;

use super::aside::{Aside, SetAside};
use super::bring::bring;
use super::commit::{MOST_ELEMENTS, Setback, is_there_or_not};
use super::drift::Drift;
use super::views::{Differences, Suspected, Whole};
use super::{Change, SyncError, Tables};
use crate::kernel::{CommitError, DumpError, Heard, Parts, TableParts};

/// How many steps one sync has at most: each Service that is set aside costs one or two.
const MOST_STEPS: u32 = 256;

/// How often one sync begins anew because others have changed weir's tables under its hands. Each
/// time all may have to be compared.
const MOST_DISTURBANCES: u32 = 4;

/// An object that more Services than this need is not refused because of them.
const MOST_USERS: usize = 16;

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
}

/// What a sync has done.
#[derive(Debug, Default)]
pub struct Synced {
    /// What was committed.
    pub changes: Vec<Change>,
    /// Whether others had removed all, and all was made anew.
    pub is_rebuilt: bool,
    /// How many Services were compiled.
    pub recompiled: usize,
    /// How often all of the kernel's tables were read.
    pub dumps: u64,
    /// How often parts of them were.
    pub reads: u64,
    /// Services that the kernel has refused, for a new reason.
    pub set_aside: Vec<SetAside>,
    /// Services that it had refused and now takes.
    pub taken: Vec<NamespacedName>,
    /// What others have committed in the meantime.
    pub heard: Heard,
    /// The next repair comes after this pause, because there were many in a row.
    pub pause: Option<Duration>,
}

impl Synced {
    /// How much of what was committed undoes what others did.
    pub fn repairs(&self) -> usize {
        self.changes.iter().filter(|change| change.is_repair).count()
    }
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
        }
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

    /// How many things each table holds, in the order of [`Family::ALL`].
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
            let touched = Touched { services: [service].into(), surroundings: false };
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

    /// Compares all. Where the kernel has none of weir's tables, and there is much to put into them, makes
    /// them without any Service, so that these come in bites; what was desired before is of no use then.
    fn compare(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        let since = Instant::now();
        let names = cluster.services.keys();
        let is_large = names.map(|it| weight(cluster, it)).sum::<usize>() > MOST_ELEMENTS;
        let is_blank = self.trust == Trust::Unknown && is_large && self.kernel_is_blank(synced)?;
        let touched = match self.trust {
            Trust::Doubtful => Touched::default(),
            _ if is_blank => {
                synced.is_rebuilt |= self.drift.is_pending();
                self.desired = Desired::default();
                self.dirty.merge(Touched::all(cluster));
                Touched { surroundings: true, ..Touched::default() }
            }
            _ => self.take_dirty(self.aside.left_in_comparison()),
        };
        synced.recompiled += self.desired.set(cluster, config, &touched);
        let mut view = Whole::keeping(&mut self.desired, self.aside.unknown());
        let before = synced.changes.len();
        let result = bring(&mut self.kernel, &mut view, &mut synced.changes);
        synced.dumps += view.dumps;
        match result {
            Ok(generation) => {
                if let Some(fitted) = view.fitted {
                    self.desired.adopt_slots(&fitted);
                }
                self.aside.all_known();
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
    fn repair(&mut self, synced: &mut Synced) -> Result<(), Setback> {
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

    /// Programs what has changed, since this generation. It may be sure that the kernel holds what
    /// it is thought to hold.
    fn change(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        (generation, is_sure): (u32, bool),
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        let touched = self.take_bite(cluster);
        let mut plan = self.desired.plan(cluster, config, &touched);
        synced.recompiled += plan.recompiled;
        let (before, after) = (mem::take(&mut plan.before), mem::take(&mut plan.after));
        let mut view = Differences::new(before, after, generation);
        let result = bring(&mut self.kernel, &mut view, &mut synced.changes);
        synced.reads += view.reads;
        self.note(view.heard, synced);
        let setback = match result {
            Ok(generation) => {
                if let Some(fitted) = view.fitted {
                    plan.adopt_slots(&fitted);
                }
                self.desired.accept(plan);
                return self.equal_at(generation, synced);
            }
            Err(setback) => setback,
        };
        self.dirty.merge(touched);
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

    /// Sets Services aside that need what the kernel has refused. If these are none, or many, the
    /// fault is not theirs. After a comparison it is not known what the kernel has of them.
    fn refuse(
        &mut self,
        mut users: Vec<NamespacedName>,
        object: Option<Box<(Family, Object)>>,
        error: CommitError,
        is_unknown: bool,
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        let out = self.aside.out();
        users.retain(|service| !out.contains(service));
        if users.is_empty() || users.len() > MOST_USERS {
            return Err(Setback::Failed(error.into()));
        }
        let reason = error.source().map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        for service in users {
            if is_unknown {
                self.desired.forget(&service);
            }
            if self.aside.put(&service, &reason, is_unknown) {
                synced.set_aside.push(SetAside { service, reason: reason.clone() });
            }
        }
        Err(Setback::Refused { object, error })
    }

    /// What is to be compiled while these Services are left as they are. Those of them that are tried
    /// again wait.
    fn take_dirty(&mut self, left: HashSet<NamespacedName>) -> Touched {
        let mut touched = mem::take(&mut self.dirty);
        let out = self.aside.out();
        touched.services.retain(|service| {
            let is_left = left.contains(service);
            if is_left && !out.contains(service) {
                self.dirty.service(service);
            }
            !is_left
        });
        self.desired.leave(left);
        touched
    }

    /// As much of what has changed as goes well into one transaction, so that what is made for it on the
    /// way takes little memory. All Services that the kernel has are in the first: one may claim what
    /// another lets go.
    fn take_bite(&mut self, cluster: &Cluster) -> Touched {
        let mut touched = self.take_dirty(self.aside.out());
        let mut taken = 0;
        let (first, rest): (BTreeSet<_>, _) = touched.services.into_iter().partition(|service| {
            let is_first = taken == 0;
            taken += weight(cluster, service);
            is_first || taken <= MOST_ELEMENTS || self.desired.has(service)
        });
        self.dirty.services.extend(rest);
        touched.services = first;
        touched
    }

    /// Nothing differs any more of what others may have changed.
    fn settle(&mut self, since: Instant, before: usize, synced: &mut Synced) {
        let is_repair = self.drift.is_pending();
        let took = if is_repair { since.elapsed() } else { Duration::ZERO };
        let changes = &mut synced.changes[before..];
        changes.iter_mut().for_each(|change| change.is_repair |= is_repair);
        let was_repaired = is_repair && !changes.is_empty();
        synced.pause = self.drift.settled(was_repaired, took).or(synced.pause);
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

/// About how many elements a Service has: its endpoints, its ClusterIP and the verdict.
fn weight(cluster: &Cluster, service: &NamespacedName) -> usize {
    let slices = cluster.slices.of(service).into_iter();
    slices.map(|slice| slice.endpoints.len()).sum::<usize>() + 2
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod look_tests;
