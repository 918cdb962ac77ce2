//! What a comparison covers: all of weir's tables, a delta, or what foreign commits may have changed.

use std::collections::{BTreeMap, HashSet};

use weir_rules::cluster::{Family, NamespacedName};
use weir_rules::nft::{Elements, Ruleset};
use weir_rules::reconcile::mirror::{Mirror, Selection};
use weir_rules::transaction::carry_over::{may_leave_stale, of_lists};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::{Action, Transaction};

use super::NfTables;
use super::commit::ApplyError;
use super::converge::Scope;
use crate::kernel::generation::is_later;
use crate::kernel::{
    ForeignChanges, Keys, Parts, SetParts, Snapshot, Suspects, TableParts, TableSuspects,
};

/// All of weir's tables.
pub(super) struct FullScope<'a> {
    desired: Ruleset,
    /// Services that keep what they have, which becomes desired as soon as it is known.
    kept: Option<(&'a mut Mirror, HashSet<NamespacedName>)>,
    /// What was read in advance, which counts if nobody has committed anything since.
    pub(super) prefetched: Option<Snapshot>,
    /// What is programmed instead of what was desired, if endpoints have other slots.
    pub(super) aligned: Option<Ruleset>,
    /// How often the kernel's tables were read.
    pub(super) dumps: u64,
}

impl<'a> FullScope<'a> {
    pub(super) fn new(desired: Ruleset) -> Self {
        Self { desired, kept: None, prefetched: None, aligned: None, dumps: 0 }
    }

    /// The same, but these Services keep what they have.
    pub(super) fn keeping(all: &'a mut Mirror, services: HashSet<NamespacedName>) -> Self {
        if services.is_empty() {
            return Self::new(all.ruleset());
        }
        Self { kept: Some((all, services)), ..Self::new(Ruleset::default()) }
    }
}

impl Scope for FullScope<'_> {
    fn read(&mut self, kernel: &mut impl NfTables) -> Result<Snapshot, ApplyError> {
        self.aligned = None;
        self.dumps += 1;
        let snapshot = match self.prefetched.take() {
            Some(prefetched) if prefetched.generation == Some(kernel.generation()?) => prefetched,
            _ => kernel.dump()?,
        };
        if let Some((all, services)) = &mut self.kept {
            all.keep(services, &snapshot.ruleset);
            self.desired = all.ruleset();
        }
        Ok(snapshot)
    }

    fn desired(&self) -> &Ruleset {
        &self.desired
    }

    fn accept_slots(&mut self, aligned: Ruleset) {
        self.aligned = Some(aligned);
    }
}

/// The delta of a change of the cluster. The kernel's side is known without a dump, except for what
/// packets have put into maps from which something has to go.
pub(super) struct DeltaScope {
    pub(super) before: Ruleset,
    after: Ruleset,
    /// Of which `before` is.
    pub(super) generation: u32,
    /// Whether weir has come to that by a commit of its own, behind which it has not looked yet.
    has_committed: bool,
    is_first: bool,
    /// What is programmed instead of `after`, if endpoints have other slots.
    pub(super) aligned: Option<Ruleset>,
    /// What others have changed in the meantime.
    pub(super) foreign: ForeignChanges,
    /// How often maps of learned clients were read.
    pub(super) reads: u64,
}

impl DeltaScope {
    pub(super) fn new(before: Ruleset, after: Ruleset, generation: u32) -> Self {
        Self {
            before,
            after,
            generation,
            has_committed: false,
            is_first: true,
            aligned: None,
            foreign: ForeignChanges::default(),
            reads: 0,
        }
    }

    /// Learns how far the kernel has come, unless weir's own tables are concerned.
    fn catch_up(&mut self, kernel: &mut impl NfTables) -> Result<(), ApplyError> {
        let foreign = kernel.drain();
        let announced =
            foreign.generation.filter(|&announced| is_later(announced, self.generation));
        let concerns_weir = foreign.is_lossy || !foreign.commits.is_empty();
        self.foreign.merge(foreign);
        // An unannounced commit may have changed anything. Where nobody committed anything, an
        // element had expired that was to go.
        let is_told = std::mem::take(&mut self.has_committed)
            || announced.is_some()
            || kernel.generation()? == self.generation;
        self.generation = announced.unwrap_or(self.generation);
        if concerns_weir || !is_told { Err(ApplyError::Drifted) } else { Ok(()) }
    }

    /// The maps from which something has to go that was learned.
    fn learned(&self) -> Parts {
        let mut parts = Parts::default();
        for (family, before) in &self.before.tables {
            let Some(after) = self.after.tables.get(family) else { continue };
            let maps = before
                .sets
                .iter()
                .filter(|(name, set)| set.spec.dynamic.is_some() && after.sets.contains_key(*name));
            let sets: BTreeMap<_, _> = maps
                .map(|(name, set)| {
                    (name.clone(), SetParts { spec: set.spec.clone(), keys: Keys::All })
                })
                .collect();
            if !sets.is_empty() {
                parts.tables.insert(*family, TableParts { structure: false, sets });
            }
        }
        parts
    }
}

