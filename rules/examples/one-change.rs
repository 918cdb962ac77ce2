//! One endpoint replaced at 10,000 Services: what tests/tools/count-instructions counts.

use std::net::Ipv4Addr;

use weir_rules::cluster::{Cluster, NamespacedName, Touched};
use weir_rules::config::Config;
use weir_rules::facts::Facts;
use weir_rules::reconcile::mirror::Desired;
use weir_rules::testing::scale::{large, replace_endpoint};
use weir_rules::transaction::diff::diff;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn main() {
    let (config, mut cluster) = (Config::new("node"), large(SERVICES, ENDPOINTS));
    let (mut desired, mut facts) = (Desired::default(), Facts::default());
    let all = Touched::all(&cluster);
    desired.set(&cluster, &config, &all);
    facts.update(&cluster, &config, &all);
    let service = SERVICES / 2;
    replace_endpoint(&mut cluster, service, Ipv4Addr::new(192, 0, 2, 1));
    let name = NamespacedName::new("default", format!("svc-{service}"));
    let touched = Touched::services([name]);
    let elements = one_change(&cluster, &config, &touched, &mut desired, &mut facts);
    assert_eq!(elements, (1, 1), "one comes and one goes");
}

/// All that is decided about a change.
#[inline(never)]
fn one_change(
    cluster: &Cluster,
    config: &Config,
    touched: &Touched,
    desired: &mut Desired,
    facts: &mut Facts,
) -> (usize, usize) {
    facts.update(cluster, config, touched);
    let plan = desired.plan(cluster, config, touched);
    let counts = diff(&plan.before, &plan.after).counts();
    desired.accept(plan);
    desired.objects();
    (counts.added.elements, counts.removed.elements)
}
