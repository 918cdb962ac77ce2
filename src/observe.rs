//! What the agent tells of itself: the one value that it and the HTTP servers share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use weir_rules::checks::{Check, check_addresses, checks};
use weir_rules::cluster::{Cluster, Family};
use weir_rules::config::Config;
use weir_rules::nft::Ruleset;
use weir_rules::numbers::Numbers;

use crate::commands::chain;
use crate::health::{Health, Moment};
use crate::metrics::{Metrics, family_name, seconds};
use crate::netlink::addresses::own_addresses;
use crate::source::api;
use crate::source::convert::NodeFuture;
use crate::sync::{Change, Cleaning};

/// The health checks of load balancers, by the address at which they are answered.
pub type Checks = BTreeMap<SocketAddr, Check>;

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

/// What the agent tells, in the order in which it happens, and what others read of it.
#[derive(Debug)]
pub struct Observed {
    start: Timestamp,
    health: Mutex<Health>,
    metrics: Metrics,
    wanted: Mutex<Wanted>,
    checks: watch::Sender<Checks>,
    configz: Mutex<String>,
}

/// What the cluster asks for.
#[derive(Debug, Default)]
struct Wanted {
    /// When the agent began what it is doing.
    step_since: Option<Instant>,
    /// When the first change was noticed that is not programmed yet.
    noticed: Option<Instant>,
    numbers: [Numbers; 2],
    checks: Checks,
    /// How many Services and EndpointSlices had changed when all was programmed last.
    programmed: [u64; 2],
    /// How many have changed by now.
    seen: [u64; 2],
}

