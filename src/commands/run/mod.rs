//! `weir run`.

mod addresses;
mod agent;
mod changes;
mod cleaner;
mod configuration;
mod events;
mod keeping;
mod logging;
mod lost_claims;
mod manifests;
mod others;
mod over_limit;
mod pace;
mod programmed;
mod reader;
mod retry;
mod signals;
mod triggers;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tracing::{error, info, warn};
use weir_rules::cluster::NamespacedName;
use weir_rules::config::{Config, DetectLocal};

use self::addresses::Notices;
use self::agent::{Agent, Step};
use self::changes::Changes;
use self::configuration::{Configuration, News};
use self::events::Events;
use self::keeping::{Keeping, Turn};
use self::logging::Logs;
use self::pace::Pace;
use self::signals::{Asked, Signals};
use super::Failure;
use crate::cli::{NodeArgs, ServeArgs, SourceArgs};
use crate::config::{ClientConnection, Flags, Logging, Periods, Resolved, Settings, to_configz};
use crate::host;
use crate::kernel::{Kernel, Monitor, Notice};
use crate::observe::Observed;
use crate::serve::{Servers, Serving};
use crate::source::api::{Access, Limits, Server};
use crate::sync::Live;

/// How often weir looks after what waits, and whether nf_tables was changed without its hearing of it,
/// which costs one small message.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time from one hearing of commits to the next: beside a neighbour that commits all the
/// time, weir wakes up so often and not for each of them.
const HEAR_INTERVAL: Duration = Duration::from_millis(10);
/// How often weir looks at what it needs of the host's network and does not set itself.
const NETWORK_INTERVAL: Duration = Duration::from_secs(10);
/// How many `syncPeriod`s work may wait until it is unhealthy.
const HEALTH_LIMIT_PERIODS: u32 = 2;

/// Keeps the kernel equal to an API server or a directory of manifests until SIGTERM or SIGINT. What
/// is programmed then stays. SIGHUP has it read all again.
pub fn run(source: &SourceArgs, node: &NodeArgs, serve: &ServeArgs) -> Result<ExitCode, Failure> {
    Logs::init(Logging::default());
    let result = follow_source(source, node, serve).or_else(|Failure(reasons)| {
        reasons.iter().for_each(|reason| logging::say(reason));
        Ok(ExitCode::FAILURE)
    });
    logging::flush();
    result
}

fn follow_source(
    source: &SourceArgs,
    node: &NodeArgs,
    serve: &ServeArgs,
) -> Result<ExitCode, Failure> {
    let config = node.config()?;
    if let Some(directory) = source.manifests.as_deref().filter(|directory| !directory.is_dir()) {
        let reason = std::fs::metadata(directory).err().map(|error| format!(": {error}"));
        let reason = reason.unwrap_or_else(|| " is not a directory".to_owned());
        return Err(Failure(vec![format!("--manifests {}{reason}", directory.display())]));
    }
    let from = match &source.manifests {
        Some(directory) => From::Directory(directory),
        None => From::Server(source.access(), Limits::default(), None),
    };
    let observed = Observed::new("{}".to_owned(), health_limit(Periods::default()));
    let configuration = Configuration::fixed();
    keep_equal(from, config, Periods::default(), configuration, serve.serving(), &observed)
}

/// Does what kube-proxy does all the time, or what `--init-only` asks for. All that it says from here
/// on is in the log, also why it ends.
pub(super) fn run_as_proxy(flags: &Flags, resolved: Resolved) -> Result<ExitCode, Failure> {
    let logs = Logs::init(resolved.settings.logging);
    resolved.notes.iter().for_each(|note| warn!("{note}"));
    let result = match flags.init_only {
        Some(true) => init_only(&resolved.settings),
        _ => follow_server(flags, logs),
    };
    let result = result.or_else(|Failure(reasons)| {
        reasons.iter().for_each(|reason| error!("{reason}"));
        Ok(ExitCode::FAILURE)
    });
    logging::flush();
    result
}

/// Keeps the kernel equal to an API server, as `run` does, in kube-proxy's place.
fn follow_server(flags: &Flags, logs: Logs) -> Result<ExitCode, Failure> {
    let (configuration, resolved) = Configuration::follow(flags, logs)?;
    let configz = to_configz(&resolved.configuration)?;
    let settings = resolved.settings;
    if settings.rules.detect_local == DetectLocal::default() {
        warn!(
            "detectLocalMode is ClusterCIDR and clusterCIDR is empty: nothing tells traffic of local \
             Pods, and none to ClusterIPs is masqueraded"
        );
    }
    let observed = Observed::new(configz, health_limit(settings.periods));
    let serving = Serving {
        healthz: settings.healthz,
        metrics: settings.metrics,
        bind_address_hard_fail: settings.bind_address_hard_fail,
    };
    let ClientConnection { kubeconfig, master, limits } = settings.client.clone();
    let from =
        From::Server(Access::new(kubeconfig, master), limits, Some(Box::new(settings.clone())));
    keep_equal(from, settings.rules, settings.periods, configuration, serving, &observed)
}

/// How long work may wait until it is unhealthy: kube-proxy's `healthTimeout`.
fn health_limit(periods: Periods) -> Duration {
    HEALTH_LIMIT_PERIODS * periods.sync
}

/// Does what may need more privileges than the agent has, and ends: sets what it sets on the host,
/// and has the kernel load nf_tables. A kernel without it is a failure.
fn init_only(settings: &Settings) -> Result<ExitCode, Failure> {
    host::apply(settings, host::Setter::InitOnly);
    Kernel::open()?.dump()?;
    info!("initialized");
    Ok(ExitCode::SUCCESS)
}

