//! An in-memory nf_tables: applies transactions atomically, and rejects what the kernel would.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use weir::kernel::{
    CommitError, Committed, DumpError, ForeignChanges, ForeignCommit, Keys, Parts, Snapshot,
    Suspects, TableParts, TableSuspects,
};
use weir::sync::NfTables;
use weir_rules::cluster::Family;
use weir_rules::compile::names;
use weir_rules::nft::{Chain, Element, Name, RawKey, Ruleset, Set, Statement, Table};
use weir_rules::transaction::{Action, Operation, Transaction};

/// A kernel that is shared by all clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub(crate) Rc<RefCell<World>>);

#[derive(Debug, Default)]
pub(crate) struct World {
    ruleset: Ruleset,
    generation: u32,
    /// What a monitor is told.
    pub(crate) foreign: ForeignChanges,
    /// Whether it is told nothing.
    pub(crate) is_paused: bool,
    /// How many commits were not told.
    pub(crate) untold: u32,
}

impl World {
    /// Counts a commit, as the kernel does.
    fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// Tells of the last commit.
    fn tell(&mut self, commits: Vec<ForeignCommit>) {
        if self.is_paused {
            self.untold += 1;
            return;
        }
        self.foreign.merge(ForeignChanges {
            generation: Some(self.generation),
            commits,
            is_lossy: false,
        });
    }
}

impl Memory {
    /// What it holds.
    pub(crate) fn ruleset(&self) -> Ruleset {
        self.0.borrow().ruleset.clone()
    }

    /// So many commits have been made by now.
    pub(crate) fn set_generation(&self, generation: u32) {
        self.0.borrow_mut().generation = generation;
    }

    /// Packets change something: nobody is told, and it is no commit.
    pub(crate) fn learn(&self, learn: impl FnOnce(&mut Ruleset)) {
        learn(&mut self.0.borrow_mut().ruleset);
    }

    /// Somebody else changes something, in one commit.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Ruleset)) {
        let mut world = self.0.borrow_mut();
        let before = world.ruleset.clone();
        edit(&mut world.ruleset);
        let changed = suspects(&before, &world.ruleset);
        world.count();
        let is_weirs = !changed.is_empty();
        world.tell(is_weirs.then_some(ForeignCommit { by: None, changed }).into_iter().collect());
    }
}

impl NfTables for Memory {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        let world = self.0.borrow();
        Ok(Snapshot { ruleset: world.ruleset.clone(), generation: Some(world.generation) })
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        let world = self.0.borrow();
        let told = parts.tables.iter().filter_map(|(family, parts)| {
            Some((*family, told(world.ruleset.tables.get(family)?, parts)))
        });
        Ok(Snapshot {
            ruleset: Ruleset { tables: told.collect() },
            generation: Some(world.generation),
        })
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let mut world = self.0.borrow_mut();
        if generation.is_some_and(|expected| expected != world.generation) {
            return Err(CommitError::Stale);
        }
        let mut ruleset = world.ruleset.clone();
        for (index, operation) in transaction.operations.iter().enumerate() {
            if let Err((part, errno)) = check(operation, &ruleset) {
                return Err(refused(transaction, Some(index), Some(part), errno));
            }
            apply(operation.clone(), &mut ruleset);
        }
        world.ruleset = ruleset;
        world.count();
        world.tell(Vec::new());
        Ok(Committed { bytes: 1 })
    }

    fn frees_chains_at_once(&self) -> bool {
        true
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        Ok(self.0.borrow().generation)
    }

    fn drain(&mut self) -> ForeignChanges {
        ForeignChanges::default()
    }
}

/// What the kernel says of an operation that it refuses.
pub(crate) fn refused(
    transaction: &Transaction,
    operation: Option<usize>,
    part: Option<usize>,
    errno: i32,
) -> CommitError {
    let command = operation.map(|index| transaction.operations[index].command(part.unwrap_or(0)));
    CommitError::Refused {
        operation,
        part,
        command: command.unwrap_or_else(|| "the transaction".to_owned()),
        hint: None,
        source: io::Error::from_raw_os_error(errno),
    }
}

/// What is told of a table of which these parts are asked for.
fn told(table: &Table, parts: &TableParts) -> Table {
    let mut told = Table::default();
    if parts.structure {
        told = table.clone();
        told.sets.values_mut().for_each(|set| set.elements.clear());
    }
    for (name, asked) in &parts.sets {
        let Some(set) = table.sets.get(name) else { continue };
        let mut set = set.clone();
        if let Keys::These(keys) = &asked.keys {
            set.elements.retain(|key, _| keys.contains(key));
        }
        told.sets.insert(name.clone(), set);
    }
    told
}

