//! Selects part of one Service's change, when all of it is too large for one transaction.

use std::collections::BTreeSet;

use super::owners::destination;
use crate::compile::{Entry, Fragment};
use crate::nft::{RawKey, Table};

/// How many elements differ between two fragments, those of sets of their own included.
pub(super) fn distance(before: &Fragment, after: &Fragment) -> usize {
    let mut count = 0;
    before.differences(after, |_, _, old, new| {
        count += usize::from(old.is_some()) + usize::from(new.is_some());
    });
    if before.own != after.own {
        count += own_elements(before) + own_elements(after);
    }
    count
}

fn own_elements(fragment: &Fragment) -> usize {
    let sets = fragment.own.iter().flat_map(|own| own.sets.values());
    sets.map(|set| set.elements.len()).sum()
}

/// What a Service has on the way from one fragment to another.
pub(super) struct Part {
    /// All that it has then.
    pub(super) fragment: Fragment,
    /// What differs from before, as it was and as it is then, but for what has not changed of all else;
    /// `None` if it takes all of both to tell.
    pub(super) step: Option<Box<(Fragment, Fragment)>>,
}

/// What a Service has on the way from one fragment to another: some destinations (an address with its
/// protocol and port, or a node port) as after, and the others as before. About so many elements
/// change, and at least one destination. Only what changes is copied.
///
/// What destinations share is there for both. So a new ClusterIP refuses connections to those of its
/// ports that are still to come, and who may use a load balancer changes with the first destinations.
pub(super) fn towards(before: Fragment, after: &Fragment, max_elements: usize) -> Part {
    let moved = first_changed(&before, after, max_elements);
    // Most are before or behind those that move.
    let span = moved.first().zip(moved.last()).map(|(first, last)| *first..=*last);
    let is_moved = |(map, key, _): &Entry| {
        let within = |it: &RawKey| span.as_ref().is_some_and(|span| span.contains(it));
        destination(*map, key).filter(within).is_some_and(|it| moved.binary_search(&it).is_ok())
    };
    let mut part = Fragment {
        elements: Box::default(),
        shared: union(&before.shared, &after.shared),
        balancers: union(&before.balancers, &after.balancers),
        own: own(&before, after),
        learns: before.learns || after.learns,
    };
    let come: Vec<Entry> = after.elements.iter().filter(|entry| is_moved(entry)).cloned().collect();
    // Which clients are good takes all of the lists to tell.
    let step = (!part.learns).then(|| {
        let old = without_elements(&before);
        Box::new((old, Fragment { elements: come.clone().into(), ..without_elements(&part) }))
    });
    let mut gone = Vec::new();
    let mut elements = Vec::with_capacity(before.elements.len().max(after.elements.len()));
    let mut come = come.into_iter().peekable();
    for entry in before.elements {
        if is_moved(&entry) {
            gone.push(entry);
            continue;
        }
        while let Some(next) = come.next_if(|next| (next.0, &next.1) < (entry.0, &entry.1)) {
            elements.push(next);
        }
        elements.push(entry);
    }
    elements.extend(come);
    part.elements = elements.into();
    let step = step.map(|mut step| {
        step.0.elements = gone.into();
        step
    });
    Part { fragment: part, step }
}

fn without_elements(fragment: &Fragment) -> Fragment {
    Fragment {
        elements: Box::default(),
        shared: fragment.shared.clone(),
        balancers: fragment.balancers.clone(),
        own: fragment.own.clone(),
        learns: fragment.learns,
    }
}

/// The first destinations that change, sorted: those of about so many elements, and at least one.
fn first_changed(before: &Fragment, after: &Fragment, max_elements: usize) -> Vec<RawKey> {
    let mut changed: Vec<(RawKey, usize)> = Vec::new();
    before.differences(after, |map, key, old, new| {
        if let Some(destination) = destination(map, key) {
            changed.push((destination, usize::from(old.is_some()) + usize::from(new.is_some())));
        }
    });
    // There is a run for each map, which a stable sort merges.
    changed.sort();
    let mut room = max_elements;
    let mut moved = Vec::new();
    for of_one in changed.chunk_by(|one, next| one.0 == next.0) {
        let count = of_one.iter().map(|(_, count)| count).sum();
        if count > room && !moved.is_empty() {
            break;
        }
        room = room.saturating_sub(count);
        moved.push(of_one[0].0);
    }
    moved
}

fn union<T: Ord + Clone>(one: &[T], other: &[T]) -> Box<[T]> {
    let all: BTreeSet<&T> = one.iter().chain(other).collect();
    all.into_iter().cloned().collect()
}

/// Sets and chains of both; of those that both have, as after.
fn own(before: &Fragment, after: &Fragment) -> Option<Box<Table>> {
    let mut own = before.own.clone();
    if let Some(after) = &after.own {
        let own = own.get_or_insert_default();
        own.sets.extend(after.sets.iter().map(|(name, set)| (name.clone(), set.clone())));
        own.chains.extend(after.chains.iter().map(|(name, chain)| (name.clone(), chain.clone())));
    }
    own
}
