//! `weir apply`.

use std::process::ExitCode;
use std::time::Instant;

use super::{Failure, input, write_out};
use crate::cli::ManifestArgs;
use crate::kernel::Kernel;
use crate::sync::reconcile;

/// Makes the kernel equal to the manifests.
pub fn apply(args: &ManifestArgs, verbose: bool) -> Result<ExitCode, Failure> {
    let desired = input::desired(args)?;
    let kernel = Kernel::open()?;
    let start = Instant::now();
    let changes = reconcile(&kernel, &desired)?.changes;
    let elapsed = start.elapsed();
    write_out(|out| {
        if changes.is_empty() {
            return writeln!(out, "nothing to change");
        }
        for change in &changes {
            if verbose {
                for (sign, line) in change.transaction.lines() {
                    writeln!(out, "{sign} {line}")?;
                }
            }
            let (counts, bytes) = (change.transaction.counts(), change.bytes);
            writeln!(out, "{counts} (one transaction of {bytes} bytes)")?;
        }
        writeln!(out, "the kernel took and confirmed it in {:.1} ms", 1e3 * elapsed.as_secs_f64())
    })?;
    Ok(ExitCode::SUCCESS)
}
