//! `weir run`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};
use weir_rules::config::Config;

use super::input::Desired;
use super::{Failure, chain, input};
use crate::cli::NodeArgs;
use crate::kernel::{DumpError, Kernel};
use crate::source::manifest::Directory;
use crate::sync::{Backoff, CleanError, Flows, Follower, LiveConnections};

/// How often weir looks whether somebody else has changed nf_tables, which costs one small message.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often it reads directory and kernel all the same, in case a notification was lost.
const FULL_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the kernel equal to a directory of manifests until SIGTERM or SIGINT. What is programmed
/// then stays.
pub fn run(directory: &Path, node: &NodeArgs) -> Result<ExitCode, Failure> {
    init_logging();
    let config = node.config()?;
    if !directory.is_dir() {
        let reason = std::fs::metadata(directory).err().map(|error| format!(": {error}"));
        let reason = reason.unwrap_or_else(|| " is not a directory".to_owned());
        return Err(Failure(vec![format!("--manifests {}{reason}", directory.display())]));
    }
    let kernel = Kernel::open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(follow(directory, config, kernel));
    // A read that does not end must not keep weir from its own end.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(directory: &Path, config: Config, kernel: Kernel) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Watched before it is first read, so that no change falls in between.
    let (mut watch, mut changes) = Watch::new(directory)?;
    info!(directory = %directory.display(), node = config.node_name, "following manifests");

    let mut agent = Agent::new(directory, config, kernel);
    agent = agent.work(Agent::reload).await?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut full = tokio::time::interval_at(Instant::now() + FULL_INTERVAL, FULL_INTERVAL);
    loop {
        let step: fn(&mut Agent) = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(()) = changes.recv() => {
                // One write makes several notifications; all that are here are answered at once.
                while changes.try_recv().is_ok() {}
                Agent::reload
            }
            _ = look.tick() => if watch.renew() { Agent::reload } else { Agent::look },
            _ = full.tick() => Agent::reload_all,
        };
        // Reading may take long; a signal ends weir all the same. A transaction is whole or none.
        let worked = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            worked = agent.work(step) => worked,
        };
        agent = worked?;
    }
    info!("stopping; what is programmed stays");
    Ok(())
}

/// Notifications of changes in a directory, also when another directory takes its place.
struct Watch {
    directory: PathBuf,
    watcher: notify::RecommendedWatcher,
    /// Device and inode of what is watched.
    watched: Option<(u64, u64)>,
}

impl Watch {
    fn new(directory: &Path) -> Result<(Self, mpsc::UnboundedReceiver<()>), notify::Error> {
        let (notice, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, is_change) {
                let _ = notice.send(());
            }
        })?;
        let mut watch = Self { directory: directory.to_owned(), watcher, watched: None };
        let identity = watch.identity();
        watch.watcher.watch(directory, RecursiveMode::NonRecursive)?;
        watch.watched = identity;
        Ok((watch, changes))
    }

    /// Watches the directory that is there now, if it is another one; says whether it is.
    fn renew(&mut self) -> bool {
        let identity = self.identity();
        if identity.is_none() || identity == self.watched {
            return false;
        }
        let _ = self.watcher.unwatch(&self.directory);
        if self.watcher.watch(&self.directory, RecursiveMode::NonRecursive).is_ok() {
            self.watched = identity;
        }
        true
    }

    fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
}

/// Reading a file is no change, though it is an event. A file that is being written is not yet one:
/// the first half of a manifest may well be a manifest. When it is closed it is.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File) => false,
        _ => true,
    }
}

/// What the loop keeps.
struct Agent {
    directory: Directory,
    config: Config,
    desired: Desired,
    follower: Follower<Kernel>,
    tables_retry: Retry,
    flows: Flows<LiveConnections>,
    flows_retry: Retry,
    flows_removed: usize,
    ports_are_closed: bool,
    /// When to look for changes by others again.
    next_look: Instant,
    /// Whether the directory has not been read yet.
    is_first: bool,
    /// Whether the thread that talks to the kernel has ended.
    is_cut_off: bool,
}

impl Agent {
    fn new(directory: &Path, config: Config, kernel: Kernel) -> Self {
        Self {
            directory: Directory::new(directory, config.node_name.as_str()),
            config,
            desired: Desired::default(),
            follower: Follower::new(kernel),
            tables_retry: Retry::default(),
            flows: Flows::new(LiveConnections::default()),
            flows_retry: Retry::default(),
            flows_removed: 0,
            ports_are_closed: false,
            next_look: Instant::now(),
            is_first: true,
            is_cut_off: false,
        }
    }

