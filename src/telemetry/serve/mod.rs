//! weir's HTTP servers, which answer as kube-proxy's do: health, metrics, and the health checks of load
//! balancers.
//!
//! The servers run on the agent's runtime, beside the agent's steps, which block a thread of their
//! own: an answer never waits for the kernel or the API server.

mod answer;
mod health;
mod listen;
mod metrics;
mod service_health;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};
use weir_rules::cluster::NamespacedName;

use crate::telemetry::status::AgentStatus;
use answer::Handler;
use listen::{Families, listen, serve};

/// How long until an address that cannot be bound is tried again, as in kube-proxy.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often an address is tried when it is said to be free: a process that is killed may close its sockets a little
/// later than it is seen to end. The pauses grow from 10 ms to 0.6 s.
const ATTEMPTS_WHEN_FREE: u32 = 7;

/// What is served where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Serving {
    /// Where /healthz, /livez and /readyz are; nowhere if there is none.
    pub healthz: Option<SocketAddr>,
    /// Where /metrics, /proxyMode and /configz are; nowhere if there is none.
    pub metrics: Option<SocketAddr>,
    /// Whether an address that cannot be bound at the start is fatal.
    pub bind_address_hard_fail: bool,
}

/// Called with the Service whose health check cannot be answered, and why.
pub type TellFailure = Box<dyn Fn(&NamespacedName, &str) + Send>;

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    source: io::Error,
}

/// Running servers. They end when this is dropped.
#[derive(Debug)]
pub struct Servers {
    #[expect(dead_code, reason = "held for its end")]
    tasks: JoinSet<()>,
    try_again: Arc<Notify>,
}

impl Servers {
    /// Starts to serve. Fails if an address cannot be bound and that is to be fatal; otherwise it is
    /// tried again and again. Health checks of Services that cannot be answered are logged and
    /// reported.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        serving: Serving,
        observed: &Arc<AgentStatus>,
        tell_failure: TellFailure,
    ) -> Result<Self, ListenError> {
        let mut tasks = JoinSet::new();
        let is_fatal = serving.bind_address_hard_fail;
        let try_again = Arc::new(Notify::new());
        if let Some(address) = serving.healthz {
            let handler = health::handler(observed);
            let server = Server { address, purpose: "/healthz, /livez and /readyz", handler };
            server.start(is_fatal, &try_again, &mut tasks)?;
        }
        if let Some(address) = serving.metrics {
            let handler = metrics::handler(observed);
            let server = Server { address, purpose: "/metrics", handler };
            server.start(is_fatal, &try_again, &mut tasks)?;
        }
        tasks.spawn(service_health::serve_all(Arc::clone(observed), tell_failure));
        Ok(Self { tasks, try_again })
    }

    /// Notified, addresses that could not be bound are tried at once.
    pub fn try_again(&self) -> Arc<Notify> {
        Arc::clone(&self.try_again)
    }
}

/// A server for what does not change while weir runs.
struct Server {
    address: SocketAddr,
    purpose: &'static str,
    handler: Handler,
}

impl Server {
    fn start(
        self,
        is_fatal: bool,
        try_again: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ListenError> {
        let listener = match listen(self.address, Families::Both) {
            Ok(listener) => Some(listener),
            Err(source) => {
                let error = ListenError { address: self.address, purpose: self.purpose, source };
                if is_fatal {
                    return Err(error);
                }
                let seconds = RETRY_INTERVAL.as_secs();
                let text = crate::error::chain(&error);
                warn!("{text}; trying again every {seconds} s");
                None
            }
        };
        let try_again = Arc::clone(try_again);
        tasks.spawn(async move {
            let listener = match listener {
                Some(listener) => listener,
                None => self.listen_at_last(&try_again).await,
            };
            info!(address = %self.address, "serving {}", self.purpose);
            serve(listener, self.handler).await;
        });
        Ok(())
    }

    /// Tries again until the address can be bound.
    async fn listen_at_last(&self, try_again: &Notify) -> tokio::net::TcpListener {
        loop {
            let attempts = tokio::select! {
                () = sleep(RETRY_INTERVAL) => 1,
                () = try_again.notified() => ATTEMPTS_WHEN_FREE,
            };
            for attempt in 0..attempts {
                if let Ok(listener) = listen(self.address, Families::Both) {
                    return listener;
                }
                sleep(Duration::from_millis(10 << attempt)).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
