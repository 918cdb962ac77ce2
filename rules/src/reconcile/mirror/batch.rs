//! Plans changes to Services in batches that fit one transaction each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::rc::Rc;

use super::compiled::Compiled;
use super::delta::Delta;
use super::owners::destination;
use super::partial::{distance, towards};
use super::{Mirror, Plan, TableMirror, TablePlan, index};
use crate::cluster::{Cluster, Family, NamespacedName};
use crate::compile::{Entry, Fragment, Skeleton};
use crate::config::Config;
use crate::nft::RawKey;
use crate::transaction::slots::assign_fragment_slots;

/// Services to be programmed together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The Services, in the order in which they are planned. Behind each that gives up a destination
    /// comes the one that gets it, but for `contested`.
    pub services: Vec<NamespacedName>,
    /// Of a Service that gets destinations, the others that may still have some of them and do not come
    /// before it in this batch: two that exchange what they have cannot both come first. What one of these
    /// has is left to it, unless all of it goes in this batch.
    pub contested: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// Whether the Node, networks or settings have changed.
    pub environment: bool,
    /// About how many elements change at most.
    pub max_elements: usize,
}

impl Batch {
    /// Everything that changes for these Services, in one batch.
    pub(super) fn all(services: &BTreeSet<NamespacedName>, environment: bool) -> Self {
        Self {
            services: services.iter().cloned().collect(),
            contested: BTreeMap::new(),
            environment,
            max_elements: usize::MAX,
        }
    }
}

/// What a Service adds now and what it is to add, in the order of [`Family::ALL`].
type Changes = [(Fragment, Fragment); 2];

impl Mirror {
    /// Plans what changes for the Services of a batch, in their order, until about so many elements change
    /// as it may have. What a Service changes that is more than that by itself is planned in part, and so
    /// is what another has that comes later: then the Service is not among those that are `finished`.
    ///
    /// The Services must be all that are [`concerned`](Self::concerned), in one batch or several. No two
    /// Services ever have the same destination if each that gives one up comes before the one that gets it,
    /// or is named in [`Batch::contested`].
    ///
    /// `compiled` caches the fragment of a Service that is planned in part; it must have been notified of
    /// all that has changed since ([`Compiled::invalidate`]).
    pub fn plan_batch(
        &self,
        cluster: &Cluster,
        config: &Config,
        batch: &Batch,
        compiled: &mut Compiled,
    ) -> Plan {
        let mut plan = self.compile_batch(cluster, config, batch, compiled);
        let tables = self.tables.iter().zip(&plan.tables);
        for (family, (state, table)) in Family::ALL.into_iter().zip(tables) {
            let Some(table) = table else { continue };
            let (before, after) = Delta::compare(state.as_ref(), table);
            plan.before.tables.extend(before.map(|before| (family, before)));
            plan.after.tables.extend(after.map(|after| (family, after)));
        }
        plan
    }

