//! Merges file and flags (`Complete` of cmd/kube-proxy/app/options.go).

use std::io;
use std::path::{Path, PathBuf};

use super::decode::{DecodeError, DecodedConfiguration, decode};
use super::flags::Flags;
use super::notes::notes;
use super::settings::Settings;
use super::types::KubeProxyConfiguration;
use super::validate::{FieldError, validate};
use crate::error::chain;

/// A configuration that is complete and valid, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// File and flags, with all defaults.
    pub configuration: KubeProxyConfiguration,
    /// What the agent makes of it.
    pub settings: Settings,
    /// What is accepted and does not apply, or is not as it was written; a line each.
    pub notes: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no configuration.
    #[error("{}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// Values that are not valid, all of them.
    #[error("{}", lines(.0))]
    Invalid(Vec<FieldError>),
    /// `--hostname-override` holds nothing but blanks.
    #[error("empty hostname-override is invalid")]
    EmptyHostname,
    /// The host's name is needed and cannot be read.
    #[error("cannot read the host's name; give --hostname-override")]
    Hostname(#[source] io::Error),
}

impl ConfigurationError {
    /// Why there is no configuration, a line each: every invalid field is a reason of its own.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            ConfigurationError::Invalid(errors) => errors.iter().map(ToString::to_string).collect(),
            error => vec![chain(error)],
        }
    }
}

fn lines(errors: &[FieldError]) -> String {
    errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the file that the flags name, if they name one, and applies them. The same flags can be
/// resolved again when the file has changed.
pub fn resolve(flags: &Flags) -> Result<Resolved, ConfigurationError> {
    let file = match &flags.config {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let has_file = file.is_some();
    let (mut configuration, mut found) = match file {
        Some(DecodedConfiguration { mut configuration, ignored }) => {
            flags.set_logging(&mut configuration.logging);
            let ignored = ignored.into_iter().map(|what| format!("--config: {what}; ignored"));
            (configuration, ignored.collect())
        }
        None => (flags.configuration(), Vec::new()),
    };
    // The order of the next four is kube-proxy's.
    if !has_file && flags.write_config_to.is_none() {
        flags.set_deprecated_ports(&mut configuration);
    }
    configuration.set_platform_defaults();
    if let Some(name) = flags.hostname_override.as_ref().filter(|name| !name.is_empty()) {
        let name = node_name(name);
        if name.is_empty() {
            return Err(ConfigurationError::EmptyHostname);
        }
        configuration.hostname_override = name;
    }
    let errors = validate(&configuration);
    if !errors.is_empty() {
        return Err(ConfigurationError::Invalid(errors));
    }

    let name = match configuration.hostname_override.as_str() {
        "" => node_name(&host_name().map_err(ConfigurationError::Hostname)?),
        name => node_name(name),
    };
    let mut settings = Settings::new(&configuration, &name, flags.master.as_deref());
    settings.rules = flags.limits.apply(settings.rules);
    found.extend(notes(&configuration));
    found.extend(flags.notes(has_file));
    Ok(Resolved { configuration, settings, notes: found })
}

fn read(path: &Path) -> Result<DecodedConfiguration, ConfigurationError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })?;
    decode(&text).map_err(|source| ConfigurationError::Decode { path: path.to_owned(), source })
}

/// The Node's name from a host's, as the kubelet makes it.
fn node_name(host: &str) -> String {
    host.trim().to_lowercase()
}

/// The host's name, from which the Node's is made as the kubelet makes it: trimmed, in lower case.
pub(crate) fn host_name() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
