//! Selects parts of the desired tables, to compare them with the same parts of the kernel's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mirror, SharedObject, TableMirror};
use crate::cluster::Family;
use crate::compile::learning;
use crate::nft::{Data, Element, Name, RawKey, Ruleset, Set, SetSpec, Table};

/// Which parts of a table are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// All chains and rules, and what defines each set.
    pub structure: bool,
    /// Elements with these keys; of interval sets, all elements.
    pub elements: BTreeMap<Name, BTreeSet<RawKey>>,
}

impl Mirror {
    /// What defines a set or map; `None` if there is none of the name.
    pub fn spec(&self, family: Family, name: &Name) -> Option<SetSpec> {
        let state = self.tables[super::index(family)].as_ref()?;
        let mut table = Table::default();
        state.declare(name, &mut table);
        table.sets.remove(name).map(|set| set.spec)
    }

    /// These parts of what is desired; a family of which nothing is asked for has no table. This
    /// walks all fragments.
    pub fn parts(&self, parts: &BTreeMap<Family, Selection>) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for (family, part) in parts {
            if let Some(state) = &self.tables[super::index(*family)] {
                ruleset.tables.insert(*family, state.part(part));
            }
        }
        ruleset
    }
}

impl TableMirror {
    fn part(&self, part: &Selection) -> Table {
        let mut table = Table::default();
        if part.structure {
            self.add_structure(&mut table);
        }
        for name in part.elements.keys() {
            self.declare(name, &mut table);
        }
        let mut add = |set: &str, key: &RawKey, element: &Element| {
            if part.elements.get(set).is_some_and(|keys| keys.contains(key))
                && let Some(set) = table.sets.get_mut(set)
            {
                set.elements.insert(*key, element.clone());
            }
        };
        let nothing = Element::new(Data::Nothing);
        for shared in self.refcounts.keys() {
            if let SharedObject::Element(map, key) = shared {
                add(map.name(), key, &nothing);
            }
        }
        for (_, fragment) in self.store.iter() {
            for (map, key, element) in &fragment.elements {
                add(map.name(), key, element);
            }
            for (name, set) in fragment.own.iter().flat_map(|own| &own.sets) {
                set.elements.iter().for_each(|(key, element)| add(name.as_str(), key, element));
            }
        }
        self.add_intervals(part, &mut table);
        table
    }

    /// Interval sets are read in full.
    fn add_intervals(&self, part: &Selection, table: &mut Table) {
        for other in self.store.own().chain([&self.frame.base]) {
            for (name, set) in other.sets.iter().filter(|(_, set)| set.spec.interval) {
                if part.elements.contains_key(name) {
                    table.sets.insert(name.clone(), set.clone());
                }
            }
        }
    }

    /// All chains, and all sets without their elements.
    fn add_structure(&self, table: &mut Table) {
        let mut add = |other: &Table| {
            let sets = other.sets.iter().map(|(name, set)| (name, Set::new(set.spec.clone())));
            table.sets.extend(sets.map(|(name, set)| (name.clone(), set)));
            let chains = other.chains.iter().map(|(name, chain)| (name.clone(), chain.clone()));
            table.chains.extend(chains);
        };
        add(&self.frame.base);
        self.store.own().for_each(&mut add);
        if self.refcounts.contains_key(&SharedObject::Learning) {
            add(&learning());
        }
        for shared in self.refcounts.keys() {
            if let SharedObject::Chain(balancer) = shared {
                let chain = balancer.chain(self.frame.is_from_pod.as_ref());
                table.chains.insert(balancer.name(), chain);
            }
        }
        table.comment.clone_from(&self.frame.base.comment);
    }

    /// Adds a set that there is, without elements.
    fn declare(&self, name: &Name, table: &mut Table) {
        let of = |other: &Table| other.sets.get(name).map(|set| Set::new(set.spec.clone()));
        let learning = || self.refcounts.contains_key(&SharedObject::Learning).then(learning);
        let own = || self.store.own().find_map(of);
        let found = of(&self.frame.base).or_else(|| of(&learning()?)).or_else(own);
        table.sets.extend(found.map(|set| (name.clone(), set)));
    }
}
