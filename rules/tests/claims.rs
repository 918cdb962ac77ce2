//! The winner of a claim depends on what all Services want, not on the order in which they came.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_rules::cluster::claims::{Claim, ClaimKind, claims};
use weir_rules::cluster::{Cluster, NamespacedName, Services};
use weir_rules::testing::random::{change, cluster, seeded};

/// Each claim with the Service that has the best right to it, found without any index.
fn owners(services: &Services) -> BTreeMap<Claim, NamespacedName> {
    let mut best: BTreeMap<Claim, (ClaimKind, u32, NamespacedName)> = BTreeMap::new();
    for (name, service) in services {
        for (claim, kind) in claims(service) {
            let right = (kind, service.created.unwrap_or(u32::MAX), name.clone());
            let owner = best.entry(claim).or_insert_with(|| right.clone());
            *owner = right.min(owner.clone());
        }
    }
    best.into_iter().map(|(claim, (_, _, name))| (claim, name)).collect()
}

/// All that is to be seen of who has what.
fn seen(services: &Services) -> (BTreeMap<Claim, NamespacedName>, Vec<(NamespacedName, Claim)>) {
    let wanted = services.values().flat_map(claims).map(|(claim, _)| claim);
    let owned = wanted.filter_map(|claim| Some((claim, services.owner(&claim)?.clone())));
    let lost = services.losers().flat_map(|(name, lost)| {
        lost.iter().map(|(claim, _)| (name.clone(), claim)).collect::<Vec<_>>()
    });
    (owned.collect(), lost.collect())
}

proptest! {
    #![proptest_config(seeded(512))]

    #[test]
    fn owners_are_the_same_for_every_order_of_events(
        mut cluster in cluster(),
        steps in vec((self::cluster(), any::<u8>(), any::<Index>()), 0..12),
        order in any::<u64>(),
    ) {
        for (other, kind, index) in &steps {
            change(&mut cluster, other, *kind, *index);
        }
        let lived = seen(&cluster.services);
        prop_assert_eq!(&lived.0, &owners(&cluster.services));
        let lost: usize = cluster.services.lost_counts().iter().sum();
        prop_assert_eq!(lost, lived.1.len());
        // As a restart or a new list has it: all at once, in any order.
        let mut shuffled: Vec<_> = cluster.services.clone().into_iter().collect();
        let length = shuffled.len().max(1);
        shuffled.rotate_left(order as usize % length);
        if order % 2 == 0 {
            shuffled.reverse();
        }
        prop_assert_eq!(&seen(&shuffled.into_iter().collect()), &lived);
    }

    /// Who else is concerned is said, and who had what changes hands.
    #[test]
    fn a_handover_names_all_that_it_concerns(
        mut cluster in cluster(),
        other in self::cluster(),
        index in any::<Index>(),
    ) {
        let before = seen(&cluster.services);
        let names = cluster.services.keys().chain(other.services.keys());
        let Some(name) = weir_rules::testing::random::one(names, index) else { return Ok(()) };
        let handover = match other.services.get(&name) {
            Some(service) => cluster.services.insert(name.clone(), service.clone()),
            None => cluster.services.remove(&name).map(|(_, handover)| handover).unwrap_or_default(),
        };
        let after = seen(&cluster.services);
        let mut concerned = BTreeSet::new();
        for (one, two) in [(&before.0, &after.0), (&after.0, &before.0)] {
            let changed = one.iter().filter(|(claim, owner)| two.get(claim) != Some(owner));
            concerned.extend(changed.map(|(_, owner)| owner.clone()));
        }
        concerned.remove(&name);
        prop_assert!(handover.others.is_superset(&concerned), "{:?} {:?}", handover, concerned);
        for (claim, owner) in &before.0 {
            let is_released = after.0.get(claim) != Some(owner);
            let is_said = handover.released.get(claim) == Some(owner);
            prop_assert_eq!(is_released, is_said, "{}", claim);
        }
    }

    /// A Service loses nothing but what another has.
    #[test]
    fn a_claim_is_lost_or_owned(cluster in cluster()) {
        let Cluster { services, .. } = cluster;
        let mut counts = [0; ClaimKind::ALL.len()];
        for (name, service) in &services {
            for (claim, kind) in claims(service) {
                let is_owned = services.owner(&claim) == Some(name);
                prop_assert_eq!(is_owned, !services.lost(name).contains(&claim));
                counts[kind as usize] += usize::from(!is_owned);
            }
        }
        prop_assert_eq!(services.lost_counts(), counts);
    }
}
