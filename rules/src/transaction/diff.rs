//! Computes the transaction that turns one ruleset into another.

use crate::cluster::Family;
use crate::nft::{Chain, Element, Elements, Name, RawKey, Ruleset, Set, SetData, Table};
use crate::transaction::{Action, Operation, Transaction};

/// The transaction that makes `observed` equal to `desired`; empty if they are.
///
/// The order of its operations is the one that costs the kernel least. Adding a rule that refers
/// to a map walks every operation before it in the transaction, so rules come before elements.
/// Deletions of elements come before additions, because a key can only be there once. Elements
/// with verdicts come last, so that no Service is there before its endpoints. Sets and chains go
/// when nothing refers to them any more.
pub fn diff(observed: &Ruleset, desired: &Ruleset) -> Transaction {
    let mut phases = Phases::default();
    for family in Family::ALL {
        phases.family = Some(family);
        match (observed.tables.get(&family), desired.tables.get(&family)) {
            (None, None) => {}
            (Some(observed), None) => phases.delete_table(observed),
            (None, Some(desired)) => phases.create_table(desired),
            (Some(observed), Some(desired)) if must_recreate(observed, desired) => {
                phases.delete_table(observed);
                phases.create_table(desired);
            }
            (Some(observed), Some(desired)) => phases.change_table(observed, desired),
        }
    }
    phases.into_transaction()
}

/// Whether the two differ in what the kernel cannot change while something refers to it: the
/// definition of a set, where a chain is attached, a comment.
fn must_recreate(observed: &Table, desired: &Table) -> bool {
    let set_differs = |(name, set): (&Name, &Set)| {
        observed.sets.get(name).is_some_and(|observed| observed.spec != set.spec)
    };
    let chain_differs = |(name, chain): (&Name, &Chain)| {
        observed.chains.get(name).is_some_and(|observed| {
            (observed.base, &observed.comment) != (chain.base, &chain.comment)
        })
    };
    (&observed.comment, &observed.foreign) != (&desired.comment, &desired.foreign)
        || desired.sets.iter().any(set_differs)
        || desired.chains.iter().any(chain_differs)
}

/// Operations of both families, collected by the phase that they belong to.
#[derive(Default)]
struct Phases {
    family: Option<Family>,
    delete_tables: Vec<Operation>,
    create: Vec<Operation>,
    rules: Vec<Operation>,
    delete_verdicts: Vec<Operation>,
    delete_elements: Vec<Operation>,
    add_elements: Vec<Operation>,
    add_verdicts: Vec<Operation>,
    delete_chains: Vec<Operation>,
    delete_sets: Vec<Operation>,
}

impl Phases {
    fn operation(&self, action: Action) -> Operation {
        Operation {
            family: self.family.expect("the family is set before any operation is made"),
            action,
        }
    }

    fn delete_table(&mut self, observed: &Table) {
        let operation = self.operation(Action::DeleteTable { table: observed.clone() });
        self.delete_tables.push(operation);
    }

    fn create_table(&mut self, desired: &Table) {
        let operation = self.operation(Action::AddTable { comment: desired.comment.clone() });
        self.create.push(operation);
        self.change_table(&Table::default(), desired);
    }

    fn change_table(&mut self, observed: &Table, desired: &Table) {
        for (name, set) in &desired.sets {
            let observed = observed.sets.get(name);
            if observed.is_none() {
                let action = Action::AddSet { name: name.clone(), spec: set.spec.clone() };
                let operation = self.operation(action);
                self.create.push(operation);
            }
            let none = Elements::new();
            self.change_elements(name, set, observed.map_or(&none, |set| &set.elements));
        }
        for (name, chain) in &desired.chains {
            let observed = observed.chains.get(name);
            if observed.is_none() {
                let Chain { base, comment, .. } = chain.clone();
                let operation =
                    self.operation(Action::AddChain { name: name.clone(), base, comment });
                self.create.push(operation);
            }
            self.change_rules(name, observed, Some(chain));
        }
        for (name, chain) in &observed.chains {
            if !desired.chains.contains_key(name) {
                // Emptied first, so that the order in which chains go does not matter.
                self.change_rules(name, Some(chain), None);
                let Chain { base, comment, .. } = chain.clone();
                let operation =
                    self.operation(Action::DeleteChain { name: name.clone(), base, comment });
                self.delete_chains.push(operation);
            }
        }
        for (name, set) in &observed.sets {
            if !desired.sets.contains_key(name) {
                let operation =
                    self.operation(Action::DeleteSet { name: name.clone(), set: set.clone() });
                self.delete_sets.push(operation);
            }
        }
    }

    fn change_rules(&mut self, name: &Name, observed: Option<&Chain>, desired: Option<&Chain>) {
        let rules = |chain: Option<&Chain>| chain.map_or(Vec::new(), |chain| chain.rules.clone());
        let (old, new) = (rules(observed), rules(desired));
        if old != new {
            let action = Action::ReplaceRules { chain: name.clone(), old, new };
            let operation = self.operation(action);
            self.rules.push(operation);
        }
    }

    fn change_elements(&mut self, name: &Name, desired: &Set, observed: &Elements) {
        let gone = missing_from(&desired.elements, observed);
        let come = missing_from(observed, &desired.elements);
        let (set, spec) = (name, &desired.spec);
        let is_verdicts = spec.data == SetData::Verdict;
        if !gone.is_empty() {
            let action =
                Action::DeleteElements { set: set.clone(), spec: spec.clone(), elements: gone };
            let operation = self.operation(action);
            if is_verdicts { &mut self.delete_verdicts } else { &mut self.delete_elements }
                .push(operation);
        }
        if !come.is_empty() {
            let action =
                Action::AddElements { set: set.clone(), spec: spec.clone(), elements: come };
            let operation = self.operation(action);
            if is_verdicts { &mut self.add_verdicts } else { &mut self.add_elements }
                .push(operation);
        }
    }

    fn into_transaction(self) -> Transaction {
        let phases = [
            self.delete_tables,
            self.create,
            self.rules,
            self.delete_verdicts,
            self.delete_elements,
            self.add_elements,
            self.add_verdicts,
            // Verdict maps, before the chains that their elements go to.
            self.delete_sets,
            self.delete_chains,
        ];
        Transaction { operations: phases.into_iter().flatten().collect() }
    }
}

/// The elements of `of` that are not, or not the same, in `base`.
fn missing_from(base: &Elements, of: &Elements) -> Elements {
    let is_missing = |(key, element): &(&RawKey, &Element)| base.get(key) != Some(element);
    of.iter().filter(is_missing).map(|(key, element)| (*key, element.clone())).collect()
}
