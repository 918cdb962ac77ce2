//! weir is killed at any moment, while the cluster changes and clients connect all the time.

mod cluster;
mod cold_start;
mod dice;
mod history;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use weir::source::manifest::{Input, load};
use weir::sync::{Connections, LiveConnections};
use weir_rules::config::Config;
use weir_rules::facts::stale_flows::{Flow, ServedDestinations};
use weir_testbed::{ANSWER, Outcome, Protocol, ask_here, eventually, tcp_ask, wait_for};

use crate::common::weir;
use crate::packets::CLUSTER_CIDR;
use crate::running::{LIMIT, Running};
use cluster::{Cluster, Kind, SERVICES, canary_address, is_local, question, servers, testbed};
use dice::Dice;
use history::Generation;

const KILLS: usize = 200;

/// What weir logs of each transaction, and if its first look finds nothing to change.
const PROGRAMMED: &str = "cause=";
const NOTHING_TO_DO: &str = "the kernel holds all of it already";

/// The address of the client outside.
const VISITOR: &str = "198.51.100.7";

/// A patience for answers that are due: a busy machine is not a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A start that takes longer, on a busy machine, is killed within this all the same.
const LONGEST_START: Duration = Duration::from_millis(400);

/// How long it follows changes until it is killed, at most: some transactions.
const FOLLOWING: Duration = Duration::from_millis(20);

/// Of so many answers one may get lost where a Service has just changed. It is one of a million, and
/// most runs lose none.
const LOST_IN: usize = 50_000;

/// What the clients share with the one that kills.
struct Scene {
    running: Running,
    cluster: Mutex<Cluster>,
    is_over: AtomicBool,
    answers: AtomicUsize,
    /// How many of them did not come, of Services that had just changed.
    lost: AtomicUsize,
    /// What should not have been.
    complaints: Mutex<Vec<String>>,
}

/// Ends the clients when it is dropped, also by a panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The last answer of a Service whose clients stay: whose it was, and what was programmed before.
type Last = Option<(usize, Generation)>;

impl Scene {
    fn new() -> Self {
        let running = Running::on(testbed());
        let cluster = Cluster::new(&running.server).into();
        Self {
            running,
            cluster,
            is_over: AtomicBool::default(),
            answers: AtomicUsize::default(),
            lost: AtomicUsize::default(),
            complaints: Mutex::default(),
        }
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().expect("not poisoned")
    }

