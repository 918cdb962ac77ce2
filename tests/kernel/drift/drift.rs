//! Foreign changes to weir's tables, and how the running weir repairs them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::kernel::Kernel;
use weir_rules::nft::Ruleset;
use weir_testbed::wait_for;

use crate::running::{LIMIT, Running, service, slice};
use crate::serve::{metric, prepared, wait_for_metric};

/// A change that others make, and what undoes it.
type Edit = (&'static str, &'static str);

const ELEMENTS: [Edit; 4] = [
    (
        "delete element ip weir services { 10.96.0.10 . tcp . 80 }",
        "added 1 element; removed nothing",
    ),
    (
        "add element ip weir services { 10.96.0.99 . tcp . 80 : goto lb-1 }",
        "added nothing; removed 1 element",
    ),
    ("flush map ip weir endpoints", "added 1 element; removed nothing"),
    (
        "delete element ip weir services { 10.96.0.10 . tcp . 80 };
         add element ip weir services { 10.96.0.10 . tcp . 80 : drop }",
        "added 1 element; removed 1 element",
    ),
];

const PROGRAM: [Edit; 4] = [
    ("insert rule ip weir services drop", "added nothing; removed 1 rule"),
    (
        "add chain ip weir more { type filter hook input priority 0; policy drop; }",
        "added nothing; removed 1 chain",
    ),
    ("add set ip6 weir more { type ipv4_addr; }", "added nothing; removed 1 set"),
    ("flush chain ip weir lb-1", "added 1 rule; removed nothing"),
];

/// Of tables, with the number of tables that are made anew.
const TABLES: [Edit; 4] = [
    ("delete table ip weir", "added 1 table, "),
    ("flush ruleset", "added 2 tables, "),
    // As firewalld's reload before 2.0.
    (
        "flush ruleset; table inet firewalld { chain input { type filter hook input priority 10; }; }",
        "added 2 tables, ",
    ),
    ("delete table ip6 weir; add table ip6 weir { flags dormant; }", "added 1 table, "),
];

/// A node that serves `web` by b1, and is programmed.
pub(crate) fn serving(fields: &str) -> Running {
    let mut running = prepared(&[service(), slice("10.244.0.2")]);
    running.write_config(&format!("mode: nftables\n{fields}\n"));
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    running
}

/// What weir's tables hold.
fn tables(running: &Running) -> Ruleset {
    let dump = || Kernel::open().expect("nf_tables can be used").dump().expect("it is read");
    running.bed.node().run(dump).ruleset
}

/// The log's lines of transactions that were repairs.
fn repairs(running: &Running) -> Vec<String> {
    let log = running.log();
    let is_repair = |line: &&str| line.contains("cause=\"repair\"");
    log.lines().filter(is_repair).map(str::to_owned).collect()
}

/// Makes changes as others do, each when the one before is repaired. Gives how long each repair took
/// to be seen.
fn answered(running: &Running, edits: &[Edit]) -> Vec<Duration> {
    let before = tables(running);
    let mut times = Vec::new();
    for (count, (edit, undone)) in edits.iter().enumerate() {
        running.bed.node().nft(edit);
        let start = Instant::now();
        wait_for(&format!("the repair of `{edit}`; log:\n{}", running.log()), LIMIT, || {
            repairs(running).len() > count
        });
        times.push(start.elapsed());
        let repairs = repairs(running);
        assert_eq!(repairs.len(), count + 1, "{edit}: {repairs:#?}");
        assert!(repairs[count].contains(undone), "{edit}: {}", repairs[count]);
        assert!(tables(running) == before, "{edit}: {}", running.listed());
        running.wait_for_answer_of("b1");
    }
    times
}

fn assert_counted(running: &Running, edits: usize) {
    wait_for_metric(running, "weir_repairs_total", edits as f64);
    assert_eq!(metric(running, "weir_foreign_commits_total"), Some(edits as f64));
}

fn dumps(running: &Running) -> Option<f64> {
    metric(running, "weir_kernel_reads_total{what=\"all\"}")
}

#[test]
fn elements_that_others_change_are_put_right_one_by_one() {
    let running = serving("");
    let dumps_before = dumps(&running);
    answered(&running, &ELEMENTS);
    assert_counted(&running, ELEMENTS.len());
    assert_eq!(dumps(&running), dumps_before, "only parts are read");
    assert!(metric(&running, "weir_kernel_reads_total{what=\"part\"}") >= Some(4.0));
}

#[test]
fn rules_chains_and_sets_that_others_change_are_put_right_one_by_one() {
    let running = serving("");
    answered(&running, &PROGRAM);
    assert_counted(&running, PROGRAM.len());
}

#[test]
fn tables_that_others_delete_are_made_anew() {
    let running = serving("");
    answered(&running, &TABLES);
    assert_counted(&running, TABLES.len());
}

/// Whoever looks once a second finds each of these a second after the one before.
#[test]
fn a_repair_waits_for_no_second_to_begin() {
    let running = serving("");
    let times = answered(&running, &ELEMENTS);
    let quickest = times.iter().skip(1).min().expect("there are some");
    assert!(*quickest < Duration::from_millis(500), "{times:?}");
}

#[test]
fn who_has_changed_the_tables_is_in_the_log_and_in_an_event_on_the_node() {
    let running = serving("");
    answered(&running, &ELEMENTS);
    let log = running.log();
    let is_about = |line: &&str| {
        line.contains("WARN") && line.contains("nft (pid ") && line.contains("has changed weir's")
    };
    assert_eq!(log.lines().filter(is_about).count(), ELEMENTS.len(), "{log}");
    let events = || {
        let events = running.server.events().into_iter();
        let repaired = events.filter(|event| event["reason"] == "ProxyRulesRepaired");
        repaired.collect::<Vec<Value>>()
    };
    wait_for("an Event", LIMIT, || !events().is_empty());
    let [event] = &events()[..] else { panic!("one for all: {:#?}", events()) };
    assert_eq!(event["note"], "nft has changed weir's tables; weir has restored them");
    assert_eq!((&event["type"], &event["action"]), (&json!("Warning"), &json!("SyncProxyRules")));
    assert_eq!(event["regarding"]["kind"], "Node");
    assert_eq!(event["regarding"]["name"], "node-a");
}

/// Other tables are others' business, and so is what comes to nothing.
#[test]
fn what_changes_nothing_of_weirs_is_no_repair() {
    let running = serving("");
    running
        .bed
        .node()
        .nft("table inet other { set s { type ipv4_addr; elements = { 1.2.3.4 }; }; }");
    running.bed.node().nft(
        "add element ip weir services { 10.96.0.99 . tcp . 80 : drop };
         delete element ip weir services { 10.96.0.99 . tcp . 80 : drop }",
    );
    wait_for_metric(&running, "weir_foreign_commits_total", 1.0);
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    assert_eq!(metric(&running, "weir_repairs_total"), Some(0.0));
    assert!(!running.log().contains("has changed"), "{}", running.log());
}
