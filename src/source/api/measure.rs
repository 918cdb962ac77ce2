//! Metrics of one watch.

use crate::source::Kind;
use crate::source::api::ApiMetrics;

/// Counts for one kind.
pub(super) struct Measure {
    metrics: ApiMetrics,
    kind: Kind,
    host: String,
}

impl Measure {
    /// For the watch of a kind. Requests are counted with the server's host and port.
    pub(super) fn new(metrics: &ApiMetrics, kind: Kind, host: &str) -> Self {
        Self { metrics: metrics.clone(), kind, host: host.to_owned() }
    }

    /// A request was answered with this status; `None` if it was not.
    pub(super) fn requested(&self, code: Option<u16>) {
        self.metrics.requested(&self.host, code);
        if code == Some(200) {
            self.answered();
        }
    }

    /// The server has said what it knows.
    pub(super) fn answered(&self) {
        self.metrics.set_connected(self.kind, true);
    }

    /// A list or a watch came to its end and is begun again: regularly.
    pub(super) fn ended(&self) {
        self.metrics.ended(self.kind, "ended");
    }

    /// The same, because of a failure.
    pub(super) fn failed(&self, reason: &'static str) {
        self.metrics.ended(self.kind, reason);
        self.metrics.set_connected(self.kind, false);
    }
}