    /// A plan without `before` and `after`.
    pub(super) fn compile_batch(
        &self,
        cluster: &Cluster,
        config: &Config,
        batch: &Batch,
        compiled: &mut Compiled,
    ) -> Plan {
        let mut drafts = Family::ALL.map(|family| {
            let state = self.tables[index(family)].as_ref();
            Draft::new(state, family, cluster, config, batch.environment)
        });
        if drafts.iter().any(|draft| draft.new_frame.is_some()) {
            compiled.clear();
        }
        let mut plan = Plan::default();
        let mut known = HashMap::new();
        let is_split = !batch.contested.is_empty()
            && self.is_split(&drafts, cluster, batch, compiled, &mut plan, &mut known);
        let mut room = batch.max_elements;
        for name in &batch.services {
            if self.frozen.contains(name) {
                plan.finished.push(name.clone());
                continue;
            }
            if room == 0 {
                break;
            }
            let known = known.remove(name);
            let mut changes =
                known.unwrap_or_else(|| changes(&drafts, name, cluster, compiled, &mut plan));
            let owners = batch.contested.get(name).filter(|_| is_split);
            let mut is_all = true;
            for (draft, (before, after)) in drafts.iter().zip(&mut changes) {
                is_all &= !owners.is_some_and(|owners| draft.leave_to(owners, before, after));
            }
            let cost = cost(&changes);
            // Who needs several batches goes on in each of which others leave it half.
            let is_large = cost > batch.max_elements;
            let begins_next = cost > room && !(is_large && room >= batch.max_elements / 2);
            // What it has beside destinations is not divided.
            let is_divided = cost > room
                && changes.iter().any(|(before, after)| before.elements != after.elements);
            if begins_next || is_divided {
                let is_kept = is_all && is_large;
                for (draft, (before, after)) in drafts.iter_mut().zip(&mut changes) {
                    if !begins_next && before != after {
                        let part = towards(mem::take(before), after, room / 2);
                        draft.begin(name, part.fragment);
                        draft.step = part.step.map(|step| (name.clone(), *step));
                    }
                }
                if !begins_next {
                    plan.begun.push(name.clone());
                }
                if is_kept {
                    compiled.put(name, changes.map(|(_, after)| after));
                }
                break;
            }
            for (draft, (before, after)) in drafts.iter_mut().zip(changes) {
                draft.put(name, &before, after);
            }
            let done = if is_all { &mut plan.finished } else { &mut plan.begun };
            done.push(name.clone());
            room = room.saturating_sub(cost);
        }
        plan.tables =
            drafts.map(|Draft { state, new_frame: frame, mut fragments, step, .. }| {
                let yielded =
                    state.map(|state| self.yield_contested(state, &fragments)).unwrap_or_default();
                fragments.extend(yielded);
                Some(TablePlan { frame, fragments, step })
            });
        plan
    }

    /// Whether a Service of the batch gets what another has that is not planned in full. Where all goes that
    /// gives something up, nothing has to be left to anybody. What was compiled for that is `known`.
    fn is_split<'a>(
        &self,
        drafts: &[Draft<'_>; 2],
        cluster: &Cluster,
        batch: &'a Batch,
        compiled: &mut Compiled,
        plan: &mut Plan,
        known: &mut HashMap<&'a NamespacedName, Changes>,
    ) -> bool {
        let (mut whole, mut room) = (HashSet::new(), batch.max_elements);
        let services = batch.services.iter().filter(|name| !self.frozen.contains(*name));
        for name in services {
            let changes = changes(drafts, name, cluster, compiled, plan);
            let cost = cost(&changes);
            known.insert(name, changes);
            if cost > room || room == 0 {
                break;
            }
            room -= cost;
            whole.insert(name);
        }
        let owners = known.keys().filter_map(|name| batch.contested.get(*name)).flatten();
        owners.into_iter().any(|owner| !whole.contains(owner) && !self.frozen.contains(owner))
    }
}

/// What changes for a Service.
fn changes(
    drafts: &[Draft<'_>; 2],
    name: &NamespacedName,
    cluster: &Cluster,
    compiled: &mut Compiled,
    plan: &mut Plan,
) -> Changes {
    let compile = || drafts.each_ref().map(|draft| draft.frame().fragment(name, cluster));
    let ([ipv4, ipv6], is_new) = compiled.take(name, compile);
    plan.recompiled += usize::from(is_new);
    let change = |draft: &Draft<'_>, mut after| {
        let before = draft.before(name);
        assign_fragment_slots(&before, &mut after);
        (before, after)
    };
    [change(&drafts[0], ipv4), change(&drafts[1], ipv6)]
}

fn cost(changes: &Changes) -> usize {
    changes.iter().map(|(before, after)| distance(before, after)).sum()
}

/// Destinations that a Service serves.
type Destinations = Rc<HashSet<RawKey>>;

/// A change of a family's table, as far as it is compiled.
struct Draft<'a> {
    state: Option<&'a TableMirror>,
    /// `None` if it stays.
    new_frame: Option<Skeleton>,
    fragments: Vec<(NamespacedName, Fragment)>,
    /// What differs of the one that is planned in part.
    step: Option<(NamespacedName, (Fragment, Fragment))>,
    /// Where each is among these.
    places: HashMap<NamespacedName, usize>,
    /// What Services serve, by whether that is as planned or as before.
    served: RefCell<HashMap<(NamespacedName, bool), Destinations>>,
}