/// The part of an operation that is refused, and why (nf_tables_api.c).
fn check(operation: &Operation, ruleset: &Ruleset) -> Result<(), (usize, i32)> {
    let table = ruleset.tables.get(&operation.family);
    if let Action::AddTable { .. } = operation.action {
        return Ok(());
    }
    let table = table.ok_or((0, libc::ENOENT))?;
    let chain = |name: &Name| table.chains.get(name).ok_or((0, libc::ENOENT));
    let set = |name: &Name| table.sets.get(name).ok_or((0, libc::ENOENT));
    match &operation.action {
        Action::AddTable { .. } | Action::DeleteTable { .. } => Ok(()),
        Action::AddSet { name, spec } => match table.sets.get(name) {
            Some(there) if there.spec != *spec => Err((0, libc::EEXIST)),
            _ => Ok(()),
        },
        Action::AddChain { name, base, .. } => match table.chains.get(name) {
            Some(there) if there.base != *base => Err((0, libc::EOPNOTSUPP)),
            _ => Ok(()),
        },
        Action::DeleteSet { name, .. } => {
            set(name)?;
            let is_used = table.chains.values().any(|chain| sets_of(chain).any(|it| it == name));
            if is_used { Err((0, libc::EBUSY)) } else { Ok(()) }
        }
        Action::DeleteChain { name, .. } => {
            let is_busy = !chain(name)?.rules.is_empty() || is_gone_to(table, name);
            if is_busy { Err((0, libc::EBUSY)) } else { Ok(()) }
        }
        Action::ReplaceRules { chain: name, new, .. } => {
            chain(name)?;
            let new = Chain { rules: new.clone(), ..Chain::default() };
            let is_known = targets_of(&new).all(|target| table.chains.contains_key(target))
                && sets_of(&new).all(|name| table.sets.contains_key(name));
            if is_known { Ok(()) } else { Err((1, libc::ENOENT)) }
        }
        Action::AddElements { set: name, elements, .. } => {
            let there = set(name)?;
            first_error(elements.iter().map(|(key, element)| added(table, there, key, element)))
        }
        Action::DeleteElements { set: name, elements, spec } => {
            let there = set(name)?;
            let is_there = |key| spec.dynamic.is_some() || there.elements.contains_key(key);
            first_error(elements.keys().map(|key| if is_there(key) { 0 } else { libc::ENOENT }))
        }
    }
}

/// Rules are added to those that are there, unless these are said to go: only then the chain is
/// flushed.
fn apply(mut operation: Operation, ruleset: &mut Ruleset) {
    if let Action::ReplaceRules { chain, old, new } = &mut operation.action
        && old.is_empty()
    {
        let there = &ruleset.tables[&operation.family].chains[chain].rules;
        new.splice(0..0, there.iter().cloned());
    }
    // A chain that is there stays as it is.
    if let Action::AddChain { name, .. } = &operation.action
        && ruleset.tables[&operation.family].chains.contains_key(name)
    {
        return;
    }
    Transaction { operations: vec![operation] }.apply(ruleset);
}

fn first_error(answers: impl Iterator<Item = i32>) -> Result<(), (usize, i32)> {
    answers.enumerate().find(|(_, errno)| *errno != 0).map_or(Ok(()), Err)
}

/// What the kernel says to an element (`nft_add_set_elem`): one that is there with other data is in
/// the way.
fn added(table: &Table, set: &Set, key: &RawKey, element: &Element) -> i32 {
    if let Some(target) = element.data.chain()
        && !table.chains.contains_key(target)
    {
        return libc::ENOENT;
    }
    match set.elements.get(key) {
        Some(there) if there.data != element.data => libc::EBUSY,
        _ => 0,
    }
}

/// Whether a rule or an element leads to a chain.
fn is_gone_to(table: &Table, name: &Name) -> bool {
    let mut elements = table.sets.values().flat_map(|set| set.elements.values());
    elements.any(|element| element.data.chain() == Some(name))
        || table.chains.values().any(|chain| targets_of(chain).any(|target| target == name))
}

fn targets_of(chain: &Chain) -> impl Iterator<Item = &Name> {
    chain.statements().filter_map(Statement::chain)
}

fn sets_of(chain: &Chain) -> impl Iterator<Item = &Name> {
    chain.statements().filter_map(Statement::set)
}

/// What a monitor tells of a commit that made one of the other.
fn suspects(before: &Ruleset, after: &Ruleset) -> Suspects {
    let mut suspects = Suspects::default();
    for family in Family::ALL {
        let changed = match (before.tables.get(&family), after.tables.get(&family)) {
            (Some(before), Some(after)) => changed(before, after),
            (None, None) => continue,
            _ => TableSuspects { everything: true, structure: true, ..Default::default() },
        };
        if !changed.is_empty() {
            suspects.tables.insert(family, changed);
        }
    }
    suspects
}

fn changed(before: &Table, after: &Table) -> TableSuspects {
    let specs = |table: &Table| {
        table.sets.iter().map(|(name, set)| (name.clone(), set.spec.clone())).collect::<Vec<_>>()
    };
    let mut changed = TableSuspects {
        structure: before.chains != after.chains || specs(before) != specs(after),
        ..TableSuspects::default()
    };
    let nothing =
        Set::new(weir_rules::nft::SetSpec::new(vec![], weir_rules::nft::SetData::Nothing));
    let names: BTreeSet<_> = before.sets.keys().chain(after.sets.keys()).collect();
    for name in names {
        let [old, new] =
            [before, after].map(|table| &table.sets.get(name).unwrap_or(&nothing).elements);
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let differ = keys.into_iter().filter(|key| old.get(key) != new.get(key));
        let keys: BTreeSet<_> = differ.map(|key| as_kernel_has(name, key)).collect();
        if !keys.is_empty() {
            changed.elements.insert(name.clone(), keys);
        }
    }
    changed
}

/// Slots are in the host's order there.
fn as_kernel_has(set: &Name, key: &RawKey) -> RawKey {
    let bytes = key.as_bytes();
    match (set.as_str(), bytes.split_last_chunk::<4>()) {
        // Three numbers that name the list, then an address.
        (names::AFFINITY_ENDPOINTS, _) => {
            let mut bytes = key.as_bytes().to_vec();
            for number in bytes.as_chunks_mut::<4>().0.iter_mut().take(3) {
                *number = u32::from_be_bytes(*number).to_ne_bytes();
            }
            RawKey::from_bytes(&bytes).expect("as long as before")
        }
        (names::ENDPOINTS | names::NODEPORT_ENDPOINTS, Some((rest, slot))) => {
            let slot = u32::from_be_bytes(*slot).to_ne_bytes();
            RawKey::from_bytes(&[rest, &slot].concat()).expect("as long as before")
        }
        _ => *key,
    }
}
