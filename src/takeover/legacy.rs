//! kube-proxy's leftovers in iptables-legacy, which is not nf_tables. Only the iptables-legacy programs can
//! access it; each table is changed by one atomic `restore`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use super::names::IPTABLES_TABLES;
use super::plan::DeletionPlan;
use super::report::TakeoverReport;
use super::saved::{Saved, SavedTable};

/// Where administration programs are, beside PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// How long the programs wait for others that hold the lock of iptables.
const WAIT: &str = "--wait=5";

/// One IP version of iptables.
struct Version {
    /// What it is called.
    name: &'static str,
    /// The file that lists the tables that are in use in the network namespace; it is not there
    /// while the kernel has no such iptables.
    tables: &'static str,
    save: &'static str,
    restore: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        name: "iptables",
        tables: "/proc/thread-self/net/ip_tables_names",
        save: "iptables-legacy-save",
        restore: "iptables-legacy-restore",
    },
    Version {
        name: "ip6tables",
        tables: "/proc/thread-self/net/ip6_tables_names",
        save: "ip6tables-legacy-save",
        restore: "ip6tables-legacy-restore",
    },
];

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// The list of tables could not be read.
    #[error("cannot read {path}")]
    Tables {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program could not be run.
    #[error("cannot run {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{} failed: {message}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its last words.
        message: String,
    },
}

/// Removes all of it.
pub(super) fn remove(report: &mut TakeoverReport) -> Result<(), LegacyError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    VERSIONS.iter().try_for_each(|version| version.remove(&path, report))
}

impl Version {
    fn remove(&self, path: &OsStr, report: &mut TakeoverReport) -> Result<(), LegacyError> {
        let in_use = match tables_in_use(self.tables) {
            Err(LegacyError::Tables { source, .. }) if is_not_permitted(&source) => {
                report.left.push(self.cannot_tell());
                return Ok(());
            }
            in_use => in_use?,
        };
        if in_use.is_empty() {
            return Ok(());
        }
        let (Some(save), Some(restore)) = (find(self.save, path), find(self.restore, path)) else {
            report.left.push(self.cannot_look(&in_use));
            return Ok(());
        };
        let saved = run(&save, &[], "")?;
        for table in Saved::parse(&String::from_utf8_lossy(&saved.stdout)).tables {
            if IPTABLES_TABLES.contains(&table.name.as_str()) {
                self.remove_from(&table, &restore, report)?;
            }
        }
        Ok(())
    }

    fn remove_from(
        &self,
        table: &SavedTable,
        restore: &Path,
        report: &mut TakeoverReport,
    ) -> Result<(), LegacyError> {
        let plan = DeletionPlan::new(&table.name, &table.chains);
        if !plan.is_empty() {
            run(restore, &["--noflush", WAIT], &table.restore(&plan))?;
            report.rules += plan.jumps.len();
            report.chains += plan.delete.len();
        }
        let program = format!("{}-legacy", self.name);
        let place = format!("table {} of {program}", table.name);
        report.left.extend(plan.unaccepted.iter().map(|it| it.message(&place, &program)));
        report.left.extend(plan.kept.iter().map(|kept| kept.message(&place)));
        Ok(())
    }

    fn cannot_look(&self, in_use: &[String]) -> String {
        let Self { name, save, .. } = self;
        format!(
            "{name}-legacy is in use on this node (tables {}), and weir cannot look into it for lack \
             of {save}; if kube-proxy used it, its rules may still take packets from weir's: {}",
            in_use.join(", "),
            look_yourself(save)
        )
    }

    fn cannot_tell(&self) -> String {
        let Self { name, tables, save, .. } = self;
        format!(
            "weir may not read {tables}, as only the user root may, and cannot tell whether \
             {name}-legacy is in use; if kube-proxy used it, its rules may still take packets from \
             weir's: {}",
            look_yourself(save)
        )
    }
}

fn look_yourself(save: &str) -> String {
    format!(
        "look for chains KUBE-… with `{save}` on the node, and if there are any, run `weir cleanup \
         --kube-proxy` or `kube-proxy --cleanup` where these programs are, or restart the node"
    )
}

fn is_not_permitted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The tables in which kube-proxy may have chains.
fn tables_in_use(path: &'static str) -> Result<Vec<String>, LegacyError> {
    match std::fs::read_to_string(path) {
        Ok(names) => {
            let is_wanted = |name: &&str| IPTABLES_TABLES.contains(name);
            Ok(names.lines().filter(is_wanted).map(str::to_owned).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(LegacyError::Tables { path, source }),
    }
}

/// A program in one of the folders of PATH, or where administration programs are.
fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Runs a program on this input.
fn run(program: &Path, arguments: &[&str], input: &str) -> Result<Output, LegacyError> {
    let start = |source| LegacyError::Start { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let mut stdin = child.stdin.take().expect("stdin was set to a pipe");
    let output = thread::scope(|scope| {
        // A program that stops reading early says why by its status.
        scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        child.wait_with_output()
    })
    .map_err(start)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let words = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = words.collect::<Vec<_>>().join("; ");
    Err(LegacyError::Failed { program: program.to_owned(), message })
}
