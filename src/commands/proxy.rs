//! weir without a command: takes kube-proxy's flags and does what kube-proxy does.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use tracing::{error, info, warn};

use super::{Owner, cleanup, write_out};
use crate::agent::logging::{self, Logs};
use crate::agent::run_as_proxy;
use crate::config::{Flags, Resolved, Settings, resolve, to_yaml};
use crate::error::{CommandError, chain, say};
use crate::host;
use crate::kernel::Kernel;

/// Does what the flags ask for, in kube-proxy's order (`Run` of cmd/kube-proxy/app/options.go).
pub fn proxy(flags: &Flags) -> Result<ExitCode, CommandError> {
    if let Some(version) = flags.version.as_deref().filter(|value| !is_false(value)) {
        return print_version(version);
    }
    let resolved = resolve(flags).map_err(|error| CommandError(error.reasons()))?;
    let is_cleanup = flags.cleanup == Some(true);
    if flags.write_config_to.is_none() && !is_cleanup {
        return run(flags, resolved);
    }
    let Some(file) = &flags.write_config_to else { return cleanup(Owner::Both) };
    resolved.notes.iter().for_each(|note| say(note));
    write_config(&resolved, file)
}

/// Does what kube-proxy does all the time, or what `--init-only` asks for. All that it reports from
/// here on is in the log, also why it ends.
fn run(flags: &Flags, resolved: Resolved) -> Result<ExitCode, CommandError> {
    let logs = Logs::init(resolved.settings.logging);
    resolved.notes.iter().for_each(|note| warn!("{note}"));
    let result = match flags.init_only {
        Some(true) => init_only(&resolved.settings),
        _ => run_as_proxy(flags, logs),
    };
    let result = result.or_else(|CommandError(reasons)| {
        reasons.iter().for_each(|reason| error!("{reason}"));
        Ok(ExitCode::FAILURE)
    });
    logging::flush();
    result
}

/// Does what may need more privileges than the agent has, and ends: sets what it sets on the host,
/// and has the kernel load nf_tables. A kernel without it is a failure.
fn init_only(settings: &Settings) -> Result<ExitCode, CommandError> {
    host::apply(settings, host::Caller::InitOnly);
    Kernel::open()?.dump()?;
    info!("initialized");
    Ok(ExitCode::SUCCESS)
}

fn is_false(value: &str) -> bool {
    ["false", "False", "FALSE", "f", "F", "0"].contains(&value)
}

fn print_version(format: &str) -> Result<ExitCode, CommandError> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    write_out(|out| match format {
        "raw" => writeln!(out, "{VERSION}"),
        _ => writeln!(out, "weir {VERSION}"),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_config(resolved: &Resolved, file: &Path) -> Result<ExitCode, CommandError> {
    let yaml = to_yaml(&resolved.configuration)?;
    fs::write(file, yaml).map_err(|error| {
        CommandError(vec![format!("cannot write {}: {}", file.display(), chain(&error))])
    })?;
    say(&format!("wrote the configuration to {}", file.display()));
    Ok(ExitCode::SUCCESS)
}
