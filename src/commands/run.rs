//! `weir run`.

use std::process::ExitCode;

use crate::agent::logging::{self, Logs};
use crate::agent::{follow_directory, follow_server};
use crate::cli::{NodeArgs, ServeArgs, SourceArgs};
use crate::config::Logging;
use crate::error::CommandError;

/// Keeps the kernel equal to an API server or a directory of manifests until SIGTERM or SIGINT. What
/// is programmed then stays. SIGHUP has it read all again.
pub fn run(
    source: &SourceArgs,
    node: &NodeArgs,
    serve: &ServeArgs,
) -> Result<ExitCode, CommandError> {
    Logs::init(Logging::default());
    let result = follow(source, node, serve).or_else(|CommandError(reasons)| {
        reasons.iter().for_each(|reason| logging::say(reason));
        Ok(ExitCode::FAILURE)
    });
    logging::flush();
    result
}

fn follow(
    source: &SourceArgs,
    node: &NodeArgs,
    serve: &ServeArgs,
) -> Result<ExitCode, CommandError> {
    let config = node.config()?;
    let Some(directory) = &source.manifests else {
        return follow_server(source.access(), config, serve.serving());
    };
    if !directory.is_dir() {
        let reason = std::fs::metadata(directory).err().map(|error| format!(": {error}"));
        let reason = reason.unwrap_or_else(|| " is not a directory".to_owned());
        return Err(CommandError(vec![format!("--manifests {}{reason}", directory.display())]));
    }
    follow_directory(directory, config, serve.serving())
}
