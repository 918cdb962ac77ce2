//! `weir cleanup`.

use std::process::ExitCode;

use weir_rules::nft::Ruleset;

use super::{Failure, write_out};
use crate::kernel::Kernel;
use crate::sync::reconcile;

/// Removes weir's tables.
pub fn cleanup() -> Result<ExitCode, Failure> {
    let changes = reconcile(&Kernel::open()?, &Ruleset::default())?.changes;
    write_out(|out| match changes.first() {
        Some(change) => writeln!(out, "{}", change.transaction.counts()),
        None => writeln!(out, "nothing to remove"),
    })?;
    Ok(ExitCode::SUCCESS)
}
