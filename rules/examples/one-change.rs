//! One endpoint replaced at 10,000 Services: what tests/tools/count-instructions counts.

use std::net::Ipv4Addr;

use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName};
use weir_rules::config::Config;
use weir_rules::facts::DerivedState;
use weir_rules::reconcile::mirror::Mirror;
use weir_rules::testing::scale::{large, replace_endpoint};
use weir_rules::transaction::diff::diff;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn main() {
    let (config, mut cluster) = (Config::new("node"), large(SERVICES, ENDPOINTS));
    let (mut desired, mut facts) = (Mirror::default(), DerivedState::default());
    let all = ChangeSet::all(&cluster);
    desired.set(&cluster, &config, &all);
    facts.update(&cluster, &config, &all);
    let service = SERVICES / 2;
    replace_endpoint(&mut cluster, service, Ipv4Addr::new(192, 0, 2, 1));
    let name = NamespacedName::new("default", format!("svc-{service}"));
    let change_set = ChangeSet::services([name]);
    let elements = one_change(&cluster, &config, &change_set, &mut desired, &mut facts);
    assert_eq!(elements, (1, 1), "one comes and one goes");
}

/// All that is decided about a change.
#[inline(never)]
fn one_change(
    cluster: &Cluster,
    config: &Config,
    change_set: &ChangeSet,
    desired: &mut Mirror,
    facts: &mut DerivedState,
) -> (usize, usize) {
    facts.update(cluster, config, change_set);
    let plan = desired.plan(cluster, config, change_set);
    let counts = diff(&plan.before, &plan.after).counts();
    desired.accept(plan);
    desired.objects();
    (counts.added.elements, counts.removed.elements)
}
