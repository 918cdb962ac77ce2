//! Splits a large transaction into smaller ones that each leave a consistent ruleset.
//!
//! nf_tables holds a lock for as long as a transaction lasts, about 4 us an element, and whoever
//! else changes a table waits. So many elements go in several transactions, of which each leaves a
//! ruleset in which every destination (a virtual address with its protocol and port, or a node
//! port) is served as before or as after:
//!
//! | part | holds |
//! |---|---|
//! | first | what is for all destinations at once: tables, sets, chains and rules that Services share, networks; and what does no harm where it is not needed yet |
//! | any | destinations, each with all that it has; those of an address together, as its ClusterIP makes the unused ports refuse; those of a Service together that has sets and chains of its own, with these and with the endpoints that its clients may stay with |
//! | last | what nothing needs any more: rules, chains and sets that go |
//!
//! Where the rules of chains that Services share come to draw other slots, as those of another version
//! of weir do, the slots that no destination had before are filled in the first part, and those that
//! none has any more are emptied in the last, so that each destination has both meanwhile.
//!
//! So a change of the settings or of networks, such as of who may use a load balancer, holds from
//! the first part on for destinations that are still served as before. In each part the
//! operations are in the order in which they were.

mod unit;

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Family;
use crate::compile::{Balancer, names};
use crate::nft::{Element, Elements, Name, RawKey, Rule, Selector, SetSpec, Statement};
use crate::transaction::{Action, Operation, Transaction};
pub(crate) use unit::owner;
use unit::{Unit, Units};

/// Splits a transaction: applied in order, the parts do what it does. Each changes at most so many
/// elements, unless what must stay together are more. Empty sets that go count for nothing.
///
/// One that is no larger stays as it is, and so does one that deletes a table: until it was made
/// anew, nothing would be served.
pub fn split(transaction: Transaction, most_elements: usize) -> Vec<Transaction> {
    let count = |operation: &Operation| changed(&operation.action).map_or(0, |(.., e)| e.len());
    let is_small = transaction.operations.iter().map(count).sum::<usize>() <= most_elements;
    let deletes_table =
        |operation: &Operation| matches!(operation.action, Action::DeleteTable { .. });
    if is_small || transaction.operations.iter().any(deletes_table) {
        return vec![transaction];
    }
    SplitPlan::new(&transaction, most_elements).divide(transaction)
}

/// The set whose elements an operation changes, what defines the set, and the elements.
fn changed(action: &Action) -> Option<(&Name, &SetSpec, &Elements)> {
    match action {
        Action::AddElements { set, spec, elements }
        | Action::DeleteElements { set, spec, elements } => Some((set, spec, elements)),
        _ => None,
    }
}

/// Where a change goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    First,
    With(Unit),
    Last,
}

/// Knows where each change goes.
#[derive(Debug, Default)]
struct Placement {
    /// Sets that the transaction creates.
    created: BTreeSet<(Family, Name)>,
    /// Elements of the set of connections to oneself that come.
    hairpins: BTreeSet<(Family, RawKey)>,
    /// From which slots on lists are elsewhere than before; `None` where they stay.
    moved_slots: Option<u32>,
    /// Slots that are emptied and filled again.
    replaced: BTreeSet<(Family, Name, RawKey)>,
}

impl Placement {
    fn new(transaction: &Transaction) -> Self {
        let mut places = Self::default();
        for Operation { family, action } in &transaction.operations {
            match action {
                Action::AddSet { name, .. } => {
                    places.created.insert((*family, name.clone()));
                }
                Action::AddElements { set, elements, .. }
                    if set.as_str() == names::HAIRPIN_CONNECTIONS =>
                {
                    places.hairpins.extend(elements.keys().map(|key| (*family, *key)));
                }
                Action::ReplaceRules { chain, old, new } if Balancer::shared(chain).is_some() => {
                    let (before, now) = (first_slot(old), first_slot(new));
                    if let Some((before, now)) =
                        before.zip(now).filter(|(before, now)| before != now)
                    {
                        let first = before.min(now);
                        let known = places.moved_slots.unwrap_or(first);
                        places.moved_slots = Some(known.min(first));
                    }
                }
                _ => {}
            }
        }
        if places.moved_slots.is_some() {
            places.replaced = replaced(transaction);
        }
        places
    }

    /// Where an operation goes that does not change elements.
    fn of_operation(&self, Operation { family, action }: &Operation) -> Stage {
        match action {
            Action::DeleteChain { .. } | Action::DeleteSet { .. } => Stage::Last,
            // The chain goes, if not in this transaction.
            Action::ReplaceRules { new, .. } if new.is_empty() => Stage::Last,
            Action::AddSet { name, .. }
            | Action::AddChain { name, .. }
            | Action::ReplaceRules { chain: name, .. } => {
                Unit::of_service(*family, name).map_or(Stage::First, Stage::With)
            }
            _ => Stage::First,
        }
    }

    /// Where an element goes that is added or, else, deleted.
    fn of_element(
        &self,
        family: Family,
        set: &Name,
        spec: &SetSpec,
        key: &RawKey,
        is_added: bool,
    ) -> Stage {
        if set.as_str() == names::HAIRPIN_CONNECTIONS {
            // Endpoints are shared. Without a destination that leads to one, its element does
            // nothing. One that is replaced must go before it comes.
            let comes = is_added || self.hairpins.contains(&(family, *key));
            return if comes { Stage::First } else { Stage::Last };
        }
        // Of ranges, the old ones may be in the way of the new.
        if spec.interval && !self.created.contains(&(family, set.clone())) {
            return Stage::First;
        }
        if self.is_moved(family, set, key) {
            return if is_added { Stage::First } else { Stage::Last };
        }
        let part = Unit::of_key(family, set, key);
        part.or_else(|| Unit::of_service(family, set)).map_or(Stage::First, Stage::With)
    }
}

