//! Posts Events to the server, one after the other.

use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::Request;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{Event, NOTE_LIMIT, Occurrence, Severity};
use crate::error::chain;
use crate::source::Kind;
use crate::source::api::auth_errors;
use crate::source::api::backoff::JitteredBackoff;
use crate::source::api::client::ApiClient;
use crate::source::api::uids::Uid;
use crate::text;

/// How often it is tried to send one.
const ATTEMPTS: u32 = 6;
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The longest name of an object.
const NAME_LIMIT: usize = 253;

pub(super) struct Poster {
    server: ApiClient,
    /// The node's name.
    instance: String,
}

impl Poster {
    pub(super) fn new(server: ApiClient, node_name: &str) -> Self {
        Self { server, instance: node_name.to_owned() }
    }

    /// Whether there is no use in sending it again.
    pub(super) async fn send(&mut self, event: &Event, of: Occurrence) -> bool {
        let mut backoff = JitteredBackoff::default();
        for _ in 0..ATTEMPTS {
            let Err(error) = self.try_send(event, of).await else { return true };
            match error {
                error if auth_errors::is_for_credentials(&error) => {
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

    async fn try_send(&self, event: &Event, of: Occurrence) -> kube::Result<()> {
        let uid = of.uid.or_else(|| self.server.uids().get(&event.about));
        let event = self.object(event, of.time, uid);
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
        let request = Request::new(path).create(&PostParams::default(), body);
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.server.turn().await;
        let late = |_| kube::Error::Service(Box::new(io::Error::from(io::ErrorKind::TimedOut)));
        timeout(ANSWER_LIMIT, self.server.text(request)).await.map_err(late)?.map(drop)
    }

    /// The same name for each attempt, so that no two get there.
    fn object(&self, event: &Event, time: Timestamp, uid: Option<Uid>) -> events::Event {
        let about = &event.about;
        let full = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        // As client-go names them; a name is a name but for its length.
        let suffix = format!(".{:x}", time.as_nanosecond());
        let name = about.name();
        let name = &name[..name.floor_char_boundary(NAME_LIMIT - suffix.len())];
        events::Event {
            metadata: ObjectMeta {
                name: Some(format!("{}{suffix}", name.trim_end_matches(['.', '-']))),
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
                uid: uid.map(|uid| uid.to_string()).or_else(|| {
                    // As the kubelet posts Events on a Node; `kubectl describe` looks for both.
                    (about.kind == Kind::Node).then(|| about.name().to_owned())
                }),
                ..ObjectReference::default()
            }),
            type_: Some(match event.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            reason: Some(event.reason.to_owned()),
            action: Some(event.action.to_owned()),
            note: Some(text::cut(&event.note, NOTE_LIMIT).into_owned()),
            reporting_controller: Some("weir".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..events::Event::default()
        }
    }
}
