//! What holds for what Services keep, whatever the kernel has of them.

use std::collections::HashSet;

use super::*;
use weir_rules::cluster::NamespacedName;
use weir_rules::testing::edit;

fn desired(cluster: &Cluster, config: &Config) -> Desired {
    let mut desired = Desired::default();
    desired.set(cluster, config, &Touched::all(cluster));
    desired
}

/// Some of the Services of two clusters.
fn some(clusters: [&Cluster; 2], mask: u16) -> HashSet<NamespacedName> {
    let names = clusters.into_iter().flat_map(|cluster| cluster.services.keys());
    let names: BTreeSet<_> = names.cloned().collect();
    let chosen = names.into_iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
    chosen.map(|(_, name)| name).collect()
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn services_keep_all_that_was_programmed(
        cluster in cluster(), config in config(), mask in any::<u16>()
    ) {
        let mut cluster = without_conflicts(&cluster);
        // Each has a destination.
        cluster.services.retain(|_, service| !service.ports.is_empty());
        let mut desired = desired(&cluster, &config);
        let (ruleset, objects) = (desired.ruleset(), desired.objects());
        desired.keep(&some([&cluster, &cluster], mask), &ruleset);
        prop_assert_eq!(desired.ruleset(), ruleset);
        prop_assert_eq!(desired.objects(), objects);
    }

    /// Whatever was there from before, and whoever has changed it since.
    #[test]
    fn services_keep_what_makes_sense_beside_the_others(
        clusters in (cluster(), cluster()),
        configs in (config(), config()),
        edits in vec(any::<(u8, Index, Index)>(), 0..6),
        mask in any::<u16>(),
    ) {
        let (before, after) = (without_conflicts(&clusters.0), without_conflicts(&clusters.1));
        let mut observed = compile(&before, &configs.0);
        edits.into_iter().for_each(|(kind, family, object)| edit(&mut observed, kind, family, object));
        let kept = some([&before, &after], mask);
        let mut desired = desired(&after, &configs.1);
        kept.iter().for_each(|name| desired.forget(name));
        let others = desired.ruleset();
        desired.keep(&kept, &observed);
        let ruleset = desired.ruleset();

        for (family, table) in tables(&ruleset) {
            for chain in targets(table) {
                prop_assert!(table.chains.contains_key(chain), "chain {}", chain);
            }
            for set in table.chains.values().flat_map(Chain::statements).filter_map(Statement::set) {
                prop_assert!(table.sets.contains_key(set), "set {}", set);
            }
            for (name, set) in &table.sets {
                let of = |ruleset: &Ruleset, key| {
                    let set = ruleset.tables.get(&family)?.sets.get(name)?;
                    set.elements.get(key).cloned()
                };
                for (key, element) in &set.elements {
                    let expected = of(&others, key).or_else(|| of(&observed, key));
                    prop_assert_eq!(
                        Some(&element.data),
                        expected.as_ref().map(|it| &it.data),
                        "{} {:?}",
                        name,
                        key
                    );
                }
            }
        }
        let lost: Vec<_> =
            diff(&ruleset, &others).lines().filter(|(sign, _)| *sign == Sign::Added).collect();
        prop_assert_eq!(lost, vec![], "of others");

        let touched = Touched { services: kept.into_iter().collect(), surroundings: false };
        let plan = desired.plan(&after, &configs.1, &touched);
        let mut programmed = ruleset;
        diff(&plan.before, &plan.after).apply(&mut programmed);
        desired.accept(plan);
        prop_assert_eq!(in_order(&desired.ruleset()), in_order(&compile(&after, &configs.1)));
        prop_assert_eq!(&programmed, &desired.ruleset());
    }
}
