//! `weir diff`.

use std::process::ExitCode;

use weir_rules::transaction::carry_over::carry_over;
use weir_rules::transaction::slots::assign_slots;

use super::{input, write_out};
use crate::cli::ManifestArgs;
use crate::error::CommandError;
use crate::kernel::Kernel;

/// Shows how the kernel differs from the manifests.
pub fn diff(args: &ManifestArgs) -> Result<ExitCode, CommandError> {
    let desired = input::desired(args)?.ruleset;
    let observed = Kernel::open()?.dump()?.ruleset;
    let transaction = weir_rules::transaction::diff::diff(
        &observed,
        &carry_over(&observed, assign_slots(&observed, &desired)),
    );
    write_out(|out| {
        transaction.lines().try_for_each(|(sign, line)| writeln!(out, "{sign} {line}"))
    })?;
    Ok(if transaction.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
