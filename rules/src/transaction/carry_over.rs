//! Carries over what packets have put into the kernel's dynamic maps.
//!
//! These maps are compiled empty. Here they get the elements that the kernel has, except those whose endpoint
//! is no longer in its list, so that the diff removes only these.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::compile::lists::{list_named, list_of_client};
use crate::compile::names;
use crate::nft::{
    Data, Element, Elements, Lifetime, Name, RawKey, Rule, Ruleset, Statement, Table,
};
use crate::transaction::{Action, Transaction};

/// The desired ruleset with what the observed one has learned, as far as it is still good.
///
/// Where another timeout is desired, an element lives as long as if it had been learned with that
/// one.
pub fn carry_over<'a>(observed: &Ruleset, mut desired: Cow<'a, Ruleset>) -> Cow<'a, Ruleset> {
    for (family, observed) in &observed.tables {
        let Some(table) = desired.tables.get(family) else { continue };
        let kept: Vec<(Name, Elements)> = lists(table)
            .into_iter()
            .filter_map(|(map, lists)| {
                let learned = observed.sets.get(map)?;
                let wanted = &table.sets.get(map)?.spec;
                let is_same_kind =
                    learned.spec.key == wanted.key && learned.spec.data == wanted.data;
                let kept = is_same_kind.then(|| keep(&learned.elements, &lists))?;
                (!kept.is_empty()).then(|| (map.clone(), kept))
            })
            .collect();
        if kept.is_empty() {
            continue;
        }
        let table = desired.to_mut().tables.get_mut(family).expect("`kept` comes from this table");
        for (name, elements) in kept {
            table.sets.get_mut(&name).expect("`kept` comes from this table").elements = elements;
        }
    }
    desired
}

/// Whether something may have been learned, between a reading of the kernel and this transaction,
/// that the transaction should have changed too: it removes from a list of what may be learned,
/// changes a rule that learns, or takes away what was learned.
pub fn may_leave_stale(transaction: &Transaction) -> bool {
    let learns = |rules: &[Rule]| {
        let mut statements = rules.iter().flat_map(|rule| &rule.statements);
        statements.any(|statement| matches!(statement, Statement::Update { .. }))
    };
    transaction.operations.iter().any(|operation| match &operation.action {
        Action::DeleteElements { set, spec, .. } => {
            spec.dynamic.is_some() || set.as_str() == names::AFFINITY_ENDPOINTS
        }
        Action::ReplaceRules { old, new, .. } => learns(old) && learns(new),
        _ => false,
    })
}

/// Of what was learned in a map, what is of the lists that one of these tables has.
pub fn of_lists(map: &Name, learned: Elements, tables: [&Table; 2]) -> Elements {
    let lists = tables.map(|table| lists(table).remove(map).unwrap_or_default());
    let is_of = |key: &RawKey| {
        list_of_client(key).is_some_and(|id| lists.iter().any(|lists| lists.contains_key(&id)))
    };
    learned.into_iter().filter(|(key, _)| is_of(key)).collect()
}

/// A list of what may be learned.
struct AffinityList<'a> {
    members: &'a Elements,
    /// In seconds.
    timeout: u32,
}

/// The lists by the map that holds their clients, and by name, from rules such as: `th dport PORT
/// LIST . ip daddr @MEMBERS update @MAP { CLIENT . LIST timeout SECONDS : ip daddr }`.
fn lists(table: &Table) -> BTreeMap<&Name, HashMap<RawKey, AffinityList<'_>>> {
    let mut found: BTreeMap<_, HashMap<_, _>> = BTreeMap::new();
    for rule in table.chains.values().flat_map(|chain| &chain.rules) {
        let [
            Statement::DestinationPortIs(_),
            Statement::InSet { set, negated: false, .. },
            Statement::Update { map, key, timeout, .. },
        ] = rule.statements.as_slice()
        else {
            continue;
        };
        let id = list_named(key);
        let (Some(id), Some(members)) = (id, table.sets.get(set)) else { continue };
        let list = AffinityList { members: &members.elements, timeout: *timeout };
        found.entry(map).or_default().insert(id, list);
    }
    found
}

/// What is still good of what was learned.
fn keep(learned: &Elements, lists: &HashMap<RawKey, AffinityList<'_>>) -> Elements {
    let keep_one = |key: &RawKey, element: &Element| {
        let Data::Learned(endpoint, lifetime) = &element.data else { return None };
        let id = list_of_client(key)?;
        let list = lists.get(&id)?;
        let lifetime = with_timeout(*lifetime, 1000 * u64::from(list.timeout))?;
        let member = RawKey::from_bytes(&[id.as_bytes(), endpoint.as_bytes()].concat())?;
        let is_member = list.members.contains_key(&member);
        is_member.then(|| Element::new(Data::Learned(*endpoint, lifetime)))
    };
    learned.iter().filter_map(|(key, element)| Some((*key, keep_one(key, element)?))).collect()
}

/// What is left of a lifetime had the timeout been this one from the start; `None` if nothing is.
fn with_timeout(lifetime: Lifetime, timeout: u64) -> Option<Lifetime> {
    // One without a timeout was not learned.
    (lifetime.timeout != 0).then_some(())?;
    let age = lifetime.timeout.saturating_sub(lifetime.expires);
    let expires = if lifetime.timeout == timeout {
        lifetime.expires
    } else {
        timeout.checked_sub(age).filter(|&left| left > 0)?
    };
    Some(Lifetime { timeout, expires })
}

#[cfg(test)]
#[path = "carry_over_tests.rs"]
mod tests;