impl<'a> Draft<'a> {
    fn new(
        state: Option<&'a TableMirror>,
        family: Family,
        cluster: &Cluster,
        config: &Config,
        environment: bool,
    ) -> Self {
        let new_frame = (environment || state.is_none())
            .then(|| Skeleton::new(family, cluster, config))
            .filter(|new| state.is_none_or(|state| state.frame != *new));
        Self {
            state,
            new_frame,
            fragments: Vec::new(),
            step: None,
            places: HashMap::new(),
            served: RefCell::default(),
        }
    }

    fn frame(&self) -> &Skeleton {
        let frame = self.new_frame.as_ref().or(self.state.map(|state| &state.frame));
        frame.expect("a table that stays has its old skeleton, any other a new one")
    }

    /// What a Service adds now.
    fn before(&self, name: &NamespacedName) -> Fragment {
        self.state.map(|state| state.store.get(name)).unwrap_or_default()
    }

    fn put(&mut self, name: &NamespacedName, before: &Fragment, after: Fragment) {
        if *before != after {
            self.begin(name, after);
        }
    }

    fn begin(&mut self, name: &NamespacedName, after: Fragment) {
        self.places.insert(name.clone(), self.fragments.len());
        self.fragments.push((name.clone(), after));
    }

    /// What a Service serves as it is planned so far. It is unpacked once for all who gain of it: one
    /// edit may have a thousand Services wait for a large one.
    fn served_by(&self, owner: &NamespacedName) -> Destinations {
        let place = self.places.get(owner).copied();
        let key = (owner.clone(), place.is_some());
        let mut served = self.served.borrow_mut();
        let destinations = || match place {
            Some(place) => destinations(&self.fragments[place].1),
            None => destinations(&self.before(owner)),
        };
        Rc::clone(served.entry(key).or_insert_with(|| Rc::new(destinations())))
    }

    /// Leaves to others what they still have; returns whether there is anything.
    fn leave_to(
        &self,
        owners: &BTreeSet<NamespacedName>,
        before: &Fragment,
        after: &mut Fragment,
    ) -> bool {
        let (has, gains) = (destinations(before), destinations(after));
        let gains: HashSet<_> = gains.difference(&has).copied().collect();
        let mut left: HashSet<RawKey> = HashSet::new();
        for owner in owners {
            if gains.is_empty() {
                break;
            }
            let has = self.served_by(owner);
            left.extend(gains.iter().filter(|gained| has.contains(*gained)));
        }
        if left.is_empty() {
            return false;
        }
        let elements = std::mem::take(&mut after.elements).into_iter();
        let goes = |(map, key, _): &Entry| {
            destination(*map, key).is_none_or(|destination| !left.contains(&destination))
        };
        after.elements = elements.filter(goes).collect();
        true
    }
}

/// All that a fragment serves.
fn destinations(fragment: &Fragment) -> HashSet<RawKey> {
    fragment.elements.iter().filter_map(|(map, key, _)| destination(*map, key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ChangeSet;
    use crate::testing::scale::large;

    #[test]
    fn what_a_service_serves_is_unpacked_once_for_all_who_gain_of_it() {
        let (cluster, config) = (large(1, 3), Config::new("node"));
        let mut mirror = Mirror::default();
        mirror.set(&cluster, &config, &ChangeSet::all(&cluster));
        let state = mirror.tables[index(Family::Ipv4)].as_ref();
        let mut draft = Draft::new(state, Family::Ipv4, &cluster, &config, false);
        let owner = NamespacedName::new("default", "svc-0");
        let before = draft.served_by(&owner);
        assert_eq!(before.len(), 1);
        assert!(Rc::ptr_eq(&before, &draft.served_by(&owner)));
        draft.begin(&owner, Fragment::default());
        assert!(draft.served_by(&owner).is_empty(), "as it is planned");
    }
}
