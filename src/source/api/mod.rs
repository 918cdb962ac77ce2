//! The state of the cluster as a Kubernetes API server tells it.
//!
//! One task watches each of the four collections that a proxy reads and sends [`Update`]s;
//! [`State`] applies them. Objects are converted as they come and never kept whole.

mod access;
mod backoff;
mod changes;
mod collection;
mod events;
mod failure;
mod lines;
mod measure;
mod metrics;
mod names;
mod rate;
mod recovery;
mod server;
mod state;
mod transport;
mod trust;
mod uids;
mod watch;
mod whole;
mod wire;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use access::{Access, AccessError};
pub use changes::Changes;
pub use events::{Event, Recorder, Scope, Severity};
pub use metrics::ApiMetrics;
pub(crate) use rate::Bucket;
pub use server::Server;
pub use state::{News, Problem, State};
pub use transport::Liveness;
pub use wire::{Listed, Update};

use collection::Collection;
use measure::Measure;
use watch::Watch;

/// How many updates may wait to be applied; watches wait then, and the server with them.
const WAITING: usize = 1024;

/// A watch has ended, which none ever should.
#[derive(Debug, thiserror::Error)]
#[error("a watch on the API server has ended")]
pub struct Ended;

/// Watches on all that a proxy reads. They end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    updates: mpsc::Receiver<Update>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// Begins to watch, for the proxy of this node. A server that cannot be reached is tried again
    /// and again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(server: &Server, node_name: &str, metrics: &ApiMetrics) -> Self {
        let (sender, updates) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        for collection in Collection::all(node_name) {
            let measure = Measure::new(metrics, collection.kind, server.host());
            let watch = Watch::new(collection, server.clone(), sender.clone(), measure);
            tasks.spawn(watch.run());
        }
        Self { updates, tasks }
    }

    /// Waits for updates and gives all that are there. Nothing is lost if the wait is given up.
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
