//! Follows the cluster through a Kubernetes API server.
//!
//! One task watches each of the four collections that a proxy reads, and sends [`Update`]s; [`Store`] applies
//! them. Objects are converted on arrival and never stored in full.

mod auth_errors;
mod backoff;
mod bulk;
mod change_counters;
mod client;
mod client_source;
mod collection;
mod events;
mod failure;
mod interner;
mod line_reader;
mod measure;
mod metrics;
mod rate;
mod recovery;
mod reflector;
mod store;
mod transport;
mod uids;
mod wire;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use change_counters::ChangeCounters;
pub use client::ApiClient;
pub use client_source::{ClientSource, ClientSourceError};
pub use events::{Event, EventScope, Recorder, Severity};
pub use metrics::ApiMetrics;
pub(crate) use rate::Bucket;
pub use store::{Notice, Problem, Store};
pub use transport::Liveness;
pub use wire::{Received, Update};

use collection::Collection;
use measure::Measure;
use reflector::Reflector;

/// How many updates may wait to be applied; watches wait then, and the server with them.
const WAITING: usize = 1024;

/// A watch has ended, which none ever should.
#[derive(Debug, thiserror::Error)]
#[error("a watch on the API server has ended")]
pub struct Ended;

/// Watches on all that a proxy reads. They end when this is dropped.
#[derive(Debug)]
pub struct Reflectors {
    updates: mpsc::Receiver<Update>,
    tasks: JoinSet<()>,
}

impl Reflectors {
    /// Begins to watch, for the proxy of this node. A server that cannot be reached is tried again
    /// and again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(server: &ApiClient, node_name: &str, metrics: &ApiMetrics) -> Self {
        let (sender, updates) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        for collection in Collection::all(node_name) {
            let measure = Measure::new(metrics, collection.kind, server.host());
            let watch = Reflector::new(collection, server.clone(), sender.clone(), measure);
            tasks.spawn(watch.run());
        }
        Self { updates, tasks }
    }

    /// Waits for updates and returns all that have arrived. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Result<Vec<Update>, Ended> {
        let mut updates = Vec::new();
        tokio::select! {
            biased;
            count = self.updates.recv_many(&mut updates, WAITING) => {
                if count > 0 { Ok(updates) } else { Err(Ended) }
            }
            _ = self.tasks.join_next() => Err(Ended),
        }
    }
}
