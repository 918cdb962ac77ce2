//! `make demo`: weir on a node in small, with real packets, in namespaces of its own.
//!
//! Exits with 0 if all was as it should be, and with 1 and a list of what was not otherwise.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]
#![forbid(unsafe_code)]

mod change;
mod manifests;
mod report;
mod weir;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use weir_testbed::{
    CRITICAL_2DF, Family, Netns, Outcome, Protocol, REFUSAL, SILENCE, Tally, Testbed, ask, ask_all,
    chi_squared, critical, eventually, tally,
};

use crate::change::Seen;
use crate::manifests::{Scratch, slice, with, without};
use crate::report::Report;
use crate::weir::Weir;

/// Connections per row of the table.
const CONNECTIONS: usize = 300;

/// How long weir may take from its start until every address answers.
const START: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let begun = Instant::now();
    let mut report = Report::default();
    let shown = weir::find().and_then(|weir| demo(&weir, &mut report));
    report.expect(shown);
    println!();
    let passed = report.conclude();
    println!("The demo took {:.1} s.", begun.elapsed().as_secs_f64());
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn demo(binary: &Path, report: &mut Report) -> Result<(), String> {
    println!(
        "A Kubernetes node in small, in network namespaces of its own:\n\n  \
         visitor ----- router ----- node ----- pods: client, hello-1, hello-2, hello-3, hello-4\n  \
         198.51.100.7               192.0.2.1  10.244.0.9, .2, .3, .4, .5 (and IPv6 throughout)\n"
    );
    let bed = testbed();
    let scratch = Scratch::new().map_err(|error| format!("no temporary folder: {error}"))?;

    let typed = weir::run_command(Path::new("weir"), Path::new("deploy/demo"));
    let words = typed.get_args().map(|word| word.to_string_lossy());
    println!("$ weir {}", words.collect::<Vec<_>>().join(" "));
    println!("  (in the node's namespace, on a copy of that folder, which changes below)");
    let started = Instant::now();
    let mut weir = Weir::run(binary, bed.node(), &scratch)?;
    let ready = eventually(START, || match weir.process.ended() {
        Some(status) => Some(Err(format!("weir ended by itself with {status}"))),
        None => all_answer(&bed).then_some(Ok(())),
    });
    let ready = ready.unwrap_or_else(|| Err(format!("no answer everywhere after {START:?}")));
    ready.map_err(|failure| format!("{failure}; weir said:\n{}", weir.said()))?;
    println!(
        "  Every address of Service default/hello answers {} ms after weir was started.\n",
        started.elapsed().as_millis()
    );

    let shown = show_spread(&bed, report)
        .and_then(|()| show_hairpin_and_refusal(&bed, report))
        .and_then(|()| show_changes(&bed, &scratch, report));
    if let Err(failure) = shown {
        return Err(format!("{failure}; weir said:\n{}", weir.said()));
    }
    show_end(&bed, weir, binary, report);

    let folder = scratch.path().to_owned();
    drop((bed, scratch));
    report.check(!folder.exists(), "the temporary folder is gone");
    Ok(())
}

fn testbed() -> Testbed {
    let mut bed = Testbed::new()
        .pod("client", "10.244.0.9", "fd00:10:244::9")
        .pod("hello-1", "10.244.0.2", "fd00:10:244::2")
        .pod("hello-2", "10.244.0.3", "fd00:10:244::3")
        .pod("hello-3", "10.244.0.4", "fd00:10:244::4")
        .pod("hello-4", "10.244.0.5", "fd00:10:244::5")
        .outside("visitor", "198.51.100.7", "2001:db8:51::7");
    for pod in ["hello-1", "hello-2", "hello-3", "hello-4"] {
        bed.serve(pod, 8080);
    }
    bed
}

/// The kinds of virtual address that the Service has.
const KINDS: [(&str, [&str; 2]); 3] = [
    ("ClusterIP", ["10.96.0.10:80", "[fd00:10:96::10]:80"]),
    ("NodePort", ["192.0.2.1:30080", "[2001:db8::1]:30080"]),
    ("LoadBalancer", ["203.0.113.10:80", "[2001:db8:113::10]:80"]),
];

