//! The uids of objects, needed for Events about them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::wire::Received;
use crate::source::{Kind, ObjectKey};

/// An object's `metadata.uid`, which an API server makes as a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uid([u8; 16]);

/// The uids of the objects that an Event may concern: all but good EndpointSlices.
///
/// `kubectl describe` shows an Event only on the object of its uid. To ask the server for one would be
/// a list, as kube-proxy's role allows nothing else; so they are kept, in 24 bytes for each object.
#[derive(Debug, Default)]
pub(super) struct Uids {
    hashes: RandomState,
    of: Mutex<HashMap<Kind, HashMap<u64, Uid>>>,
}

/// Those of a list that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct ListedUids(Vec<(u64, Uid)>);

impl Uids {
    /// Records an object of a list.
    pub(super) fn list(&self, list: &mut ListedUids, object: &Received, uid: Option<Uid>) {
        list.0.extend(
            uid.filter(|_| may_be_told_of(object)).map(|uid| (self.hash(&object.key), uid)),
        );
    }

    /// These are all objects of a kind.
    pub(super) fn replace(&self, kind: Kind, list: ListedUids) {
        let uids = list.0.into_iter().collect();
        self.of.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, uids);
    }

    /// An object is new or has changed.
    pub(super) fn apply(&self, object: &Received, uid: Option<Uid>) {
        match uid.filter(|_| may_be_told_of(object)) {
            Some(uid) => {
                let hash = self.hash(&object.key);
                let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
                of.entry(object.key.kind).or_default().insert(hash, uid);
            }
            None => self.delete(&object.key),
        }
    }

    /// An object is gone.
    pub(super) fn delete(&self, key: &ObjectKey) {
        let hash = self.hash(key);
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(uids) = of.get_mut(&key.kind) {
            uids.remove(&hash);
        }
    }

    /// The uid of an object, if it is known.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Uid> {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.get(&key.kind)?.get(&self.hash(key)).copied()
    }

    /// Two objects with one hash would share a uid; with 2^64 hashes that can be ignored.
    fn hash(&self, key: &ObjectKey) -> u64 {
        self.hashes.hash_one(&key.name)
    }
}

fn may_be_told_of(object: &Received) -> bool {
    object.key.kind != Kind::EndpointSlice || object.outcome.is_err()
}

impl Uid {
    /// Reads a UUID; anything else is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut digits = text.split('-').flat_map(str::chars).map(|digit| digit.to_digit(16));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(16 * high + low).ok()?;
        }
        let uid = Self(bytes);
        (digits.next().is_none() && uid.to_string() == text).then_some(uid)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn a_uid_is_a_uuid_or_none() {
        assert_eq!(Uid::parse(TEXT).expect("a UUID").to_string(), TEXT);
        let upper = TEXT.to_uppercase();
        let plain = TEXT.replace('-', "");
        for bad in ["", "u", &upper, &plain, &TEXT[1..], &format!("{TEXT}0")] {
            assert_eq!(Uid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_gone_is_forgotten_and_good_slices_are_not_kept() {
        let uids = Uids::default();
        let uid = Uid::parse(TEXT);
        let bad = |kind, name| Received {
            key: ObjectKey::new(kind, "default", name),
            outcome: Err("bad".to_owned()),
        };
        let (web, more) = (bad(Kind::Service, "web"), bad(Kind::Service, "more"));
        uids.apply(&web, uid);
        uids.apply(&more, uid);
        assert_eq!(uids.get(&web.key), uid);
        uids.delete(&web.key);
        assert_eq!(uids.get(&web.key), None);
        let mut list = ListedUids::default();
        uids.list(&mut list, &web, uid);
        uids.replace(Kind::Service, list);
        assert_eq!((uids.get(&web.key), uids.get(&more.key)), (uid, None));

        let slice = bad(Kind::EndpointSlice, "web-1");
        uids.apply(&slice, uid);
        assert_eq!(uids.get(&slice.key), uid);
        let json = r#"{"metadata": {"name": "web-1", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4"}"#;
        let outcome = crate::source::decode::object(&slice.key, json).map_err(|bad| bad.message);
        uids.apply(&Received { key: slice.key.clone(), outcome: Ok(outcome.expect("good")) }, uid);
        assert_eq!(uids.get(&slice.key), None);
    }
}
