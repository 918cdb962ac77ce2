//! The program on show: where it is, how it is started, and its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use weir_testbed::{Netns, Process, Testbed, tool};

use crate::manifests::Scratch;

/// `weir run` in the node's namespace. Killed when dropped.
pub(crate) struct Weir {
    pub(crate) process: Process,
    log: PathBuf,
}

impl Weir {
    pub(crate) fn run(binary: &Path, node: &Netns, scratch: &Scratch) -> Result<Self, String> {
        let log = File::create(scratch.log()).map_err(|error| format!("weir's log: {error}"))?;
        let mut command = run_command(binary, &scratch.manifests());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| format!("weir's log: {error}"))?)
            .stderr(log);
        Ok(Self { process: Process::spawn(node, command), log: scratch.log() })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGTERM.
    pub(crate) fn stop(self) -> Result<(), String> {
        let status = self.process.terminate(Duration::from_secs(10));
        if status.success() { Ok(()) } else { Err(format!("weir ended by SIGTERM with {status}")) }
    }
}

/// `weir run` as it is typed, but for the folder.
pub(crate) fn run_command(binary: &Path, manifests: &Path) -> Command {
    let mut command = tool(binary);
    command.arg("run").arg("--manifests").arg(manifests);
    command.args(["--hostname-override", "demo-node", "--cluster-cidr"]);
    command.arg(format!("{},{}", Testbed::POD_CIDR_V4, Testbed::POD_CIDR_V6));
    command
}

/// `weir cleanup` in the node's namespace.
pub(crate) fn cleanup(binary: &Path, node: &Netns) -> Result<(), String> {
    let mut command = tool(binary);
    let output = node
        .run(|| command.arg("cleanup").stdin(Stdio::null()).output())
        .map_err(|error| format!("weir cleanup does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("weir cleanup: {}: {}", output.status, said.trim_end()))
}

/// The program that the variable WEIR names, or the one beside this one.
pub(crate) fn find() -> Result<PathBuf, String> {
    let given = std::env::var_os("WEIR").filter(|path: &OsString| !path.is_empty());
    let path = match given {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()
            .map_err(|error| format!("cannot tell where this program is: {error}"))?
            .with_file_name("weir"),
    };
    // Absolute, since a name without a folder would be looked for in PATH.
    path.canonicalize()
        .map_err(|error| format!("no weir at {}: {error}; set WEIR to its path", path.display()))
}
