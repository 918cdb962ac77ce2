use std::net::Ipv4Addr;

use weir_rules::cluster::Protocol;
use weir_rules::nft::{Data, Element, SetData, SetSpec, slot_selector};

use super::*;

fn transaction(action: Action) -> Transaction {
    Transaction { operations: vec![Operation { family: Family::Ipv4, action }] }
}

fn key(slot: u32) -> RawKey {
    let address = Ipv4Addr::new(10, 96, 0, 1).into();
    let key = RawKey::new().address(address).protocol(Protocol::Tcp);
    key.port(80.try_into().expect("a port")).slot(slot)
}

/// Adds an element to a set.
fn add(set: &str, key: RawKey) -> Transaction {
    let spec = SetSpec::new(vec![slot_selector()], SetData::Nothing);
    let elements = [(key, Element::new(Data::Nothing))].into();
    transaction(Action::AddElements { set: set.into(), spec, elements })
}

fn chain(name: &str) -> Transaction {
    transaction(Action::AddChain { name: name.into(), base: None, comment: None })
}

fn explained(by: &Transaction) -> Explained {
    let mut explained = Explained::default();
    explained.add(by);
    explained
}

#[test]
fn a_change_explains_what_it_changes_and_nothing_else() {
    let mut explained = explained(&add(names::CLUSTER_IPS, key(1)));
    explained.add(&chain("lb-3"));
    let explains = |transaction| explained.explains(&transaction);
    assert!(explains(add(names::CLUSTER_IPS, key(1))) && explains(chain("lb-3")));
    assert!(!explains(add(names::CLUSTER_IPS, key(2))));
    assert!(!explains(add(names::SERVICES, key(1))));
    assert!(!explains(chain("lb-2")));
    assert!(!explains(transaction(Action::AddTable { comment: None })));
    let mut both = chain("lb-3");
    both.operations.extend(chain("lb-2").operations);
    assert!(!explains(both), "one of the two is not");
}

#[test]
fn an_endpoint_may_be_in_any_slot_of_its_destination() {
    let explained = explained(&add(names::ENDPOINTS, key(1)));
    assert!(explained.explains(&add(names::ENDPOINTS, key(2))));
    assert!(!explained.explains(&add(names::NODEPORT_ENDPOINTS, key(2))));
}

#[test]
fn a_table_that_is_made_anew_explains_all_that_is_in_it() {
    let explained = explained(&transaction(Action::AddTable { comment: None }));
    assert!(explained.explains(&add(names::SERVICES, key(1))));
    let mut other = chain("lb-2");
    other.operations[0].family = Family::Ipv6;
    assert!(!explained.explains(&other));
}

#[test]
fn nothing_is_explained_once_the_kernel_is_equal() {
    let mut explained = explained(&chain("lb-2"));
    explained.clear();
    assert!(!explained.explains(&chain("lb-2")));
    assert!(explained.explains(&Transaction::default()));
}
