//! What the server sends, taken apart.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::convert::Converted;
use crate::source::decode::{self, Undecodable};
use crate::source::{Kind, ObjectKey};

/// A change of one kind's objects.
#[derive(Debug)]
pub enum Update {
    /// All objects that there are of a kind.
    Listed(Kind, Vec<Listed>),
    /// An object is new or has changed.
    Applied(Listed),
    /// An object is gone.
    Deleted(ObjectKey),
}

/// An object, and what weir keeps of it or why it cannot.
#[derive(Debug)]
pub struct Listed {
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
    pub(super) objects: Vec<Listed>,
}

/// An event of a watch.
#[derive(Debug)]
pub(super) enum Event {
    Applied { object: Listed, version: String },
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
pub(super) struct Garbage(String);

impl From<Undecodable> for Garbage {
    fn from(bad: Undecodable) -> Self {
        Garbage(text(bad))
    }
}

fn text(bad: Undecodable) -> String {
    match bad.field {
        Some(field) => format!("{field}: {}", bad.message),
        None => bad.message,
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
struct ListMeta {
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
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct HeadMeta {
    name: String,
    namespace: String,
    resource_version: String,
    annotations: Option<BTreeMap<String, String>>,
}

/// Marks the bookmark that comes after the last of the objects that a watch begins with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Takes a page of a list apart.
pub(super) fn page(kind: Kind, json: &str) -> Result<Page, Garbage> {
    let list: RawList<'_> = decode::decode(json)?;
    // `null` where there are none.
    let Some(items) = list.items.or_else(|| is_null_list(json).then(Vec::new)) else {
        return Err(Garbage("items: is missing".to_owned()));
    };
    let objects = items
        .into_iter()
        .map(|item| Ok(object(kind, item.get())?.0))
        .collect::<Result<_, Garbage>>();
    let full = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Page {
        version: full(list.metadata.resource_version),
        continue_token: full(list.metadata.continue_token),
        objects: objects?,
    })
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
pub(super) fn event(kind: Kind, json: &str) -> Result<Event, Garbage> {
    let event: RawEvent<'_> = decode::decode(json)?;
    let json = event.object.get();
    let versioned = |version: String| {
        if version.is_empty() {
            return Err(Garbage("metadata.resourceVersion: is missing".to_owned()));
        }
        Ok(version)
    };
    match event.r#type {
        "ADDED" | "MODIFIED" => {
            let (object, version) = object(kind, json)?;
            Ok(Event::Applied { object, version: versioned(version)? })
        }
        "DELETED" => {
            let (key, meta) = head(kind, json)?;
            Ok(Event::Deleted { key, version: versioned(meta.resource_version)? })
        }
        "BOOKMARK" => {
            let Head { metadata } = decode::decode(json)?;
            let ends_initial_events = metadata
                .annotations
                .is_some_and(|of| of.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true"));
            Ok(Event::Bookmark {
                version: versioned(metadata.resource_version)?,
                ends_initial_events,
            })
        }
        "ERROR" => Ok(Event::Error(decode::decode(json)?)),
        other => Err(Garbage(format!("type: {other:?} is no type of event"))),
    }
}

/// An object and its version. One that is bad is still an object; one without a name is garbage.
fn object(kind: Kind, json: &str) -> Result<(Listed, String), Garbage> {
    let (key, meta) = head(kind, json)?;
    let outcome = decode::object(&key, json).map_err(text);
    Ok((Listed { key, outcome }, meta.resource_version))
}

fn head(kind: Kind, json: &str) -> Result<(ObjectKey, HeadMeta), Garbage> {
    let Head { metadata } = decode::decode(json)?;
    if metadata.name.is_empty() || metadata.namespace.is_empty() == kind.is_namespaced() {
        return Err(Garbage(format!("a {} without name and namespace", kind.name())));
    }
    Ok((ObjectKey::new(kind, &metadata.namespace, &metadata.name), metadata))
}
