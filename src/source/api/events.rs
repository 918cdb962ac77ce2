//! Kubernetes Events on the objects that a problem concerns.

mod poster;
mod queue;

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::client::ApiClient;
use super::uids::Uid;
use crate::source::ObjectKey;
use crate::text;
use poster::Poster;
use queue::EventQueue;

/// The longest note that the server takes, in bytes (`NoteLengthLimit` of kubernetes'
/// pkg/apis/core/validation/events.go).
const NOTE_LIMIT: usize = 1024;

/// Whether somebody should act on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// Which nodes post the same Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventScope {
    /// Each node of the cluster, as of an object that is bad: these Events are spread over a
    /// quarter of a minute.
    Cluster,
    /// This node alone.
    Node,
}

/// Something that a user must know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// The object that it concerns.
    pub about: ObjectKey,
    /// Which nodes post the same Event.
    pub scope: EventScope,
    /// Whether somebody should act on it.
    pub severity: Severity,
    /// The reason: one word, for machines.
    pub reason: &'static str,
    /// What weir was doing: one word, for machines.
    pub action: &'static str,
    /// What has happened, for people.
    pub note: String,
}

/// When an event happened, and to which object of the name.
#[derive(Debug, Clone, Copy)]
struct Occurrence {
    time: Timestamp,
    uid: Option<Uid>,
}

/// Takes events, and never waits.
#[derive(Clone, Default)]
pub struct Recorder(Option<Sender>);

#[derive(Clone)]
struct Sender {
    queue: Arc<Mutex<EventQueue>>,
    server: ApiClient,
    /// Notified when an Event is queued.
    notice: mpsc::Sender<()>,
}

impl Recorder {
    /// Sends events to the server, as the weir of this node, for as long as a clone of the recorder
    /// is there, and what then waits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(server: ApiClient, node_name: &str) -> Self {
        let queue = Arc::new(Mutex::new(EventQueue::new()));
        let (notice, noticed) = mpsc::channel(1);
        let poster = Poster::new(server.clone(), node_name);
        tokio::spawn(send_all(poster, queue.clone(), noticed));
        Self(Some(Sender { queue, server, notice }))
    }

    /// Posts nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Queues an Event, within the limits of the queue; returns whether it is one of its own, and not
    /// one of many that are alike.
    pub fn record(&self, mut event: Event) -> bool {
        let Some(Sender { queue, server, notice }) = &self.0 else { return true };
        if let std::borrow::Cow::Owned(short) = text::cut(&event.note, NOTE_LIMIT) {
            event.note = short;
        }
        let occurrence =
            Occurrence { time: Timestamp::now(), uid: server.uids().get(&event.about) };
        let is_new = lock(queue).offer(event, occurrence, Instant::now());
        // If it is full, the other end has yet to look.
        let _ = notice.try_send(());
        is_new
    }
}

async fn send_all(
    mut poster: Poster,
    queue: Arc<Mutex<EventQueue>>,
    mut noticed: mpsc::Receiver<()>,
) {
    let mut is_open = true;
    loop {
        let (ready, next) = {
            let mut queue = lock(&queue);
            (queue.pop(Instant::now()), queue.next())
        };
        if let Some((event, occurrence)) = ready {
            if !poster.send(&event, occurrence).await {
                lock(&queue).failed(&event);
            }
            continue;
        }
        match next {
            None if !is_open => return,
            None => is_open = noticed.recv().await.is_some(),
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                notice = noticed.recv(), if is_open => is_open = notice.is_some(),
            },
        }
    }
}

fn lock(queue: &Mutex<EventQueue>) -> std::sync::MutexGuard<'_, EventQueue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
