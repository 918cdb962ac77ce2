//! Decodes what the server sends.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bulk;
use super::uids::Uid;
use crate::source::convert::Converted;
use crate::source::decode::{self, Undecodable};
use crate::source::object::{Annotations, EndpointSlice, Service, Text};
use crate::source::{Kind, ObjectKey};
use crate::text as texts;

/// How much of an object's error is reported, in bytes: it may quote a field of any length.
const REASON_LIMIT: usize = 512;

/// A change of one kind's objects.
#[derive(Debug)]
pub enum Update {
    /// All objects that there are of a kind.
    Received(Kind, Vec<Received>),
    /// An object is new or has changed.
    Applied(Received),
    /// An object is gone.
    Deleted(ObjectKey),
}

/// An object, and what weir keeps of it or why it cannot.
#[derive(Debug)]
pub struct Received {
    /// Its identity.
    pub key: ObjectKey,
    /// The object, or what is wrong with it.
    pub outcome: Result<Converted, String>,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) version: Option<String>,
    pub(super) continue_token: Option<String>,
    pub(super) objects: Vec<Received>,
    /// Those of the objects, in their order.
    pub(super) uids: Vec<Option<Uid>>,
}

/// An event of a watch.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and most are the large one")]
pub(super) enum WatchEvent {
    Applied { object: Received, uid: Option<Uid>, version: String },
    Deleted { key: ObjectKey, version: String },
    Bookmark { version: String, ends_initial_events: bool },
    Error(Status),
}

/// `v1.Status`, as far as it matters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

/// Why an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidResponse(String);

impl From<Undecodable> for InvalidResponse {
    fn from(bad: Undecodable) -> Self {
        InvalidResponse(text(bad))
    }
}

/// What is wrong with an object or an answer, in a text of no more than [`REASON_LIMIT`].
pub(super) fn text(bad: Undecodable) -> String {
    let text = match bad.field {
        Some(field) => format!("{field}: {}", bad.message),
        None => bad.message,
    };
    match texts::cut(&text, REASON_LIMIT) {
        std::borrow::Cow::Owned(short) => short,
        std::borrow::Cow::Borrowed(_) => text,
    }
}

#[derive(Deserialize)]
struct RawList<'a> {
    metadata: ListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct ObjectEnvelope<'a> {
    #[serde(borrow)]
    metadata: HeadMeta<'a>,
}

/// What is needed of any object, however bad it is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadMeta<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    namespace: Text<'a>,
    resource_version: Text<'a>,
    uid: Text<'a>,
    annotations: Option<Annotations<'a>>,
}

/// Takes a page of a list apart.
pub(super) fn page(kind: Kind, json: &str) -> Result<Page, InvalidResponse> {
    let page = match kind {
        Kind::Service => bulk::page::<Service<'_>>(json),
        Kind::EndpointSlice => bulk::page::<EndpointSlice<'_>>(json),
        Kind::Node | Kind::Pod | Kind::ServiceCidr => None,
    };
    page.map_or_else(|| page_by_object(kind, json), Ok)
}

/// A page, with each object decoded separately, so that one invalid object does not spoil the others.
fn page_by_object(kind: Kind, json: &str) -> Result<Page, InvalidResponse> {
    let list: RawList<'_> = decode::decode(json)?;
    // `null` where there are none.
    let Some(items) = list.items.or_else(|| is_null_list(json).then(Vec::new)) else {
        return Err(InvalidResponse("items: is missing".to_owned()));
    };
    let objects = items
        .into_iter()
        .map(|item| object(kind, item.get()).map(|(object, uid, _)| (object, uid)))
        .collect::<Result<_, InvalidResponse>>();
    Ok(list.metadata.page(objects?))
}

impl ListMeta {
    pub(super) fn page(self, objects: Vec<(Received, Option<Uid>)>) -> Page {
        let (objects, uids) = objects.into_iter().unzip();
        let full = |text: Option<String>| text.filter(|text| !text.is_empty());
        let version = full(self.resource_version);
        Page { version, continue_token: full(self.continue_token), objects, uids }
    }
}

/// Whether the text is a list whose items are null, which an empty one may be. Only asked where
/// there are no items.
fn is_null_list(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        kind: &'a str,
    }
    serde_json::from_str::<Typed<'_>>(json).is_ok_and(|list| list.kind.ends_with("List"))
}

/// Takes an event of a watch apart.
pub(super) fn event(kind: Kind, json: &str) -> Result<WatchEvent, InvalidResponse> {
    let event = match kind {
        Kind::Service => bulk::event::<Service<'_>>(json),
        Kind::EndpointSlice => bulk::event::<EndpointSlice<'_>>(json),
        Kind::Node | Kind::Pod | Kind::ServiceCidr => None,
    };
    event.map_or_else(|| event_by_parts(kind, json), Ok)
}

/// An event, with each part decoded separately, to find out what is wrong with it.
fn event_by_parts(kind: Kind, json: &str) -> Result<WatchEvent, InvalidResponse> {
    let event: RawEvent<'_> = decode::decode(json)?;
    let json = event.object.get();
    let versioned = |version: &str| {
        if version.is_empty() {
            return Err(InvalidResponse("metadata.resourceVersion: is missing".to_owned()));
        }
        Ok(version.to_owned())
    };
    match event.r#type {
        "ADDED" | "MODIFIED" => {
            let (object, uid, version) = object(kind, json)?;
            Ok(WatchEvent::Applied { object, uid, version: versioned(&version)? })
        }
        "DELETED" => {
            let ObjectEnvelope { metadata } = decode::decode(json)?;
            let key = key(kind, &metadata.namespace, &metadata.name)?;
            Ok(WatchEvent::Deleted { key, version: versioned(&metadata.resource_version)? })
        }
        "BOOKMARK" => {
            let ObjectEnvelope { metadata } = decode::decode(json)?;
            let ends_initial_events = metadata
                .annotations
                .as_ref()
                .is_some_and(|of| of.initial_events_end.as_deref() == Some("true"));
            let version = versioned(&metadata.resource_version)?;
            Ok(WatchEvent::Bookmark { version, ends_initial_events })
        }
        "ERROR" => {
            let mut status: Status = decode::decode(json)?;
            status.message = texts::cut(&status.message, REASON_LIMIT).into_owned();
            Ok(WatchEvent::Error(status))
        }
        other => {
            let other = texts::cut(other, 64);
            Err(InvalidResponse(format!("type: {other:?} is no type of event")))
        }
    }
}

/// An object, its uid and its version. One that is bad is still an object; one without a name is garbage.
fn object(kind: Kind, json: &str) -> Result<(Received, Option<Uid>, String), InvalidResponse> {
    let ObjectEnvelope { metadata } = decode::decode(json)?;
    let key = key(kind, &metadata.namespace, &metadata.name)?;
    let outcome = decode::object(&key, json).map_err(text);
    let uid = Uid::parse(&metadata.uid);
    Ok((Received { key, outcome }, uid, metadata.resource_version.to_string()))
}

pub(super) fn key(kind: Kind, namespace: &str, name: &str) -> Result<ObjectKey, InvalidResponse> {
    if name.is_empty() || namespace.is_empty() == kind.is_namespaced() {
        return Err(InvalidResponse(format!("a {} without name and namespace", kind.name())));
    }
    Ok(ObjectKey::new(kind, namespace, name))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
