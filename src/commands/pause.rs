//! `weir pause`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::CommandError;

/// Does nothing until SIGTERM or SIGINT. A DaemonSet's Pods never end: where an init container has
/// done the work, this is what stays, so that a node needs no other image.
pub fn pause() -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
