//! The health of this node, as load balancers and the kubelet ask for it.

mod report;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

pub use report::{FamilyHealth, FamilyStatus, HealthReport};

/// A point of time on the clock that never jumps, and what the wall clock said.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What durations are measured by.
    pub at: Instant,
    /// What is reported.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { at: Instant::now(), wall: Timestamp::now() }
    }
}

/// Whether the kernel holds what the cluster asks for, how long it has not, and whether the node is
/// to stay (kube-proxy: pkg/proxy/healthcheck/proxy_health.go).
///
/// kube-proxy keeps this for each family; weir programs both in one transaction, so that one is as
/// healthy as the other.
#[derive(Debug)]
pub struct Health {
    limit: Duration,
    /// When the kernel was last seen to hold all.
    updated: Option<Timestamp>,
    /// Since when there is work that has not come to a good end.
    pending_since: Option<Instant>,
    /// When some of it last came to one.
    progressed: Option<Instant>,
    is_eligible: bool,
    /// The process that keeps the tables of this network namespace, if it is another: this one waits for its end.
    waits_for: Option<String>,
}

impl Health {
    /// Healthy until work has waited for `limit`. The node is not eligible before it is known.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            updated: None,
            pending_since: None,
            progressed: None,
            is_eligible: false,
            waits_for: None,
        }
    }

    /// From now on work may wait for so long.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// There is work to do. What waits already has waited since it came.
    pub fn queued(&mut self, now: Instant) {
        self.pending_since.get_or_insert(now);
    }

    /// Some of the work is done. What is left has waited since `oldest`.
    pub fn progressed(&mut self, oldest: Instant, now: Instant) {
        self.pending_since = Some(oldest);
        self.progressed = Some(now);
    }

    /// Nothing waits: there was nothing to do.
    pub fn settled(&mut self) {
        self.pending_since = None;
    }

    /// The kernel holds what the cluster asks for.
    pub fn updated(&mut self, now: Moment) {
        self.updated = Some(now.wall);
        self.settled();
    }

    /// Whether the kernel has ever been seen to hold all.
    pub fn was_updated(&self) -> bool {
        self.updated.is_some()
    }

    /// Whether new load-balanced traffic may come to this node.
    pub fn set_eligible(&mut self, is_eligible: bool) {
        self.is_eligible = is_eligible;
    }

    /// Whether the node is to stay.
    pub fn is_eligible(&self) -> bool {
        self.is_eligible
    }

    /// Whether work goes on: much of it may be late, and is no hang.
    pub fn is_alive(&self, now: Instant) -> bool {
        let recently = |since: Instant| now.duration_since(since) < self.limit;
        self.pending_since.is_none_or(recently) || self.progressed.is_some_and(recently)
    }

    /// Another process keeps the tables, for whose end this one waits; none any more if `None`.
    pub fn set_waits_for(&mut self, other: Option<String>) {
        self.waits_for = other;
    }

    /// The process for whose end this one waits.
    pub fn waits_for(&self) -> Option<&str> {
        self.waits_for.as_deref()
    }

    /// Whether all work is done or at least not late.
    pub fn is_healthy(&self, now: Instant) -> bool {
        self.pending_since.is_none_or(|since| now.duration_since(since) < self.limit)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
