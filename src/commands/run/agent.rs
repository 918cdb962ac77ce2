//! What `weir run` keeps, and its steps.

mod sync;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};
use weir_rules::cluster::{Family, Touched};
use weir_rules::config::Config;

use super::addresses::Addresses;
use super::cleaner::Cleaner;
use super::events::Events;
use super::lost_claims::{LostClaims, Notice};
use super::others::Others;
use super::over_limit::OverLimit;
use super::programmed::Programmed;
use super::reader::Reader;
use super::retry::Retry;
use super::triggers::Triggers;
use crate::commands::Failure;
use crate::config::{Periods, Settings};
use crate::host::{self, NetworkChecks};
use crate::kernel::{DumpError, Heard};
use crate::observe::{Cause, Observed};
use crate::source::api::Update;
use crate::sync::{Engine, Live};
use crate::takeover::Takeover;

/// A step of the agent. It may block.
pub(super) type Step = Box<dyn FnOnce(&mut Agent) + Send>;

/// What the loop keeps.
pub(super) struct Agent {
    reader: Reader,
    config: Config,
    periods: Periods,
    events: Events,
    lost_claims: LostClaims,
    over_limit: OverLimit,
    programmed: Programmed,
    engine: Engine<Live>,
    others: Others,
    tables_retry: Retry,
    cleaner: Cleaner,
    ports_are_closed: bool,
    node_is_missing: bool,
    /// Whether the thread that talks to the kernel has ended.
    is_cut_off: bool,
    has_programmed: bool,
    /// Whether the kernel has ever been equal.
    was_equal: bool,
    is_held: bool,
    /// Whether more of what has changed waits to be programmed.
    has_more: bool,
    /// Whether much memory was needed that is free again.
    is_bloated: bool,
    /// When flows were cleaned last.
    cleaned: Option<Instant>,
    addresses: Addresses,
    triggers: Triggers,
    observed: Arc<Observed>,
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
        reader: Reader,
        config: Config,
        periods: Periods,
        kernel: Live,
        events: Events,
        observed: Arc<Observed>,
    ) -> Self {
        let node_is_missing = matches!(reader, Reader::Manifests(_));
        Self {
            reader,
            config,
            periods,
            events,
            lost_claims: LostClaims::default(),
            over_limit: OverLimit::default(),
            programmed: Programmed::default(),
            engine: Engine::new(kernel),
            others: Others::default(),
            tables_retry: Retry::default(),
            cleaner: Cleaner::default(),
            ports_are_closed: false,
            // In manifests there need not be one.
            node_is_missing,
            is_cut_off: false,
            has_programmed: false,
            was_equal: false,
            is_held: false,
            has_more: false,
            is_bloated: false,
            cleaned: None,
            addresses: Addresses::default(),
            triggers: Triggers::default(),
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
            host::apply(&settings, host::Setter::Agent);
        }
        self.addresses.read();
        self.compile(true, Cause::Update);
    }

    /// Does a step where it may block.
    pub(super) async fn work(mut self, step: Step) -> Result<Self, Failure> {
        let agent = tokio::task::spawn_blocking(move || {
            self.observed.step_begins();
            step(&mut self);
            let is_failing = self.tables_retry.is_failing();
            let is_behind = self.reader.cluster().is_some() && self.engine.has_drifted();
            match self.engine.oldest_queued().filter(|_| self.has_more && !is_failing) {
                Some(oldest) => self.observed.batch_ends(oldest),
                None => self.observed.step_ends(is_failing || is_behind),
            }
            self
        })
        .await?;
        // Better an end that is seen than a process that does nothing.
        if agent.is_cut_off { Err(DumpError::Gone.into()) } else { Ok(agent) }
    }

    /// Reads manifests and kernel in full.
    pub(super) fn reload_all(&mut self) {
        self.engine.distrust();
        match self.reader {
            Reader::Manifests(_) => {
                self.is_held = false;
                self.compile(true, Cause::Full);
            }
            // The API server is heard of all that changes.
            Reader::Api(_) => self.sync(Instant::now(), Cause::Full),
        }
    }

    /// Reads what is new, and programs it now or, if `is_held`, when [`Self::release`] says so.
    pub(super) fn read(&mut self, updates: Vec<Update>, is_held: bool) {
        self.reader.apply(updates, &self.events);
        self.observed.source_read(self.reader.state());
        self.is_held = is_held && !self.is_waiting;
        if self.is_held {
            self.observed.held();
        } else {
            self.compile(false, Cause::Update);
        }
    }

    /// Reads all for the first time.
    pub(super) fn start(&mut self) {
        self.addresses.read();
        if matches!(self.reader, Reader::Api(_)) && !self.is_waiting {
            // The first lists are on their way meanwhile.
            self.engine.read_ahead();
        }
        self.read(Vec::new(), false);
    }

    /// Whether there may be something to program that was held back.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
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
    pub(super) fn release(&mut self) {
        self.is_held = false;
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
        host::apply(&settings, host::Setter::Agent);
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
            // What has changed is kept by the reader.
            return;
        }
        // What fails is tried again in its time, whatever changes meanwhile.
        if self.deliver(always) && (!self.tables_retry.is_failing() || self.tables_retry.is_due()) {
            self.sync(start, cause);
        }
    }

    /// Hands to the engine what has changed; if `always`, also what depends on settings and addresses. Says
    /// whether that is anything.
    fn deliver(&mut self, always: bool) -> bool {
        if self.is_waiting || self.reader.cluster().is_none() {
            return false;
        }
        let mut touched = self.reader.take_touched();
        let Some(cluster) = self.reader.cluster() else { return false };
        self.is_held = false;
        touched.surroundings |= always;
        if touched.is_empty() {
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
        self.tell_of_services(&touched);
        self.programmed.expect(touched.clone());
        self.engine.touch(touched);
        self.observed.wants();
        self.triggers.add(self.reader.take_triggers());
        true
    }

    /// Tells which of these Services do not have what they ask for.
    fn tell_of_services(&mut self, touched: &Touched) {
        let Some(cluster) = self.reader.cluster() else { return };
        for notice in self.lost_claims.update(cluster, touched) {
            match notice {
                Notice::Lost { service, text } => {
                    if self.events.lost_claims(&service, &text) {
                        warn!(%service, "{text}");
                    }
                }
                Notice::Regained { service } if self.events.has_room_for_a_line() => {
                    info!(%service, "the Service has all that it claims again");
                }
                Notice::Regained { .. } => {}
            }
        }
        for (service, excess) in self.over_limit.update(cluster, &self.config, touched) {
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
            self.cleaner.look_again();
            // Else behind the sync that succeeds again.
            if !self.tables_retry.is_failing() {
                self.clean_flows();
            }
        }
        if self.addresses.known().is_none() {
            self.look_at_addresses();
        }
        match self.engine.look() {
            Ok(heard) => self.note_heard(&heard),
            Err(DumpError::Gone) => self.is_cut_off = true,
            // Then the next request fails, too, and that is told.
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
    pub(super) fn hear(&mut self) {
        let heard = self.engine.hear();
        self.note_heard(&heard);
        self.keep_up();
    }

    fn note_heard(&mut self, heard: &Heard) {
        self.observed.heard(heard.commits.len());
        self.others.heard(heard);
    }

    /// When [`Self::keep_up`] is to be called, if the kernel can be talked to.
    pub(super) fn due(&self) -> Option<Instant> {
        let can_sync = self.reader.cluster().is_some() && !self.tables_retry.is_failing();
        self.engine.due().filter(|_| can_sync)
    }

    /// Repairs what somebody else has changed, and tries what the kernel has refused, when it is
    /// time.
    pub(super) fn keep_up(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            let cause = if self.engine.has_drifted() { Cause::Repair } else { Cause::Retry };
            self.sync(Instant::now(), cause);
        }
    }

    /// The node's own addresses decide which flows are of a node port, and where health checks are
    /// answered.
    pub(super) fn look_at_addresses(&mut self) {
        if self.addresses.read() {
            self.cleaner.look_again();
            self.compile(true, Cause::Update);
        }
    }

    /// Says what of the host's network keeps Services from working.
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

    /// Whether flows are left to be looked at, and may be: only what is programmed tells which are stale.
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
