//! Two weirs in one network namespace: one manages the tables, the other waits until it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use weir::kernel::Kernel;
use weir_testbed::{Netns, Process, Signal, tool, wait_for};

use crate::commands::service;
use crate::common::weir;
use crate::drift::serving;
use crate::running::LIMIT;
use crate::serve::{get, metric};

/// Ports of /healthz and of /metrics.
type Ports = (u16, u16);

const DEFAULT: Ports = (10256, 10249);
const OTHER: Ports = (20256, 20249);

/// A node with manifests.
struct Node {
    ns: Netns,
    folder: tempfile::TempDir,
}

impl Node {
    fn new(name: &str) -> Self {
        let node = Self { ns: Netns::new(name), folder: tempfile::tempdir().expect("a folder") };
        node.write("web.yaml", &service("web", "10.96.0.10", 2));
        node
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.path().join(format!(".{name}"));
        fs::write(&hidden, text).expect("it can be written");
        fs::rename(hidden, self.folder.path().join(name)).expect("it can be renamed");
    }

    fn weir(&self, ports: Ports) -> Weir<'_> {
        self.weir_by(weir(), ports)
    }

    /// A weir that a command starts which takes weir's arguments.
    fn weir_by(&self, mut command: Command, (healthz, metrics): Ports) -> Weir<'_> {
        let log = tempfile::NamedTempFile::new().expect("a file");
        command
            .args(["run", "--hostname-override=node-a"])
            .arg(format!("--healthz-bind-address=127.0.0.1:{healthz}"))
            .arg(format!("--metrics-bind-address=127.0.0.1:{metrics}"))
            .arg("--manifests")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the file"));
        let process = Process::spawn(&self.ns, command);
        Weir { node: self, process, log, ports: (healthz, metrics) }
    }

    fn listed(&self) -> String {
        self.ns.cmd("nft", ["list", "ruleset"])
    }

    fn generation(&self) -> u32 {
        let ask = || Kernel::open().expect("nf_tables can be used").generation();
        self.ns.run(ask).expect("it is told")
    }
}

/// A weir that runs.
struct Weir<'a> {
    node: &'a Node,
    process: Process,
    log: tempfile::NamedTempFile,
    ports: Ports,
}

impl Weir<'_> {
    fn pid(&mut self) -> u32 {
        self.process.child().id()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log")
    }

    fn wait_until_logged(&self, text: &str) {
        wait_for(&format!("`{text}` in the log:\n{}", self.log()), LIMIT, || {
            self.log().contains(text)
        });
    }

    fn answers(&self, path: &str, status: u16, part: &str) {
        let address = format!("127.0.0.1:{}", self.ports.0);
        let mut last = String::new();
        let start = format!("HTTP/1.1 {status} ");
        wait_for(&format!("{status} of {path}; log:\n{}", self.log()), LIMIT, || {
            last = get(&self.node.ns, (&address, path)).unwrap_or_default();
            last.starts_with(&start) && last.contains(part)
        });
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let address = format!("127.0.0.1:{}", self.ports.1);
        let text = get(&self.node.ns, (&address, "/metrics")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }

    /// Nobody else was met with.
    fn assert_undisturbed(&self) {
        assert_eq!(self.metric("weir_repairs_total"), Some(0.0), "{}", self.log());
        assert_eq!(self.metric("weir_foreign_commits_total"), Some(0.0), "{}", self.log());
    }
}

const TURN: &str = "keeps the tables of this network namespace from now on";

#[test]
fn the_later_waits_says_for_whom_and_takes_over_when_the_first_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let node = Node::new("two");
        let mut first = node.weir(DEFAULT);
        first.answers("/readyz", 200, "\"ready\":true");
        let second = node.weir(OTHER);
        let whom = format!("weir (pid {})", first.pid());
        second.wait_until_logged(&format!("WARN weir::agent::leadership: {whom}"));
        second.answers("/livez", 200, &format!("\"waitsFor\":\"{whom}"));
        second.answers("/readyz", 503, "\"ready\":false");
        second.answers("/healthz", 503, "\"healthy\":true");
        assert_eq!(second.metric("weir_waits_for_other"), Some(1.0));

        // It follows what it is to keep, and leaves it alone.
        node.write("more.yaml", &service("more", "10.96.0.11", 3));
        wait_for("the first's work", LIMIT, || node.listed().contains("default/more"));
        assert_eq!(second.metric("weir_transactions_total"), Some(0.0));
        first.assert_undisturbed();

        let generation = node.generation();
        first.process.signal(signal);
        second.answers("/readyz", 200, "\"ready\":true");
        second.wait_until_logged("the kernel holds all of it already");
        assert_eq!(node.generation(), generation, "nothing is written: {}", second.log());
        assert_eq!(second.log().matches("keeps this node's tables").count(), 1, "{}", second.log());
        second.answers("/healthz", 200, "\"healthy\":true");
        second.assert_undisturbed();
        assert_eq!(second.metric("weir_waits_for_other"), Some(0.0));

        // It is heard of others, who are answered, and of changes.
        node.ns.nft("delete table ip weir");
        second.wait_until_logged("nft (pid ");
        wait_for("the repair", LIMIT, || node.listed().contains("default/more"));
        node.write("more.yaml", &service("more", "10.96.0.12", 3));
        wait_for("a change", LIMIT, || node.listed().contains("10.96.0.12 . tcp . 80"));
        assert_eq!(second.metric("weir_repairs_total"), Some(1.0));
        assert!(second.process.terminate(LIMIT).success());
    }
}

