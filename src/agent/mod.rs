//! The agent: keeps the kernel equal to an API server or a directory of manifests.

mod cluster_source;
mod configuration;
mod events;
mod foreign_writers;
mod host_addresses;
mod leadership;
pub(crate) mod logging;
mod lost_claims;
mod manifests;
mod over_limit;
mod programmed;
mod retry;
mod signals;
mod source_events;
mod stale_flows;
mod steps;
mod throttle;
mod triggers;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tracing::{info, warn};
use weir_rules::cluster::NamespacedName;
use weir_rules::config::{Config, DetectLocal};

use self::configuration::{Configuration, SettingsChange};
use self::events::Events;
use self::host_addresses::Notices;
use self::leadership::{Keeping, Turn};
use self::logging::Logs;
use self::signals::{Asked, Signals};
use self::source_events::SourceEvents;
use self::steps::{Agent, Step};
use self::throttle::SyncThrottle;
use crate::config::{ClientConnection, Flags, Limits, Periods, Settings, to_configz};
use crate::error::CommandError;
use crate::host;
use crate::kernel::{Kernel, Monitor, Notice};
use crate::source::api::{ApiClient, ClientSource};
use crate::sync::MonitoredKernel;
use crate::telemetry::serve::{Servers, Serving};
use crate::telemetry::status::AgentStatus;

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

/// Keeps the kernel equal to a directory of manifests until SIGTERM or SIGINT. What is programmed
/// then stays.
pub(crate) fn follow_directory(
    directory: &Path,
    config: Config,
    serving: Serving,
) -> Result<ExitCode, CommandError> {
    follow_fixed(From::Directory(directory), config, serving)
}

/// Keeps the kernel equal to an API server in the same way.
pub(crate) fn follow_server(
    access: ClientSource,
    config: Config,
    serving: Serving,
) -> Result<ExitCode, CommandError> {
    follow_fixed(From::ApiClient(access, Limits::default(), None), config, serving)
}

/// Follows with settings that stay as they are.
fn follow_fixed(
    from: From<'_>,
    config: Config,
    serving: Serving,
) -> Result<ExitCode, CommandError> {
    let observed = AgentStatus::new("{}".to_owned(), health_limit(Periods::default()));
    keep_equal(from, config, Periods::default(), Configuration::fixed(), serving, &observed)
}

/// Keeps the kernel equal to an API server in kube-proxy's place.
pub(crate) fn run_as_proxy(flags: &Flags, logs: Logs) -> Result<ExitCode, CommandError> {
    let (configuration, resolved) = Configuration::follow(flags, logs)?;
    let configz = to_configz(&resolved.configuration)?;
    let settings = resolved.settings;
    if settings.rules.detect_local == DetectLocal::default() {
        warn!(
            "detectLocalMode is ClusterCIDR and clusterCIDR is empty: nothing tells traffic of local \
             Pods, and none to ClusterIPs is masqueraded"
        );
    }
    let observed = AgentStatus::new(configz, health_limit(settings.periods));
    let serving = Serving {
        healthz: settings.healthz,
        metrics: settings.metrics,
        bind_address_hard_fail: settings.bind_address_hard_fail,
    };
    let ClientConnection { kubeconfig, master, limits } = settings.client.clone();
    let from = From::ApiClient(
        ClientSource::new(kubeconfig, master),
        limits,
        Some(Box::new(settings.clone())),
    );
    keep_equal(from, settings.rules, settings.periods, configuration, serving, &observed)
}

/// How long work may wait until it is unhealthy: kube-proxy's `healthTimeout`.
fn health_limit(periods: Periods) -> Duration {
    HEALTH_LIMIT_PERIODS * periods.sync
}

/// Where the state of the cluster comes from.
enum From<'a> {
    Directory(&'a Path),
    /// A server, and what to set on the host once there is a way to talk to it.
    ApiClient(ClientSource, Limits, Option<Box<Settings>>),
}

fn keep_equal(
    from: From<'_>,
    config: Config,
    periods: Periods,
    configuration: Configuration,
    serving: Serving,
    observed: &Arc<AgentStatus>,
) -> Result<ExitCode, CommandError> {
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
                let (changes, reader) = SourceEvents::of_directory(directory, &config)?;
                (changes, reader, Events::none())
            }
            From::ApiClient(access, limits, settings) => {
                let server = ApiClient::new(access, limits).await?;
                match settings {
                    Some(settings) if keeping.is_ours() => {
                        host::apply(&settings, host::Caller::Agent);
                    }
                    settings => host_settings = settings,
                }
                let (changes, reader) = SourceEvents::of_server(&server, &config, observed);
                (changes, reader, Events::start(server, &config.node_name))
            }
        };
        let teller = events.clone();
        let tell = move |service: &NamespacedName, why: &str| teller.no_health_check(service, why);
        let servers = Servers::start(serving, observed, Box::new(tell))?;
        events.started();
        let notice = Notice::new(waker)?;
        let is_ours = keeping.is_ours();
        let kernel = if is_ours {
            MonitoredKernel::new(kernel, monitor)
        } else {
            MonitoredKernel::later(kernel, monitor)?
        };
        let turn = keeping.follow(events.clone(), Arc::clone(observed), servers.try_again());
        let mut agent = Agent::new(reader, config, periods, kernel, events, Arc::clone(observed));
        if !is_ours {
            agent = agent.waiting(host_settings);
        }
        let throttle = SyncThrottle::new(periods.min_sync);
        follow(signals, changes, configuration, notice, agent, throttle, turn, observed).await
    });
    // A read that does not end must not keep weir from its own end.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::too_many_arguments, reason = "each is a thing of its own to wait for")]
async fn follow(
    mut signals: Signals,
    mut changes: SourceEvents,
    mut configuration: Configuration,
    mut notice: Notice,
    mut agent: Agent,
    mut throttle: SyncThrottle,
    mut turn: Turn,
    observed: &AgentStatus,
) -> Result<(), CommandError> {
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
        // Reading may take long; a signal ends weir all the same. A transaction is atomic.
        let worked = tokio::select! {
            () = signals.end() => break,
            worked = agent.work(step) => worked,
        };
        agent = worked?;
        if agent.take_programmed() {
            throttle.synced();
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
                let (updates, is_deferred) = (updates?, throttle.is_deferring());
                Box::new(move |agent| agent.read(updates, is_deferred))
            }
            () = turn.comes() => Box::new(Agent::begin),
            _ = throttle.wait(), if agent.is_deferred() => Box::new(Agent::flush),
            news = configuration.next(observed) => match news {
                SettingsChange::Settings(settings) => {
                    throttle.set(settings.periods.min_sync);
                    Box::new(|agent| agent.configure(*settings))
                }
                SettingsChange::Restart => {
                    info!("this needs a restart");
                    break;
                }
            },
            _ = addresses.next() => Box::new(Agent::look_at_addresses),
            told = told(&mut notice, hear_from) => {
                told?;
                hear_from = Instant::now() + HEAR_INTERVAL;
                Box::new(Agent::take_notifications)
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

/// Waits until then, and for a notification.
async fn told(notice: &mut Notice, from: Instant) -> std::io::Result<()> {
    sleep_until(from).await;
    notice.readable().await
}

/// Waits until then, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
