//! `weir run`: a directory of manifests, followed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use weir_testbed::{Netns, Process, wait_for};

use crate::commands::service;
use crate::common::weir;

/// How long anything may take before it counts as not happening.
const LIMIT: Duration = Duration::from_secs(20);

struct Running {
    ns: Netns,
    folder: tempfile::TempDir,
    process: Process,
    log: tempfile::NamedTempFile,
}

impl Running {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("it can be written");
        }
        Self::start(folder)
    }

    fn start(folder: tempfile::TempDir) -> Self {
        let ns = Netns::new("run");
        let log = tempfile::NamedTempFile::new().expect("a file");
        let mut command = weir();
        command
            .args(["run", "--hostname-override", "node-a", "--manifests"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the file"));
        let process = Process::spawn(&ns, command);
        Self { ns, folder, process, log }
    }

    /// Replaces a file as editors and the kubelet do: in one step.
    fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.path().join(format!(".{name}"));
        fs::write(&hidden, text).expect("it can be written");
        fs::rename(hidden, self.folder.path().join(name)).expect("it can be renamed");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log")
    }

    fn listed(&self) -> String {
        self.ns.cmd("nft", ["list", "ruleset"])
    }

    fn wait_until_listed(&self, text: &str) {
        wait_for(&format!("{text} to be programmed; log:\n{}", self.log()), LIMIT, || {
            self.listed().contains(text)
        });
    }

    fn wait_until_gone(&self, text: &str) {
        wait_for(&format!("{text} to go"), LIMIT, || !self.listed().contains(text));
    }

    fn wait_until_logged(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), LIMIT, || self.log().contains(text));
    }
}

#[test]
fn the_kernel_follows_the_directory_until_sigterm_and_then_keeps_its_state() {
    let web = service("web", "10.96.0.10", 2);
    let running = Running::new(&[("web.yaml", &web)]);
    running.wait_until_listed("default/web");
    running.write("more.yaml", &service("more", "10.96.0.11", 3));
    running.wait_until_listed("default/more");
    running.write("web.yaml", &service("web", "10.96.0.12", 1));
    running.wait_until_listed("10.96.0.12 . tcp . 80");
    assert!(!running.listed().contains("10.96.0.10"));
    fs::remove_file(running.folder.path().join("more.yaml")).expect("it can be removed");
    running.wait_until_gone("default/more");
    // Written in place, not renamed.
    fs::write(running.folder.path().join("web.yaml"), &web).expect("it can be written");
    running.wait_until_listed("10.96.0.10 . tcp . 80");

    let Running { ns, process, .. } = running;
    assert!(process.terminate(LIMIT).success());
    assert!(ns.cmd("nft", ["list", "ruleset"]).contains("default/web"));
}

/// A ConfigMap's volume changes by the swap of one link.
#[test]
fn a_mounted_config_map_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let version = |folder: &Path, number: u8| {
        let name = format!("..version-{number}");
        fs::create_dir(folder.join(&name)).expect("a folder");
        let text = service("web", &format!("10.96.0.{number}"), 1);
        fs::write(folder.join(&name).join("web.yaml"), text).expect("it can be written");
        symlink(name, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("it can be renamed");
    };
    version(folder.path(), 1);
    symlink("..data/web.yaml", folder.path().join("web.yaml")).expect("a link");
    let running = Running::start(folder);
    running.wait_until_listed("10.96.0.1 . tcp . 80");
    version(running.folder.path(), 2);
    running.wait_until_listed("10.96.0.2 . tcp . 80");
}

/// As `ln`, `ln -s`, `cp -l` and tools that check out a repository put files there.
#[test]
fn links_in_the_directory_are_followed_wherever_they_lead() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let target = elsewhere.path().join("target");
    let running = Running::new(&[("web.yaml", &service("web", "10.96.0.1", 1))]);
    running.wait_until_listed("10.96.0.1 . tcp . 80");
    let link = running.folder.path().join("web.yaml");
    fs::write(&target, service("web", "10.96.0.2", 1)).expect("it can be written");
    fs::remove_file(&link).expect("it can be removed");
    running.wait_until_gone("default/web");
    symlink(&target, &link).expect("a link");
    running.wait_until_listed("10.96.0.2 . tcp . 80");
    fs::write(&target, service("web", "10.96.0.3", 1)).expect("it can be written");
    running.wait_until_listed("10.96.0.3 . tcp . 80");
    fs::remove_file(&link).expect("it can be removed");
    running.wait_until_gone("default/web");
    fs::hard_link(&target, &link).expect("a link");
    running.wait_until_listed("10.96.0.3 . tcp . 80");
}

