//! Identifies lists of endpoints in the keys of session affinity's maps.
//!
//! A map holds the clients of many lists. Its keys begin with the client, in four bytes; the rest
//! names the list, as do the keys of what may be learned before the endpoint's address.

use crate::nft::{RawKey, Rule, Selector, Statement};

/// How many bytes of a key are the client's.
const CLIENT_BYTES: usize = 4;
/// How many bytes name a list.
const LIST_BYTES: usize = 12;

/// The list that the key of a client names.
pub(crate) fn list_of_client(key: &RawKey) -> Option<RawKey> {
    RawKey::from_bytes(key.as_bytes().get(CLIENT_BYTES..)?)
}

/// The list that the key of an endpoint names that clients may stay with.
pub(crate) fn list_of_member(key: &RawKey) -> Option<RawKey> {
    RawKey::from_bytes(key.as_bytes().get(..LIST_BYTES)?)
}

/// The lists that the statements of a rule name.
pub(crate) fn lists_of(rule: &Rule) -> impl Iterator<Item = RawKey> {
    rule.statements.iter().filter_map(|statement| match statement {
        Statement::Update { key, .. } | Statement::DnatToPort { key, .. } => list_named(key),
        _ => None,
    })
}

/// The list that is named behind the client in a key: by numbers that its selectors always are.
pub(crate) fn list_named(key: &[Selector]) -> Option<RawKey> {
    let id = key.get(1..)?.iter().try_fold(RawKey::new(), |id, selector| match *selector {
        Selector::Random { modulus: 1, offset } if id.as_bytes().len() < LIST_BYTES => {
            Some(id.slot(offset))
        }
        _ => None,
    })?;
    (id.as_bytes().len() == LIST_BYTES).then_some(id)
}
