//! The delta of a planned change: one partial table before, one after.

use std::collections::HashMap;

use super::{SharedObject, TableMirror, TablePlan, each_shared};
use crate::compile::{Fragment, Map, Skeleton, learning};
use crate::nft::{Data, Element, Name, RawKey, Set, Table};

/// Two tables that are filled with what differs. Sets that are on one side only come or go.
pub(super) struct Delta {
    before: Table,
    after: Table,
}

impl Delta {
    /// The delta of a table: its parts before and after. There is none where there is no table, and
    /// on both if nothing changes.
    pub(super) fn compare(
        state: Option<&TableMirror>,
        plan: &TablePlan,
    ) -> (Option<Table>, Option<Table>) {
        let old = state.map(|state| &state.frame);
        let Some(new) = plan.frame.as_ref().or(old) else { return (None, None) };
        if plan.frame.is_none() && plan.fragments.is_empty() {
            return (None, None);
        }
        let mut sides = Self { before: Table::default(), after: Table::default() };
        sides.before.comment.clone_from(&new.base.comment);
        sides.after.comment.clone_from(&new.base.comment);
        let frames = Frames { old: old.unwrap_or(new), new };

        let mut changes: HashMap<SharedObject, isize> = HashMap::new();
        for (name, after) in &plan.fragments {
            let whole;
            let (before, after) = match &plan.step {
                Some((of, (before, after))) if of == name => (before, after),
                _ => {
                    whole = state.map(|state| state.store.get(name)).unwrap_or_default();
                    (&whole, after)
                }
            };
            sides.add_fragments(before, after, new);
            each_shared(before, |shared| *changes.entry(shared).or_default() -= 1);
            each_shared(after, |shared| *changes.entry(shared).or_default() += 1);
        }
        let count = |shared: &SharedObject| {
            state.and_then(|s| s.refcounts.get(shared)).map_or(0, |&n| n as isize)
        };
        for (shared, change) in &changes {
            let before = count(shared);
            match (before > 0, before + change > 0) {
                (true, false) => sides.add_shared(shared, frames, true, false),
                (false, true) => sides.add_shared(shared, frames, false, true),
                _ => {}
            }
        }
        if old.is_some_and(|old| old.is_from_pod != new.is_from_pod) {
            let stays =
                |shared: &&SharedObject| count(shared) + changes.get(shared).unwrap_or(&0) > 0;
            for shared in state.into_iter().flat_map(|state| state.refcounts.keys()).filter(stays) {
                if matches!(shared, SharedObject::Chain(_)) {
                    sides.add_shared(shared, frames, true, true);
                }
            }
        }
        if plan.frame.is_some() {
            if let Some(old) = old {
                add_table(&mut sides.before, &old.base);
            }
            add_table(&mut sides.after, &new.base);
        }
        (old.map(|_| sides.before), Some(sides.after))
    }

    fn add_fragments(&mut self, before: &Fragment, after: &Fragment, frame: &Skeleton) {
        before.differences(after, |map, key, old, new| {
            self.declare_set(map, frame);
            if let Some(old) = old {
                insert(&mut self.before, map, *key, old.clone());
            }
            if let Some(new) = new {
                insert(&mut self.after, map, *key, new.clone());
            }
        });
        if before.own != after.own || !before.members().eq(after.members()) {
            before.own.iter().for_each(|own| add_table(&mut self.before, own));
            after.own.iter().for_each(|own| add_table(&mut self.after, own));
            self.add_affinity(before, after, frame);
        }
    }

    /// What decides which learned clients are still valid: besides the rules that learn, all of the
    /// lists, and the maps that hold the clients.
    fn add_affinity(&mut self, before: &Fragment, after: &Fragment, frame: &Skeleton) {
        let members = before.members().chain(after.members());
        if members.count() > 0 {
            self.declare_set(Map::AffinityEndpoints, frame);
        }
        for (side, fragment) in [(&mut self.before, before), (&mut self.after, after)] {
            for (map, key, element) in fragment.members() {
                insert(side, *map, *key, element.clone());
            }
        }
        let maps = before.client_maps().chain(after.client_maps());
        let missing = maps.filter(|map| !self.before.sets.contains_key(*map));
        let missing: Vec<Name> = missing.cloned().collect();
        if missing.is_empty() {
            return;
        }
        let learning = learning();
        for map in missing {
            let set = &learning.sets[&map];
            for side in [&mut self.before, &mut self.after] {
                side.sets.entry(map.clone()).or_insert_with(|| set.clone());
            }
        }
    }

    fn add_shared(&mut self, shared: &SharedObject, frames: Frames<'_>, before: bool, after: bool) {
        match shared {
            SharedObject::Element(map, key) => {
                self.declare_set(*map, frames.new);
                let side = if before { &mut self.before } else { &mut self.after };
                insert(side, *map, *key, Element::new(Data::Nothing));
            }
            SharedObject::Chain(balancer) => {
                let sides =
                    [(&mut self.before, frames.old, before), (&mut self.after, frames.new, after)];
                for (side, frame, _) in sides.into_iter().filter(|(_, _, is_there)| *is_there) {
                    let chain = balancer.chain(frame.is_from_pod.as_ref());
                    side.chains.insert(balancer.name(), chain);
                }
            }
            SharedObject::Learning => {
                let learning = learning();
                let (here, there) = if before {
                    (&mut self.before, &mut self.after)
                } else {
                    (&mut self.after, &mut self.before)
                };
                add_table(here, &learning);
                there.sets.retain(|name, _| !learning.sets.contains_key(name));
            }
        }
    }

    /// Declares a map on both sides.
    fn declare_set(&mut self, map: Map, frame: &Skeleton) {
        if !self.before.sets.contains_key(map.name()) || !self.after.sets.contains_key(map.name()) {
            let set = Set::new(frame.spec(map));
            for side in [&mut self.before, &mut self.after] {
                side.sets.entry(map.name().into()).or_insert_with(|| set.clone());
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Frames<'a> {
    old: &'a Skeleton,
    new: &'a Skeleton,
}

fn insert(table: &mut Table, map: Map, key: RawKey, element: Element) {
    let set = table.sets.get_mut(map.name()).expect("`declare_set` put the set into this table");
    set.elements.insert(key, element);
}

/// Adds all that another table has.
fn add_table(table: &mut Table, other: &Table) {
    for (name, set) in &other.sets {
        let here = table.sets.entry(name.clone()).or_insert_with(|| Set::new(set.spec.clone()));
        here.elements.extend(set.elements.iter().map(|(key, element)| (*key, element.clone())));
    }
    let chains = other.chains.iter().map(|(name, chain)| (name.clone(), chain.clone()));
    table.chains.extend(chains);
}
