//! A network namespace, and work done inside it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{iter, panic, process, thread};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It ends when this and its clones are dropped and nothing runs in it.
///
/// An open file on the namespace owns it, so it has no name in `/run/netns` and needs no cleanup,
/// also not after a crash.
#[derive(Debug, Clone)]
pub struct Netns {
    name: Arc<str>,
    file: Arc<File>,
}

impl Netns {
    /// Makes a namespace whose loopback is up, without duplicate address detection (an IPv6 address
    /// is usable at once), without reverse path filter and without redirects.
    ///
    /// # Panics
    /// Without the privilege to make a namespace, or without the program `ip`.
    pub fn new(name: &str) -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().expect("no panic in there").unwrap_or_else(|error| {
            panic!(
                "cannot make the network namespace {name}: {error}; \
                 run as root, or as an ordinary user under `unshare -rn`"
            )
        });
        let ns = Self { name: name.into(), file: Arc::new(file) };
        for setting in ["accept_dad", "dad_transmits", "accept_ra", "accept_redirects"] {
            ns.sysctl(&format!("net/ipv6/conf/all/{setting}"), "0");
            ns.sysctl(&format!("net/ipv6/conf/default/{setting}"), "0");
        }
        for setting in ["rp_filter", "accept_redirects", "send_redirects"] {
            ns.sysctl(&format!("net/ipv4/conf/all/{setting}"), "0");
            ns.sysctl(&format!("net/ipv4/conf/default/{setting}"), "0");
        }
        ns.cmd("ip", ["link", "set", "dev", "lo", "up"]);
        ns
    }

    /// The name given at its making: for messages only.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that stands for the namespace, for this process and its children:
    /// `ip link set dev X netns PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }

    /// Runs `work` inside, on a thread of its own, and gives back its value.
    ///
    /// A socket that `work` makes belongs to the namespace for good and may be moved out; a child
    /// process or a thread that it starts is in the namespace too. A panic is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&*self.file, CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|errno| panic!("cannot enter namespace {}: {errno}", self.name));
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    /// Runs a program inside and gives back its standard output.
    ///
    /// # Panics
    /// If it cannot be started or fails: with the command, its exit status and its standard error.
    pub fn cmd<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> String {
        self.cmd_with_input(program, args, "")
    }

    /// Like [`Netns::cmd`], with `input` on the program's standard input.
    pub fn cmd_with_input<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> String {
        let mut command = tool(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = show(&command, self);
        let output = self.run(|| {
            let mut child =
                command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
            let mut stdin = child.stdin.take().expect("is piped");
            thread::scope(|scope| {
                // A child that stops reading early says why by its status.
                scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
                child.wait_with_output()
            })
        });
        let output = output.unwrap_or_else(|error| panic!("cannot wait for {shown}: {error}"));
        assert!(
            output.status.success(),
            "{shown} failed: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            if input.is_empty() { String::new() } else { format!("its input was:\n{input}") },
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a batch of `ip` commands, one a line, without the word `ip`.
    pub fn ip(&self, batch: &str) {
        self.cmd_with_input("ip", ["-batch", "-"], batch);
    }

    /// Loads a ruleset in nft syntax (`nft -f -`).
    pub fn nft(&self, ruleset: &str) {
        self.cmd_with_input("nft", ["-f", "-"], ruleset);
    }

    /// Writes a file below `/proc/sys`; `key` is its path there, as in `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| fs::write(&path, value)).unwrap_or_else(|error| {
            panic!("cannot write {value} to {path} in namespace {}: {error}", self.name)
        });
    }
}

/// A command as text, for messages.
pub(crate) fn show(command: &Command, ns: &Netns) -> String {
    let words: Vec<_> = iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    format!("`{}` in namespace {}", words.join(" "), ns.name())
}

/// A command that is looked for in the system's administration folders too, which an ordinary user's
/// PATH lacks on Debian.
pub fn tool(program: impl AsRef<OsStr>) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// The nft programs to hold weir against: the system's own, and the 1.1.x that `make test` provides.
///
/// # Panics
/// If `NFT_1_1` is not set: `make test` sets it.
pub fn nft_programs() -> [String; 2] {
    let newer = std::env::var("NFT_1_1")
        .expect("NFT_1_1 is the path of an nft 1.1.x: set it to what tests/tools/nft-1.1 prints");
    ["nft".to_owned(), newer]
}
