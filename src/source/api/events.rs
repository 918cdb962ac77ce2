//! Kubernetes Events: what a user must know, on the object that it concerns.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::core::Request;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::collection;
use super::server::Server;
use super::trust;
use crate::commands::chain;
use crate::source::ObjectKey;

/// How many events may wait to be sent. Further ones are dropped: they are in the log.
const WAITING: usize = 256;
/// How often it is tried to send one.
const ATTEMPTS: u32 = 6;
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// For how long an event that has been sent is not sent again (`finishTime` of client-go's
/// tools/events/event_broadcaster.go).
const REPEAT: Duration = Duration::from_secs(6 * 60);
/// The longest note that the server takes, in bytes (`NoteLengthLimit` of kubernetes'
/// pkg/apis/core/validation/events.go).
const NOTE_LIMIT: usize = 1024;
/// The longest name of an object.
const NAME_LIMIT: usize = 253;

/// Whether somebody should act on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// Something that a user must know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// The object that it concerns.
    pub about: ObjectKey,
    /// Whether somebody should act on it.
    pub severity: Severity,
    /// Why it is told: one word, for machines.
    pub reason: &'static str,
    /// What weir was doing: one word, for machines.
    pub action: &'static str,
    /// What has happened, for people.
    pub note: String,
}

/// Takes events, and never waits.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Option<mpsc::Sender<(Event, Timestamp)>>);

impl Recorder {
    /// Sends events to the server, as the weir of this node, for as long as a clone of the recorder
    /// is there.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(server: Server, node_name: &str) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        let poster = Poster { server, instance: node_name.to_owned(), sent: HashMap::new() };
        tokio::spawn(poster.run(waiting));
        Self(Some(sender))
    }

    /// Nobody is told.
    pub fn none() -> Self {
        Self(None)
    }

    /// Has an event sent, if there is anybody to send it to and room for it.
    pub fn record(&self, event: Event) {
        if let Some(sender) = &self.0
            && let Err(error) = sender.try_send((event, Timestamp::now()))
        {
            debug!("an event is not sent: {error}");
        }
    }
}

struct Poster {
    server: Server,
    instance: String,
    /// What has been sent, and when.
    sent: HashMap<Event, Instant>,
}

impl Poster {
    async fn run(mut self, mut waiting: mpsc::Receiver<(Event, Timestamp)>) {
        while let Some((event, time)) = waiting.recv().await {
            self.sent.retain(|_, sent| sent.elapsed() < REPEAT);
            if !self.sent.contains_key(&event) && self.send(&event, time).await {
                self.sent.insert(event, Instant::now());
            }
        }
    }

    /// Whether there is no use in sending it again.
    async fn send(&mut self, event: &Event, time: Timestamp) -> bool {
        let mut backoff = Backoff::default();
        for _ in 0..ATTEMPTS {
            let Err(error) = self.try_send(event, time).await else { return true };
            match error {
                error if trust::is_for_credentials(&error) => {
                    if let Err(error) = self.server.renew().await {
                        debug!("events: {}", chain(&error));
                    }
                }
                // An attempt before has got there, though its answer was lost.
                kube::Error::Api(status) if status.code == 409 => return true,
                // It would be so the next time, too.
                kube::Error::Api(status) if matches!(status.code, 400..429) => {
                    warn!("event about {}: {} ({})", event.about, status.message, status.code);
                    return true;
                }
                error => debug!("event about {}: {}; trying again", event.about, chain(&error)),
            }
            sleep(backoff.next()).await;
        }
        warn!("event about {} could not be sent: {}", event.about, event.note);
        false
    }

    async fn try_send(&self, event: &Event, time: Timestamp) -> kube::Result<()> {
        let uid = self.uid(&event.about).await?;
        let event = self.object(event, time, uid);
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
        let request = Request::new(path).create(&PostParams::default(), body);
        self.ask(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
    }

    async fn ask(&self, request: http::Request<Vec<u8>>) -> kube::Result<String> {
        self.server.turn().await;
        let late = |_| kube::Error::Service(Box::new(io::Error::from(io::ErrorKind::TimedOut)));
        timeout(ANSWER_LIMIT, self.server.text(request)).await.map_err(late)?
    }

    /// The object's uid, without which `kubectl describe` does not show the event. It is asked for
    /// when there is something to tell, rather than kept of all objects; to list is all that
    /// kube-proxy's role allows.
    async fn uid(&self, about: &ObjectKey) -> kube::Result<Option<String>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: ObjectMeta,
        }
        let selector = format!("metadata.name={}", about.name());
        let params = ListParams::default().fields(&selector).match_any();
        let request = Request::new(path(about)).list(&params).map_err(kube::Error::BuildRequest)?;
        let text = self.ask(request).await?;
        let list: List = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        Ok(list.items.into_iter().find_map(|item| item.metadata.uid))
    }

    /// The same name for each attempt, so that no two get there.
    fn object(&self, event: &Event, time: Timestamp, uid: Option<String>) -> events::Event {
        let about = &event.about;
        let full = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        // As client-go names them; a name is a name but for its length.
        let suffix = format!(".{:x}", time.as_nanosecond());
        let name = cut(about.name(), NAME_LIMIT - suffix.len()).trim_end_matches(['.', '-']);
        events::Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}{suffix}")),
                // Events about what has no namespace are in this one.
                namespace: full(about.namespace()).or(Some("default".to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(time)),
            regarding: Some(ObjectReference {
                api_version: Some(about.kind.api_version().to_owned()),
                kind: Some(about.kind.name().to_owned()),
                namespace: full(about.namespace()),
                name: Some(about.name().to_owned()),
                uid,
                ..ObjectReference::default()
            }),
            type_: Some(match event.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            reason: Some(event.reason.to_owned()),
            action: Some(event.action.to_owned()),
            note: Some(cut(&event.note, NOTE_LIMIT).to_owned()),
            reporting_controller: Some("weir".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..events::Event::default()
        }
    }
}

/// The collection that an object is in, within its namespace.
fn path(about: &ObjectKey) -> String {
    let path = collection::path(about.kind);
    match (about.namespace(), path.rsplit_once('/')) {
        ("", _) | (_, None) => path.to_owned(),
        (namespace, Some((group, plural))) => format!("{group}/namespaces/{namespace}/{plural}"),
    }
}

/// The first bytes of a text, at most so many.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
