//! What `weir run` keeps, and its steps.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use weir_rules::cluster::Family;
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::facts::Facts;
use weir_rules::nft::{Ruleset, Table};
use weir_rules::stale::Effect;
use weir_rules::transaction::Tally;

use super::addresses::Addresses;
use super::events::Events;
use super::reader::Reader;
use super::retry::Retry;
use crate::commands::input;
use crate::commands::{Failure, chain};
use crate::config::{Periods, Settings};
use crate::host;
use crate::kernel::{DumpError, Kernel};
use crate::observe::{Cause, Observed};
use crate::source::api::Update;
use crate::sync::{CleanError, Flows, Follower, LiveConnections};
use crate::takeover::Takeover;

/// How many lines of a transaction are logged at level debug.
const LINES_LOGGED: usize = 1000;

/// A step of the agent. It may block.
pub(super) type Step = Box<dyn FnOnce(&mut Agent) + Send>;

/// What the loop keeps.
pub(super) struct Agent {
    reader: Reader,
    config: Config,
    periods: Periods,
    events: Events,
    /// None until the cluster is known: then nothing is touched.
    desired: Option<Ruleset>,
    facts: Facts,
    follower: Follower<Kernel>,
    tables_retry: Retry,
    flows: Flows<LiveConnections>,
    /// What the changes mean for UDP flows that are in what is desired and not programmed yet.
    effect: Effect,
    flows_retry: Retry,
    flows_removed: usize,
    ports_are_closed: bool,
    node_is_missing: bool,
    /// When to look for changes by others again.
    next_look: Instant,
    /// Whether the thread that talks to the kernel has ended.
    is_cut_off: bool,
    has_programmed: bool,
    /// Whether the kernel has ever been equal.
    was_equal: bool,
    is_held: bool,
    addresses: Addresses,
    /// When the changes happened that are in what is desired and not programmed yet.
    triggers: Vec<(Family, Timestamp)>,
    observed: Arc<Observed>,
    /// Once kube-proxy's leftovers are seen to.
    takeover: Option<Takeover>,
}

impl Agent {
    pub(super) fn new(
        reader: Reader,
        config: Config,
        periods: Periods,
        kernel: Kernel,
        events: Events,
        observed: Arc<Observed>,
    ) -> Self {
        let node_is_missing = matches!(reader, Reader::Manifests(_));
        Self {
            reader,
            config,
            periods,
            events,
            desired: None,
            facts: Facts::default(),
            follower: Follower::new(kernel),
            tables_retry: Retry::default(),
            flows: Flows::new(LiveConnections::default()),
            effect: Effect::default(),
            flows_retry: Retry::default(),
            flows_removed: 0,
            ports_are_closed: false,
            // In manifests there need not be one.
            node_is_missing,
            next_look: Instant::now(),
            is_cut_off: false,
            has_programmed: false,
            was_equal: false,
            is_held: false,
            addresses: Addresses::default(),
            triggers: Vec::new(),
            observed,
            takeover: None,
        }
    }

    /// Does a step where it may block.
    pub(super) async fn work(mut self, step: Step) -> Result<Self, Failure> {
        let agent = tokio::task::spawn_blocking(move || {
            self.observed.step_begins();
            step(&mut self);
            self.observed.step_ends(self.tables_retry.is_failing());
            self
        })
        .await?;
        // Better an end that is seen than a process that does nothing.
        if agent.is_cut_off { Err(DumpError::Gone.into()) } else { Ok(agent) }
    }

    /// Reads manifests and kernel in full.
    pub(super) fn reload_all(&mut self) {
        self.follower.distrust();
        match self.reader {
            Reader::Manifests(_) => {
                self.is_held = false;
                self.compile(true);
            }
            // The API server is heard of all that changes.
            Reader::Api(_) => self.sync(Instant::now(), Cause::Full),
        }
    }

    /// Reads what is new, and programs it now or, if `is_held`, when [`Self::release`] says so.
    pub(super) fn read(&mut self, updates: Vec<Update>, is_held: bool) {
        self.reader.apply(updates, &self.events);
        self.observed.source_read(self.reader.state());
        self.is_held = is_held;
        if is_held {
            self.observed.held();
        } else {
            self.compile(false);
        }
    }

    /// Reads all for the first time.
    pub(super) fn start(&mut self) {
        self.addresses.read();
        self.read(Vec::new(), false);
    }

    /// Whether there may be something to program that was held back.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Programs what was held back.
    pub(super) fn release(&mut self) {
        self.is_held = false;
        self.compile(false);
    }

    /// Sets on the host and programs what other settings ask for.
    pub(super) fn configure(&mut self, settings: Settings) {
        host::apply(&settings, host::Setter::Agent);
        self.periods = settings.periods;
        if self.config != settings.rules {
            self.config = settings.rules;
            self.compile(true);
        }
    }

