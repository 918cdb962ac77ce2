//! Foreign writers that keep changing weir's tables, or never rest beside them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::kernel::Kernel;
use weir_testbed::{Netns, Process, nft_programs, tool, wait_for};

use crate::drift::serving;
use crate::running::{LIMIT, Running, slice};
use crate::serve::{HEALTHZ, answer, metric};

/// Raises a flag when it goes, also by a panic, so that no thread waits for ever.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn events(running: &Running, reason: &str) -> Vec<Value> {
    let events = running.server.events().into_iter();
    events.filter(|event| event["reason"] == reason).collect()
}

fn delete_without_rest(ns: &Netns, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        ns.nft("flush map ip weir services");
    }
}

#[test]
fn a_tool_that_goes_on_deleting_is_answered_ever_later_until_it_ends() {
    let running = serving("");
    let node = running.bed.node();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let raise = Raise(&is_over);
        scope.spawn(|| delete_without_rest(node, &is_over));
        running.wait_until_logged("until it ends, weir repairs them only 2 s later");
        let log = running.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("changed weir's")).collect();
        let with_pause = |pause: &str| told.iter().position(|line| line.ends_with(pause));
        assert_eq!(with_pause("only 1 s later"), Some(4), "{told:#?}");
        assert_eq!(with_pause("only 2 s later"), Some(5), "{told:#?}");
        // weir does what it can, and the pause is shorter than any limit.
        answer(&running, node, (HEALTHZ, "/readyz"), 200, "\"ready\":true");
        drop(raise);
    });
    running.wait_for_answer_of("b1");
    running.wait_until_logged("only 4 s later");
    // It is one that is told, however many processes it was.
    wait_for("the last Event", LIMIT, || {
        let is_last = |event: &Value| event["note"].as_str().is_some_and(|it| it.contains("ever"));
        events(&running, "ProxyRulesRepaired").iter().any(is_last)
    });
    let events = events(&running, "ProxyRulesRepaired");
    let repairs = metric(&running, "weir_repairs_total");
    assert!(events.len() <= 4 && repairs >= Some(7.0), "{repairs:?}: {events:#?}");
}

/// A repair that waits is work that waits: this node does not serve.
#[test]
fn a_repair_that_waits_for_twice_the_sync_period_makes_the_node_unhealthy() {
    let running = serving("nftables: {syncPeriod: 500ms, minSyncPeriod: 1ms}");
    let (node, visitor) = (running.bed.node(), running.bed.ns("client"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _raise = Raise(&is_over);
        scope.spawn(|| delete_without_rest(node, &is_over));
        running.wait_until_logged("only 4 s later");
        answer(&running, visitor, (HEALTHZ, "/readyz"), 503, "\"healthy\":false");
    });
    running.wait_for_answer_of("b1");
    answer(&running, visitor, (HEALTHZ, "/readyz"), 200, "\"healthy\":true");
}

/// A table with an owner is refused to everybody else.
#[test]
fn a_table_that_is_taken_away_makes_the_node_unhealthy_until_it_is_given_back() {
    let running = serving("nftables: {syncPeriod: 500ms, minSyncPeriod: 1ms}");
    let (node, visitor) = (running.bed.node(), running.bed.ns("client"));
    answer(&running, visitor, (HEALTHZ, "/healthz"), 200, "\"healthy\":true");
    let [_, nft] = nft_programs();
    let mut command = Command::new(nft);
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut owner = Process::spawn(node, command);
    let commands = owner.child().stdin.as_mut().expect("is piped");
    let take = b"delete table ip weir; add table ip weir { flags owner; }\n";
    commands.write_all(take).expect("it reads");
    for path in ["/healthz", "/readyz", "/livez"] {
        answer(&running, visitor, (HEALTHZ, path), 503, "\"healthy\":false");
    }
    let failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"}";
    wait_for("failures", LIMIT, || metric(&running, failures) >= Some(3.0));

    drop(owner);
    for path in ["/healthz", "/readyz", "/livez"] {
        answer(&running, visitor, (HEALTHZ, path), 200, "\"healthy\":true");
    }
    running.wait_for_answer_of("b1");
    running.wait_until_logged("the kernel is equal to the API server again");
    // Events are sent in order: what comes before the repair has come when that is there.
    wait_for("an Event", LIMIT, || !events(&running, "ProxyRulesRepaired").is_empty());
    let failed = events(&running, "FailedToSyncProxyRules");
    assert_eq!(failed.len(), 1, "{failed:#?}");
}

/// Lets nft change a table of its own, one commit for each line, until it is over.
fn change_without_rest(ns: &Netns, is_over: &AtomicBool) {
    let mut command = tool("nft");
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut nft = Process::spawn(ns, command);
    let commands = nft.child().stdin.as_mut().expect("is piped");
    commands.write_all(b"add table inet other\nadd set inet other s { type ipv4_addr; }\n").ok();
    while !is_over.load(Ordering::Relaxed) {
        for verb in ["add", "delete"] {
            let line = format!("{verb} element inet other s {{ 192.0.2.7 }}\n");
            commands.write_all(line.as_bytes()).expect("it reads");
        }
    }
}

/// What a process has used of the processors. /metrics tells whole seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // utime and stime of proc_pid_stat(5), in hundredths; the name before them may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("its name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|field| field.parse::<f64>().expect("a number") / 100.0).sum()
}

#[test]
fn a_neighbour_that_never_rests_costs_nothing_and_delays_nothing() {
    let mut running = serving("");
    let weir = running.weir.as_mut().expect("it runs").child().id();
    let node = running.bed.node();
    let series = [
        "weir_kernel_reads_total{what=\"all\"}",
        "weir_kernel_reads_total{what=\"part\"}",
        "weir_repairs_total",
        "weir_foreign_commits_total",
    ];
    let numbers = || series.map(|series| metric(&running, series).expect("it is there"));
    let before = numbers();
    let kernel = node.run(|| Kernel::open().expect("nf_tables can be used"));
    let generation = || kernel.generation().expect("it is told");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _raise = Raise(&is_over);
        scope.spawn(|| change_without_rest(node, &is_over));
        let first = generation();
        wait_for("commits", LIMIT, || generation() > first + 100);
        let mut times = Vec::new();
        for backend in ["b2", "b1", "b2", "b1", "b2"] {
            let start = Instant::now();
            running.server.apply(slice(if backend == "b2" { "10.244.0.3" } else { "10.244.0.2" }));
            running.wait_for_answer_of(backend);
            times.push(start.elapsed());
        }
        times.sort_unstable();
        assert!(times[2] < Duration::from_millis(500), "{times:?}");

        let (start, cpu, first) = (Instant::now(), cpu_seconds(weir), generation());
        wait_for("commits", LIMIT, || generation() > first + 1000);
        let share = (cpu_seconds(weir) - cpu) / start.elapsed().as_secs_f64();
        assert!(share < 0.25, "{share} of a CPU for a neighbour");
        let rate = f64::from(generation() - first) / start.elapsed().as_secs_f64();
        eprintln!("{share:.3} of a CPU beside {rate:.0} commits a second");
    });
    assert_eq!(numbers(), before, "{series:?}");
}
