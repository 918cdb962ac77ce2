//! Keeping what packets have put into the kernel's dynamic maps.
//!
//! What is compiled from the cluster has these maps empty. Here they get the elements that the
//! kernel has, but for those that point to an endpoint that is no longer in its list, so that the
//! difference takes away just these.

use std::borrow::Cow;

use crate::nft::{Data, Element, Elements, Lifetime, Name, Rule, Ruleset, Statement, Table};
use crate::transaction::{Action, Transaction};

/// The desired ruleset with what the observed one has learned, as far as it is still good.
///
/// Where another timeout is desired, an element lives as long as if it had been learned with that
/// one.
pub fn adopt<'a>(observed: &Ruleset, mut desired: Cow<'a, Ruleset>) -> Cow<'a, Ruleset> {
    for (family, observed) in &observed.tables {
        let Some(table) = desired.tables.get(family) else { continue };
        let kept: Vec<(Name, Elements)> = lists(table)
            .filter_map(|list| {
                let learned = observed.sets.get(list.map)?;
                let wanted = &table.sets.get(list.map)?.spec;
                let is_same_kind =
                    learned.spec.key == wanted.key && learned.spec.data == wanted.data;
                let kept = is_same_kind.then(|| list.keep(&learned.elements))?;
                (!kept.is_empty()).then(|| (list.map.clone(), kept))
            })
            .collect();
        if kept.is_empty() {
            continue;
        }
        let table = desired.to_mut().tables.get_mut(family).expect("it was there");
        for (name, elements) in kept {
            table.sets.get_mut(&name).expect("it was there").elements = elements;
        }
    }
    desired
}

/// Whether something may have been learned, between a reading of the kernel and this transaction,
/// that the transaction should have changed too: it removes from a list of what may be learned,
/// changes a rule that learns, or takes away what was learned.
pub fn may_outlive(transaction: &Transaction, desired: &Ruleset) -> bool {
    let learns = |rules: &[Rule]| {
        let mut statements = rules.iter().flat_map(|rule| &rule.statements);
        statements.any(|statement| matches!(statement, Statement::Update { .. }))
    };
    let is_list = |family, set: &Name| {
        let table = desired.tables.get(family);
        table.is_some_and(|table| lists(table).any(|list| list.members == set))
    };
    transaction.operations.iter().any(|operation| match &operation.action {
        Action::DeleteElements { set, spec, .. } => {
            spec.dynamic.is_some() || is_list(&operation.family, set)
        }
        Action::ReplaceRules { old, new, .. } => learns(old) && learns(new),
        _ => false,
    })
}

/// A dynamic map, and what may be learned.
struct List<'a> {
    map: &'a Name,
    members: &'a Name,
    elements: &'a Elements,
    /// In seconds.
    timeout: u32,
}

/// The dynamic maps of a table, as its rules tell: `KEY @MEMBERS update @MAP { ... }`.
fn lists(table: &Table) -> impl Iterator<Item = List<'_>> {
    let rules = table.chains.values().flat_map(|chain| &chain.rules);
    rules.filter_map(|rule| match rule.statements.as_slice() {
        [
            Statement::InSet { set: members, negated: false, .. },
            Statement::Update { map, timeout, .. },
        ] => {
            let elements = &table.sets.get(members)?.elements;
            Some(List { map, members, elements, timeout: *timeout })
        }
        _ => None,
    })
}

impl List<'_> {
    fn keep(&self, learned: &Elements) -> Elements {
        let keep_one = |element: &Element| {
            let Data::Learned(endpoint, lifetime) = &element.data else { return None };
            let lifetime = with_timeout(*lifetime, 1000 * u64::from(self.timeout))?;
            let is_member = self.elements.contains_key(&endpoint.to_key());
            is_member.then(|| Element::new(Data::Learned(*endpoint, lifetime)))
        };
        learned.iter().filter_map(|(key, element)| Some((*key, keep_one(element)?))).collect()
    }
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
#[path = "learned_tests.rs"]
mod tests;
