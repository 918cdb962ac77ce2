//! What notifications reveal of foreign commits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_rules::cluster::Family;
use weir_rules::nft::{Name, RawKey, SetSpec};

use crate::kernel::batch::reorder;
use crate::kernel::generation::latest;

/// More keys of one table than this are not recorded: reading all of it is cheaper by then.
pub(super) const MAX_KEYS: usize = 4096;

/// More commits than this are merged into one.
pub(super) const MAX_COMMITS: usize = 16;

/// The foreign changes since the last call.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ForeignChanges {
    /// The latest generation that was announced, whoever made it.
    pub generation: Option<u32>,
    /// Foreign commits that changed weir's tables, in order. From the sixteenth on they are
    /// reported as one.
    pub commits: Vec<ForeignCommit>,
    /// Whether a notification was lost or could not be decoded: anything may have changed, and by
    /// anybody.
    pub is_lossy: bool,
}

impl ForeignChanges {
    /// Adds later changes.
    pub fn merge(&mut self, later: Self) {
        self.generation = latest(self.generation, later.generation);
        later.commits.into_iter().for_each(|commit| self.push(commit));
        self.is_lossy |= later.is_lossy;
    }

    /// Records a commit.
    pub(super) fn push(&mut self, commit: ForeignCommit) {
        let is_full = self.commits.len() == MAX_COMMITS;
        match self.commits.last_mut().filter(|_| is_full) {
            None => self.commits.push(commit),
            Some(last) => {
                last.changed.merge(commit.changed);
                if last.by != commit.by {
                    last.by = None;
                }
            }
        }
    }
}

/// A commit of somebody else's that changed weir's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCommit {
    /// Who made it; `None` if the kernel does not report it, or if it stands for commits of
    /// several.
    pub by: Option<Process>,
    /// What may differ since.
    pub changed: Suspects,
}

/// A process, as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id in the initial pid namespace, that of the node, wherever weir runs.
    pub pid: u32,
    /// Its name (`comm`): at most 15 bytes, which the process chooses itself.
    pub name: String,
}

/// As in `nft (pid 123)`. A name may hold anything, and this goes to logs.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name.escape_debug(), self.pid)
    }
}

/// Which parts of weir's tables may differ from what they were.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Suspects {
    /// By the family of the table; a family that is not there is not concerned.
    pub tables: BTreeMap<Family, TableSuspects>,
}

/// Which parts of one of weir's tables may differ from what they were.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TableSuspects {
    /// Anything: the table was made or deleted, or the notifications of its elements were too many
    /// or could not be decoded. `elements` is empty then.
    pub everything: bool,
    /// A chain, a rule, what defines a set, or an object of another kind.
    pub structure: bool,
    /// Elements by the name of their set, with their keys *as the kernel has them*, which
    /// [`TableSuspects::keys`] puts into the model's order. A range is identified by the address at
    /// which it begins and that behind its last. There may be sets that are part of a rule.
    pub elements: BTreeMap<Name, BTreeSet<RawKey>>,
}

impl Suspects {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(TableSuspects::is_empty)
    }

    /// Adds what is suspect in another.
    pub fn merge(&mut self, other: Self) {
        for (family, table) in other.tables {
            self.tables.entry(family).or_default().merge(table);
        }
    }
}

impl TableSuspects {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        !self.everything && !self.structure && self.elements.is_empty()
    }

    /// Adds what is suspect in another.
    pub fn merge(&mut self, other: Self) {
        self.structure |= other.structure;
        if self.everything || other.everything {
            return self.suspect_everything();
        }
        for (set, mut keys) in other.elements {
            self.elements.entry(set).or_default().append(&mut keys);
        }
        self.keep_bounds();
    }

    /// The keys of one set in the model's order.
    pub fn keys(&self, set: &str, spec: &SetSpec, family: Family) -> BTreeSet<RawKey> {
        let keys = self.elements.get(set).into_iter().flatten();
        keys.map(|key| reorder(key, &spec.key, family)).collect()
    }

    /// Marks everything as possibly changed.
    pub(super) fn suspect_everything(&mut self) {
        self.everything = true;
        self.elements.clear();
    }

    /// Adds elements of a set.
    pub(super) fn suspect_elements(&mut self, set: &str, keys: BTreeSet<RawKey>) {
        if self.everything || keys.is_empty() {
            return;
        }
        match self.elements.get_mut(set) {
            Some(known) => known.extend(keys),
            None => {
                self.elements.insert(Name::new(set), keys);
            }
        }
        self.keep_bounds();
    }

    fn keep_bounds(&mut self) {
        if self.elements.values().map(BTreeSet::len).sum::<usize>() > MAX_KEYS {
            self.suspect_everything();
        }
    }
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
