//! Fast path: decodes lists and events of valid Services and EndpointSlices in one pass. Anything else is
//! `None` here and goes to the lenient decoder, which finds out what is wrong with it.

use std::marker::PhantomData;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::uids::Uid;
use super::wire::{ListMeta, Page, Received, WatchEvent, key, text};
use crate::source::convert::{self, Converted, InvalidField};
use crate::source::object::{EndpointSlice, Metadata, Service};
use crate::source::{Kind, decode};

/// A kind of which there are many objects.
pub(super) trait Common<'a>: Deserialize<'a> {
    const KIND: Kind;

    fn metadata(&self) -> Option<&Metadata<'a>>;
    fn convert(&self, namespace: &str) -> Result<Converted, InvalidField>;
}

impl<'a> Common<'a> for Service<'a> {
    const KIND: Kind = Kind::Service;

    fn metadata(&self) -> Option<&Metadata<'a>> {
        self.metadata.as_ref()
    }

    fn convert(&self, _: &str) -> Result<Converted, InvalidField> {
        convert::service(self)
    }
}

impl<'a> Common<'a> for EndpointSlice<'a> {
    const KIND: Kind = Kind::EndpointSlice;

    fn metadata(&self) -> Option<&Metadata<'a>> {
        self.metadata.as_ref()
    }

    fn convert(&self, namespace: &str) -> Result<Converted, InvalidField> {
        convert::slice(self, namespace)
    }
}

/// An object that says which it is and of which version, converted as soon as it is decoded: a list may
/// be long.
struct BulkObject<T> {
    listed: Received,
    uid: Option<Uid>,
    version: String,
    of: PhantomData<T>,
}

impl<'de, T: Common<'de>> Deserialize<'de> for BulkObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = T::deserialize(deserializer)?;
        let metadata = object.metadata().ok_or_else(|| D::Error::missing_field("metadata"))?;
        let key = key(T::KIND, metadata.namespace(), metadata.name()).map_err(D::Error::custom)?;
        let outcome = decode::check_name(&key).and_then(|()| object.convert(key.namespace()));
        let outcome = outcome.map_err(|bad| text(bad.into()));
        let version = metadata.resource_version().to_owned();
        let uid = metadata.uid().and_then(Uid::parse);
        Ok(Self { listed: Received { key, outcome }, uid, version, of: PhantomData })
    }
}

/// A page of a list.
pub(super) fn page<'a, T: Common<'a>>(json: &'a str) -> Option<Page> {
    #[derive(Deserialize)]
    #[serde(bound(deserialize = "T: Common<'de>"))]
    struct BulkList<T> {
        metadata: ListMeta,
        items: Vec<BulkObject<T>>,
    }
    let list: BulkList<T> = serde_json::from_str(json).ok()?;
    Some(
        list.metadata
            .page(list.items.into_iter().map(|object| (object.listed, object.uid)).collect()),
    )
}

/// An event of a watch.
pub(super) fn event<'a, T: Common<'a>>(json: &'a str) -> Option<WatchEvent> {
    #[derive(Deserialize)]
    #[serde(bound(deserialize = "T: Common<'de>"))]
    struct WholeEvent<'a, T> {
        r#type: &'a str,
        object: BulkObject<T>,
    }
    let event: WholeEvent<'a, T> = serde_json::from_str(json).ok()?;
    let BulkObject { listed: object, uid, version, .. } = event.object;
    match event.r#type {
        _ if version.is_empty() => None,
        "ADDED" | "MODIFIED" => Some(WatchEvent::Applied { object, uid, version }),
        "DELETED" => Some(WatchEvent::Deleted { key: object.key, version }),
        _ => None,
    }
}
