//! The agent's state, and its steps.

mod sync;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};
use weir_rules::cluster::{ChangeSet, Family};
use weir_rules::config::Config;

use super::cluster_source::ClusterSource;
use super::events::Events;
use super::foreign_writers::ForeignWriters;
use super::host_addresses::HostAddresses;
use super::lost_claims::{ClaimNotice, LostClaims};
use super::over_limit::OverLimit;
use super::programmed::Programmed;
use super::retry::RetryState;
use super::stale_flows::FlowCleaner;
use super::triggers::PendingTriggers;
use crate::config::{Periods, Settings};
use crate::error::CommandError;
use crate::host::{self, NetworkChecks};
use crate::kernel::{DumpError, ForeignChanges};
use crate::source::api::Update;
use crate::sync::{MonitoredKernel, Reconciler};
use crate::takeover::Takeover;
use crate::telemetry::status::{AgentStatus, Cause};

/// A step of the agent. It may block.
pub(super) type Step = Box<dyn FnOnce(&mut Agent) + Send>;

/// What the loop keeps.
pub(super) struct Agent {
    reader: ClusterSource,
    config: Config,
    periods: Periods,
    events: Events,
    lost_claims: LostClaims,
    over_limit: OverLimit,
    programmed: Programmed,
    reconciler: Reconciler<MonitoredKernel>,
    foreign_writers: ForeignWriters,
    tables_retry: RetryState,
    cleaner: FlowCleaner,
    ports_are_closed: bool,
    node_is_missing: bool,
    /// Whether the thread that talks to the kernel has ended.
    is_cut_off: bool,
    has_programmed: bool,
    /// Whether the kernel has ever been equal.
    was_equal: bool,
    is_deferred: bool,
    /// Whether more of what has changed waits to be programmed.
    has_more: bool,
    /// Whether much memory was needed that is free again.
    is_bloated: bool,
    /// When flows were cleaned last.
    cleaned: Option<Instant>,
    addresses: HostAddresses,
    triggers: PendingTriggers,
    observed: Arc<AgentStatus>,
    /// Whether another weir keeps the tables, for whose end this one waits.
    is_waiting: bool,
    /// What to set on the host once it does not wait any more.
    host_settings: Option<Box<Settings>>,
    network: NetworkChecks,
    /// Once kube-proxy's leftovers are seen to.
    takeover: Option<Takeover>,
}

impl Agent {
    pub(super) fn new(
        reader: ClusterSource,
        config: Config,
        periods: Periods,
        kernel: MonitoredKernel,
        events: Events,
        observed: Arc<AgentStatus>,
    ) -> Self {
        let node_is_missing = matches!(reader, ClusterSource::Manifests(_));
        Self {
            reader,
            config,
            periods,
            events,
            lost_claims: LostClaims::default(),
            over_limit: OverLimit::default(),
            programmed: Programmed::default(),
            reconciler: Reconciler::new(kernel),
            foreign_writers: ForeignWriters::default(),
            tables_retry: RetryState::default(),
            cleaner: FlowCleaner::default(),
            ports_are_closed: false,
            // In manifests there need not be one.
            node_is_missing,
            is_cut_off: false,
            has_programmed: false,
            was_equal: false,
            is_deferred: false,
            has_more: false,
            is_bloated: false,
            cleaned: None,
            addresses: HostAddresses::default(),
            triggers: PendingTriggers::default(),
            observed,
            is_waiting: false,
            host_settings: None,
            network: NetworkChecks::default(),
            takeover: None,
        }
    }

    /// Leaves the kernel alone until [`Self::begin`], and sets nothing on the host.
    pub(super) fn waiting(mut self, host_settings: Option<Box<Settings>>) -> Self {
        (self.is_waiting, self.host_settings) = (true, host_settings);
        self
    }

    /// Keeps the tables from now on.
    pub(super) fn begin(&mut self) {
        info!("this weir keeps the tables of this network namespace from now on");
        self.is_waiting = false;
        self.observed.waits_for(None);
        if let Some(settings) = self.host_settings.take() {
            host::apply(&settings, host::Caller::Agent);
        }
        self.addresses.read();
        self.compile(true, Cause::Update);
    }

