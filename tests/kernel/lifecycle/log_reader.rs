//! The reader of the log has stopped, and the pipe to it is full. Also SIGHUP.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use weir_testbed::{Process, Signal, eventually, wait_for};

use crate::common::weir;
use crate::running::{LIMIT, Running, service, slice};
use crate::serve::{HEALTHZ, answer, metric, node};

/// Has weir log until nothing has room any more: the pipe and the queue of weir have 1 MiB and some.
fn flood(running: &Running) {
    let dropped = || metric(running, "weir_dropped_log_lines_total ").unwrap_or_default();
    let long = "x".repeat(2000);
    let mut number = 0;
    wait_for("lines to be dropped", LIMIT, || {
        for _ in 0..200 {
            number += 1;
            let mut bad = service();
            bad["metadata"]["name"] = json!("bad");
            bad["spec"]["clusterIPs"] = json!([format!("{number}{long}")]);
            running.server.apply(bad);
        }
        dropped() > 0.0
    });
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let running = Running::new();
    running.server.apply(node(json!([])));
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.write_config("mode: nftables\n");
    let mut command = weir();
    command
        .arg(format!("--config={}", running.config_path().display()))
        .arg("--hostname-override=node-a")
        .env("RUST_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(running.bed.node(), command);
    let reader = process.child().stderr.take().expect("is piped");
    // SAFETY: it sets the size of a pipe, and touches no memory.
    let size = unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    assert!(size > 0, "{}", std::io::Error::last_os_error());
    flood(&running);

    // All goes on.
    let client = running.bed.ns("client");
    answer(&running, client, (HEALTHZ, "/livez"), 200, "\"healthy\":true");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");

    // Once it is read again, it says how much is missing. What follows is read, too.
    let mut lines = BufReader::new(reader).lines();
    let is_gap = |line: &String| line.contains("the log has a gap") && line.contains("lines=");
    let gap = lines.by_ref().map(|line| line.expect("text")).find(is_gap);
    assert!(gap.is_some(), "the log ended");

    // And while nobody reads it, weir ends when it is told to.
    process.signal(Signal::SIGTERM);
    let ended = eventually(LIMIT, || process.ended());
    assert!(ended.expect("it ends").success());
    drop(lines);
}

/// With a log that nobody reads from the start on.
#[test]
fn sigterm_ends_weir_while_nobody_reads_its_log() {
    let mut running = Running::new();
    running.server.apply(node(json!([])));
    running.write_config("mode: nftables\n");
    let mut command = weir();
    command
        .arg(format!("--config={}", running.config_path().display()))
        .arg("--hostname-override=node-a")
        .env("RUST_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(running.bed.node(), command);
    let mut reader = process.child().stderr.take().expect("is piped");
    flood(&running);
    let start = std::time::Instant::now();
    process.signal(Signal::SIGTERM);
    assert!(eventually(LIMIT, || process.ended()).expect("it ends").success());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    running.weir = None;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("a pipe");
    assert!(!rest.is_empty());
}

#[test]
fn sighup_has_all_read_again() {
    let mut running = Running::new();
    running.server.apply(node(json!([])));
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.write_config("mode: nftables\n");
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    let reads = "weir_kernel_reads_total{what=\"all\"} ";
    let before = metric(&running, reads);
    running.weir.as_mut().expect("it runs").signal(Signal::SIGHUP);
    running.wait_until_logged("SIGHUP: reading all again, and comparing it with the kernel");
    wait_for("a comparison", LIMIT, || metric(&running, reads) > before);
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    running.stop();
}
