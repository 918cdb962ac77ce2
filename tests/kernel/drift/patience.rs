//! Events to which weir does not react.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_apiserver::{Fault, Resource, Verb};
use weir_testbed::{Process, nft_programs, wait_for};

use crate::drift::serving;
use crate::running::{LIMIT, slice};
use crate::serve::{metric, wait_for_metric};

/// Long enough to see how often a process wakes up that nobody asks for anything.
const PERIOD: Duration = Duration::from_secs(2);
/// So often a second all threads of weir together begin to wait. It is some ten times; whoever sets a
/// timer for a time that has come does so a thousand times.
const MAX_WAITS: f64 = 200.0;

/// How often the threads of a process have begun to wait for something.
fn waits(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    // One that has ended is not counted any more.
    let statuses =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let count =
        |line: &str| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok();
    statuses.filter_map(|status| status.lines().find_map(count)).sum()
}

/// There is something to repair, and it is not known what should be there.
#[test]
fn before_the_cluster_is_known_nobody_is_kept_busy_by_what_others_change() {
    let mut running = serving("");
    running.stop();
    for verb in [Verb::List, Verb::Watch] {
        running.server.fail(Resource::EndpointSlices, verb, Fault::InternalError);
    }
    running.start_as_proxy();
    running.wait_until_logged("watching EndpointSlices: Internal error occurred (500)");
    let weir = running.weir.as_mut().expect("it runs").child().id();
    let foreign = "weir_foreign_commits_total";
    wait_for("metrics", LIMIT, || metric(&running, foreign) == Some(0.0));
    running.bed.node().nft("flush map ip weir services");
    wait_for_metric(&running, foreign, 1.0);
    let (start, before) = (Instant::now(), waits(weir));
    wait_for("the end of the period", LIMIT, || start.elapsed() >= PERIOD);
    let rate = waits(weir).saturating_sub(before) as f64 / start.elapsed().as_secs_f64();
    assert!(rate < MAX_WAITS, "{rate} waits a second");
    assert_eq!(metric(&running, "weir_transactions_total"), Some(0.0));
    running.server.heal();
    running.wait_for_answer_of("b1");
}

/// A table with an owner is refused to everybody else.
#[test]
fn what_fails_is_not_tried_again_for_each_change_of_the_cluster() {
    const CHANGES: u8 = 20;
    let running = serving("");
    let [_, nft] = nft_programs();
    let mut command = Command::new(nft);
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut owner = Process::spawn(running.bed.node(), command);
    let commands = owner.child().stdin.as_mut().expect("is piped");
    let take = b"delete table ip weir; add table ip weir { flags owner; }\n";
    commands.write_all(take).expect("it reads");
    let failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"}";
    wait_for("a failure", LIMIT, || metric(&running, failures) >= Some(1.0));
    let changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
    let before = metric(&running, changes).expect("it is there");
    // Each is read before the next comes.
    for change in 1..=CHANGES {
        running.server.apply(slice(&format!("10.244.0.{}", 100 + change)));
        wait_for_metric(&running, changes, before + f64::from(change));
    }
    // The pauses are 1, 2, 4, 8, 16 s, and 30 s from then on.
    let failed = metric(&running, failures).expect("it is there");
    assert!(failed < 10.0, "{failed}");
    running.server.apply(slice("10.244.0.3"));
    drop(owner);
    running.wait_for_answer_of("b2");
}
