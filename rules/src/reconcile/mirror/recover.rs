//! Recovers a quarantined Service's last programmed objects from a kernel dump.
//!
//! The kernel rejects what such a Service should have now. What it had before was valid once, and is better
//! than nothing. Sets and chains of a Service carry its name in theirs, destinations in their comment. What no
//! longer fits is dropped: chains and elements with a missing target, and destinations that now belong to
//! another Service.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::owners::destination;
use super::{Mirror, TableMirror, index};
use crate::cluster::{Family, NamespacedName};
use crate::compile::lists::{list_of_member, lists_of};
use crate::compile::{Balancer, Fragment, Map, Skeleton, chain_for, learning, own_spec};
use crate::nft::{Chain, Data, Element, Elements, Name, RawKey, Ruleset, Set, Statement, Table};
use crate::transaction::split::owner;

impl Mirror {
    /// Desires of these Services what they have in a ruleset, and nothing else. This walks all
    /// fragments.
    pub fn keep(&mut self, services: &HashSet<NamespacedName>, observed: &Ruleset) {
        for family in Family::ALL {
            let Some(state) = &mut self.tables[index(family)] else { continue };
            services.iter().for_each(|name| state.put(name.clone(), Fragment::default()));
            let Some(table) = observed.tables.get(&family) else { continue };
            for (name, fragment) in state.kept(services, table) {
                state.put(name.clone(), fragment);
            }
        }
    }
}

impl TableMirror {
    /// What these Services have in a table.
    fn kept<'a>(
        &self,
        services: &'a HashSet<NamespacedName>,
        table: &Table,
    ) -> Vec<(&'a NamespacedName, Fragment)> {
        let mut all: Vec<_> = services.iter().map(|_| RecoveredParts::default()).collect();
        let numbers: HashMap<_, _> = services.iter().map(|it| it.to_string()).zip(0..).collect();
        let number_of = |name: &Name| numbers.get(&owner(name)?).copied();
        for (name, set) in &table.sets {
            if let Some(number) = number_of(name) {
                all[number].add_set(name, set);
            }
        }
        for (name, chain) in &table.chains {
            if let Some(number) = number_of(name) {
                all[number].own.chains.insert(name.clone(), chain.clone());
            }
        }
        all.iter_mut().for_each(|kept| kept.drop_dangling(&self.frame));

        let (claimed, nothing) = (self.claimed(), Elements::new());
        let elements = |map: Map| {
            let set = table.sets.get(map.name()).filter(|set| set.spec == self.frame.spec(map));
            set.map_or(&nothing, |set| &set.elements)
        };
        let mut owners: HashMap<RawKey, usize> = HashMap::new();
        for map in Map::WITH_VERDICTS {
            for (key, element) in elements(map) {
                let comment = element.comment.as_deref().unwrap_or_default();
                let number = commented(comment, &numbers).filter(|_| !claimed.contains(key));
                let Some(number) = number else { continue };
                if all[number].add_verdict(map, key, element, &self.frame) {
                    owners.insert(*key, number);
                }
            }
        }
        // An address of which it is not known who may use it is better not served.
        let guarded = table.sets.get(Map::FirewallIps.name()).into_iter();
        for key in guarded.flat_map(|set| set.elements.keys()) {
            let Some(&number) = owners.get(key) else { continue };
            if !all[number].elements.contains_key(&(Map::FirewallIps, *key)) {
                all[number].elements.retain(|(_, other), _| other != key);
                owners.remove(key);
            }
        }
        for map in Map::WITH_SLOTS {
            for (key, element) in elements(map) {
                let number = destination(map, key).and_then(|key| owners.get(&key));
                if let Some(&number) = number {
                    all[number].elements.insert((map, *key), element.clone());
                }
            }
        }
        let mut lists: HashMap<RawKey, usize> = HashMap::new();
        for (number, kept) in all.iter().enumerate() {
            let rules = kept.own.chains.values().flat_map(|chain| &chain.rules);
            lists.extend(rules.flat_map(lists_of).map(|list| (list, number)));
        }
        for (key, element) in elements(Map::AffinityEndpoints) {
            if let Some(&number) = list_of_member(key).and_then(|list| lists.get(&list)) {
                all[number].elements.insert((Map::AffinityEndpoints, *key), element.clone());
            }
        }
        for map in [Map::ClusterIps, Map::HairpinConnections] {
            all.iter_mut().for_each(|kept| kept.add_shared(map, elements(map)));
        }
        services.iter().zip(all.into_iter().map(RecoveredParts::into_fragment)).collect()
    }

    /// The destinations that Services have.
    fn claimed(&self) -> HashSet<RawKey> {
        let elements = self.store.iter().flat_map(|(_, fragment)| fragment.elements);
        elements.filter(|(map, ..)| !map.has_slots()).map(|(_, key, _)| key).collect()
    }
}

/// Whether a rule looks up which endpoint a client has.
fn leads_to_clients(table: &Table) -> bool {
    let mut statements = table.chains.values().flat_map(Chain::statements);
    statements.any(|it| matches!(it, Statement::DnatToPort { .. } | Statement::Update { .. }))
}

