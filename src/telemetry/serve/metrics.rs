//! The server at metricsBindAddress (`serveMetrics` of cmd/kube-proxy/app/server.go).

use std::sync::Arc;

use http::StatusCode;

use super::answer::{Answer, Handler, JSON, TEXT, answer, failed, not_found};
use crate::telemetry::status::AgentStatus;

/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers at metricsBindAddress.
pub(super) fn handler(observed: &Arc<AgentStatus>) -> Handler {
    let observed = Arc::clone(observed);
    let ok = |content_type, body| answer(StatusCode::OK, content_type, body);
    Arc::new(move |request| {
        let metrics = observed.metrics();
        match request.uri().path() {
            "/metrics" => text(metrics.text()),
            "/metrics/slis" => text(metrics.sli_text()),
            "/proxyMode" => ok(TEXT, "nftables".to_owned()),
            "/configz" => ok(JSON, observed.configz()),
            "/healthz" => {
                metrics.pinged();
                ok(TEXT, health(request.uri().query()))
            }
            "/healthz/ping" => ok(TEXT, "ok".to_owned()),
            _ => not_found(),
        }
    })
}

fn text(made: Result<String, prometheus::Error>) -> Answer {
    match made {
        Ok(text) => answer(StatusCode::OK, METRICS, text),
        Err(error) => failed(&error.to_string()),
    }
}

/// That the server answers; with `?verbose`, in as many words as an API server has for it.
fn health(query: Option<&str>) -> String {
    let mut parameters = query.unwrap_or_default().split('&');
    let is_verbose = parameters.any(|one| one == "verbose" || one.starts_with("verbose="));
    match is_verbose {
        true => "[+]ping ok\nhealthz check passed\n".to_owned(),
        false => "ok".to_owned(),
    }
}
