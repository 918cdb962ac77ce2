//! A child process that lives in a namespace and does not outlive its owner.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

pub use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::netns::show;
use crate::{Netns, eventually};

/// A process in a namespace. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    shown: String,
}

impl Process {
    /// Starts the command inside the namespace.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(ns: &Netns, mut command: Command) -> Self {
        let shown = show(&command, ns);
        let child = ns
            .run(|| command.spawn())
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        Self { child, shown }
    }

    /// Its standard output and error, where piped, are in here.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.shown))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.ended().is_none(), "{} ended before it was sent {signal}", self.shown);
        // Not waited for, so the pid is still its own.
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid is positive"));
        kill(pid, signal).unwrap_or_else(|errno| panic!("cannot signal {}: {errno}", self.shown));
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        eventually(limit, || self.ended())
            .unwrap_or_else(|| panic!("{} did not end {limit:?} after SIGTERM", self.shown))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended and been waited for, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
