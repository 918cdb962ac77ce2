//! Removes stale flows after each commit.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use weir_rules::facts::stale_flows::{FlowImpact, ServedDestinations};

use super::retry::RetryState;
use crate::error::chain;
use crate::sync::{CleanError, Flows, LiveConnections, Progress};
use crate::telemetry::status::AgentStatus;

/// Removes UDP flows whose endpoints no longer serve.
pub(super) struct FlowCleaner {
    flows: Flows<LiveConnections>,
    retry: RetryState,
    /// Whether it was asked to clean since it last began.
    is_wanted: bool,
    /// How much time the present look at the table has taken.
    spent: Duration,
    /// How many it has removed.
    total: usize,
}

impl Default for FlowCleaner {
    fn default() -> Self {
        Self {
            flows: Flows::new(LiveConnections::default()),
            retry: RetryState::default(),
            is_wanted: false,
            spent: Duration::ZERO,
            total: 0,
        }
    }
}

impl FlowCleaner {
    /// Records the effect of a commit, or of a change of the cluster that is programmed.
    pub(super) fn note(&mut self, effect: FlowImpact) {
        self.flows.note(effect);
    }

    /// All flows will be compared once more.
    pub(super) fn rescan(&mut self) {
        self.flows.rescan();
    }

    /// Whether it has failed and is to be tried now.
    pub(super) fn is_due(&self) -> bool {
        self.retry.is_due()
    }

    /// Has flows that are stale under what is programmed removed by the calls of [`Self::clean_some`] from
    /// now on.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether there is something left to do.
    pub(super) fn is_busy(&self) -> bool {
        self.is_wanted || self.flows.is_reading()
    }

    /// Lets some flows go that are stale under what is programmed: a long table takes many calls, between
    /// which something else may be programmed. The ruleset is right without it, so that a failure is no
    /// reason to program it again; it is tried again after at most `longest`.
    pub(super) fn clean_some(
        &mut self,
        serving: &ServedDestinations,
        observed: &AgentStatus,
        longest: Duration,
    ) {
        if !self.flows.is_reading() {
            self.is_wanted = false;
        }
        let start = Instant::now();
        let result = self.flows.clean_some(serving);
        self.spent += start.elapsed();
        if let Some(cleaning) = self.flows.take_cleaning() {
            observed.flows_cleaned(&cleaning, self.spent);
        }
        let result = match result {
            Ok(Progress::Begun) => return,
            Ok(Progress::Done(removed)) => Ok(removed),
            Err(failure) => Err(failure),
        };
        let spent = std::mem::take(&mut self.spent);
        match result {
            Ok(removed) => {
                if removed > 0 {
                    self.total += removed;
                    let elapsed_ms = spent.as_secs_f64() * 1e3;
                    info!(removed, total = self.total, elapsed_ms, "removed stale UDP flows");
                }
                if self.retry.succeeded() {
                    info!("stale UDP flows can be removed again");
                }
            }
            Err(failure) => {
                if let CleanError::Delete { removed, .. } = failure {
                    self.total += removed;
                }
                if let Some(news) = self.retry.failed(chain(&failure), longest) {
                    warn!("{news}; trying again");
                }
            }
        }
    }
}
