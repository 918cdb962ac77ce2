//! The agent's status, shared with the HTTP servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_rules::cluster::claims::ClaimKind;
use weir_rules::cluster::{Cluster, Family};
use weir_rules::config::Config;
use weir_rules::facts::DerivedState;
use weir_rules::facts::counts::Numbers;
use weir_rules::facts::health_checks::{HealthCheck, check_addresses};
use weir_rules::transaction::Tally;

use crate::source::api;
use crate::source::convert::NodeFuture;
use crate::sync::{Cleaning, SyncReport};
use crate::telemetry::health::{Health, Moment};
use crate::telemetry::metrics::Metrics;

/// The health checks of load balancers, by the address at which they are answered.
pub type Checks = BTreeMap<SocketAddr, HealthCheck>;

/// Why there was a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What the cluster asks for has changed.
    Update,
    /// Somebody else has changed nf_tables.
    Repair,
    /// The last one has failed.
    Retry,
    /// It is time to compare everything.
    Full,
}

/// The agent's status: updated in the order in which things happen, and read by the HTTP servers.
#[derive(Debug)]
pub struct AgentStatus {
    start: Timestamp,
    health: Mutex<Health>,
    metrics: Metrics,
    wanted: Mutex<ChangeProgress>,
    checks: watch::Sender<Checks>,
    configz: Mutex<String>,
}

/// What the cluster asks for.
#[derive(Debug, Default)]
struct ChangeProgress {
    /// When the agent began what it is doing.
    step_since: Option<Instant>,
    /// When the first change was noticed that is not programmed yet.
    noticed: Option<Instant>,
    /// How many Services and EndpointSlices had changed when all was programmed last.
    programmed: [u64; 2],
    /// How many when it was last compiled what the cluster asks for.
    compiled: [u64; 2],
    /// How many have changed by now.
    seen: [u64; 2],
}

impl ChangeProgress {
    /// There is a change that is not programmed yet.
    fn notice(&mut self) {
        self.noticed = self.noticed.or(self.step_since);
    }
}

