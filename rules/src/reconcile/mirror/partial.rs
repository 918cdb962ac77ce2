//! A part of what changes for one Service, where all of it is too much for one transaction.

use std::collections::{BTreeMap, BTreeSet};

use super::owners::destination;
use crate::compile::Fragment;
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

/// What a Service has on the way from one fragment to another: some destinations (an address with its
/// protocol and port, or a node port) as after, and the others as before. About so many elements
/// change, and at least one destination.
///
/// What destinations share is there for both. So a new ClusterIP refuses connections to those of its
/// ports that are still to come, and who may use a load balancer changes with the first destinations.
pub(super) fn towards(before: &Fragment, after: &Fragment, max_elements: usize) -> Fragment {
    let mut changed: BTreeMap<RawKey, usize> = BTreeMap::new();
    before.differences(after, |map, key, old, new| {
        if let Some(destination) = destination(map, key) {
            *changed.entry(destination).or_default() +=
                usize::from(old.is_some()) + usize::from(new.is_some());
        }
    });
    let mut room = max_elements;
    let mut moved = BTreeSet::new();
    for (destination, count) in changed {
        if count > room && !moved.is_empty() {
            break;
        }
        room = room.saturating_sub(count);
        moved.insert(destination);
    }
    let is_moved =
        |(map, key, _): &&_| destination(*map, key).is_some_and(|it| moved.contains(&it));
    let stay = before.elements.iter().filter(|entry| !is_moved(entry));
    let come = after.elements.iter().filter(is_moved);
    let mut elements: Vec<_> = stay.chain(come).cloned().collect();
    elements.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Fragment {
        elements: elements.into(),
        shared: union(&before.shared, &after.shared),
        balancers: union(&before.balancers, &after.balancers),
        own: own(before, after),
        learns: before.learns || after.learns,
    }
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