/// The Service that a comment names, of these by their names. A comment that is too long is cut.
fn commented(comment: &str, numbers: &HashMap<String, usize>) -> Option<usize> {
    if let Some(number) = comment.split(':').next().and_then(|name| numbers.get(name)) {
        return Some(*number);
    }
    let stem = comment.strip_suffix("...")?;
    let is_it = |(name, _): &(&String, &usize)| {
        name.starts_with(stem)
            || stem.strip_prefix(name.as_str()).is_some_and(|it| it.starts_with(':'))
    };
    let mut found = numbers.iter().filter(is_it);
    let (_, number) = found.next()?;
    found.next().is_none().then_some(*number)
}

/// What a Service keeps.
#[derive(Debug, Default)]
struct RecoveredParts {
    elements: BTreeMap<(Map, RawKey), Element>,
    shared: BTreeSet<(Map, RawKey)>,
    balancers: BTreeMap<Balancer, Name>,
    own: Table,
}

impl RecoveredParts {
    fn add_set(&mut self, name: &Name, set: &Set) {
        // To change what defines a set or chain, the kernel has to make the table anew.
        if own_spec(name).as_ref() == Some(&set.spec) {
            self.own.sets.insert(name.clone(), set.clone());
        }
    }

    /// Drops chains with rules that others have made, or that lead to such a chain.
    fn drop_dangling(&mut self, frame: &Skeleton) {
        let learning = learning();
        loop {
            let is_whole = |chain: &Chain| {
                chain.base.is_none()
                    && chain.comment.is_none()
                    && chain.statements().all(|it| {
                        !matches!(it, Statement::Foreign(_))
                            && it.chain().is_none_or(|name| self.has_chain(name, frame))
                            && it.set().is_none_or(|name| {
                                self.own.sets.contains_key(name)
                                    || frame.base.sets.contains_key(name)
                                    || learning.sets.contains_key(name)
                            })
                    })
            };
            let broken = self.own.chains.iter().filter(|(_, chain)| !is_whole(chain));
            let broken: Vec<Name> = broken.map(|(name, _)| name.clone()).collect();
            if broken.is_empty() {
                break;
            }
            self.own.chains.retain(|name, _| !broken.contains(name));
        }
        let statements = self.own.chains.values().flat_map(Chain::statements);
        let targets: Vec<Name> = statements.filter_map(|it| it.chain().cloned()).collect();
        targets.iter().for_each(|name| self.add_balancer(name));
    }

    fn has_chain(&self, name: &Name, frame: &Skeleton) -> bool {
        self.own.chains.contains_key(name)
            || frame.base.chains.contains_key(name)
            || Balancer::shared(name).is_some()
    }

    fn add_balancer(&mut self, name: &Name) {
        if let Some(balancer) = Balancer::shared(name) {
            chain_for(balancer, &mut self.balancers);
        }
    }

    /// Returns whether it is kept.
    fn add_verdict(&mut self, map: Map, key: &RawKey, element: &Element, frame: &Skeleton) -> bool {
        let Data::Verdict(verdict) = &element.data else { return false };
        if let Some(chain) = verdict.chain() {
            if !self.has_chain(chain, frame) {
                return false;
            }
            self.add_balancer(chain);
        }
        self.elements.insert((map, *key), element.clone());
        true
    }

    /// What other Services may have, too, is kept where it is about what is kept.
    fn add_shared(&mut self, map: Map, there: &Elements) {
        let about = self.elements.iter().filter_map(|((of, key), element)| match map {
            Map::ClusterIps => cluster_ip(*of, key),
            _ => hairpin(*of, key, element),
        });
        self.shared.extend(about.filter(|key| there.contains_key(key)).map(|key| (map, key)));
    }

    fn into_fragment(self) -> Fragment {
        let Self { elements, shared, balancers, own } = self;
        let has_own = !own.sets.is_empty() || !own.chains.is_empty();
        Fragment {
            learns: elements.keys().any(|(map, _)| map.learns()) || leads_to_clients(&own),
            elements: elements
                .into_iter()
                .map(|((map, key), element)| (map, key, element))
                .collect(),
            shared: shared.into_iter().collect(),
            balancers: balancers.into_keys().collect(),
            own: has_own.then(|| Box::new(own)),
        }
    }
}

/// The address of a destination, which may be a ClusterIP.
fn cluster_ip(map: Map, key: &RawKey) -> Option<RawKey> {
    let bytes = destination(map, key)?;
    // Behind it are protocol and port, of four bytes each; before those of a node port is nothing.
    let address = bytes.as_bytes().split_last_chunk::<8>()?.0;
    (!address.is_empty()).then(|| RawKey::from_bytes(address))?
}

/// The connection of an endpoint to itself: from its address to its address and port.
fn hairpin(map: Map, key: &RawKey, element: &Element) -> Option<RawKey> {
    let Data::Values(endpoint) = &element.data else { return None };
    let destination = destination(map, key)?;
    let (_, protocol_and_port) = destination.as_bytes().split_last_chunk::<8>()?;
    let (address, port) = endpoint.as_bytes().split_last_chunk::<4>()?;
    RawKey::from_bytes(&[address, address, &protocol_and_port[..4], port].concat())
}
