//! weir without a command: what kube-proxy does with the same flags.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use super::run::{init_only, run_as_proxy};
use super::{Failure, Owner, all_reasons, chain, cleanup, say, write_out};
use crate::config::{Flags, Resolved, Settings, resolve, to_yaml};

/// Does what the flags ask for, in kube-proxy's order (`Run` of cmd/kube-proxy/app/options.go).
pub fn proxy(flags: &Flags) -> Result<ExitCode, Failure> {
    if let Some(version) = flags.version.as_deref().filter(|value| !is_false(value)) {
        return print_version(version);
    }
    let resolved = resolve(flags).map_err(|error| Failure(all_reasons(error)))?;
    resolved.notes.iter().for_each(|note| say(note));
    if let Some(file) = &flags.write_config_to {
        return write_config(&resolved, file);
    }
    if flags.cleanup == Some(true) {
        return cleanup(Owner::Both);
    }
    if flags.init_only == Some(true) {
        return init_only(&resolved.settings);
    }
    say(&not_applied(&resolved.settings));
    run_as_proxy(flags, resolved.settings.logging)
}

/// What the settings ask for and weir does not do yet.
fn not_applied(settings: &Settings) -> String {
    let address = |what: &str, address: Option<SocketAddr>| {
        address.map(|address| format!("{what} at {address}"))
    };
    let parts = [
        address("/healthz and /livez", settings.healthz),
        address("/metrics, /proxyMode and /configz", settings.metrics),
        Some("health check node ports".to_owned()),
        Some("sync periods".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("not part of this build yet: {}", parts.join("; "))
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