    /// Does a step where it may block.
    async fn work(mut self, step: fn(&mut Agent)) -> Result<Self, Failure> {
        let agent = tokio::task::spawn_blocking(move || {
            step(&mut self);
            self
        })
        .await?;
        // Better an end that is seen than a process that does nothing.
        if agent.is_cut_off { Err(DumpError::Gone.into()) } else { Ok(agent) }
    }

    /// Reads directory and kernel in full.
    fn reload_all(&mut self) {
        self.follower.distrust();
        self.reload();
    }

    /// Reads what has changed in the directory, and programs it.
    fn reload(&mut self) {
        let start = Instant::now();
        let reload = self.directory.reload();
        let is_first = std::mem::take(&mut self.is_first);
        for problem in &reload.new_problems {
            let outcome = if is_first { "left out" } else { "its last good state is kept" };
            warn!("{}; {outcome}", chain(problem));
        }
        for problem in &reload.resolved {
            info!("no longer: {}", chain(problem));
        }
        for note in &reload.notes {
            info!("{note}");
        }
        let closed = input::closed_node_ports(&reload.cluster, &self.config);
        if let Some(note) = closed.as_ref().filter(|_| !self.ports_are_closed) {
            warn!("{note}");
        }
        self.ports_are_closed = closed.is_some();
        self.desired = Desired::new(&reload.cluster, &self.config);
        self.sync(start, "manifests");
    }

    /// Repairs what somebody else has changed, and tries again what has failed.
    fn look(&mut self) {
        if self.tables_retry.is_failing() {
            if self.tables_retry.is_due() {
                self.sync(Instant::now(), "retry");
            }
        } else if self.next_look <= Instant::now() && self.follower.has_drifted() {
            let start = Instant::now();
            self.sync(start, "repair");
            // Where others change their own tables without rest, all of weir's are read each time:
            // no more than a tenth of the time is spent so.
            self.next_look = start + 10 * start.elapsed();
        } else if self.flows_retry.is_due() {
            self.clean_flows();
        }
    }

    fn sync(&mut self, start: Instant, cause: &'static str) {
        match self.follower.sync(&self.desired.ruleset) {
            Ok(changes) => {
                for change in changes {
                    self.flows.note(&change.transaction);
                    let counts = change.transaction.counts();
                    let elapsed_us = start.elapsed().as_micros();
                    info!(cause, bytes = change.bytes, elapsed_us, "{counts}");
                    for (sign, line) in change.transaction.lines().take(LINES_LOGGED) {
                        debug!("{sign} {line}");
                    }
                }
                if self.tables_retry.succeeded() {
                    info!("the kernel is equal to the manifests again");
                }
                self.clean_flows();
            }
            Err(failure) => {
                self.is_cut_off = failure.is_final();
                if let Some(news) = self.tables_retry.failed(chain(&failure)) {
                    error!("{news}; trying again");
                }
            }
        }
    }

    /// Lets UDP flows go whose endpoints no longer serve. The ruleset is right without it, so that
    /// a failure is no reason to program it again.
    fn clean_flows(&mut self) {
        let start = Instant::now();
        match self.flows.clean(&self.desired.serving) {
            Ok(removed) => {
                if removed > 0 {
                    self.flows_removed += removed;
                    let elapsed_ms = start.elapsed().as_secs_f64() * 1e3;
                    let total = self.flows_removed;
                    info!(removed, total, elapsed_ms, "removed stale UDP flows");
                }
                if self.flows_retry.succeeded() {
                    info!("stale UDP flows can be removed again");
                }
            }
            Err(failure) => {
                if let CleanError::Delete { removed, .. } = failure {
                    self.flows_removed += removed;
                }
                if let Some(news) = self.flows_retry.failed(chain(&failure)) {
                    warn!("{news}; trying again");
                }
            }
        }
    }
}

/// Whether something fails, why, and when to try it again.
#[derive(Default)]
struct Retry {
    backoff: Backoff,
    last_error: Option<String>,
}

impl Retry {
    fn is_failing(&self) -> bool {
        self.last_error.is_some()
    }

    /// Whether it fails and is to be tried now.
    fn is_due(&self) -> bool {
        self.is_failing() && self.backoff.is_over()
    }

    /// Takes note of a success; says whether it failed before.
    fn succeeded(&mut self) -> bool {
        std::mem::take(self).is_failing()
    }

    /// Takes note of a failure; gives its text back unless it is the one before.
    fn failed(&mut self, text: String) -> Option<&str> {
        self.backoff.next();
        let is_news = self.last_error.as_ref() != Some(&text);
        let text = self.last_error.insert(text);
        is_news.then_some(text.as_str())
    }
}

/// How many lines of a transaction are logged at level debug.
const LINES_LOGGED: usize = 1000;

/// Logs go to standard error; `RUST_LOG` sets the level.
fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
