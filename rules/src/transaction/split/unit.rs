//! Groups changes that must be committed together.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Family;
use crate::compile::lists::{list_of_client, list_of_member, lists_of};
use crate::compile::names;
use crate::nft::{Data, Element, Elements, Name, RawKey, Rule};
use crate::transaction::{Action, Transaction};

/// Changes that must stay together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// All that an address has.
    Address(Family, RawKey),
    /// All that a node port has, by protocol and port.
    NodePort(Family, RawKey),
    /// The sets and chains of a Service's own, by its namespace and name.
    Service(Family, String),
    /// The endpoints that clients may stay with, and these clients, by list.
    List(Family, RawKey),
}

impl Unit {
    /// The part of an element, if its set is one of those whose keys tell of which destination or list
    /// it is.
    pub(super) fn of_key(family: Family, set: &Name, key: &RawKey) -> Option<Self> {
        let begin = |length: usize| {
            RawKey::from_bytes(&key.as_bytes()[..length])
                .expect("a prefix of a key is shorter than a key")
        };
        match set.as_str() {
            names::CLUSTER_IPS
            | names::SERVICES
            | names::ENDPOINTS
            | names::NO_ENDPOINT_SERVICES
            | names::FIREWALL_IPS
            | names::AFFINITY_SERVICES => Some(Unit::Address(
                family,
                begin(match family {
                    Family::Ipv4 => 4,
                    Family::Ipv6 => 16,
                }),
            )),
            // A protocol and a port take four bytes each.
            names::NODEPORTS
            | names::NODEPORT_ENDPOINTS
            | names::NO_ENDPOINT_NODEPORTS
            | names::NODEPORTS_IN_USE
            | names::AFFINITY_NODEPORTS => Some(Unit::NodePort(family, begin(8))),
            names::AFFINITY_ENDPOINTS => Some(Unit::List(family, list_of_member(key)?)),
            name if name.starts_with(names::AFFINITY_CLIENTS) => {
                Some(Unit::List(family, list_of_client(key)?))
            }
            _ => None,
        }
    }

    /// The part of a chain or set that is a Service's own.
    pub(super) fn of_service(family: Family, name: &Name) -> Option<Self> {
        Some(Unit::Service(family, owner(name)?))
    }
}

/// The namespace and name of the Service of whose own a chain or set is: its name ends with the
/// Service's, and a port's behind it. Only such a name has a slash.
pub(crate) fn owner(name: &Name) -> Option<String> {
    let (head, tail) = name.as_str().split_once('/')?;
    let prefixes = ["external-", "local-", "nodeport-"];
    let kinds = ["affinity-", "learn-", "endpoints-", "firewall-", "source-ranges-"];
    let head = prefixes.iter().fold(head, |head, side| head.strip_prefix(side).unwrap_or(head));
    let namespace = kinds.iter().find_map(|kind| head.strip_prefix(kind)).unwrap_or(head);
    let service = tail.split('/').next().unwrap_or(tail);
    Some(format!("{namespace}/{service}"))
}

/// Parts, how many elements each changes, and which are one.
#[derive(Debug, Default)]
pub(super) struct Units {
    indices: BTreeMap<Unit, usize>,
    nodes: Vec<ForestNode>,
}

/// A node of a union-find forest.
#[derive(Debug)]
struct ForestNode {
    parent: usize,
    weight: usize,
}

impl Units {
    /// Adds to a part a change of so many elements.
    pub(super) fn add(&mut self, part: Unit, weight: usize) -> usize {
        let next = self.nodes.len();
        let index = *self.indices.entry(part).or_insert(next);
        if index == next {
            self.nodes.push(ForestNode { parent: index, weight: 0 });
        }
        let root = self.root(index);
        self.nodes[root].weight += weight;
        index
    }

    /// Adds an element to a part, which is one with the Service's whose chain it goes to.
    pub(super) fn add_element(&mut self, part: Unit, family: Family, element: &Element) {
        let index = self.add(part, 1);
        if let Some(chain) = element.data.chain()
            && let Some(service) = Unit::of_service(family, chain)
        {
            let service = self.add(service, 0);
            self.join(index, service);
        }
    }

