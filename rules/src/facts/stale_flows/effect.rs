//! The effect of a committed transaction on UDP flows.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::Destination;
use crate::cluster::{Family, Protocol};
use crate::compile::names;
use crate::nft::{RawKey, Table};
use crate::transaction::{Action, Operation, Transaction};

/// What a change means for UDP flows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowImpact {
    /// Whether flows may have become stale.
    pub is_any: bool,
    /// Destinations that it removes. Some of them it may add again.
    pub removed: BTreeSet<Destination>,
}

impl FlowImpact {
    /// What a transaction means for UDP flows.
    pub fn of(transaction: &Transaction) -> Self {
        let mut effect = FlowImpact::default();
        for Operation { family, action } in &transaction.operations {
            match action {
                Action::AddElements { set, elements, .. } => {
                    let mut found = destinations(*family, set.as_str(), elements.keys());
                    effect.is_any |= found.next().is_some();
                }
                Action::DeleteElements { set, elements, .. } => {
                    effect.remove(*family, set.as_str(), elements.keys());
                }
                Action::DeleteSet { name, set } => {
                    effect.remove(*family, name.as_str(), set.elements.keys());
                }
                Action::DeleteTable { table: Table { sets, .. } } => {
                    for (name, set) in sets {
                        effect.remove(*family, name.as_str(), set.elements.keys());
                    }
                }
                Action::AddTable { .. }
                | Action::AddSet { .. }
                | Action::AddChain { .. }
                | Action::DeleteChain { .. }
                | Action::ReplaceRules { .. } => {}
            }
        }
        effect
    }

    fn remove<'a>(&mut self, family: Family, set: &str, keys: impl Iterator<Item = &'a RawKey>) {
        self.removed.extend(destinations(family, set, keys));
        self.is_any |= !self.removed.is_empty();
    }

    /// Adds what a later change means.
    pub fn merge(&mut self, later: FlowImpact) {
        self.is_any |= later.is_any;
        self.removed.extend(later.removed);
    }
}

/// The UDP destinations among the keys of a set.
fn destinations<'a>(
    family: Family,
    set: &str,
    keys: impl Iterator<Item = &'a RawKey>,
) -> impl Iterator<Item = Destination> {
    let kind = match set {
        names::SERVICES | names::ENDPOINTS | names::NO_ENDPOINT_SERVICES => Some(true),
        names::NODEPORTS | names::NODEPORT_ENDPOINTS | names::NO_ENDPOINT_NODEPORTS => Some(false),
        _ => None,
    };
    keys.filter_map(move |key| destination(family, kind?, key.as_bytes()))
}

/// The UDP destination that a key begins with: a protocol and port, after an address or not.
fn destination(family: Family, has_address: bool, key: &[u8]) -> Option<Destination> {
    let (address, rest): (Option<IpAddr>, _) = match (has_address, family) {
        (false, _) => (None, key),
        (true, Family::Ipv4) => {
            let (address, rest) = key.split_first_chunk::<4>()?;
            (Some((*address).into()), rest)
        }
        (true, Family::Ipv6) => {
            let (address, rest) = key.split_first_chunk::<16>()?;
            (Some((*address).into()), rest)
        }
    };
    let [protocol, _, _, _, high, low, ..] = *rest else { return None };
    let port = NonZeroU16::new(u16::from_be_bytes([high, low]))?;
    let destination = match address {
        Some(address) => Destination::Address(address, port),
        None => Destination::NodePort(family, port),
    };
    (protocol == Protocol::Udp.number()).then_some(destination)
}
