//! A mirror of the ruleset that the kernel holds, updated incrementally.
//!
//! A change to some Services is planned first: they are compiled, and what differs is split into two partial
//! rulesets, one with what is there now and one with what should be. Once the difference between the two has
//! been committed, the plan is accepted. So the mirror equals the kernel's tables as long as nobody else
//! changes these.
//!
//! No two Services have the same destination: [`crate::cluster::claims`] sees to that.

mod batch;
mod codec;
mod compiled;
mod delta;
mod owners;
mod partial;
mod recover;
mod select;
mod store;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

pub use self::batch::Batch;
pub use self::compiled::Compiled;
pub use self::owners::RejectedObject;
pub use self::select::Selection;
use self::store::FragmentStore;
use crate::cluster::{ChangeSet, Cluster, Family, NamespacedName};
use crate::compile::{Balancer, Fragment, Map, Skeleton, TableBuilder, learning};
use crate::config::Config;
use crate::nft::{RawKey, Ruleset, Table};
use crate::transaction::Tally;

/// The desired ruleset, as it was last committed. Empty at first, without tables.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    tables: [Option<TableMirror>; 2],
    /// Frozen Services, which are not compiled.
    frozen: HashSet<NamespacedName>,
}

/// The table of a family.
#[derive(Debug, Clone)]
struct TableMirror {
    frame: Skeleton,
    /// What each Service adds.
    store: FragmentStore,
    refcounts: HashMap<SharedObject, usize>,
    /// What there is beside the frame.
    tally: Tally,
}

/// An object that several Services may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SharedObject {
    Element(Map, RawKey),
    Chain(Balancer),
    /// What affinity needs.
    Learning,
}

/// A change that has not been accepted yet.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is there now of all that differs. Sets and maps hold only the elements that differ.
    pub before: Ruleset,
    /// What should be there instead.
    pub after: Ruleset,
    /// How many Services were compiled.
    pub recompiled: usize,
    /// The Services of which this is all that changes.
    pub finished: Vec<NamespacedName>,
    /// The Services of which this is a part of what changes.
    pub begun: Vec<NamespacedName>,
    tables: [Option<TablePlan>; 2],
}

/// A change of a family's table.
#[derive(Debug)]
struct TablePlan {
    /// `None` if it stays.
    frame: Option<Skeleton>,
    /// What Services add that add something else than before; nothing for those that go.
    store: Vec<(NamespacedName, Fragment)>,
}

impl Mirror {
    /// Plans what has changed in the cluster. Changed settings are part of the environment.
    pub fn plan(&self, cluster: &Cluster, config: &Config, change_set: &ChangeSet) -> Plan {
        let services = self.concerned(cluster, config, change_set);
        let batch = Batch::all(&services, change_set.environment);
        self.plan_batch(cluster, config, &batch, &mut Compiled::default())
    }

    /// Applies what has changed in the cluster, whatever it was before. Returns how many Services
    /// were compiled.
    pub fn set(&mut self, cluster: &Cluster, config: &Config, change_set: &ChangeSet) -> usize {
        let services = self.concerned(cluster, config, change_set);
        let batch = Batch::all(&services, change_set.environment);
        let plan = self.compile_batch(cluster, config, &batch, &mut Compiled::default());
        let recompiled = plan.recompiled;
        self.accept(plan);
        recompiled
    }

    /// The Services that have to be compiled for a change: all of them, if the environment has changed
    /// in a way that affects each.
    pub fn concerned(
        &self,
        cluster: &Cluster,
        config: &Config,
        change_set: &ChangeSet,
    ) -> BTreeSet<NamespacedName> {
        let concerns_all = change_set.environment
            && Family::ALL.into_iter().zip(&self.tables).any(|(family, state)| {
                state.as_ref().is_some_and(|state| {
                    !state.frame.makes_the_same_of_services(&Skeleton::new(family, cluster, config))
                })
            });
        let mut services = change_set.services.clone();
        if concerns_all {
            let known = self.tables.iter().flatten().flat_map(|state| state.store.names());
            services.extend(cluster.services.keys().chain(known).cloned());
        }
        services
    }

    /// Records that a plan was committed. It must have been made of this.
    pub fn accept(&mut self, plan: Plan) {
        for (state, table) in self.tables.iter_mut().zip(plan.tables) {
            let Some(TablePlan { frame, store, .. }) = table else { continue };
            let state = match (state, frame) {
                (Some(state), None) => state,
                (Some(state), Some(frame)) => {
                    state.frame = frame;
                    // Where Pods are distinguished from others, shared chains have one more rule.
                    state.tally.rules = state.count_rules();
                    state
                }
                (state, Some(frame)) => state.insert(TableMirror::new(frame)),
                (None, None) => continue,
            };
            store.into_iter().for_each(|(name, fragment)| state.put(name, fragment));
        }
    }

    /// All of it.
    pub fn ruleset(&self) -> Ruleset {
        let tables = Family::ALL.into_iter().zip(&self.tables);
        let tables = tables.filter_map(|(family, state)| Some((family, state.as_ref()?.table())));
        Ruleset { tables: tables.collect() }
    }

    /// About how many elements a Service has in all tables.
    pub fn estimated_elements(&self, service: &NamespacedName) -> usize {
        self.tables.iter().flatten().map(|state| state.store.estimated_elements(service)).sum()
    }

    /// Whether anything is desired of a Service.
    pub fn has(&self, service: &NamespacedName) -> bool {
        let mut tables = self.tables.iter().flatten();
        tables.any(|state| state.store.contains(service))
    }