/// Where the state of the cluster comes from.
enum From<'a> {
    Directory(&'a Path),
    /// A server, and what to set on the host once there is a way to talk to it.
    Server(Access, Limits, Option<Box<Settings>>),
}

fn keep_equal(
    from: From<'_>,
    config: Config,
    periods: Periods,
    configuration: Configuration,
    serving: Serving,
    observed: &Arc<Observed>,
) -> Result<ExitCode, Failure> {
    host::raise_file_limit();
    let kernel = Kernel::open()?;
    // Before anything is read, so that nothing is missed.
    let monitor = Monitor::open(kernel.ports())?;
    let waker = monitor.waker()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_name("weir-agent").build()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let keeping = Keeping::begin();
        let mut host_settings = None;
        let (changes, reader, events) = match from {
            From::Directory(directory) => {
                let (changes, reader) = Changes::of_directory(directory, &config)?;
                (changes, reader, Events::none())
            }
            From::Server(access, limits, settings) => {
                let server = Server::new(access, limits).await?;
                match settings {
                    Some(settings) if keeping.is_ours() => {
                        host::apply(&settings, host::Setter::Agent);
                    }
                    settings => host_settings = settings,
                }
                let (changes, reader) = Changes::of_server(&server, &config, observed);
                (changes, reader, Events::start(server, &config.node_name))
            }
        };
        let teller = events.clone();
        let tell = move |service: &NamespacedName, why: &str| teller.no_health_check(service, why);
        let servers = Servers::start(serving, observed, Box::new(tell))?;
        events.started();
        let notice = Notice::new(waker)?;
        let is_ours = keeping.is_ours();
        let kernel =
            if is_ours { Live::new(kernel, monitor) } else { Live::later(kernel, monitor)? };
        let turn = keeping.follow(events.clone(), Arc::clone(observed), servers.try_again());
        let mut agent = Agent::new(reader, config, periods, kernel, events, Arc::clone(observed));
        if !is_ours {
            agent = agent.waiting(host_settings);
        }
        let pace = Pace::new(periods.min_sync);
        follow(signals, changes, configuration, notice, agent, pace, turn, observed).await
    });
    // A read that does not end must not keep weir from its own end.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::too_many_arguments, reason = "each is a thing of its own to wait for")]
async fn follow(
    mut signals: Signals,
    mut changes: Changes,
    mut configuration: Configuration,
    mut notice: Notice,
    mut agent: Agent,
    mut pace: Pace,
    mut turn: Turn,
    observed: &Observed,
) -> Result<(), Failure> {
    let mut addresses = Notices::watch();
    let mut step: Step = Box::new(Agent::start);
    let mut hear_from = Instant::now();
    let mut was_cleaning = false;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut network = tokio::time::interval(NETWORK_INTERVAL);
    network.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let full = changes.full_interval();
    let mut full = tokio::time::interval_at(Instant::now() + full, full);
    loop {
        // Reading may take long; a signal ends weir all the same. A transaction is whole or none.
        let worked = tokio::select! {
            () = signals.end() => break,
            worked = agent.work(step) => worked,
        };
        agent = worked?;
        if agent.take_programmed() {
            pace.synced();
        }
        // Removing flows takes turns with everything else, each for a short time.
        if !std::mem::take(&mut was_cleaning) && agent.is_cleaning() {
            was_cleaning = true;
            step = Box::new(Agent::clean_on);
            continue;
        }
        step = tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload => {
                    info!("SIGHUP: reading all again, and comparing it with the kernel");
                    configuration.read_again();
                    Box::new(Agent::reload_all)
                }
            },
            // Ready when it is asked for the second time, if nothing else is at the first.
            () = tokio::task::yield_now(), if agent.is_cleaning() => {
                was_cleaning = true;
                Box::new(Agent::clean_on)
            }
            updates = changes.next() => {
                let (updates, is_held) = (updates?, pace.is_holding());
                Box::new(move |agent| agent.read(updates, is_held))
            }
            () = turn.comes() => Box::new(Agent::begin),
            _ = pace.wait(), if agent.is_held() => Box::new(Agent::release),
            news = configuration.next(observed) => match news {
                News::Settings(settings) => {
                    pace.set(settings.periods.min_sync);
                    Box::new(|agent| agent.configure(*settings))
                }
                News::Restart => {
                    info!("this needs a restart");
                    break;
                }
            },
            _ = addresses.next() => Box::new(Agent::look_at_addresses),
            told = told(&mut notice, hear_from) => {
                told?;
                hear_from = Instant::now() + HEAR_INTERVAL;
                Box::new(Agent::hear)
            }
            // What has come meanwhile is in the next batch: this is ready when it is asked for again.
            () = tokio::task::yield_now(), if agent.has_more() => Box::new(Agent::go_on),
            () = until(agent.due()) => Box::new(Agent::keep_up),
            _ = look.tick() => Box::new(Agent::look),
            _ = network.tick() => Box::new(Agent::look_at_network),
            _ = full.tick() => Box::new(Agent::reload_all),
        };
    }
    info!("stopping; what is programmed stays");
    Ok(())
}

/// Waits until then, and for something to be told.
async fn told(notice: &mut Notice, from: Instant) -> std::io::Result<()> {
    sleep_until(from).await;
    notice.told().await
}

/// Waits until then, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
