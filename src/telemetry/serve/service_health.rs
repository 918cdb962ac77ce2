//! The servers that load balancers ask whether a Service has endpoints on this node
//! (kube-proxy: pkg/proxy/healthcheck/service_health.go).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use weir_rules::cluster::NamespacedName;
use weir_rules::facts::health_checks::HealthCheck;

use super::answer::{Answer, Handler, JSON, answer, with};
use super::listen::{Families, listen, serve};
use super::{RETRY_INTERVAL, TellFailure};
use crate::telemetry::status::{AgentStatus, Checks};

/// How many endpoints there are on this node, for balancers that can weigh nodes by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Serves the health checks of what is programmed, as they come and go, for good.
pub(super) async fn serve_all(observed: Arc<AgentStatus>, tell_failure: TellFailure) {
    let mut checks = observed.checks();
    let mut servers = CheckServers::new(observed, tell_failure);
    loop {
        let wanted = checks.borrow_and_update().clone();
        servers.follow(&wanted).await;
        let retry = Instant::now() + RETRY_INTERVAL;
        tokio::select! {
            changed = checks.changed() => if changed.is_err() { return },
            () = sleep_until(retry), if !servers.failing.is_empty() => {}
        }
    }
}

/// The servers that are open, and those that cannot be.
struct CheckServers {
    observed: Arc<AgentStatus>,
    tell_failure: TellFailure,
    /// They end with this.
    tasks: JoinSet<()>,
    open: BTreeMap<SocketAddr, AbortHandle>,
    /// What was wrong with them.
    failing: BTreeMap<SocketAddr, String>,
}

impl CheckServers {
    fn new(observed: Arc<AgentStatus>, tell_failure: TellFailure) -> Self {
        let (open, failing) = (BTreeMap::new(), BTreeMap::new());
        Self { observed, tell_failure, tasks: JoinSet::new(), open, failing }
    }

    /// Closes what is not wanted any more, then opens what is and is not open. An address that goes
    /// from one Service to another stays open.
    async fn follow(&mut self, wanted: &Checks) {
        let before = self.open.len();
        self.open.retain(|address, task| {
            let stays = wanted.contains_key(address);
            if !stays {
                debug!(%address, "closing a health check");
                task.abort();
            }
            stays
        });
        // A port may be wanted at another address now, and is free when the old socket is gone.
        for _ in self.open.len()..before {
            self.tasks.join_next().await;
        }
        self.failing.retain(|address, _| wanted.contains_key(address));
        for (address, check) in wanted {
            if !self.open.contains_key(address) {
                self.open_one(*address, check);
            }
        }
    }

    fn open_one(&mut self, address: SocketAddr, check: &HealthCheck) {
        let service = &check.service;
        let listener = match listen(address, Families::Own) {
            Ok(listener) => listener,
            Err(error) => {
                let text = error.to_string();
                if self.failing.get(&address) != Some(&text) {
                    self.tell(service, address, &text);
                    self.failing.insert(address, text);
                }
                return;
            }
        };
        if self.failing.remove(&address).is_some() {
            info!(%service, %address, "the health check can be answered now");
        } else {
            debug!(%service, %address, "opening the health check");
        }
        let handler = handler(address, &self.observed);
        self.open.insert(address, self.tasks.spawn(serve(listener, handler)));
    }

    /// Reports that a health check cannot be answered.
    fn tell(&self, service: &NamespacedName, address: SocketAddr, reason: &str) {
        let what = format!("cannot listen on {address} for the health check: {reason}");
        let why = format!(
            "{what}; its load balancer does not send to this node; trying again every {} s",
            RETRY_INTERVAL.as_secs()
        );
        warn!("Service {service}: {why}");
        (self.tell_failure)(service, &why);
    }
}

/// Answers at one address, whatever is asked.
fn handler(address: SocketAddr, observed: &Arc<AgentStatus>) -> Handler {
    let checks: watch::Receiver<Checks> = observed.checks();
    let observed = Arc::clone(observed);
    Arc::new(move |_| {
        let is_healthy = observed.health().is_healthy(Instant::now());
        match checks.borrow().get(&address) {
            Some(check) => tell(check, is_healthy),
            // It closes in this moment.
            None => Answer::default(),
        }
    })
}

fn tell(check: &HealthCheck, is_healthy: bool) -> Answer {
    let HealthCheck { service, local_endpoints: count, .. } = check;
    let (namespace, name) = (service.namespace(), service.name());
    let is_good = *count > 0 && is_healthy;
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Names have no characters that JSON would have to escape.
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {is_healthy}\n}}"
    );
    with(answer(status, JSON, body), WEIGHT, HeaderValue::from(*count))
}
