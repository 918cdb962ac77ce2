//! What an update changes, and who wins contested claims.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_rules::cluster::claims::claims;
use weir_rules::cluster::{EndpointSlice, Service};
use weir_rules::testing::random::{cluster, one, seeded};

use super::*;

fn key(kind: Kind, name: &NamespacedName) -> ObjectKey {
    ObjectKey::of(kind, name)
}

fn listed(kind: Kind, name: &NamespacedName, object: Object) -> Received {
    Received { key: key(kind, name), outcome: Ok(object.into()) }
}

fn service(name: &NamespacedName, service: &Service) -> Received {
    listed(Kind::Service, name, Object::Service(service.clone(), None))
}

fn slice(name: &NamespacedName, slice: &EndpointSlice) -> Received {
    listed(Kind::EndpointSlice, name, Object::Slice(slice.clone(), None))
}

fn all_of(cluster: &Cluster, kind: Kind) -> Update {
    let objects = match kind {
        Kind::Service => cluster.services.iter().map(|(name, of)| service(name, of)).collect(),
        Kind::EndpointSlice => cluster.slices.iter().map(|(name, of)| slice(name, of)).collect(),
        Kind::Node => {
            let name = NamespacedName::new("", "node-a");
            let node = cluster.node.iter().cloned();
            node.map(|node| listed(kind, &name, Object::Node(node, NodeFuture::Stays))).collect()
        }
        Kind::ServiceCidr => {
            let name = NamespacedName::new("", "kubernetes");
            vec![listed(kind, &name, Object::ServiceCidr(cluster.service_cidrs.clone()))]
        }
        Kind::Pod => Vec::new(),
    };
    Update::Received(kind, objects)
}

/// One object becomes as it is in a cluster, or all of a kind do.
fn update(state: &Store, to: &Cluster, what: u8, index: Index) -> Option<Update> {
    let of = |kind, name: &NamespacedName, object: Option<Received>| match object {
        Some(object) => Update::Applied(object),
        None => Update::Deleted(key(kind, name)),
    };
    match what % 9 {
        0..4 => {
            let there = state.cluster.services.keys();
            let name = one(there.chain(to.services.keys()), index)?;
            let object = to.services.get(&name).map(|it| service(&name, it));
            Some(of(Kind::Service, &name, object))
        }
        4..7 => {
            let name = one(state.cluster.slices.keys().chain(to.slices.keys()), index)?;
            let object = to.slices.get(&name).map(|it| slice(&name, it));
            Some(of(Kind::EndpointSlice, &name, object))
        }
        7 => Some(all_of(to, *index.get(&NEEDED))),
        _ => {
            let name = NamespacedName::new("default", "dns");
            let kind = *index.get(&[Kind::Service, Kind::EndpointSlice]);
            let outcome = Err("it makes no sense".to_owned());
            Some(Update::Applied(Received { key: key(kind, &name), outcome }))
        }
    }
}

/// The Services as they were last received, without those that are invalid now.
fn follow(last: &mut BTreeMap<NamespacedName, Service>, update: &Update) {
    let objects = match update {
        Update::Received(Kind::Service, objects) => {
            last.clear();
            &objects[..]
        }
        Update::Applied(object) if object.key.kind == Kind::Service => std::slice::from_ref(object),
        Update::Deleted(ObjectKey { kind: Kind::Service, name }) => {
            last.remove(name);
            &[]
        }
        _ => &[],
    };
    for Received { key, outcome } in objects {
        let name = key.name.clone();
        match outcome.as_ref().map(|converted| &converted.object) {
            Ok(Object::Service(service, _)) => drop(last.insert(name, service.clone())),
            _ => drop(last.remove(&name)),
        }
    }
}

type Step = (Cluster, u8, Index);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec((cluster(), any::<u8>(), any::<Index>()), 1..16)
}

/// Lets a state come to know a cluster, and change step by step; gives each update.
fn run(first: &Cluster, steps: &[Step], mut step: impl FnMut(&mut Store, Update)) {
    let mut state = Store::default();
    for kind in NEEDED {
        step(&mut state, all_of(first, kind));
    }
    for (other, what, index) in steps {
        if let Some(update) = update(&state, other, *what, *index) {
            step(&mut state, update);
        }
    }
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn an_update_touches_all_that_it_changes(first in cluster(), steps in steps()) {
        let mut known = Cluster::default();
        run(&first, &steps, |state, update| {
            state.apply(update);
            let change_set = state.take_changes();
            let Some(now) = state.cluster() else { return assert!(change_set.is_empty()) };
            let changed = ChangeSet::between(&known, now);
            assert!(changed.services.is_subset(&change_set.services), "{changed:?} {change_set:?}");
            assert!(change_set.environment || !changed.environment);
            known.clone_from(now);
        });
    }

    /// Whatever becomes of what it claims.
    #[test]
    fn who_is_served_is_served_for_as_long_as_it_exists(first in cluster(), steps in steps()) {
        let mut last = BTreeMap::new();
        run(&first, &steps, |state, update| {
            let before: Vec<_> = state.cluster.services.keys().cloned().collect();
            follow(&mut last, &update);
            let deleted = match &update {
                Update::Deleted(key) => Some(key.clone()),
                _ => None,
            };
            let is_list = matches!(update, Update::Received(Kind::Service, _));
            state.apply(update);
            for name in before {
                let is_gone = deleted == Some(key(Kind::Service, &name))
                    || is_list && !last.contains_key(&name);
                assert!(is_gone || state.cluster.services.contains_key(&name), "{name}");
            }
        });
    }

    /// What was released names who must not be programmed behind its successor.
    #[test]
    fn who_gives_up_a_claim_is_known(first in cluster(), steps in steps()) {
        let mut known = Cluster::default();
        run(&first, &steps, |state, update| {
            state.apply(update);
            let change_set = state.take_changes();
            let Some(now) = state.cluster() else { return };
            for (name, service) in &known.services {
                for (claim, _) in claims(service) {
                    let had = known.services.owner(&claim) == Some(name);
                    if had && now.services.owner(&claim) != Some(name) {
                        assert_eq!(change_set.released.get(&claim), Some(name), "{claim}");
                        assert!(change_set.services.contains(name));
                    }
                }
            }
            known.clone_from(now);
        });
    }
}
