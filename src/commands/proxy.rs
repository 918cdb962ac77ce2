//! weir without a command: what kube-proxy does with the same flags.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::run::run_as_proxy;
use super::{Failure, Owner, all_reasons, chain, cleanup, say, write_out};
use crate::config::{Flags, Resolved, resolve, to_yaml};

/// Does what the flags ask for, in kube-proxy's order (`Run` of cmd/kube-proxy/app/options.go).
pub fn proxy(flags: &Flags) -> Result<ExitCode, Failure> {
    if let Some(version) = flags.version.as_deref().filter(|value| !is_false(value)) {
        return print_version(version);
    }
    let resolved = resolve(flags).map_err(|error| Failure(all_reasons(error)))?;
    let is_cleanup = flags.cleanup == Some(true);
    if flags.write_config_to.is_none() && !is_cleanup {
        return run_as_proxy(flags, resolved);
    }
    let Some(file) = &flags.write_config_to else { return cleanup(Owner::Both) };
    resolved.notes.iter().for_each(|note| say(note));
    write_config(&resolved, file)
}

fn is_false(value: &str) -> bool {
    ["false", "False", "FALSE", "f", "F", "0"].contains(&value)
}

fn print_version(format: &str) -> Result<ExitCode, Failure> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    write_out(|out| match format {
        "raw" => writeln!(out, "{VERSION}"),
        _ => writeln!(out, "weir {VERSION}"),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_config(resolved: &Resolved, file: &Path) -> Result<ExitCode, Failure> {
    let yaml = to_yaml(&resolved.configuration)?;
    fs::write(file, yaml).map_err(|error| {
        Failure(vec![format!("cannot write {}: {}", file.display(), chain(&error))])
    })?;
    say(&format!("wrote the configuration to {}", file.display()));
    Ok(ExitCode::SUCCESS)
}
