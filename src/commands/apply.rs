//! `weir apply`.

use std::process::ExitCode;
use std::time::Instant;

use super::{input, write_out};
use crate::cli::ManifestArgs;
use crate::error::{CommandError, chain, say};
use crate::kernel::Kernel;
use crate::sync::{Flows, LiveConnections, reconcile};

/// Makes the kernel equal to the manifests.
#[allow(clippy::disallowed_methods, reason = "what is printed is the time that passed")]
pub fn apply(args: &ManifestArgs, verbose: bool) -> Result<ExitCode, CommandError> {
    let desired = input::desired(args)?;
    let mut kernel = Kernel::open()?;
    let start = Instant::now();
    let commits = reconcile(&mut kernel, desired.ruleset)?;
    let elapsed = start.elapsed();
    let mut flows = Flows::new(LiveConnections::default());
    commits.iter().for_each(|commit| flows.note(commit.effect.clone()));
    let cleaned = flows.clean(&desired.serving);
    write_out(|out| {
        if commits.is_empty() {
            writeln!(out, "nothing to change")?;
        }
        for commit in &commits {
            if verbose {
                for (sign, line) in commit.transaction.iter().flat_map(|it| it.lines()) {
                    writeln!(out, "{sign} {line}")?;
                }
            }
            let (counts, bytes) = (&commit.counts, commit.bytes);
            writeln!(out, "{counts} (one transaction of {bytes} bytes)")?;
        }
        if !commits.is_empty() {
            let elapsed_ms = 1e3 * elapsed.as_secs_f64();
            writeln!(out, "the kernel took and confirmed it in {elapsed_ms:.1} ms")?;
        }
        match cleaned {
            Ok(removed @ 1..) => writeln!(out, "removed {removed} stale UDP flows"),
            _ => Ok(()),
        }
    })?;
    // What is programmed is right all the same, and the next run looks again.
    if let Err(error) = &cleaned {
        let cause = chain(error);
        say(&format!("warning: UDP flows may stay with endpoints that are gone: {cause}"));
    }
    Ok(ExitCode::SUCCESS)
}
