//! Assigns endpoints to slots so that as few elements as possible change.
//!
//! Which slot an endpoint is in makes no difference to a packet, but moving one costs two elements. The
//! compiler fills slots in the order of addresses; here they are permuted towards what is programmed: a new
//! endpoint takes the slot of the one that it replaces, and when one is removed, the endpoint in the last slot
//! moves into the hole.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use crate::compile::{Fragment, LOCAL_SLOTS, Map, names};
use crate::nft::{Data, Element, Name, RawKey, Ruleset};

/// Maps whose keys end with a slot.
const SLOTTED: [&str; 2] = [names::ENDPOINTS, names::NODEPORT_ENDPOINTS];

/// The desired ruleset with its endpoints where the observed one has them, as far as it does.
pub fn assign_slots<'a>(observed: &Ruleset, desired: &'a Ruleset) -> Cow<'a, Ruleset> {
    let mut aligned = Cow::Borrowed(desired);
    for (family, table) in &desired.tables {
        let Some(observed) = observed.tables.get(family) else { continue };
        for name in SLOTTED {
            let (Some(observed), Some(set)) = (observed.sets.get(name), table.sets.get(name))
            else {
                continue;
            };
            let moved = moves(|key| observed.elements.get(key), set.elements.iter());
            if !moved.is_empty() {
                let table = aligned
                    .to_mut()
                    .tables
                    .get_mut(family)
                    .expect("a copy of `desired` has its sets");
                table
                    .sets
                    .get_mut(&Name::from(name))
                    .expect("a copy of `desired` has its sets")
                    .elements
                    .extend(moved);
            }
        }
    }
    aligned
}

/// A fragment's endpoints where another, which it replaces, has them.
pub(crate) fn assign_fragment_slots(before: &Fragment, after: &mut Fragment) {
    for map in [Map::Endpoints, Map::NodePortEndpoints] {
        let elements = |fragment: &Fragment| {
            let start = fragment.elements.partition_point(|entry| entry.0 < map);
            let end = fragment.elements.partition_point(|entry| entry.0 <= map);
            start..end
        };
        let (old, range) = (&before.elements[elements(before)], elements(after));
        // Nearly always it is asked for the next.
        let next = Cell::new(0);
        let observed = |key: &RawKey| {
            let mut index: usize = next.get();
            if index > 0 && old[index - 1].1 >= *key {
                index = old[..index].partition_point(|entry| entry.1 < *key);
            }
            while old.get(index).is_some_and(|entry| entry.1 < *key) {
                index += 1;
            }
            next.set(index);
            old.get(index).filter(|entry| entry.1 == *key).map(|entry| &entry.2)
        };
        let desired = after.elements[range.clone()].iter().map(|(_, key, element)| (key, element));
        for (key, element) in moves(observed, desired) {
            let place = after.elements[range.clone()].binary_search_by(|entry| entry.1.cmp(&key));
            after.elements[range.start + place.expect("only elements of this range move")].2 =
                element;
        }
    }
}

/// The elements of `desired`, which is sorted, that get another endpoint.
fn moves<'a>(
    observed: impl Fn(&RawKey) -> Option<&'a Element>,
    desired: impl Iterator<Item = (&'a RawKey, &'a Element)>,
) -> Vec<(RawKey, Element)> {
    let mut moved = Vec::new();
    let mut rest = desired.peekable();
    while let Some((first, _)) = rest.peek() {
        let list = SlotList::of(first);
        let mut elements = Vec::new();
        while let Some(next) = rest.next_if(|(key, _)| SlotList::of(key) == list) {
            elements.push(next);
        }
        // A list that was not there has no slots to keep.
        let is_there = elements.iter().any(|(key, _)| observed(key).is_some());
        let is_programmed = |(key, element): &(&RawKey, &Element)| observed(key) == Some(*element);
        if is_there && !elements.iter().all(is_programmed) {
            permute(&observed, &elements, &mut moved);
        }
    }
    moved
}

/// What distinguishes a list of endpoints from others: its destination, and for which policy it is.
#[derive(PartialEq, Eq)]
struct SlotList<'a> {
    destination: &'a [u8],
    /// Whether it is the list for policy Local.
    is_local: bool,
}

impl<'a> SlotList<'a> {
    fn of(key: &'a RawKey) -> Self {
        let slot = key.last_slot();
        let (destination, _) = key.as_bytes().split_at(key.as_bytes().len().saturating_sub(4));
        Self { destination, is_local: slot.is_some_and(|slot| slot >= LOCAL_SLOTS) }
    }
}

/// Assigns each endpoint the slot that it has, and the free ones to the others.
fn permute<'a>(
    observed: impl Fn(&RawKey) -> Option<&'a Element>,
    list: &[(&RawKey, &Element)],
    moved: &mut Vec<(RawKey, Element)>,
) {
    let mut unplaced: BTreeMap<&[u8], &Element> =
        list.iter().map(|(_, element)| (endpoint(element), *element)).collect();
    let mut holes = Vec::new();
    for (key, wanted) in list {
        let placed = observed(key).and_then(|there| unplaced.remove(endpoint(there)));
        match placed {
            Some(element) if element == *wanted => {}
            Some(element) => moved.push((**key, element.clone())),
            None => holes.push((*key, *wanted)),
        }
    }
    for ((key, wanted), element) in holes.into_iter().zip(unplaced.into_values()) {
        if element != wanted {
            moved.push((*key, element.clone()));
        }
    }
}

fn endpoint(element: &Element) -> &[u8] {
    match &element.data {
        Data::Values(values) => values.as_bytes(),
        _ => &[],
    }
}