impl Placement {
    /// Whether it is a slot that no rule draws from before the transaction, or none behind it.
    fn is_moved(&self, family: Family, set: &Name, key: &RawKey) -> bool {
        self.moved_slots.is_some_and(|first| {
            has_slots(set)
                && key.last_slot().is_some_and(|slot| slot >= first)
                && !self.replaced.contains(&(family, set.clone(), *key))
        })
    }
}

fn has_slots(set: &Name) -> bool {
    matches!(set.as_str(), names::ENDPOINTS | names::NODEPORT_ENDPOINTS)
}

/// The first slot that a chain's rules draw.
fn first_slot(rules: &[Rule]) -> Option<u32> {
    let keys =
        rules.iter().flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
            Statement::Dnat { key, .. } => Some(key),
            _ => None,
        });
    keys.flatten().find_map(|selector| match selector {
        Selector::Random { offset, .. } => Some(*offset),
        _ => None,
    })
}

/// Slots that go and come.
fn replaced(transaction: &Transaction) -> BTreeSet<(Family, Name, RawKey)> {
    let keys = |is_added: bool| -> BTreeSet<(Family, Name, RawKey)> {
        let elements = transaction.operations.iter().filter_map(|Operation { family, action }| {
            let is_wanted = matches!(action, Action::AddElements { .. }) == is_added;
            let (set, _, elements) =
                changed(action).filter(|(set, ..)| is_wanted && has_slots(set))?;
            Some(elements.keys().map(|key| (*family, set.clone(), *key)))
        });
        elements.flatten().collect()
    };
    keys(true).intersection(&keys(false)).cloned().collect()
}

/// Which part each change goes into.
struct SplitPlan {
    places: Placement,
    parts: BTreeMap<Unit, usize>,
    last: usize,
}

impl SplitPlan {
    fn new(transaction: &Transaction, most_elements: usize) -> Self {
        let places = Placement::new(transaction);
        let mut parts = Units::default();
        let (mut first, mut last, mut has_first) = (0, 0, false);
        for operation in &transaction.operations {
            let family = operation.family;
            let Some((set, spec, elements)) = changed(&operation.action) else {
                match places.of_operation(operation) {
                    Stage::First => has_first = true,
                    Stage::With(part) => drop(parts.add(part, 0)),
                    Stage::Last => {}
                }
                if let Action::ReplaceRules { chain, old, new } = &operation.action {
                    parts.join_lists(family, chain, old);
                    parts.join_lists(family, chain, new);
                }
                continue;
            };
            let is_added = matches!(operation.action, Action::AddElements { .. });
            for (key, element) in elements {
                match places.of_element(family, set, spec, key, is_added) {
                    Stage::First => first += 1,
                    Stage::Last => last += 1,
                    Stage::With(part) => parts.add_element(part, family, element),
                }
            }
        }
        parts.join_by_endpoints(transaction);
        let is_begun = has_first || first > 0;
        let mut room = BatchAllocator { most: most_elements, used: first, is_begun, piece: 0 };
        let parts = parts.distribute(|weight| room.take(weight));
        Self { places, parts, last: room.take(last) }
    }

    fn piece(&self, place: &Stage) -> usize {
        match place {
            Stage::First => 0,
            Stage::With(part) => self.parts[part],
            Stage::Last => self.last,
        }
    }

    fn divide(&self, transaction: Transaction) -> Vec<Transaction> {
        let mut split = vec![Transaction::default(); self.last + 1];
        for operation in transaction.operations {
            let family = operation.family;
            let mut add = |piece: usize, action| {
                split[piece].operations.push(Operation { family, action });
            };
            match operation.action {
                Action::AddElements { set, spec, elements } => {
                    for (piece, elements) in self.spread(family, &set, &spec, elements, true) {
                        let (set, spec) = (set.clone(), spec.clone());
                        add(piece, Action::AddElements { set, spec, elements });
                    }
                }
                Action::DeleteElements { set, spec, elements } => {
                    for (piece, elements) in self.spread(family, &set, &spec, elements, false) {
                        let (set, spec) = (set.clone(), spec.clone());
                        add(piece, Action::DeleteElements { set, spec, elements });
                    }
                }
                action => {
                    let operation = Operation { family, action };
                    let piece = self.piece(&self.places.of_operation(&operation));
                    split[piece].operations.push(operation);
                }
            }
        }
        split
    }

    /// Elements by part.
    fn spread(
        &self,
        family: Family,
        set: &Name,
        spec: &SetSpec,
        elements: Elements,
        is_added: bool,
    ) -> BTreeMap<usize, Elements> {
        let mut split: BTreeMap<usize, Vec<(RawKey, Element)>> = BTreeMap::new();
        for (key, element) in elements {
            let place = self.places.of_element(family, set, spec, &key, is_added);
            split.entry(self.piece(&place)).or_default().push((key, element));
        }
        let sorted = split.into_iter().map(|(piece, list)| (piece, list.into_iter().collect()));
        sorted.collect()
    }
}

/// The remaining room in the current part.
struct BatchAllocator {
    most: usize,
    used: usize,
    /// Whether there is anything in it.
    is_begun: bool,
    piece: usize,
}

impl BatchAllocator {
    /// The part for so many elements: the current one if they fit, else the next.
    fn take(&mut self, weight: usize) -> usize {
        if weight > 0 && self.is_begun && self.used + weight > self.most {
            self.piece += 1;
            self.used = 0;
        }
        self.is_begun |= weight > 0;
        self.used += weight;
        self.piece
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
