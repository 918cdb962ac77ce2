//! `weir cleanup`.

use std::process::ExitCode;

use weir_rules::cluster::Family;
use weir_rules::nft::{TABLE, Table};
use weir_rules::transaction::{Action, Operation, Transaction};

use super::{Failure, write_out};
use crate::kernel::{CommitError, Kernel};

/// Removes weir's tables, whatever is in them: they are not read.
pub fn cleanup() -> Result<ExitCode, Failure> {
    let kernel = Kernel::open()?;
    let mut removed = Vec::new();
    for family in Family::ALL {
        let action = Action::DeleteTable { table: Table::default() };
        let deletion = Transaction { operations: vec![Operation { family, action }] };
        match kernel.commit(deletion, None) {
            Ok(_) => removed.push(family),
            Err(error) if is_not_there(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    write_out(|out| {
        if removed.is_empty() {
            return writeln!(out, "nothing to remove");
        }
        removed.iter().try_for_each(|family| writeln!(out, "removed table {family} {TABLE}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn is_not_there(error: &CommitError) -> bool {
    matches!(error, CommitError::Refused { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound)
}
