//! `weir run`.

mod agent;
mod directory;
mod reader;
mod retry;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Level, info};
use weir_rules::config::Config;

use self::agent::{Agent, Step};
use self::directory::Watch;
use self::reader::Reader;
use super::Failure;
use crate::cli::{NodeArgs, ServeArgs, SourceArgs};
use crate::config::Settings;
use crate::kernel::Kernel;
use crate::observe::Observed;
use crate::serve::{Servers, Serving};
use crate::source::api::{Access, Update, Watches};
use crate::source::manifest::Directory;

/// How often weir looks whether somebody else has changed nf_tables, which costs one small message.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// kube-proxy's default of `syncPeriod`.
const DEFAULT_SYNC_PERIOD: Duration = Duration::from_secs(30);
/// How often it reads directory and kernel all the same, in case a notification was lost.
const FULL_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the kernel equal to an API server or a directory of manifests until SIGTERM or SIGINT. What
/// is programmed then stays.
pub fn run(source: &SourceArgs, node: &NodeArgs, serve: &ServeArgs) -> Result<ExitCode, Failure> {
    init_logging(Level::INFO);
    let config = node.config()?;
    if let Some(directory) = source.manifests.as_deref().filter(|directory| !directory.is_dir()) {
        let reason = std::fs::metadata(directory).err().map(|error| format!(": {error}"));
        let reason = reason.unwrap_or_else(|| " is not a directory".to_owned());
        return Err(Failure(vec![format!("--manifests {}{reason}", directory.display())]));
    }
    let from = match &source.manifests {
        Some(directory) => From::Directory(directory),
        None => From::Server(source.access()),
    };
    let observed = Observed::new(2 * DEFAULT_SYNC_PERIOD, "{}".to_owned());
    keep_equal(&from, config, serve.serving(), &observed)
}

/// Keeps the kernel equal to an API server, as `run` does, with these settings. `configz` is what
/// /configz answers.
pub(super) fn run_as_proxy(settings: Settings, configz: String) -> Result<ExitCode, Failure> {
    init_logging(settings.logging.level());
    // kube-proxy's `healthTimeout`.
    let observed = Observed::new(2 * settings.sync_period, configz);
    let serving = Serving {
        healthz: settings.healthz,
        metrics: settings.metrics,
        bind_address_hard_fail: settings.bind_address_hard_fail,
    };
    let client = settings.client;
    let from = From::Server(Access::new(client.kubeconfig, client.master));
    keep_equal(&from, settings.rules, serving, &observed)
}

/// Where the state of the cluster comes from.
enum From<'a> {
    Directory(&'a Path),
    Server(Access),
}

fn keep_equal(
    from: &From<'_>,
    config: Config,
    serving: Serving,
    observed: &Arc<Observed>,
) -> Result<ExitCode, Failure> {
    let kernel = Kernel::open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        // First of all, so that what takes long or fails now can be seen from outside.
        let _servers = Servers::start(serving, observed)?;
        let (changes, reader) = match from {
            From::Directory(directory) => Changes::of_directory(directory, &config)?,
            From::Server(access) => Changes::of_server(access, &config, observed).await?,
        };
        follow(changes, Agent::new(reader, config, kernel, Arc::clone(observed))).await
    });
    // A read that does not end must not keep weir from its own end.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(mut changes: Changes, mut agent: Agent) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut step: Step = Box::new(|agent| agent.read(Vec::new()));
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut full = tokio::time::interval_at(Instant::now() + FULL_INTERVAL, FULL_INTERVAL);
    loop {
        // Reading may take long; a signal ends weir all the same. A transaction is whole or none.
        let worked = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            worked = agent.work(step) => worked,
        };
        agent = worked?;
        step = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            updates = changes.next() => {
                let updates = updates?;
                Box::new(|agent| agent.read(updates))
            }
            _ = look.tick() => {
                if changes.renew() {
                    Box::new(|agent| agent.read(Vec::new()))
                } else {
                    Box::new(Agent::look)
                }
            }
            _ = full.tick() => Box::new(Agent::reload_all),
        };
    }
    info!("stopping; what is programmed stays");
    Ok(())
}

/// Tells that there is something to read.
enum Changes {
    Directory { watch: Watch, notices: mpsc::UnboundedReceiver<()> },
    Server(Watches),
}

impl Changes {
    fn of_directory(path: &Path, config: &Config) -> Result<(Self, Reader), Failure> {
        // Watched before it is first read, so that no change falls in between.
        let (watch, notices) = Watch::new(path)?;
        info!(directory = %path.display(), node = config.node_name, "following manifests");
        let directory = Directory::new(PathBuf::from(path), config.node_name.as_str());
        Ok((Self::Directory { watch, notices }, Reader::Manifests { directory, is_read: false }))
    }

    async fn of_server(
        access: &Access,
        config: &Config,
        observed: &Observed,
    ) -> Result<(Self, Reader), Failure> {
        let client = access.client().await?;
        let watches = Watches::start(&client, access, &config.node_name, observed.metrics().api());
        info!(node = config.node_name, "following the API server");
        Ok((Self::Server(watches), Reader::Api(Box::default())))
    }

    /// Waits until there is something to read. Nothing is lost if the wait is given up.
    async fn next(&mut self) -> Result<Vec<Update>, Failure> {
        match self {
            Changes::Directory { notices, .. } => {
                if notices.recv().await.is_none() {
                    // Nothing more will come; the directory is still read now and then.
                    std::future::pending::<()>().await;
                }
                // One write makes several notifications; all that are here are answered at once.
                while notices.try_recv().is_ok() {}
                Ok(Vec::new())
            }
            // Better an end that is seen than a process that does nothing.
            Changes::Server(watches) => Ok(watches.next().await?),
        }
    }

    /// Follows the directory that is there now, if it is another one; says whether it is.
    fn renew(&mut self) -> bool {
        match self {
            Changes::Directory { watch, .. } => watch.renew(),
            Changes::Server(_) => false,
        }
    }
}

/// Logs go to standard error; `RUST_LOG` sets the level, if it is there.
fn init_logging(level: Level) {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    // What fails is said once, where it is known what it means.
    let filter = match "kube_client=off".parse() {
        Ok(directive) if std::env::var_os("RUST_LOG").is_none() => filter.add_directive(directive),
        _ => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
