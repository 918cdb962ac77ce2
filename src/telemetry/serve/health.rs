//! /healthz, /livez and /readyz: whether this node takes load-balanced traffic, whether weir is alive, and
//! whether it is ready.

use std::sync::Arc;

use http::StatusCode;

use super::answer::{Answer, Handler, JSON, answer, failed, not_found};
use crate::telemetry::health::{HealthReport, Moment};
use crate::telemetry::status::AgentStatus;

/// Answers at healthzBindAddress.
pub(super) fn handler(observed: &Arc<AgentStatus>) -> Handler {
    let observed = Arc::clone(observed);
    Arc::new(move |request| {
        let metrics = observed.metrics();
        match request.uri().path() {
            "/healthz" => {
                let report = HealthReport::healthz(&observed.health(), Moment::now());
                tell(&report, |code| metrics.healthz_answered(code))
            }
            "/livez" => {
                let report = HealthReport::livez(&observed.health(), Moment::now());
                tell(&report, |code| metrics.livez_answered(code))
            }
            "/readyz" => tell(&HealthReport::readyz(&observed.health(), Moment::now()), |_| {}),
            _ => not_found(),
        }
    })
}

fn tell((is_good, report): &(bool, HealthReport), count: impl Fn(&str)) -> Answer {
    let status = if *is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    count(status.as_str());
    match serde_json::to_string(report) {
        Ok(body) => answer(status, JSON, body),
        Err(error) => failed(&error.to_string()),
    }
}