/// Every way to the Service: who asks, the kind of address, the address, its family.
fn ways() -> impl Iterator<Item = (&'static str, &'static str, SocketAddr, Family)> {
    KINDS.into_iter().flat_map(|(kind, addresses)| {
        let from = if kind == "ClusterIP" { "client" } else { "visitor" };
        let ways = Family::ALL.into_iter().zip(addresses);
        ways.map(move |(family, to)| (from, kind, address(to), family))
    })
}

fn cluster_ip(family: Family) -> SocketAddr {
    let (_, [v4, v6]) = KINDS[0];
    address(if family == Family::V4 { v4 } else { v6 })
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("the addresses of this file are valid")
}

/// The node's address as pods see it where it masquerades.
fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => Testbed::GATEWAY_V4.into(),
        Family::V6 => Testbed::GATEWAY_V6.into(),
    }
}

/// Whether a connection to every address is answered.
fn all_answer(bed: &Testbed) -> bool {
    // Where no rule is yet, packets vanish: a short patience is a fine resolution.
    let patience = Duration::from_millis(5);
    ways().all(|(from, _, to, _)| ask(bed.ns(from), Protocol::Tcp, to, patience).server().is_some())
}

fn show_spread(bed: &Testbed, report: &mut Report) -> Result<(), String> {
    println!(
        "{CONNECTIONS} connections to each, the endpoints that answered, and whom they saw:\n"
    );
    println!(
        "  {:<8} {:<13} {:<22} {:>7}  {:>7}  {:>7}  {:>5}  source address seen",
        "from", "to", "", "hello-1", "hello-2", "hello-3", "chi2"
    );
    for (from, kind, to, family) in ways() {
        let tally = tally(bed.ns(from), Protocol::Tcp, to, CONNECTIONS);
        let counts = ["hello-1", "hello-2", "hello-3"].map(|server| tally.count(server));
        let (expected, why) = match kind {
            "ClusterIP" => (bed.host(from).address(family), "the client's own"),
            _ => (gateway(family), "the node's: masqueraded"),
        };
        let seen: Vec<_> = tally.sources.iter().map(IpAddr::to_string).collect();
        let [one, two, three] = counts;
        println!(
            "  {from:<8} {kind:<13} {:<22} {one:>7}  {two:>7}  {three:>7}  {:>5.1}  {} ({why})",
            to.to_string(),
            chi_squared(&counts),
            seen.join(", "),
        );
        check_spread(report, &tally, &["hello-1", "hello-2", "hello-3"], &format!("{kind} {to}"));
        let only = tally.sources == BTreeSet::from([expected]);
        report.check(only, format!("{kind} {to}: servers see {expected} only"));
    }
    println!(
        "\n  chi2 tells how uneven a row is; a fair choice exceeds {CRITICAL_2DF:.1} once in a million.\n"
    );
    Ok(())
}

/// All was answered, by these servers only, and evenly.
fn check_spread(report: &mut Report, tally: &Tally, servers: &[&str], what: &str) {
    let counts: Vec<u64> = servers.iter().map(|server| tally.count(server)).collect();
    let all = counts.iter().sum::<u64>() == CONNECTIONS as u64 && tally.unanswered() == 0;
    report.check(all, format!("{what}: each connection answered by one of {servers:?}: {tally}"));
    let even = chi_squared(&counts) <= critical(counts.len());
    report.check(even, format!("{what}: an even spread: {counts:?}"));
}

fn show_hairpin_and_refusal(bed: &Testbed, report: &mut Report) -> Result<(), String> {
    for family in Family::ALL {
        let tally = tally(bed.ns("hello-1"), Protocol::Tcp, cluster_ip(family), CONNECTIONS);
        let servers = ["hello-1", "hello-2", "hello-3"];
        check_spread(report, &tally, &servers, &format!("hello-1 to {}", cluster_ip(family)));
        let own = bed.host("hello-1").address(family);
        let sources = BTreeSet::from([own, gateway(family)]);
        report.check(
            tally.sources == sources,
            format!("hello-1 is seen as itself, and as the node where it reaches itself: {tally}"),
        );
    }
    println!("  A pod of the Service reaches itself through it, too (masqueraded, both families).");

    let unused = Family::ALL.map(|family| SocketAddr::new(cluster_ip(family).ip(), 81));
    let questions = unused.map(|to| (Protocol::Tcp, to));
    let outcomes = ask_all(bed.ns("client"), &questions, REFUSAL);
    let refused = outcomes.iter().all(|outcome| *outcome == Outcome::Refused);
    report.check(refused, format!("port 81 of the ClusterIPs is refused: {outcomes:?}"));
    println!("  Port 81 of the ClusterIPs, which the Service does not have, is refused.\n");
    Ok(())
}

