//! What weir sets on its host beside the ruleset: connection tracking and its OOM score.
//!
//! It also checks what it needs of the host's network but does not set, and logs what is missing
//! ([`NetworkChecks`]).
//!
//! Files of /proc and /sys that cannot be written, as in a container that is not privileged, are only logged:
//! the node serves without.

mod conntrack;
mod files;
mod memory;
mod network;
mod oom;
mod sysctl;

pub use conntrack::conntrack;
pub use files::raise_file_limit;
pub use memory::give_back_memory;
pub use network::NetworkChecks;
pub use oom::oom_score_adj;
pub use sysctl::{Sysctl, SysctlOutcome};

use std::io;
use std::path::Path;

use tracing::{debug, info, warn};

use self::oom::OOM_SCORE_ADJ;
use crate::config::Settings;
use crate::error::chain;
use crate::netlink::conntrack::ConntrackTable;

/// Who sets them, which decides what to say where that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The agent, which may have few privileges.
    Agent,
    /// `--init-only`, which is there for what takes more.
    InitOnly,
}

/// Sets what the settings ask for, and logs what that did.
pub fn apply(settings: &Settings, setter: Caller) {
    // The files are there once the kernel tracks connections.
    if let Err(error) = ConntrackTable::open().and_then(|mut table| table.load()) {
        debug!(error = chain(&error), "cannot have the kernel load connection tracking");
    }
    let wanted = conntrack(&settings.conntrack, cpus());
    for knob in wanted.iter().chain([&oom_score_adj(settings.oom_score_adj)]) {
        let (path, wanted) = (format!("/{}", knob.path), knob.value);
        match knob.set(Path::new("/")) {
            SysctlOutcome::Equal => {}
            SysctlOutcome::Set { before } => info!(path, before, now = wanted, "set"),
            SysctlOutcome::Left { found } => {
                info!(path, found, wanted, "left as it is: never lowered")
            }
            SysctlOutcome::Failed(error) => {
                let hint = hint(knob, &error, setter);
                warn!(path, wanted, %error, "cannot set this; it stays as it is{hint}");
            }
        }
    }
}

/// What would help.
fn hint(knob: &Sysctl, error: &io::Error, setter: Caller) -> &'static str {
    let is_refused =
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    match (is_refused, setter) {
        (true, _) if knob.path == OOM_SCORE_ADJ => ": to lower it takes CAP_SYS_RESOURCE",
        (true, Caller::Agent) => ". `weir --init-only` with more privileges can",
        _ => "",
    }
}

/// How many CPUs the machine has online, whatever part of them this process may use: all of them
/// fill the connection-tracking table. One if that cannot be read.
fn cpus() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    cpu_list_len(text.trim()).unwrap_or(1)
}

/// The length of a list such as `0-3,8` (cpulist of the kernel's Documentation/admin-guide/cputopology.rst).
fn cpu_list_len(list: &str) -> Option<u32> {
    let range_len = |range: &str| -> Option<u32> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(range_len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_from_the_kernels_list() {
        for (list, len) in
            [("0", Some(1)), ("0-3", Some(4)), ("0-3,8,10-11", Some(7)), ("", None), ("3-0", None)]
        {
            assert_eq!(cpu_list_len(list), len, "{list}");
        }
        assert!(cpus() >= 1);
    }
}
