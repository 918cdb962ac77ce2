//! Logs, on standard error.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::EnvFilter;

/// Changes the level of the logs.
pub(super) struct Logs(Box<dyn Fn(EnvFilter)>);

impl Logs {
    /// Begins to log. `RUST_LOG` sets the level, if it is there.
    pub(super) fn init(level: Level) -> Self {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(level))
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        subscriber.init();
        // It fails only if there is no subscriber any more.
        Self(Box::new(move |filter| drop(handle.reload(filter))))
    }

    /// Logs at this level from now on.
    pub(super) fn set_level(&self, level: Level) {
        (self.0)(filter(level));
    }
}

fn filter(level: Level) -> EnvFilter {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // What fails is said once, where it is known what it means.
    match "kube_client=off".parse() {
        Ok(directive) if std::env::var_os("RUST_LOG").is_none() => filter.add_directive(directive),
        _ => filter,
    }
}
