//! /healthz and /livez: whether this node takes load-balanced traffic, and whether weir is alive.

use std::sync::Arc;

use http::StatusCode;
use prometheus::IntCounterVec;

use super::answer::{Answer, Handler, JSON, answer, failed, not_found};
use crate::health::{Moment, Report};
use crate::observe::Observed;

/// Answers at healthzBindAddress.
pub(super) fn handler(observed: &Arc<Observed>) -> Handler {
    let observed = Arc::clone(observed);
    Arc::new(move |request| {
        let counters = &observed.metrics().proxy;
        match request.uri().path() {
            "/healthz" => {
                let report = Report::healthz(&observed.health(), Moment::now());
                tell(&report, &counters.healthz)
            }
            "/livez" => {
                let report = Report::livez(&observed.health(), Moment::now());
                tell(&report, &counters.livez)
            }
            _ => not_found(),
        }
    })
}

fn tell((is_good, report): &(bool, Report), counter: &IntCounterVec) -> Answer {
    let status = if *is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    counter.with_label_values(&[status.as_str()]).inc();
    match serde_json::to_string(report) {
        Ok(body) => answer(status, JSON, body),
        Err(error) => failed(&error.to_string()),
    }
}