    /// Does a step where it may block.
    pub(super) async fn work(mut self, step: Step) -> Result<Self, CommandError> {
        let agent = tokio::task::spawn_blocking(move || {
            self.observed.step_started();
            step(&mut self);
            let is_failing = self.tables_retry.is_failing();
            let is_behind = self.reader.cluster().is_some() && self.reconciler.has_drifted();
            match self.reconciler.oldest_queued().filter(|_| self.has_more && !is_failing) {
                Some(oldest) => self.observed.batch_ended(oldest),
                None => self.observed.step_ended(is_failing || is_behind),
            }
            self
        })
        .await?;
        // Better an end that is seen than a process that does nothing.
        if agent.is_cut_off { Err(DumpError::Gone.into()) } else { Ok(agent) }
    }

    /// Reads manifests and kernel in full.
    pub(super) fn reload_all(&mut self) {
        self.reconciler.mark_unknown();
        match self.reader {
            ClusterSource::Manifests(_) => {
                self.is_deferred = false;
                self.compile(true, Cause::Full);
            }
            // The API server announces every change.
            ClusterSource::Api(_) => self.sync(Instant::now(), Cause::Full),
        }
    }

    /// Reads what is new, and programs it now or, if `is_deferred`, when [`Self::flush`] says so.
    pub(super) fn read(&mut self, updates: Vec<Update>, is_deferred: bool) {
        self.reader.apply(updates, &self.events);
        self.observed.source_read(self.reader.state());
        self.is_deferred = is_deferred && !self.is_waiting;
        if self.is_deferred {
            self.observed.deferred();
        } else {
            self.compile(false, Cause::Update);
        }
    }

    /// Reads all for the first time.
    pub(super) fn start(&mut self) {
        self.addresses.read();
        if matches!(self.reader, ClusterSource::Api(_)) && !self.is_waiting {
            // The first lists are on their way meanwhile.
            self.reconciler.prefetch();
        }
        self.read(Vec::new(), false);
    }

    /// Whether there may be something to program that was held back.
    pub(super) fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// Whether more of what has changed waits to be programmed, and can be.
    pub(super) fn has_more(&self) -> bool {
        self.has_more && !self.tables_retry.is_failing()
    }

    /// Programs more of it.
    pub(super) fn go_on(&mut self) {
        self.sync(Instant::now(), Cause::Update);
    }

    /// Programs what was held back.
    pub(super) fn flush(&mut self) {
        self.is_deferred = false;
        self.compile(false, Cause::Update);
    }

    /// Sets on the host and programs what other settings ask for.
    pub(super) fn configure(&mut self, settings: Settings) {
        self.periods = settings.periods;
        if self.is_waiting {
            self.config = settings.rules.clone();
            // A directory sets nothing on the host.
            self.host_settings = self.host_settings.is_some().then(|| Box::new(settings));
            return;
        }
        host::apply(&settings, host::Caller::Agent);
        if self.config != settings.rules {
            self.config = settings.rules;
            self.compile(true, Cause::Update);
        }
    }

    /// Programs what has changed; if `always`, also what depends on settings and addresses.
    fn compile(&mut self, always: bool, cause: Cause) {
        let start = Instant::now();
        self.reader.reload();
        if self.is_waiting {
            // The source keeps the changes.
            return;
        }
        // What fails is tried again in its time, whatever changes meanwhile.
        if self.deliver(always) && (!self.tables_retry.is_failing() || self.tables_retry.is_due()) {
            self.sync(start, cause);
        }
    }

    /// Hands changes to the reconciler; if `always`, also those of settings and addresses. Returns whether
    /// that is anything.
    fn deliver(&mut self, always: bool) -> bool {
        if self.is_waiting || self.reader.cluster().is_none() {
            return false;
        }
        let mut change_set = self.reader.take_changes();
        let Some(cluster) = self.reader.cluster() else { return false };
        self.is_deferred = false;
        change_set.environment |= always;
        if change_set.is_empty() {
            return false;
        }
        let is_missing = cluster.node.is_none();
        if is_missing && !self.node_is_missing {
            let node = &self.config.node_name;
            warn!(
                node,
                "there is no such Node: topology hints, its addresses and its networks are not \
                 known, and /healthz is bad; is --hostname-override right?"
            );
        }
        self.node_is_missing = is_missing;
        self.tell_of_services(&change_set);
        self.programmed.expect(change_set.clone());
        self.reconciler.enqueue(change_set);
        self.observed.changes_queued();
        self.triggers.add(self.reader.take_triggers());
        true
    }

