//! Metrics of the API source.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::registry::MetricsBuilder;
use crate::source::Kind;

/// How the watches on the API server are doing. Clones count together.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    restarts: IntCounterVec,
    connected: IntGaugeVec,
}

impl ApiMetrics {
    pub(crate) fn new(book: &mut MetricsBuilder) -> Self {
        Self {
            requests: book.counters(
                "rest_client_requests_total",
                &["code", "host", "method"],
                "Requests for lists and watches by the status of the answer, `<error>` without one.",
            ),
            restarts: book.counters(
                "weir_api_watch_restarts_total",
                &["kind", "reason"],
                "Lists and watches that were begun again.",
            ),
            connected: book.gauges(
                "weir_api_connected",
                &["kind"],
                "Whether the last word of the API server about a kind was a good one.",
            ),
        }
    }

    /// A request was answered; `None` if it was not.
    pub(crate) fn requested(&self, host: &str, code: Option<u16>) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        // Whatever weir asks for, it reads.
        self.requests.with_label_values(&[code.as_str(), host, "GET"]).inc();
    }

    /// A list or a watch of a kind has come to its end, for one of a few reasons.
    pub(crate) fn ended(&self, kind: Kind, reason: &'static str) {
        self.restarts.with_label_values(&[kind.name(), reason]).inc();
    }

    /// Whether the server answers when it is asked for a kind.
    pub(crate) fn set_connected(&self, kind: Kind, is_connected: bool) {
        self.connected.with_label_values(&[kind.name()]).set(is_connected.into());
    }
}
