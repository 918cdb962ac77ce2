//! A compact encoding of fragments.
//!
//! Most of a fragment is lists of endpoints. The elements of a list differ in slot and endpoint only, so a list
//! is written as its destination, its first slot, and one endpoint after the other.

use super::owners::destination;
use crate::compile::{Balancer, Entry, Fragment, Map};
use crate::nft::{Data, Element, Name, RawKey, RawValue, Verdict};

/// What a record begins with: an element of a map by the map's number, or one of these. That of an
/// element that other Services may have has the map's number added.
const SHARED: u8 = 32;
const BALANCER: u8 = 64;

/// How a verdict begins that leads to a chain.
const GOTO: u8 = 0;
const JUMP: u8 = 1;
const DROP: u8 = 2;
const RETURN: u8 = 3;

/// Writes a fragment behind `bytes`, one record after the other: its kind, and its content. Returns
/// what few Services have, for which there are no records.
pub(super) fn pack(fragment: Fragment, bytes: &mut Vec<u8>) -> Fragment {
    let Fragment { elements, shared, balancers, own, learns } = fragment;
    let mut records = FragmentWriter(bytes);
    let rest = elements.chunk_by(goes_on).filter(|list| !records.put_list(list));
    let rest = rest.flatten().cloned().collect();
    for (map, key) in shared {
        records.put_number(SHARED + map as u8);
        records.put(key.as_bytes());
    }
    let is_shared = |balancer: &Balancer| Balancer::shared(&balancer.name()).is_some();
    let (shared, balancers): (Vec<_>, Vec<_>) = balancers.into_iter().partition(is_shared);
    for balancer in shared {
        records.put_number(BALANCER);
        records.put(balancer.name().as_str().as_bytes());
    }
    Fragment { elements: rest, balancers: balancers.into(), own, learns, ..Fragment::default() }
}

/// The fragment that was written so, with what there were no records for.
pub(super) fn unpack(bytes: &[u8], rest: Fragment) -> Fragment {
    let (mut elements, mut balancers) = (Vec::new(), Vec::from(rest.balancers));
    let mut shared = Vec::new();
    let mut records = FragmentReader(bytes);
    while let Some(kind) = records.number() {
        match kind {
            BALANCER => balancers.extend(Balancer::shared(&Name::new(records.text()))),
            SHARED.. => shared.push((Map::ALL[usize::from(kind - SHARED)], records.key())),
            map => records.elements(Map::ALL[usize::from(map)], &mut elements),
        }
    }
    if !rest.elements.is_empty() {
        elements.extend(rest.elements);
        elements.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    }
    balancers.sort_unstable();
    Fragment {
        elements: elements.into(),
        shared: shared.into(),
        balancers: balancers.into(),
        own: rest.own,
        learns: rest.learns,
    }
}

/// Whether an element is the next of a list of endpoints.
fn goes_on(one: &Entry, next: &Entry) -> bool {
    let slot = |(map, key, _): &Entry| Some((destination(*map, key)?, slot(*map, key)?));
    let length = |(.., element): &Entry| match &element.data {
        Data::Values(endpoint) if element.comment.is_none() => Some(endpoint.as_bytes().len()),
        _ => None,
    };
    one.0 == next.0
        && length(one).is_some()
        && length(one) == length(next)
        && slot(one).zip(slot(next)).is_some_and(|((to, one), (other, next))| {
            to == other && one.checked_add(1) == Some(next)
        })
}

/// The slot at the end of a key.
fn slot(map: Map, key: &RawKey) -> Option<u32> {
    map.has_slots().then(|| key.last_slot())?
}

struct FragmentWriter<'a>(&'a mut Vec<u8>);

impl FragmentWriter<'_> {
    /// Returns whether there are records for such elements.
    fn put_list(&mut self, list: &[Entry]) -> bool {
        let Some((map, key, first)) = list.first() else { return true };
        match &first.data {
            Data::Values(endpoint) if map.has_slots() && first.comment.is_none() => {
                self.put_number(*map as u8);
                self.put(key.as_bytes());
                self.0.extend((list.len() as u32).to_be_bytes());
                self.put_number(endpoint.as_bytes().len() as u8);
                for (.., element) in list {
                    let Data::Values(endpoint) = &element.data else { unreachable!("it goes on") };
                    self.0.extend(endpoint.as_bytes());
                }
                true
            }
            Data::Verdict(verdict) if !map.has_slots() => {
                let kind = match verdict {
                    Verdict::Goto(_) => GOTO,
                    Verdict::Jump(_) => JUMP,
                    Verdict::Drop => DROP,
                    Verdict::Return => RETURN,
                    _ => return false,
                };
                // The kernel refuses names as long as that, but only when it is asked.
                let is_short = |text: &str| text.len() <= usize::from(u8::MAX);
                let comment = first.comment.as_deref().unwrap_or_default();
                let is_plain = is_short(comment)
                    && first.comment.as_deref() != Some("")
                    && verdict.chain().is_none_or(|chain| is_short(chain.as_str()));
                if !is_plain {
                    return false;
                }
                self.put_number(*map as u8);
                self.put(key.as_bytes());
                self.put_number(kind);
                verdict.chain().iter().for_each(|chain| self.put(chain.as_str().as_bytes()));
                self.put(comment.as_bytes());
                true
            }
            _ => false,
        }
    }

    fn put_number(&mut self, number: u8) {
        self.0.push(number);
    }

    /// At most 255 bytes.
    fn put(&mut self, bytes: &[u8]) {
        self.put_number(u8::try_from(bytes.len()).expect("keys and texts have at most 255 bytes"));
        self.0.extend(bytes);
    }
}

struct FragmentReader<'a>(&'a [u8]);

impl<'a> FragmentReader<'a> {
    fn elements(&mut self, map: Map, elements: &mut Vec<Entry>) {
        let key = self.key();
        let Some(first) = slot(map, &key) else {
            let data = Data::Verdict(self.verdict());
            let comment = Some(self.text()).filter(|text| !text.is_empty()).map(Box::from);
            return elements.push((map, key, Element { data, comment }));
        };
        let destination =
            destination(map, &key).expect("`pack` writes only slotted maps in this form");
        let count = u32::from_be_bytes(
            self.take(4).try_into().expect("`take` returns the requested length"),
        ) as usize;
        let length = usize::from(self.take(1)[0]);
        for slot in (first..=u32::MAX).take(count) {
            let endpoint = RawValue::from_bytes(self.take(length)).expect("`pack` wrote a key");
            elements.push((map, destination.slot(slot), Element::new(Data::Values(endpoint))));
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.take(1)[0] {
            GOTO => Verdict::Goto(Name::new(self.text())),
            JUMP => Verdict::Jump(Name::new(self.text())),
            RETURN => Verdict::Return,
            _ => Verdict::Drop,
        }
    }

    fn key(&mut self) -> RawKey {
        RawKey::from_bytes(self.bytes()).expect("`pack` wrote a key")
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).expect("`pack` wrote UTF-8")
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.take(1)[0];
        self.take(length.into())
    }

    /// The next byte, if there is one.
    fn number(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        self.0.split_off(..length).expect("records are read as they were written")
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
