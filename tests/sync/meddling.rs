//! Foreign writes to weir's tables while weir writes.

use weir::sync::{SyncError, SyncReport};
use weir_rules::cluster::Family;
use weir_rules::compile::names;
use weir_rules::nft::{RawKey, Ruleset};

use crate::agent::{Agent, address};
use crate::faulty::{Request, Told};

/// More than these would keep a node busy for minutes whose tables are large, and help nobody.
const MAX_DUMPS: u32 = 32;

/// Of the first Service, if it is there.
fn delete_cluster_ip(ruleset: &mut Ruleset) {
    let table = ruleset.tables.get_mut(&Family::Ipv4).expect("it is there");
    let ips = table.sets.get_mut(names::CLUSTER_IPS).expect("it is there");
    ips.elements.remove(&RawKey::new().address(address(1)));
}

/// One Service is not among what is compared: it was set aside, and is to be tried again.
#[tokio::test(start_paused = true)]
async fn somebody_who_never_rests_makes_a_sync_fail_after_few_comparisons() {
    let mut agent = Agent::new(6);
    agent.sync();
    agent.refuse_slot(5, 3, Told::Part);
    agent.put(5, &[1, 2, 3, 4]);
    assert_eq!(agent.sync().quarantined.len(), 1);
    agent.take_all();
    agent.put(5, &[1, 2]);
    agent.meddle(|kernel| kernel.edit(delete_cluster_ip));
    let dumps = agent.asked(Request::Dump);
    let result = agent.reconciler.sync(&agent.cluster, &agent.config, &mut SyncReport::default());
    assert!(matches!(result, Err(SyncError::Unsteady)), "{result:?}");
    let dumps = agent.asked(Request::Dump) - dumps;
    assert!(dumps <= MAX_DUMPS, "{dumps} dumps");
    agent.rest();
    agent.settle().await;
    agent.assert_equal("they rest");
}

/// It comes to a chain that is new, which goes first.
#[tokio::test(start_paused = true)]
async fn a_repair_behind_a_change_is_told_from_it() {
    let mut agent = Agent::new(4);
    agent.sync();
    agent.put(2, &[1, 2, 3, 4, 5]);
    let mut commits = 0;
    agent.meddle(move |kernel| {
        commits += 1;
        if commits == 2 {
            kernel.edit(delete_cluster_ip);
        }
    });
    let report = agent.sync();
    agent.assert_equal("five endpoints");
    let are_repairs: Vec<_> = report.commits.iter().map(|change| change.is_repair).collect();
    assert_eq!(are_repairs, [false, true]);
    assert_eq!(report.repairs(), 1);
}