fn show_changes(bed: &Testbed, scratch: &Scratch, report: &mut Report) -> Result<(), String> {
    let client = bed.ns("client");
    println!(
        "The EndpointSlice files change, each by one rename, while the client connects on and on.\n\
         Time from the rename to the connection that shows that the kernel follows:\n"
    );
    for family in Family::ALL {
        let to = cluster_ip(family);
        let fewer = without(slice(family), "hello-2");
        let seen = change::until_gone(client, to, "hello-2", || replace(scratch, family, &fewer))
            .ok_or_else(|| format!("hello-2 still answers at {to} after its removal"))?;
        print_change(report, family, "hello-2 taken out, its last answer", &seen);
        settle(report, client, to, &["hello-1", "hello-3"]);
    }
    for family in Family::ALL {
        let to = cluster_ip(family);
        let new = bed.host("hello-4").address(family).to_string();
        let more = with(&without(slice(family), "hello-2"), "hello-4", &new);
        let seen = change::until_there(client, to, "hello-4", || replace(scratch, family, &more))
            .ok_or_else(|| format!("hello-4 does not answer at {to} after its addition"))?;
        print_change(report, family, "hello-4 put in, its first answer", &seen);
        settle(report, client, to, &["hello-1", "hello-3", "hello-4"]);
    }
    println!();
    Ok(())
}

fn replace(scratch: &Scratch, family: Family, text: &str) -> Instant {
    scratch.replace_slice(family, text).expect("the temporary folder can be written")
}

fn print_change(report: &mut Report, family: Family, what: &str, seen: &Seen) {
    let total: u64 = seen.tally.answers.values().sum::<u64>() + seen.tally.unanswered();
    println!(
        "  IP{} {what:<36} {:>6.1} ms   ({total} connections, one in {:.2} ms, {} lost)",
        if family == Family::V4 { "v4" } else { "v6" },
        seen.after.as_secs_f64() * 1e3,
        seen.each.as_secs_f64() * 1e3,
        seen.tally.unanswered(),
    );
    let lost = seen.tally.unanswered();
    report.check(lost == 0, format!("{what}: no connection is lost meanwhile: {}", seen.tally));
}

/// After a change, these endpoints and no other share the connections evenly.
fn settle(report: &mut Report, client: &Netns, to: SocketAddr, servers: &[&str]) {
    let tally = tally(client, Protocol::Tcp, to, CONNECTIONS);
    let counts: Vec<_> =
        servers.iter().map(|server| format!("{server} {}", tally.count(server))).collect();
    println!("       then {CONNECTIONS} connections: {}", counts.join(", "));
    check_spread(report, &tally, servers, &format!("{to} after the change"));
}

fn show_end(bed: &Testbed, weir: Weir, binary: &Path, report: &mut Report) {
    report.expect(weir.stop());
    let questions = Family::ALL.map(|family| (Protocol::Tcp, cluster_ip(family)));
    let outcomes = ask_all(bed.ns("client"), &questions, SILENCE);
    let answered = outcomes.iter().all(|outcome| outcome.server().is_some());
    report.check(answered, format!("the Service works on without weir: {outcomes:?}"));
    println!("$ kill -TERM weir\n  It ends; its rules stay, and the Service works on without it.");

    report.expect(weir::cleanup(binary, bed.node()));
    let left = bed.node().cmd("nft", ["list", "ruleset"]);
    report.check(left.trim().is_empty(), format!("weir cleanup leaves no rule:\n{left}"));
    let outcomes = ask_all(bed.ns("client"), &questions, SILENCE);
    let silent = outcomes.iter().all(|outcome| *outcome == Outcome::Silent);
    report.check(silent, format!("without rules nothing answers: {outcomes:?}"));
    println!("$ weir cleanup\n  `nft list ruleset` is empty, and nothing answers any more.");
}