#[test]
fn what_turns_bad_keeps_its_last_good_state_and_is_logged_once() {
    let running = Running::new(&[("web.yaml", &service("web", "10.96.0.10", 2))]);
    running.wait_until_listed("default/web");
    running.write("web.yaml", &service("web", "10.96.0.999", 2));
    running.wait_until_logged("10.96.0.999");
    // Good changes go on being made beside it.
    running.write("more.yaml", &service("more", "10.96.0.11", 3));
    running.wait_until_listed("default/more");
    assert!(running.listed().contains("10.96.0.10 . tcp . 80"));
    running.write("web.yaml", "}{ no yaml");
    running.write("more.yaml", &service("more", "10.96.0.12", 3));
    running.wait_until_listed("10.96.0.12 . tcp . 80");
    assert!(running.listed().contains("10.96.0.10 . tcp . 80"));
    let log = running.log();
    let warnings = log.lines().filter(|l| l.contains("WARN") && l.contains("10.96.0.999\" is"));
    assert_eq!(warnings.count(), 1, "{log}");
    running.write("web.yaml", &service("web", "10.96.0.20", 2));
    running.wait_until_listed("10.96.0.20 . tcp . 80");
    running.wait_until_gone("10.96.0.10 . tcp . 80");
}

#[test]
fn what_others_change_is_repaired() {
    let running = Running::new(&[("web.yaml", &service("web", "10.96.0.10", 2))]);
    running.wait_until_listed("default/web");
    let edits = [
        "flush ruleset",
        "flush map ip weir services",
        "delete table ip weir",
        "add element ip weir services { * : drop }",
        "add table ip weir { flags dormant; }",
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        running.ns.nft(edit);
        wait_for(&format!("the repair of `{edit}`; log:\n{}", running.log()), LIMIT, || {
            running.log().matches("cause=\"repair\"").count() == i + 1
        });
        running.wait_until_listed("default/web");
        assert!(!running.listed().contains("dormant") && !running.listed().contains("* :"));
    }
}

#[test]
fn a_directory_that_takes_the_place_of_another_is_followed() {
    let running = Running::new(&[("web.yaml", &service("web", "10.96.0.10", 2))]);
    running.wait_until_listed("10.96.0.10 . tcp . 80");
    let path = running.folder.path();
    let aside = path.with_extension("aside");
    fs::rename(path, &aside).expect("it can be renamed");
    fs::create_dir(path).expect("a folder");
    running.write("web.yaml", &service("web", "10.96.0.11", 2));
    running.wait_until_listed("10.96.0.11 . tcp . 80");
    running.write("web.yaml", &service("web", "10.96.0.12", 2));
    running.wait_until_listed("10.96.0.12 . tcp . 80");
    fs::remove_dir_all(aside).expect("it can be removed");
}

/// A FIFO has no end to read to.
/// Written in place, a file is empty first and then for a while half of what it will be.
#[test]
fn a_file_that_is_being_written_is_not_read() {
    let web = service("web", "10.96.0.10", 2);
    let running = Running::new(&[("web.yaml", &web)]);
    running.wait_until_listed("10.96.0.10 . tcp . 80");
    let mut file = fs::File::create(running.folder.path().join("web.yaml")).expect("truncated");
    let half = web.len() / 2;
    std::io::Write::write_all(&mut file, &web.as_bytes()[..half]).expect("it can be written");
    let rest = web.replace("10.96.0.10", "10.96.0.11").split_off(half);
    std::io::Write::write_all(&mut file, rest.as_bytes()).expect("it can be written");
    drop(file);
    running.write("last.yaml", &service("last", "10.96.0.12", 1));
    running.wait_until_listed("default/last");
    assert!(running.listed().contains("default/web"));
    assert!(!running.log().contains("last good state"), "{}", running.log());
}

#[test]
fn at_the_start_what_is_bad_is_left_out_and_said_so() {
    let bad = service("bad", "10.96.0.999", 1);
    let running =
        Running::new(&[("bad.yaml", &bad), ("web.yaml", &service("web", "10.96.0.1", 1))]);
    running.wait_until_listed("default/web");
    assert!(running.log().contains("is not an IP address; left out"), "{}", running.log());
}

#[test]
fn what_is_not_a_file_is_not_read_and_said_so_once() {
    let running = Running::new(&[("web.yaml", &service("web", "10.96.0.10", 2))]);
    running.wait_until_listed("10.96.0.10 . tcp . 80");
    running.ns.cmd("mkfifo", [running.folder.path().join("pipe.yaml")]);
    running.write("web.yaml", &service("web", "10.96.0.11", 2));
    running.wait_until_listed("10.96.0.11 . tcp . 80");
    let told = "pipe.yaml is a FIFO, not a file, and is left out";
    assert_eq!(running.log().matches(told).count(), 1, "{}", running.log());
    assert!(running.process.terminate(LIMIT).success());
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let ns = Netns::new("nowhere");
    let mut command = weir();
    command.args(["run", "--manifests", "/nowhere/at/all"]);
    let output = crate::listing::output(&ns, command);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("/nowhere/at/all"), "{errors}");
}