    fn compile(&mut self, always: bool) {
        let start = Instant::now();
        self.reader.reload();
        let touched = self.reader.take_touched();
        let Some(cluster) = self.reader.cluster().filter(|_| always || !touched.is_empty()) else {
            return;
        };
        let change = self.facts.update(cluster, &self.config, &touched);
        self.effect.merge(change.effect);
        let has_node_ports = self.facts.has_node_ports();
        let node = cluster.node.as_ref();
        let closed = input::closed_node_ports(has_node_ports, node, &self.config);
        if let Some(note) = closed.as_ref().filter(|_| !self.ports_are_closed) {
            warn!("{note}");
        }
        self.ports_are_closed = closed.is_some();
        let is_missing = node.is_none();
        if is_missing && !self.node_is_missing {
            let node = &self.config.node_name;
            warn!(
                node,
                "there is no such Node: topology hints, its addresses and its networks are not \
                 known, and /healthz is bad; is --hostname-override right?"
            );
        }
        self.node_is_missing = is_missing;
        self.desired = Some(compile(cluster, &self.config));
        self.observed.wants(&self.facts);
        if change.checks || always {
            let own = self.addresses.known();
            self.observed.wants_checks(&self.facts, cluster, &self.config, own);
        }
        self.triggers.extend(self.reader.take_triggers());
        self.sync(start, Cause::Update);
    }

    /// Repairs what somebody else has changed, and tries again what has failed.
    pub(super) fn look(&mut self) {
        if self.desired.is_none() {
            return;
        }
        if self.takeover.as_ref().is_some_and(Takeover::has_removed) {
            // Until then kube-proxy's rules may have sent clients where nobody serves any more.
            self.flows.look_again();
            self.clean_flows();
        }
        if self.addresses.known().is_none() {
            self.look_at_addresses();
        }
        if self.tables_retry.is_failing() {
            if self.tables_retry.is_due() {
                self.sync(Instant::now(), Cause::Retry);
            }
        } else if self.next_look <= Instant::now() && self.follower.has_drifted() {
            let start = Instant::now();
            self.sync(start, Cause::Repair);
            // Where others change their own tables without rest, all of weir's are read each time:
            // no more than a tenth of the time is spent so.
            self.next_look = start + 10 * start.elapsed();
        } else if self.flows_retry.is_due() {
            self.clean_flows();
        }
    }

    fn sync(&mut self, start: Instant, cause: Cause) {
        let Some(desired) = &self.desired else { return };
        match self.follower.sync(desired) {
            Ok(changes) => {
                let triggers = self.triggers.drain(..);
                let objects = objects(desired);
                self.observed.synced(cause, start.elapsed(), &changes, objects, triggers);
                self.flows.note_effect(std::mem::take(&mut self.effect));
                let is_repair = cause == Cause::Repair && !changes.is_empty();
                let cause = match cause {
                    Cause::Update => self.reader.name(),
                    Cause::Repair => "repair",
                    Cause::Retry => "retry",
                    Cause::Full => "full",
                };
                if is_repair {
                    warn!("somebody else has changed weir's tables; they are as they were again");
                }
                if !std::mem::replace(&mut self.was_equal, true) && changes.is_empty() {
                    info!("the kernel holds all of it already");
                }
                self.has_programmed |= !changes.is_empty();
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
                    info!("the kernel is equal to the {} again", self.reader.name());
                }
                self.clean_flows();
                self.take_over();
            }
            Err(failure) => {
                self.is_cut_off = failure.is_final();
                self.observed.sync_failed();
                if let Some(news) = self.tables_retry.failed(chain(&failure), self.periods.sync) {
                    error!("{news}; trying again");
                    self.events.not_programmed(news);
                }
            }
        }
    }

    /// The node's own addresses decide which flows are of a node port, and where health checks are
    /// answered.
    pub(super) fn look_at_addresses(&mut self) {
        if self.addresses.read() {
            self.flows.look_again();
            self.compile(true);
        }
    }

    /// Whether something was programmed since this was last asked.
    pub(super) fn take_programmed(&mut self) -> bool {
        std::mem::take(&mut self.has_programmed)
    }

    /// Has kube-proxy's leftovers removed, once weir's own tables are there. Only who follows an API
    /// server has taken kube-proxy's place on the node; and every cluster has at least the Service
    /// of its API server, so that one without is no reason to remove what may still serve.
    fn take_over(&mut self) {
        let serves = self.facts.has_endpoints();
        if self.takeover.is_none() && serves && matches!(self.reader, Reader::Api(_)) {
            self.takeover = Some(Takeover::start());
        }
    }

    /// Lets UDP flows go whose endpoints no longer serve. The ruleset is right without it, so that
    /// a failure is no reason to program it again.
    fn clean_flows(&mut self) {
        let start = Instant::now();
        let result = self.flows.clean(self.facts.serving());
        if let Some(cleaning) = self.flows.take_cleaning() {
            self.observed.flows_cleaned(&cleaning, start.elapsed());
        }
        match result {
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
                if let Some(news) = self.flows_retry.failed(chain(&failure), self.periods.sync) {
                    warn!("{news}; trying again");
                }
            }
        }
    }
}

/// How many objects there are, in the order of [`Family::ALL`].
fn objects(ruleset: &Ruleset) -> [Tally; 2] {
    let count = |table: &Table| Tally {
        tables: 1,
        sets: table.sets.len(),
        chains: table.chains.len(),
        rules: table.chains.values().map(|chain| chain.rules.len()).sum(),
        elements: table.sets.values().map(|set| set.elements.len()).sum(),
    };
    Family::ALL.map(|family| ruleset.tables.get(&family).map(count).unwrap_or_default())
}