    /// Joins lists to the Service whose rules name them.
    pub(super) fn join_lists(&mut self, family: Family, chain: &Name, rules: &[Rule]) {
        for list in rules.iter().flat_map(lists_of) {
            let Some(service) = Unit::of_service(family, chain) else { return };
            let (list, service) = (self.add(Unit::List(family, list), 0), self.add(service, 0));
            self.join(list, service);
        }
    }

    /// Joins destinations to the lists whose clients come to them, before and after.
    ///
    /// Their verdicts need not change, so they do not show it. But where a list changes, that is
    /// because of an endpoint that came or went, and all destinations that have the list change by
    /// the same. Those that only share such an endpoint may be joined too, which does no harm.
    pub(super) fn join_by_endpoints(&mut self, transaction: &Transaction) {
        let mut learnable = self.learnable(transaction);
        if learnable.is_empty() {
            return;
        }
        for (family, set, elements) in element_changes(transaction) {
            if ![names::ENDPOINTS, names::NODEPORT_ENDPOINTS].contains(&set.as_str()) {
                continue;
            }
            for (key, element) in elements {
                let Data::Values(endpoint) = element.data else { continue };
                let Some(lists) = address(&endpoint.to_key())
                    .and_then(|address| learnable.get_mut(&(family, address)))
                else {
                    continue;
                };
                let Some(part) = Unit::of_key(family, set, key) else { continue };
                let index = self.add(part, 0);
                // All of them become one with the first destination, and stay so.
                while lists.len() > 1 {
                    let list = lists.pop_first().expect("the loop runs while there are two");
                    self.join(index, list);
                }
                lists.iter().for_each(|&list| self.join(index, list));
            }
        }
    }

    /// The lists of what may be learned that change, by the address of the endpoint.
    fn learnable(
        &mut self,
        transaction: &Transaction,
    ) -> BTreeMap<(Family, RawKey), BTreeSet<usize>> {
        let mut found: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for (family, set, elements) in element_changes(transaction) {
            if set.as_str() != names::AFFINITY_ENDPOINTS {
                continue;
            }
            for member in elements.keys() {
                let Some(list) = list_of_member(member) else { continue };
                let address = &member.as_bytes()[list.as_bytes().len()..];
                let Some(address) = RawKey::from_bytes(address) else { continue };
                let list = self.add(Unit::List(family, list), 0);
                found.entry((family, address)).or_default().insert(list);
            }
        }
        found
    }

    /// Assigns to every part the number of the transaction that it goes into, together with all
    /// that is joined to it.
    pub(super) fn distribute(
        mut self,
        mut number: impl FnMut(usize) -> usize,
    ) -> BTreeMap<Unit, usize> {
        let mut numbers = vec![None; self.nodes.len()];
        let indices = std::mem::take(&mut self.indices);
        let numbered = indices.into_iter().map(|(part, index)| {
            let root = self.root(index);
            let weight = self.nodes[root].weight;
            (part, *numbers[root].get_or_insert_with(|| number(weight)))
        });
        numbered.collect()
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.nodes[index].parent != index {
            let parent = self.nodes[index].parent;
            self.nodes[index].parent = self.nodes[parent].parent;
            index = parent;
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            self.nodes[other].parent = one;
            self.nodes[one].weight += self.nodes[other].weight;
        }
    }
}

/// The address of an endpoint, which its port is behind.
fn address(endpoint: &RawKey) -> Option<RawKey> {
    let bytes = endpoint.as_bytes();
    RawKey::from_bytes(&bytes[..bytes.len().checked_sub(4)?])
}

/// Elements that come or go, also with their set.
fn element_changes(transaction: &Transaction) -> impl Iterator<Item = (Family, &Name, &Elements)> {
    transaction.operations.iter().filter_map(|operation| match &operation.action {
        Action::AddElements { set, elements, .. }
        | Action::DeleteElements { set, elements, .. } => Some((operation.family, set, elements)),
        Action::DeleteSet { name, set } => Some((operation.family, name, &set.elements)),
        _ => None,
    })
}
