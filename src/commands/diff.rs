//! `weir diff`.

use std::process::ExitCode;

use weir_rules::transaction::carry_over::adopt;
use weir_rules::transaction::slots::align;

use super::{input, write_out};
use crate::cli::ManifestArgs;
use crate::error::Failure;
use crate::kernel::Kernel;

/// Shows how the kernel differs from the manifests.
pub fn diff(args: &ManifestArgs) -> Result<ExitCode, Failure> {
    let desired = input::desired(args)?.ruleset;
    let observed = Kernel::open()?.dump()?.ruleset;
    let transaction = weir_rules::transaction::diff::diff(
        &observed,
        &adopt(&observed, align(&observed, &desired)),
    );
    write_out(|out| {
        transaction.lines().try_for_each(|(sign, line)| writeln!(out, "{sign} {line}"))
    })?;
    Ok(if transaction.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
