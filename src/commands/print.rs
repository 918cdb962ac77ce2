//! `weir print`.

use std::process::ExitCode;

use super::{input, write_out};
use crate::cli::ManifestArgs;
use crate::error::CommandError;

/// Prints the ruleset that the manifests ask for.
pub fn print(args: &ManifestArgs) -> Result<ExitCode, CommandError> {
    let ruleset = input::desired(args)?.ruleset;
    write_out(|out| write!(out, "{ruleset}"))?;
    Ok(ExitCode::SUCCESS)
}