impl Observed {
    /// Nothing has happened yet but that a configuration was read, which /configz answers. Work that
    /// waits for `limit` is unhealthy.
    pub fn new(limit: Duration, configz: String) -> Arc<Self> {
        let observed = Self {
            start: Timestamp::now(),
            health: Mutex::new(Health::new(limit)),
            metrics: Metrics::default(),
            wanted: Mutex::default(),
            checks: watch::Sender::default(),
            configz: Mutex::default(),
        };
        observed.config_read(Some(configz));
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

    /// The configuration was read, and is this in the JSON of /configz; `None` if it was bad, and the
    /// one before stays in use.
    pub fn config_read(&self, configz: Option<String>) {
        let own = &self.metrics.own;
        own.config_is_good.set(configz.is_some().into());
        if let Some(configz) = configz {
            own.config_loaded.set(seconds(Timestamp::now()));
            *lock(&self.configz) = configz;
        }
    }

    /// What /configz answers.
    pub fn configz(&self) -> String {
        lock(&self.configz).clone()
    }

    /// The agent begins a step. One that never ends is unhealthy, whatever it is about.
    pub fn step_begins(&self) {
        let now = Instant::now();
        lock(&self.wanted).step_since = Some(now);
        self.health().queued(now);
    }

    /// The step is over; `is_failing` if the kernel could not be made equal and is tried again.
    pub fn step_ends(&self, is_failing: bool) {
        if !is_failing {
            self.health().settled();
        }
    }

    /// The source has been read: an API server's state, or manifests, which do not tell whether
    /// a node is to go.
    pub fn source_read(&self, state: Option<&api::State>) {
        let stays = |state: &api::State| state.node_future() == Some(NodeFuture::Stays);
        self.health().set_eligible(state.is_none_or(stays));
        let Some(changes) = state.map(api::State::changes) else { return };
        let proxy = &self.metrics.proxy;
        let mut wanted = lock(&self.wanted);
        proxy.service_changes.inc_by(changes.services - wanted.seen[0]);
        proxy.endpoint_changes.inc_by(changes.slices - wanted.seen[1]);
        wanted.seen = [changes.services, changes.slices];
        self.tell_pending(&wanted);
    }

    /// The cluster asks for something, maybe new.
    pub fn wants(&self, cluster: &Cluster, config: &Config) {
        let numbers = Family::ALL.map(|family| Numbers::of(family, cluster, config));
        let checks = addressed(cluster, config);
        let mut wanted = lock(&self.wanted);
        let since = wanted.step_since;
        wanted.noticed = wanted.noticed.or(since);
        (wanted.numbers, wanted.checks) = (numbers, checks);
        let now = seconds(Timestamp::now());
        for family in Family::ALL {
            self.metrics.proxy.last_queued.with_label_values(&[family_name(family)]).set(now);
        }
    }

    /// The kernel has been made equal to what is wanted, and holds this ruleset. `triggers` are the
    /// times of the changes that were waiting for it.
    pub fn synced(
        &self,
        cause: Cause,
        took: Duration,
        changes: &[Change],
        ruleset: &Ruleset,
        triggers: impl Iterator<Item = (Family, Timestamp)>,
    ) {
        let now = Moment::now();
        let mut health = self.health();
        let is_first = !health.was_updated();
        health.updated(now);
        drop(health);
        self.count_sync(if is_first { Cause::Full } else { cause }, took, now);
        self.count_changes(cause, changes);
        self.count_objects(ruleset);
        // As kube-proxy does: what was written before this process came is not its doing.
        for (family, trigger) in triggers.filter(|(_, trigger)| *trigger > self.start) {
            let took = now.wall.duration_since(trigger).as_secs_f64();
            let histogram = &self.metrics.proxy.network_programming;
            histogram.with_label_values(&[family_name(family)]).observe(took);
        }
        let mut wanted = lock(&self.wanted);
        wanted.programmed = wanted.seen;
        self.tell_pending(&wanted);
        if let Some(noticed) = wanted.noticed.take() {
            self.metrics.own.update.observe(now.at.duration_since(noticed).as_secs_f64());
        }
        self.tell_numbers(&wanted.numbers);
        self.checks.send_if_modified(|checks| {
            let is_new = *checks != wanted.checks;
            checks.clone_from(&wanted.checks);
            is_new
        });
    }

    /// The kernel could not be made equal.
    pub fn sync_failed(&self) {
        for family in Family::ALL {
            self.metrics.proxy.sync_failures.with_label_values(&[family_name(family)]).inc();
        }
    }

    /// Stale flows were looked for.
    pub fn flows_cleaned(&self, cleaning: &Cleaning, took: Duration) {
        for (family, removed) in Family::ALL.into_iter().zip(cleaning.removed) {
            let label = [family_name(family)];
            let proxy = &self.metrics.proxy;
            proxy.flows_removed.with_label_values(&label).inc_by(removed as u64);
            proxy.flows_cleaning.with_label_values(&label).observe(took.as_secs_f64());
        }
        self.metrics.own.flow_failures.inc_by(u64::from(cleaning.failed));
    }

    fn count_sync(&self, cause: Cause, took: Duration, now: Moment) {
        let proxy = &self.metrics.proxy;
        let kind = if cause == Cause::Update { &proxy.partial_sync } else { &proxy.full_sync };
        for family in Family::ALL {
            let label = [family_name(family)];
            proxy.sync.with_label_values(&label).observe(took.as_secs_f64());
            kind.with_label_values(&label).observe(took.as_secs_f64());
            proxy.last_sync.with_label_values(&label).set(seconds(now.wall));
        }
    }

    fn count_changes(&self, cause: Cause, changes: &[Change]) {
        let own = &self.metrics.own;
        own.transactions.inc_by(changes.len() as u64);
        own.repairs.inc_by(u64::from(cause == Cause::Repair && !changes.is_empty()));
        for change in changes {
            own.transaction_bytes.observe(change.bytes as f64);
            let counts = change.transaction.counts();
            own.count("added", &counts.added);
            own.count("removed", &counts.removed);
        }
    }

    fn count_objects(&self, ruleset: &Ruleset) {
        for (family, table) in &ruleset.tables {
            let rules = table.chains.values().map(|chain| chain.rules.len()).sum();
            let elements = table.sets.values().map(|set| set.elements.len()).sum();
            let kinds = [
                ("set", table.sets.len()),
                ("chain", table.chains.len()),
                ("rule", rules),
                ("element", elements),
            ];
            for (kind, count) in kinds {
                let label = [family_name(*family), kind];
                self.metrics.own.objects.with_label_values(&label).set(count as i64);
            }
        }
    }

    fn tell_numbers(&self, numbers: &[Numbers; 2]) {
        let Metrics { proxy, own, .. } = &self.metrics;
        for (family, numbers) in Family::ALL.into_iter().zip(numbers) {
            let label = family_name(family);
            own.services.with_label_values(&[label]).set(numbers.services as i64);
            own.endpoints.with_label_values(&[label]).set(numbers.endpoints as i64);
            let without =
                [("internal", numbers.no_local_internal), ("external", numbers.no_local_external)];
            for (policy, count) in without {
                proxy.no_local_endpoints.with_label_values(&[policy, label]).set(count as i64);
            }
        }
    }

    fn tell_pending(&self, wanted: &Wanted) {
        let [services, slices] = [0, 1].map(|index| wanted.seen[index] - wanted.programmed[index]);
        self.metrics.proxy.service_changes_pending.set(services as i64);
        self.metrics.proxy.endpoint_changes_pending.set(slices as i64);
    }
}

/// The health checks of a cluster at the addresses where this node answers them.
fn addressed(cluster: &Cluster, config: &Config) -> Checks {
    let all = checks(cluster, config);
    if all.is_empty() {
        return Checks::new();
    }
    let own = own_addresses().unwrap_or_else(|error| {
        let reason = chain(&error);
        warn!("cannot read the node's addresses, at which health checks are answered: {reason}");
        Default::default()
    });
    let addresses: BTreeMap<Family, Vec<IpAddr>> = Family::ALL
        .into_iter()
        .map(|family| (family, check_addresses(family, cluster, config, &own)))
        .map(|(family, addresses)| (family, addresses.into_iter().collect()))
        .collect();
    let mut found = Checks::new();
    for check in all {
        for address in &addresses[&check.family] {
            // The API server gives no port to two Services; if it did, the first by name has it.
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
#[path = "observe_tests.rs"]
mod tests;
