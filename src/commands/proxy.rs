//! weir without a command: what kube-proxy does with the same flags.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use super::{Failure, Owner, chain, cleanup, run_as_proxy, say, write_out};
use crate::config::{ConfigurationError, Flags, Resolved, Settings, resolve, to_yaml};

/// Does what the flags ask for, in kube-proxy's order (`Run` of cmd/kube-proxy/app/options.go).
pub fn proxy(flags: &Flags) -> Result<ExitCode, Failure> {
    if let Some(version) = flags.version.as_deref().filter(|value| !is_false(value)) {
        return print_version(version);
    }
    let resolved = resolve(flags).map_err(all_reasons)?;
    resolved.notes.iter().for_each(|note| say(note));
    if let Some(file) = &flags.write_config_to {
        return write_config(&resolved, file);
    }
    if flags.cleanup == Some(true) {
        return cleanup(Owner::Both);
    }
    start_agent(flags, resolved)
}

/// Starts the agent that follows an API server.
fn start_agent(flags: &Flags, resolved: Resolved) -> Result<ExitCode, Failure> {
    if flags.init_only == Some(true) {
        return Err(Failure(vec!["--init-only: weir cannot do that yet".to_owned()]));
    }
    say(&not_applied(&resolved.settings));
    run_as_proxy(resolved.settings)
}

/// What the settings ask for and weir does not do yet.
fn not_applied(settings: &Settings) -> String {
    let address = |what: &str, address: Option<SocketAddr>| {
        address.map(|address| format!("{what} at {address}"))
    };
    let node_ip = settings.node_ip.map(|ip| format!("{ip} as the node's address"));
    let parts = [
        address("/healthz and /livez", settings.healthz),
        address("/metrics, /proxyMode and /configz", settings.metrics),
        Some("health check node ports".to_owned()),
        Some("sync periods".to_owned()),
        Some("limits on requests".to_owned()),
        Some("conntrack settings".to_owned()),
        Some("oomScoreAdj".to_owned()),
        node_ip,
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

/// Each invalid field is a reason of its own.
fn all_reasons(error: ConfigurationError) -> Failure {
    match error {
        ConfigurationError::Invalid(errors) => {
            Failure(errors.iter().map(ToString::to_string).collect())
        }
        error => error.into(),
    }
}