impl AgentStatus {
    /// Nothing has happened yet but that a good configuration was read.
    pub fn new(configz: String, limit: Duration) -> Arc<Self> {
        let observed = Self {
            start: Timestamp::now(),
            health: Mutex::new(Health::new(limit)),
            metrics: Metrics::default(),
            wanted: Mutex::default(),
            checks: watch::Sender::default(),
            configz: Mutex::default(),
        };
        observed.config_is_good(configz, limit);
        Arc::new(observed)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the node serves.
    pub fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    /// The health checks of what is programmed, as they are and become.
    pub fn checks(&self) -> watch::Receiver<Checks> {
        self.checks.subscribe()
    }

    /// The configuration was read. /configz answers this, and work that waits for `limit` is
    /// unhealthy.
    pub fn config_is_good(&self, configz: String, limit: Duration) {
        self.metrics.config_read(true);
        self.health().set_limit(limit);
        *lock(&self.configz) = configz;
    }

    /// The configuration was read and is bad. The one before stays in use.
    pub fn config_is_bad(&self) {
        self.metrics.config_read(false);
    }

    /// What /configz answers.
    pub fn configz(&self) -> String {
        lock(&self.configz).clone()
    }

    /// The agent begins a step. One that never ends is unhealthy, whatever it is about.
    pub fn step_started(&self) {
        let now = Instant::now();
        lock(&self.wanted).step_since = Some(now);
        self.health().queued(now);
    }

    /// The step has programmed a batch, and more waits, for no longer than since `oldest`.
    pub fn batch_ended(&self, oldest: Instant) {
        self.health().progressed(oldest, Instant::now());
    }

    /// The step is over; `is_behind` if the kernel is not equal yet: it could not be made so, or a
    /// repair waits for its time.
    pub fn step_ended(&self, is_behind: bool) {
        if !is_behind {
            self.health().settled();
        }
    }

    /// The source has been read: an API server's state, or manifests, which do not show whether a
    /// node is to go.
    pub fn source_read(&self, state: Option<&api::Store>) {
        let stays = |state: &api::Store| state.node_future() == Some(NodeFuture::Stays);
        self.health().set_eligible(state.is_none_or(stays));
        let Some(changes) = state.map(api::Store::changes) else { return };
        let seen = [changes.services, changes.slices];
        let mut wanted = lock(&self.wanted);
        self.metrics.changes_seen(minus(seen, wanted.seen));
        wanted.seen = seen;
        self.metrics.set_pending(minus(seen, wanted.programmed));
    }

    /// Another process keeps the tables, and this one waits for its end; `None` once it keeps them itself.
    pub fn waits_for(&self, other: Option<String>) {
        self.metrics.waits(other.is_some());
        self.health().set_waits_for(other);
    }

    /// The cluster asks for something, maybe new.
    pub fn changes_queued(&self) {
        let mut wanted = lock(&self.wanted);
        wanted.notice();
        wanted.compiled = wanted.seen;
        self.metrics.queued();
    }

    /// What was read is held back for a while.
    pub fn deferred(&self) {
        lock(&self.wanted).notice();
    }

    /// So many claims of each kind are another Service's, in the order of
    /// [`ClaimKind::ALL`](weir_rules::cluster::claims::ClaimKind::ALL), and so many Services are over their limits.
    pub fn services_told(&self, lost_claims: [usize; ClaimKind::ALL.len()], over_limit: usize) {
        self.metrics.services_told(lost_claims, over_limit);
    }

    /// So many transactions of others have changed weir's tables.
    pub fn foreign(&self, commits: usize) {
        self.metrics.foreign(commits);
    }

    /// Records a sync, whatever its result, and the number of quarantined Services.
    pub fn sync_finished(&self, report: &SyncReport, quarantined: usize) {
        self.metrics.sync_finished(report, quarantined);
    }

    /// The kernel is in sync, except for quarantined Services. It holds so many `objects` of each family,
    /// in the order of [`Family::ALL`], for so much of the cluster as `numbers` say. `triggers` are the
    /// times of the changes that were waiting for it.
    pub fn in_sync(
        &self,
        cause: Cause,
        took: Duration,
        objects: [Tally; 2],
        numbers: &[Numbers; 2],
        triggers: impl Iterator<Item = (Family, Timestamp)>,
    ) {
        let now = Moment::now();
        let mut health = self.health();
        let is_first = !health.was_updated();
        health.updated(now);
        drop(health);
        self.metrics.in_sync(is_first || cause != Cause::Update, took, now.wall);
        // As kube-proxy does: what was written before this process came is not its doing.
        for (family, trigger) in triggers.filter(|(_, trigger)| *trigger > self.start) {
            let took = now.wall.duration_since(trigger).as_secs_f64();
            self.metrics.network_programmed(family, took);
        }
        let mut wanted = lock(&self.wanted);
        wanted.programmed = wanted.compiled;
        self.metrics.set_pending(minus(wanted.seen, wanted.programmed));
        let is_all = wanted.programmed == wanted.seen;
        if let Some(noticed) = wanted.noticed.take_if(|_| is_all) {
            self.metrics.update_took(now.at.duration_since(noticed));
        }
        self.metrics.programmed(&objects, numbers);
    }

    /// There are health checks, maybe others than before, of what is programmed, on a node with these
    /// addresses. While they are not known, the checks stay where they are.
    pub fn checks_programmed(
        &self,
        facts: &DerivedState,
        cluster: &Cluster,
        config: &Config,
        own: Option<&BTreeSet<IpAddr>>,
    ) {
        let Some(own) = own else { return };
        let new = addressed(facts, cluster, config, own);
        self.checks.send_if_modified(|checks| {
            let is_new = *checks != new;
            *checks = new;
            is_new
        });
    }

    /// The kernel could not be made equal.
    pub fn sync_failed(&self) {
        self.metrics.sync_failed();
    }

    /// Stale flows were looked for.
    pub fn flows_cleaned(&self, cleaning: &Cleaning, took: Duration) {
        self.metrics.flows_cleaned(cleaning, took);
    }
}

/// How much more there is.
fn minus(now: [u64; 2], before: [u64; 2]) -> [u64; 2] {
    [now[0] - before[0], now[1] - before[1]]
}

/// The health checks of a cluster at the addresses where this node answers them.
fn addressed(
    facts: &DerivedState,
    cluster: &Cluster,
    config: &Config,
    own: &BTreeSet<IpAddr>,
) -> Checks {
    if facts.checks().next().is_none() {
        return Checks::new();
    }
    let addresses: BTreeMap<Family, Vec<IpAddr>> = Family::ALL
        .into_iter()
        .map(|family| (family, check_addresses(family, cluster, config, own)))
        .map(|(family, addresses)| (family, addresses.into_iter().collect()))
        .collect();
    let mut found = Checks::new();
    for check in facts.checks() {
        for address in &addresses[&check.family] {
            // One Service has the port (`weir_rules::cluster::claims`); while it passes to another, the first
            // by name.
            found
                .entry(SocketAddr::new(*address, check.port.get()))
                .or_insert_with(|| check.clone());
        }
    }
    found
}

/// Numbers and texts are right in themselves: no panic in between can leave them half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
