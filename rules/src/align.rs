//! Keeping endpoints in the slots that they have.
//!
//! Which endpoint of a list is in which slot means nothing to a packet, but moving one costs two
//! elements. The compiler fills slots in the order of addresses; here they are exchanged so that as
//! few as possible differ from what is programmed: an endpoint that is replaced leaves its slot to
//! the new one, and when one goes, that of the last slot moves into the hole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::compile::names;
use crate::nft::{Data, Element, Elements, Name, RawKey, Ruleset};

/// Maps whose keys end with a slot.
const SLOTTED: [&str; 2] = [names::ENDPOINTS, names::NODEPORT_ENDPOINTS];

/// The desired ruleset with its endpoints where the observed one has them, as far as it does.
pub fn align<'a>(observed: &Ruleset, desired: &'a Ruleset) -> Cow<'a, Ruleset> {
    let mut aligned = Cow::Borrowed(desired);
    for (family, table) in &desired.tables {
        let Some(observed) = observed.tables.get(family) else { continue };
        for name in SLOTTED {
            let (Some(observed), Some(set)) = (observed.sets.get(name), table.sets.get(name))
            else {
                continue;
            };
            let moved = moves(&observed.elements, &set.elements);
            if !moved.is_empty() {
                let table = aligned.to_mut().tables.get_mut(family).expect("it is there");
                table.sets.get_mut(&Name::from(name)).expect("it is there").elements.extend(moved);
            }
        }
    }
    aligned
}

/// The elements of `desired` that get another endpoint.
fn moves(observed: &Elements, desired: &Elements) -> Elements {
    let mut moved = Elements::new();
    let mut rest = desired.iter().peekable();
    while let Some((first, _)) = rest.peek() {
        let list = List::of(first);
        let mut elements = Vec::new();
        while let Some(next) = rest.next_if(|(key, _)| List::of(key) == list) {
            elements.push(next);
        }
        let is_programmed =
            |(key, element): &(&RawKey, &Element)| observed.get(key) == Some(element);
        if !elements.iter().all(is_programmed) {
            exchange(observed, &elements, &mut moved);
        }
    }
    moved
}

/// What distinguishes a list of endpoints from others: its destination, and where its slots begin.
#[derive(PartialEq, Eq)]
struct List<'a> {
    destination: &'a [u8],
    first_slot: &'a [u8],
}

impl<'a> List<'a> {
    fn of(key: &'a RawKey) -> Self {
        // The slot is the last four bytes, and lists begin at multiples of 65536.
        let (destination, slot) = key.as_bytes().split_at(key.as_bytes().len().saturating_sub(4));
        Self { destination, first_slot: slot.get(..2).unwrap_or_default() }
    }
}

/// Gives each endpoint the slot that it has, and the others what is left.
fn exchange(observed: &Elements, list: &[(&RawKey, &Element)], moved: &mut Elements) {
    let mut unplaced: BTreeMap<&[u8], &Element> =
        list.iter().map(|(_, element)| (endpoint(element), *element)).collect();
    let mut holes = Vec::new();
    for (key, wanted) in list {
        let placed = observed.get(*key).and_then(|there| unplaced.remove(endpoint(there)));
        match placed {
            Some(element) if element == *wanted => {}
            Some(element) => drop(moved.insert(**key, element.clone())),
            None => holes.push((*key, *wanted)),
        }
    }
    for ((key, wanted), element) in holes.into_iter().zip(unplaced.into_values()) {
        if element != wanted {
            moved.insert(*key, element.clone());
        }
    }
}

fn endpoint(element: &Element) -> &[u8] {
    match &element.data {
        Data::Values(values) => values.as_bytes(),
        _ => &[],
    }
}
