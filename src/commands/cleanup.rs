//! `weir cleanup`.

use std::process::ExitCode;

use weir_rules::cluster::Family;
use weir_rules::nft::{TABLE, Table};
use weir_rules::transaction::{Action, Operation, Transaction};

use super::write_out;
use crate::error::{CommandError, say};
use crate::kernel::{CommitError, Kernel};
use crate::takeover::{IpvsConnections, TakeoverReport, remove_leftovers};

/// Whose things to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// weir's tables.
    Weir,
    /// What kube-proxy has left.
    KubeProxy,
    /// Both, as kube-proxy's flag `--cleanup` means it.
    Both,
}

/// Removes weir's tables, whatever is in them: they are not read. Removes what kube-proxy has left,
/// as far as possible; what fails is reported on standard error.
pub fn cleanup(owner: Owner) -> Result<ExitCode, CommandError> {
    let kernel = Kernel::open()?;
    let mut removed = Vec::new();
    if owner != Owner::KubeProxy {
        let tables = remove_tables(&kernel)?.into_iter();
        removed.extend(tables.map(|family| format!("table {family} {TABLE}")));
    }
    let mut report = TakeoverReport::default();
    let result = if owner == Owner::Weir {
        Ok(())
    } else {
        remove_leftovers(&kernel, IpvsConnections::End, &mut report)
    };
    if !report.is_nothing_removed() {
        removed.push(format!("what kube-proxy had left: {report}"));
    }
    write_out(|out| {
        if removed.is_empty() && report.left.is_empty() && result.is_ok() {
            return writeln!(out, "nothing to remove");
        }
        removed.iter().try_for_each(|what| writeln!(out, "removed {what}"))
    })?;
    report.left.iter().for_each(|line| say(line));
    result?;
    Ok(ExitCode::SUCCESS)
}

/// The families in which there was one.
fn remove_tables(kernel: &Kernel) -> Result<Vec<Family>, CommitError> {
    let mut removed = Vec::new();
    for family in Family::ALL {
        let action = Action::DeleteTable { table: Table::default() };
        let deletion = Transaction { operations: vec![Operation { family, action }] };
        match kernel.commit(deletion, None) {
            Ok(_) => removed.push(family),
            Err(error) if is_not_there(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn is_not_there(error: &CommitError) -> bool {
    matches!(error, CommitError::Refused { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound)
}
