//! Sets up logging to standard error.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

use crate::config::Logging;
use crate::logging;

/// How long weir waits at its end for the rest of the log to be read.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Changes the level of the logs.
pub(crate) struct Logs(reload::Handle<EnvFilter, Registry>);

impl Logs {
    /// Starts logging. `RUST_LOG` sets the level, if it is set.
    pub(crate) fn init(logging: Logging) -> Self {
        let (filter, handle) = reload::Layer::new(filter(logging.level()));
        let lines =
            fmt::layer().with_writer(logging::stderr()).with_ansi(io::stderr().is_terminal());
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

/// Waits a little until all of the log is written: weir is about to end.
pub(crate) fn flush() {
    logging::stderr().flush(FLUSH_LIMIT);
}

/// Prints a line to standard error, without a timestamp.
pub(crate) fn say(line: &str) {
    logging::stderr().push(format!("weir: {line}\n").as_bytes());
}

fn filter(level: Level) -> EnvFilter {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // A failure is logged once, where its meaning is known.
    match "kube_client=off".parse() {
        Ok(directive) if std::env::var_os("RUST_LOG").is_none() => filter.add_directive(directive),
        _ => filter,
    }
}
