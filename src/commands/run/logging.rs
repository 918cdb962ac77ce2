//! Logs, on standard error.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

use crate::config::Logging;

/// Changes the level of the logs.
pub(super) struct Logs(reload::Handle<EnvFilter, Registry>);

impl Logs {
    /// Begins to log. `RUST_LOG` sets the level, if it is there.
    pub(super) fn init(logging: Logging) -> Self {
        let (filter, handle) = reload::Layer::new(filter(logging.level()));
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        match logging.is_json {
            true => registry().with(filter).with(lines.json()).init(),
            false => registry().with(filter).with(lines).init(),
        }
        Self(handle)
    }

    /// Logs at this level from now on.
    pub(super) fn set_level(&self, level: Level) {
        // It fails only if nothing is logged any more.
        let _ = self.0.reload(filter(level));
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