impl Scope for DeltaScope {
    fn read(&mut self, kernel: &mut impl NfTables) -> Result<Snapshot, ApplyError> {
        if !std::mem::take(&mut self.is_first) {
            self.catch_up(kernel)?;
        }
        let parts = self.learned();
        if !parts.tables.is_empty() && may_leave_stale(&diff(&self.before, &self.after)) {
            self.reads += 1;
            let read = kernel.read(&parts)?.ruleset;
            for (family, table) in read.tables {
                let there =
                    self.before.tables.get_mut(&family).expect("the read asked for this one");
                let after = &self.after.tables[&family];
                // The kernel has in them what is of other Services, too.
                let learned: Vec<(_, Elements)> = table
                    .sets
                    .into_iter()
                    .map(|(name, set)| {
                        let learned = of_lists(&name, set.elements, [there, after]);
                        (name, learned)
                    })
                    .collect();
                for (name, elements) in learned {
                    there.sets.get_mut(&name).expect("the read asked for this one").elements =
                        elements;
                }
            }
        }
        Ok(Snapshot { ruleset: self.before.clone(), generation: Some(self.generation) })
    }

    fn desired(&self) -> &Ruleset {
        &self.after
    }

    fn accept_slots(&mut self, aligned: Ruleset) {
        self.aligned = Some(aligned);
    }

    /// A table that has to be made anew needs what is not among what differs.
    fn check(&self, transaction: Transaction) -> Result<Transaction, ApplyError> {
        let deletes = |action: &Action| matches!(action, Action::DeleteTable { .. });
        match transaction.operations.iter().any(|operation| deletes(&operation.action)) {
            true => Err(ApplyError::Drifted),
            false => Ok(transaction),
        }
    }

    fn on_commit(&mut self, transaction: &Transaction) {
        transaction.apply(&mut self.before);
    }

    fn reached(&mut self, generation: u32) {
        self.has_committed = generation != self.generation;
        self.generation = generation;
    }
}

/// What somebody else may have changed.
pub(super) struct RepairScope {
    parts: Parts,
    desired: Ruleset,
    /// What is programmed instead of what is desired, if endpoints have other slots.
    pub(super) aligned: Option<Ruleset>,
}

impl RepairScope {
    /// `None` if it is more than can be compared by parts.
    pub(super) fn new(suspects: &Suspects, desired: &Mirror) -> Option<Self> {
        let mut parts = Parts::default();
        let mut wanted = BTreeMap::new();
        for (family, table) in &suspects.tables {
            let (read, part) = compared(*family, table, desired)?;
            parts.tables.insert(*family, read);
            wanted.insert(*family, part);
        }
        let desired = desired.parts(&wanted);
        Some(Self { parts, desired, aligned: None })
    }
}

/// What to read of a table and what to compare it with.
fn compared(
    family: Family,
    suspects: &TableSuspects,
    desired: &Mirror,
) -> Option<(TableParts, Selection)> {
    let structure = suspects.structure;
    let mut read = TableParts { structure, sets: BTreeMap::new() };
    let mut part = Selection { structure, elements: BTreeMap::new() };
    if suspects.everything {
        return None;
    }
    for name in suspects.elements.keys() {
        // One that is none of weir's goes with all that is in it.
        let Some(spec) = desired.spec(family, name) else { continue };
        // Without the rules that learn, learned elements cannot be distinguished from foreign ones.
        if spec.dynamic.is_some() {
            return None;
        }
        let keys = suspects.keys(name.as_str(), &spec, family);
        part.elements.insert(name.clone(), keys.clone());
        let keys = if spec.interval { Keys::All } else { Keys::These(keys) };
        read.sets.insert(name.clone(), SetParts { spec, keys });
    }
    Some((read, part))
}

impl Scope for RepairScope {
    fn read(&mut self, kernel: &mut impl NfTables) -> Result<Snapshot, ApplyError> {
        let mut snapshot = kernel.read(&self.parts)?;
        for (family, parts) in &self.parts.tables {
            let desired = self.desired.tables.get(family);
            if !parts.structure
                && let Some(there) = snapshot.ruleset.tables.get_mut(family)
            {
                there.comment = desired.and_then(|table| table.comment.clone());
            }
        }
        Ok(snapshot)
    }

    fn accept_slots(&mut self, aligned: Ruleset) {
        self.aligned = Some(aligned);
    }

    fn desired(&self) -> &Ruleset {
        &self.desired
    }

    /// A table or set that has to be made anew needs elements that are not among these parts.
    fn check(&self, transaction: Transaction) -> Result<Transaction, ApplyError> {
        let makes = |action: &Action| {
            matches!(
                action,
                Action::AddTable { .. } | Action::DeleteTable { .. } | Action::AddSet { .. }
            )
        };
        if transaction.operations.iter().any(|operation| makes(&operation.action)) {
            return Err(ApplyError::Drifted);
        }
        Ok(transaction)
    }
}
