//! Waits for the lock on this network namespace's tables.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::events::Events;
use crate::error::chain;
use crate::lock::{Holder, Lock, LockError};
use crate::telemetry::status::AgentStatus;

/// Whose turn it was at the start.
pub(super) enum Keeping {
    /// This weir's, with the lock if it can be had.
    Ours(Option<Lock>),
    /// Another's.
    Theirs,
}

impl Keeping {
    /// Takes the lock if nobody has it.
    pub(super) fn begin() -> Self {
        match Lock::try_take() {
            Ok(Some(lock)) => Self::Ours(Some(lock)),
            Ok(None) => Self::Theirs,
            Err(error) => {
                go_on_without(&error);
                Self::Ours(None)
            }
        }
    }

    /// Whether it is this weir's turn.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Waits for the lock, and reports once who holds it. From then on this process is described to those
    /// that wait. `ports_are_free` is notified when the one that had it has ended.
    pub(super) fn follow(
        self,
        events: Events,
        observed: Arc<AgentStatus>,
        ports_are_free: Arc<Notify>,
    ) -> Turn {
        let (come, turn) = oneshot::channel();
        if !self.is_ours() {
            observed.waits_for(Some("another weir".to_owned()));
        }
        tokio::spawn(async move {
            let lock = match self {
                Self::Ours(lock) => lock,
                Self::Theirs => {
                    let lock = Lock::take(|holder| tell(holder, &events, &observed)).await;
                    ports_are_free.notify_waiters();
                    let _ = come.send(());
                    lock.inspect_err(go_on_without).ok()
                }
            };
            if let Some(lock) = lock {
                lock.answer().await;
            }
        });
        Turn(Some(turn))
    }
}

fn tell(holder: &Holder, events: &Events, observed: &AgentStatus) {
    let text = format!("{holder} keeps this node's tables; this weir waits until it ends");
    warn!("{text}");
    events.waits(text);
    observed.waits_for(Some(holder.to_string()));
}

/// A node without a proxy is worse than one with two.
fn go_on_without(error: &LockError) {
    warn!("{}; going on as if none did", chain(error));
}

/// The turn to keep the tables.
pub(super) struct Turn(Option<oneshot::Receiver<()>>);

impl Turn {
    /// Waits until it comes, once. Nothing is lost if the wait is given up.
    pub(super) async fn comes(&mut self) {
        let Some(turn) = &mut self.0 else { return std::future::pending().await };
        let has_come = turn.await.is_ok();
        self.0 = None;
        if !has_come {
            // It was this weir's from the start.
            std::future::pending().await
        }
    }
}