    /// Asks the Services that this client asks, at random and without rest, and changes the cluster
    /// in between.
    fn connect(&self, client: &'static str, mut dice: Dice) {
        let services: Vec<usize> =
            (0..SERVICES).filter(|&service| Kind::of(service).client() == client).collect();
        let (mut last, mut lost) = (vec![None; SERVICES], 0);
        while !self.is_over.load(Ordering::Relaxed) {
            let service = services[dice.below(services.len())];
            let programmed = self.cluster().history.programmed();
            let (protocol, address) = question(service);
            let outcome = ask_here(protocol, address, PATIENCE);
            let mut cluster = self.cluster();
            let (last, lost) = (&mut last[service], &mut lost);
            let complaint = judge(&cluster, service, programmed, &outcome, last, lost);
            if let Some(complaint) = complaint {
                let text = format!("s{service} at {protocol} {address}: {complaint}");
                self.complaints.lock().expect("not poisoned").push(text);
            }
            self.answers.fetch_add(1, Ordering::Relaxed);
            if dice.once_in(4) {
                cluster.change(&self.running.server, &mut dice);
            }
        }
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Has nothing change any more, and waits until weir has programmed all and forgotten the flows
    /// that this has overtaken.
    fn come_to_rest(&self) {
        self.cluster().is_changing = false;
        // weir takes one thing after the other: when it programs the second signal, it has programmed
        // all that came with the first. Flows take turns with that.
        for _ in 0..2 {
            let canary = self.cluster().signal(&self.running.server);
            let client = self.running.bed.ns("client");
            let answers = || tcp_ask(client, canary_address(), ANSWER).server() == Some(&*canary);
            let is_there = eventually(LIMIT, || answers().then_some(()));
            assert!(is_there.is_some(), "no {canary} within {LIMIT:?}:\n{}", self.running.log());
        }
        wait_for("stale flows to go", LIMIT, || !self.has_stale_flows());
        self.cluster().history.all_is_programmed();
    }

    /// Whether a UDP flow is left that leads to an endpoint that has gone.
    fn has_stale_flows(&self) -> bool {
        let path = self.running.folder.path().join("served.yaml");
        fs::write(&path, self.cluster().manifests()).expect("it can be written");
        let cluster = load(&[Input::Path(path)], "node-a", usize::MAX).cluster;
        let serving = ServedDestinations::new(&cluster, &Config::new("node-a"));
        self.running.bed.node().run(|| {
            let mut connections = LiveConnections::default();
            let own = connections.own_addresses().expect("the node has some");
            connections.begin().expect("it can be read");
            let is_stale = |flow: &Flow| serving.is_stale(flow, &own, &BTreeSet::new());
            loop {
                match connections.read_on(ENTRIES, is_stale).expect("it can be read") {
                    Some(stale) if stale.is_empty() => {}
                    Some(_) => return true,
                    None => return false,
                }
            }
        })
    }
}

/// How many entries of the table are read at a time.
const ENTRIES: usize = 4096;

/// What is wrong with an answer, if anything, that was asked for when this was programmed and has
/// just come.
fn judge(
    cluster: &Cluster,
    service: usize,
    programmed: Generation,
    outcome: &Outcome,
    last: &mut Last,
    lost: &mut usize,
) -> Option<String> {
    let (history, kind) = (&cluster.history, Kind::of(service));
    let now = history.now();
    let Outcome::Answered { server, source } = outcome else {
        // A packet that is on its way through the ruleset just when a transaction takes effect may
        // meet a verdict that leads to a chain which was made with it, and which is empty to that
        // packet. And a UDP flow's entry may go while its answer is under way.
        if !history.is_unchanged(service, programmed, now) {
            *lost += 1;
            return None;
        }
        return Some(format!("{outcome:?} at {programmed} to {now}"));
    };
    let endpoint: usize = server.parse().expect("servers are called by number");
    let right = history.may_answer(service, programmed, now);
    if !right.contains(&endpoint) {
        return Some(format!("{endpoint} instead of {right:?} at {programmed} to {now}"));
    }
    if kind == Kind::Local && (!is_local(endpoint) || source.ip().to_string() != VISITOR) {
        return Some(format!("{endpoint}, not local or not asked by {VISITOR} but {source}"));
    }
    // To the kernel, a datagram from a port that was used before belongs to the flow from then. Its
    // endpoint may have left and come back while weir was not there to see it.
    if kind != Kind::Sticky || question(service).0 == Protocol::Udp {
        return None;
    }
    let (before, since) = last.replace((endpoint, programmed))?;
    let has_left = before != endpoint && history.is_unchanged(service, since, now);
    has_left.then(|| format!("{endpoint} after {before}, and nothing changed since {since}"))
}

/// Whatever weir was doing when it was killed, no connection meets an endpoint that is not, or not
/// any more, the Service's; none fails; and the next weir ends where one that was never killed ends.
#[test]
fn a_weir_that_is_killed_at_any_moment_leaves_every_service_as_before_or_as_after() {
    let mut dice = Dice::new();
    let scene = Scene::new();
    let _servers = servers(&scene.running.bed);
    let mut weir = scene.running.follower();
    let start = Instant::now();
    scene.running.wait_until_logged(PROGRAMMED);
    let start_takes = start.elapsed().min(LONGEST_START);
    scene.come_to_rest();
    let (mut killed_early, mut logged) = (0, scene.running.log_length());
    let weir = thread::scope(|scope| {
        let _end = End(&scene.is_over);
        for client in ["client", "visitor"] {
            let (scene, dice) = (&scene, dice.another());
            scope.spawn(move || scene.running.bed.ns(client).run(|| scene.connect(client, dice)));
        }
        for _ in 0..KILLS {
            let has_programmed = || scene.running.log_behind(logged).contains(PROGRAMMED);
            scene.cluster().is_changing = true;
            match dice.below(12) {
                0 => scene.come_to_rest(),
                // While it follows changes.
                1..=6 => {
                    eventually(LIMIT, || has_programmed().then_some(()));
                    thread::sleep(dice.up_to(FOLLOWING));
                }
                // While it starts.
                _ => thread::sleep(dice.up_to(start_takes)),
            }
            drop(weir);
            killed_early += usize::from(!has_programmed());
            logged = scene.running.log_length();
            weir = scene.running.follower();
        }
        scene.come_to_rest();
        weir
    });
    let complaints = scene.complaints.lock().expect("not poisoned");
    assert!(
        complaints.is_empty(),
        "{}: {:#?}",
        complaints.len(),
        &complaints[..complaints.len().min(9)]
    );
    let (answers, writes) = (scene.answers.load(Ordering::Relaxed), scene.cluster().history.now());
    let lost = scene.lost.load(Ordering::Relaxed);
    println!("{answers} answers and {lost} lost, {writes} moves, {killed_early} killed early");
    assert!(lost <= answers / LOST_IN, "{lost} of {answers} lost");
    assert!(answers > 5 * KILLS && writes > KILLS as u64, "that shows little");
    assert!((1..KILLS).contains(&killed_early), "that shows little");

    assert_is_as_compiled(&scene.running, &scene.cluster().manifests());
    drop(weir);
    assert_next_start_writes_nothing(&scene.running, LIMIT);
}

/// A new weir finds all as it should be.
fn assert_next_start_writes_nothing(running: &Running, limit: Duration) {
    let before = running.log_length();
    let _weir = running.follower();
    let news = || running.log_behind(before);
    wait_for("a start that finds all as it was", limit, || news().contains(NOTHING_TO_DO));
    assert!(!news().contains(PROGRAMMED), "{}", news());
}

/// The kernel is what is compiled from these manifests, but for the slots of endpoints.
fn assert_is_as_compiled(running: &Running, manifests: &str) {
    let path = running.folder.path().join("manifests.yaml");
    fs::write(&path, manifests).expect("it can be written");
    let diff = || {
        let mut command = weir();
        command.args(["diff", "--hostname-override", "node-a"]).args(CLUSTER_CIDR);
        command.arg("-f").arg(&path);
        crate::listing::output(running.bed.node(), command)
    };
    wait_for(&format!("no difference but\n{diff:?}", diff = diff()), LIMIT, || {
        diff().status.success()
    });
}