    /// Reports those of these Services that do not get what they ask for.
    fn tell_of_services(&mut self, change_set: &ChangeSet) {
        let Some(cluster) = self.reader.cluster() else { return };
        for notice in self.lost_claims.update(cluster, change_set) {
            match notice {
                ClaimNotice::Lost { service, text } => {
                    if self.events.lost_claims(&service, &text) {
                        warn!(%service, "{text}");
                    }
                }
                ClaimNotice::Regained { service } if self.events.has_room_for_a_line() => {
                    info!(%service, "the Service has all that it claims again");
                }
                ClaimNotice::Regained { .. } => {}
            }
        }
        for (service, excess) in self.over_limit.update(cluster, &self.config, change_set) {
            match excess {
                Some(excess) if self.events.over_limit(&service, &excess.to_string()) => {
                    warn!(%service, "{excess}");
                }
                Some(_) => {}
                None if self.events.has_room_for_a_line() => {
                    info!(%service, "the Service is within its limits again");
                }
                None => {}
            }
        }
        self.observed.services_told(cluster.services.lost_counts(), self.over_limit.len());
    }

    /// Does what waits for its time or for somebody else, and looks whether the kernel has been
    /// changed without a word.
    pub(super) fn look(&mut self) {
        if self.reader.cluster().is_none() || self.is_waiting {
            return;
        }
        if self.takeover.as_ref().is_some_and(Takeover::has_removed) {
            // Until then kube-proxy's rules may have sent clients where nobody serves any more.
            self.cleaner.rescan();
            // Else behind the sync that succeeds again.
            if !self.tables_retry.is_failing() {
                self.clean_flows();
            }
        }
        if self.addresses.known().is_none() {
            self.look_at_addresses();
        }
        match self.reconciler.check_generation() {
            Ok(foreign) => self.report_foreign_changes(&foreign),
            Err(DumpError::Gone) => self.is_cut_off = true,
            // Then the next request fails, too, and that is reported.
            Err(_) => {}
        }
        if self.tables_retry.is_due() {
            self.sync(Instant::now(), Cause::Retry);
        } else if !self.tables_retry.is_failing() && self.cleaner.is_due() {
            self.clean_flows();
        }
        self.keep_up();
    }

    /// Somebody has committed something to nf_tables.
    pub(super) fn take_notifications(&mut self) {
        let foreign = self.reconciler.take_notifications();
        self.report_foreign_changes(&foreign);
        self.keep_up();
    }

    fn report_foreign_changes(&mut self, foreign: &ForeignChanges) {
        self.observed.foreign(foreign.commits.len());
        self.foreign_writers.foreign(foreign);
    }

    /// When [`Self::keep_up`] is to be called, if the kernel can be talked to.
    pub(super) fn due(&self) -> Option<Instant> {
        let can_sync = self.reader.cluster().is_some() && !self.tables_retry.is_failing();
        self.reconciler.due().filter(|_| can_sync)
    }

    /// Repairs what somebody else has changed, and tries what the kernel has refused, when it is
    /// time.
    pub(super) fn keep_up(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            let cause = if self.reconciler.has_drifted() { Cause::Repair } else { Cause::Retry };
            self.sync(Instant::now(), cause);
        }
    }

    /// The node's own addresses decide which flows are of a node port, and where health checks are
    /// answered.
    pub(super) fn look_at_addresses(&mut self) {
        if self.addresses.read() {
            self.cleaner.rescan();
            self.compile(true, Cause::Update);
        }
    }

    /// Logs settings of the host's network that keep Services from working.
    pub(super) fn look_at_network(&mut self) {
        let Some(cluster) = self.reader.cluster() else { return };
        let one_of = |family| {
            let mut addresses = cluster.services.values().flat_map(|it| &it.cluster_ips);
            addresses.find(|address| Family::of(**address) == family).copied()
        };
        let cluster_ips: Vec<IpAddr> = Family::ALL.into_iter().filter_map(one_of).collect();
        self.network.look(&cluster_ips);
    }

    /// Whether changes of the cluster were programmed since this was last asked, the last batch of them
    /// included.
    pub(super) fn take_programmed(&mut self) -> bool {
        !self.has_more() && std::mem::take(&mut self.has_programmed)
    }

    /// Whether flows are left to be checked, and may be: only what is programmed decides which are stale.
    pub(super) fn is_cleaning(&self) -> bool {
        self.cleaner.is_busy() && !self.tables_retry.is_failing()
    }

    /// Looks at some more flows.
    pub(super) fn clean_on(&mut self) {
        let serving = self.programmed.facts().serving();
        self.cleaner.clean_some(serving, &self.observed, self.periods.sync);
    }

    fn clean_flows(&mut self) {
        self.cleaned = Some(Instant::now());
        self.cleaner.want();
        self.clean_on();
    }
}