    /// Puts endpoints into the slots that they have in a ruleset which is the same but for these.
    pub fn accept_slots(&mut self, programmed: &Ruleset) {
        for (family, state) in Family::ALL.into_iter().zip(&mut self.tables) {
            let (Some(state), Some(table)) = (state, programmed.tables.get(&family)) else {
                continue;
            };
            let moved = state.store.iter().filter_map(|(name, mut fragment)| {
                accept_slots(&mut fragment, table).then(|| (name.clone(), fragment))
            });
            for (name, fragment) in moved.collect::<Vec<_>>() {
                state.store.put(name, fragment);
            }
        }
    }

    /// How many things each family's table holds, in the order of [`Family::ALL`].
    pub fn objects(&self) -> [Tally; 2] {
        self.tables
            .each_ref()
            .map(|state| state.as_ref().map_or_else(Tally::default, TableMirror::objects))
    }
}

impl Plan {
    /// Assigns endpoints the slots that they have in what is programmed. The result is that of
    /// [`assign_slots`](crate::transaction::slots::assign_slots): where a destination passes from one
    /// Service to another, the endpoints of both are in one list.
    pub fn accept_slots(&mut self, programmed: &Ruleset) {
        for (family, plan) in Family::ALL.into_iter().zip(&mut self.tables) {
            let (Some(plan), Some(table)) = (plan, programmed.tables.get(&family)) else {
                continue;
            };
            for (_, fragment) in &mut plan.store {
                accept_slots(fragment, table);
            }
        }
    }
}

/// Puts a Service's endpoints into the slots that they have in a table, as far as it has them.
/// Returns whether any has another.
fn accept_slots(fragment: &mut Fragment, table: &Table) -> bool {
    let mut is_other = false;
    for (map, key, element) in fragment.elements.iter_mut().filter(|entry| entry.0.has_slots()) {
        let there = table.sets.get(map.name()).and_then(|set| set.elements.get(key));
        if let Some(there) = there.filter(|there| *there != element) {
            element.clone_from(there);
            is_other = true;
        }
    }
    is_other
}

/// The place of a family in the order of [`Family::ALL`].
fn index(family: Family) -> usize {
    usize::from(family == Family::Ipv6)
}

impl TableMirror {
    fn new(frame: Skeleton) -> Self {
        Self {
            frame,
            store: FragmentStore::default(),
            refcounts: HashMap::new(),
            tally: Tally::default(),
        }
    }

    fn put(&mut self, name: NamespacedName, fragment: Fragment) {
        let Self { frame, refcounts, tally, .. } = self;
        each_shared(&fragment, |shared| match refcounts.entry(shared) {
            Entry::Occupied(mut refcounts) => *refcounts.get_mut() += 1,
            Entry::Vacant(unused) => {
                count_shared(tally, unused.key(), frame, usize::saturating_add);
                unused.insert(1);
            }
        });
        count(tally, &fragment, usize::saturating_add);
        let before = self.store.put(name, fragment);
        count(tally, &before, usize::saturating_sub);
        each_shared(&before, |shared| {
            if let Entry::Occupied(mut refcounts) = refcounts.entry(shared) {
                *refcounts.get_mut() -= 1;
                if *refcounts.get() == 0 {
                    let (shared, _) = refcounts.remove_entry();
                    count_shared(tally, &shared, frame, usize::saturating_sub);
                }
            }
        });
    }

    fn table(&self) -> Table {
        let mut assembly = TableBuilder::new(self.frame.base.clone());
        self.store.iter().for_each(|(_, fragment)| assembly.add(&fragment));
        assembly.finish(self.frame.is_from_pod.as_ref())
    }

    /// The rules of all chains but those of the frame.
    fn count_rules(&self) -> usize {
        let mut tally = Tally::default();
        let store = self.store.iter();
        store.for_each(|(_, it)| count(&mut tally, &it, usize::saturating_add));
        let shared = self.refcounts.keys();
        shared.for_each(|it| count_shared(&mut tally, it, &self.frame, usize::saturating_add));
        tally.rules
    }

    fn objects(&self) -> Tally {
        let mut all = self.tally;
        count_table(&mut all, &self.frame.base, usize::saturating_add);
        all
    }
}

/// Adds to a tally, or takes from it, what several Services use.
fn count_shared(
    tally: &mut Tally,
    it: &SharedObject,
    frame: &Skeleton,
    change: fn(usize, usize) -> usize,
) {
    match it {
        SharedObject::Element(..) => tally.elements = change(tally.elements, 1),
        SharedObject::Chain(balancer) => {
            let rules = balancer.chain(frame.is_from_pod.as_ref()).rules.len();
            tally.chains = change(tally.chains, 1);
            tally.rules = change(tally.rules, rules);
        }
        SharedObject::Learning => count_table(tally, &learning(), change),
    }
}

/// Adds to a tally, or takes from it, what a fragment has of its own.
fn count(tally: &mut Tally, fragment: &Fragment, change: fn(usize, usize) -> usize) {
    tally.elements = change(tally.elements, fragment.elements.len());
    if let Some(own) = &fragment.own {
        count_table(tally, own, change);
    }
}

fn count_table(tally: &mut Tally, table: &Table, change: fn(usize, usize) -> usize) {
    let held = Tally::of(table);
    tally.sets = change(tally.sets, held.sets);
    tally.chains = change(tally.chains, held.chains);
    tally.rules = change(tally.rules, held.rules);
    tally.elements = change(tally.elements, held.elements);
}

fn each_shared(fragment: &Fragment, mut each: impl FnMut(SharedObject)) {
    fragment.shared.iter().for_each(|(map, key)| each(SharedObject::Element(*map, *key)));
    fragment.balancers.iter().for_each(|balancer| each(SharedObject::Chain(balancer.clone())));
    if fragment.learns {
        each(SharedObject::Learning);
    }
}

#[cfg(test)]
mod tests;