/// What has changed while nobody could program it is programmed in one go.
#[test]
fn what_has_changed_meanwhile_is_programmed_by_who_takes_over_and_is_no_repair() {
    let node = Node::new("meanwhile");
    let mut first = node.weir(DEFAULT);
    first.answers("/readyz", 200, "");
    let second = node.weir(OTHER);
    second.wait_until_logged("keeps this node's tables");
    first.process.signal(Signal::SIGSTOP);
    node.write("more.yaml", &service("more", "10.96.0.11", 3));
    first.process.signal(Signal::SIGKILL);
    wait_for("the second's work", LIMIT, || node.listed().contains("default/more"));
    second.answers("/readyz", 200, "");
    second.assert_undisturbed();
}

/// As with `hostNetwork`, where the later one cannot have the ports.
#[test]
fn the_later_gets_the_ports_when_the_first_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let node = Node::new("ports");
        let mut first = node.weir(DEFAULT);
        first.answers("/readyz", 200, "");
        let second = node.weir(DEFAULT);
        second.wait_until_logged("cannot listen on 127.0.0.1:10256");
        second.wait_until_logged("keeps this node's tables");
        // The kubelet asks both at one address.
        second.answers("/readyz", 200, "\"ready\":true");
        first.process.signal(signal);
        second.wait_until_logged("serving /healthz");
        second.wait_until_logged("serving /metrics");
        second.answers("/readyz", 200, "\"ready\":true");
        assert_eq!(second.metric("weir_waits_for_other"), Some(0.0));
    }
}

#[test]
fn who_waits_ends_at_once_and_a_third_takes_its_turn() {
    let node = Node::new("three");
    let mut first = node.weir(DEFAULT);
    first.answers("/readyz", 200, "");
    let waiting = node.weir(OTHER);
    waiting.wait_until_logged("keeps this node's tables");
    assert!(waiting.process.terminate(LIMIT).success());
    first.assert_undisturbed();
    let second = node.weir(OTHER);
    let third = node.weir((30256, 30249));
    for weir in [&second, &third] {
        weir.wait_until_logged(&format!("(pid {})", first.process.child().id()));
    }
    let generation = node.generation();
    first.process.signal(Signal::SIGKILL);
    wait_for("one of them", LIMIT, || [&second, &third].iter().any(|it| it.log().contains(TURN)));
    let (mut turn, last) =
        if second.log().contains(TURN) { (second, third) } else { (third, second) };
    last.wait_until_logged(&format!("(pid {})", turn.pid()));
    turn.answers("/readyz", 200, "");
    last.answers("/readyz", 503, "");
    turn.process.signal(Signal::SIGKILL);
    last.answers("/readyz", 200, "");
    last.assert_undisturbed();
    assert_eq!(node.generation(), generation);
}

#[test]
fn a_weir_in_another_network_namespace_is_not_concerned() {
    let nodes = [Node::new("one"), Node::new("other")];
    let weirs = nodes.each_ref().map(|node| node.weir(DEFAULT));
    for weir in &weirs {
        weir.answers("/readyz", 200, "\"ready\":true");
        assert!(!weir.log().contains("keeps"), "{}", weir.log());
    }
}

/// As two Pods are, neither of which sees the other's processes.
#[test]
fn of_a_weir_in_another_pid_namespace_what_it_says_of_itself_is_told() {
    let node = Node::new("pids");
    let mut command = tool("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(Path::new(env!("CARGO_BIN_EXE_weir")));
    let first = node.weir_by(command, DEFAULT);
    first.answers("/readyz", 200, "");
    // This one sees all processes; in a namespace of its own it does not.
    let mut command = tool("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(Path::new(env!("CARGO_BIN_EXE_weir")));
    let second = node.weir_by(command, OTHER);
    let version = env!("CARGO_PKG_VERSION");
    second.wait_until_logged(&format!(
        "a process in another PID namespace, which says that it is weir {version} with pid 1 keeps"
    ));
    drop(first);
    second.answers("/readyz", 200, "");
    second.assert_undisturbed();
}

/// All of weir's threads are told from others': by the kernel, which tells who has committed, and in lists of
/// processes.
#[test]
fn all_threads_have_weirs_name() {
    let node = Node::new("threads");
    let mut weir = node.weir(DEFAULT);
    weir.answers("/readyz", 200, "");
    let tasks = fs::read_dir(format!("/proc/{}/task", weir.pid())).expect("it runs");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
    // The one that waits for changes of files is named by the library it is of; it does nothing else.
    let is_told = |name: &String| name.starts_with("weir") || name.starts_with("notify-rs");
    assert!(names.len() > 2 && names.iter().all(is_told), "{names:?}");
}

#[test]
fn the_node_is_told_by_an_event_that_another_weir_keeps_it() {
    let running = serving("");
    let weir = running.follower();
    running.wait_until_logged("keeps this node's tables");
    let events = || {
        let events = running.server.events().into_iter();
        events.filter(|event| event["reason"] == "WaitingForOtherProxy").collect::<Vec<_>>()
    };
    wait_for("an Event", LIMIT, || !events().is_empty());
    let note = events()[0]["note"].as_str().expect("a text").to_owned();
    assert!(note.starts_with("weir (pid ") && note.ends_with("until it ends"), "{note}");
    assert!(weir.terminate(LIMIT).success());
    assert_eq!(metric(&running, "weir_repairs_total"), Some(0.0));
}
