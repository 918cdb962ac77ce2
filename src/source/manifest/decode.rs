//! Decodes JSON text: the kind first, then the object of that kind, with the path of what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::{ManifestProblem, Reason};
use crate::source::convert::Converted;
use crate::source::decode::{Undecodable, checked_object, decode};
use crate::source::{Kind, ObjectKey};

/// How deep Lists may lie within Lists.
const LIST_DEPTH_LIMIT: usize = 8;

/// What some text holds.
#[derive(Debug, Default)]
pub(super) struct DecodedObjects {
    /// Objects of the kinds that weir reads, good and bad.
    pub(super) entries: Vec<DecodedObject>,
    /// What is wrong where no object is known.
    pub(super) problems: Vec<ManifestProblem>,
    /// How many objects there are of each other kind.
    pub(super) others: BTreeMap<String, usize>,
}

/// An object in a document.
#[derive(Debug)]
pub(super) struct DecodedObject {
    pub(super) key: ObjectKey,
    pub(super) document: usize,
    pub(super) outcome: Result<Arc<Converted>, Box<ManifestProblem>>,
}

impl DecodedObjects {
    pub(super) fn append(&mut self, mut other: DecodedObjects) {
        self.entries.append(&mut other.entries);
        self.problems.append(&mut other.problems);
        for (kind, count) in other.others {
            *self.others.entry(kind).or_default() += count;
        }
    }
}

/// The `apiVersion` and `kind` of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeMeta {
    api_version: String,
    kind: String,
}

/// A list's kind says what its items are: with a type of their own, or all of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListKind {
    items: Option<TypeMeta>,
}

impl ListKind {
    /// The list of this type; `None` if it is no list that weir reads.
    pub(super) fn of(api_version: Option<&str>, kind: Option<&str>) -> Option<Self> {
        let (api_version, kind) = (api_version?, kind?);
        if (api_version, kind) == ("v1", "List") {
            return Some(Self { items: None });
        }
        let item = kind.strip_suffix("List")?;
        let known = Kind::ALL.iter().any(|known| known.name() == item);
        let item = TypeMeta { api_version: api_version.to_owned(), kind: item.to_owned() };
        known.then_some(Self { items: Some(item) })
    }
}

/// What every object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectHead<'a> {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<HeadMetadata>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// Where a value stands, and what is needed to read it.
pub(super) struct Decoder<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) document: usize,
    pub(super) node_name: &'a str,
}

impl Decoder<'_> {
    /// Decodes a document.
    pub(super) fn document(&self, json: &str) -> DecodedObjects {
        let mut decoded = DecodedObjects::default();
        self.value(json, None, "", 0, &mut decoded);
        decoded
    }

    /// Decodes items of a list.
    pub(super) fn items<'j>(
        &self,
        list: &ListKind,
        first: usize,
        items: impl IntoIterator<Item = &'j RawValue>,
    ) -> DecodedObjects {
        let mut decoded = DecodedObjects::default();
        self.list(list, first, items, "", 0, &mut decoded);
        decoded
    }

    fn list<'j>(
        &self,
        list: &ListKind,
        first: usize,
        items: impl IntoIterator<Item = &'j RawValue>,
        path: &str,
        depth: usize,
        decoded: &mut DecodedObjects,
    ) {
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}items[{}].", first + index);
            self.value(item.get(), list.items.as_ref(), &path, depth + 1, decoded);
        }
    }

    /// Decodes one value. `path` leads to it, and ends with a dot unless it is empty.
    fn value(
        &self,
        json: &str,
        implied: Option<&TypeMeta>,
        path: &str,
        depth: usize,
        decoded: &mut DecodedObjects,
    ) {
        if let Err(bad) = self.try_value(json, implied, path, depth, decoded) {
            let field = match bad.field {
                Some(field) => format!("{path}{field}"),
                None => path.trim_end_matches('.').to_owned(),
            };
            decoded.problems.push(self.problem(
                None,
                (!field.is_empty()).then_some(field),
                Reason::Invalid(bad.message),
            ));
        }
    }

    fn try_value(
        &self,
        json: &str,
        implied: Option<&TypeMeta>,
        path: &str,
        depth: usize,
        decoded: &mut DecodedObjects,
    ) -> Result<(), Undecodable> {
        let missing = |field: &str, message: &str| Undecodable {
            field: Some(field.to_owned()),
            message: message.to_owned(),
        };
        if !json.trim_start().starts_with('{') {
            return Err(Undecodable { field: None, message: "not a Kubernetes object".to_owned() });
        }
        let head: ObjectHead<'_> = decode(json)?;
        let implied_kind = implied.map(|implied| implied.kind.as_str());
        let implied_version = implied.map(|implied| implied.api_version.as_str());
        let kind = head.kind.as_deref().or(implied_kind);
        let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
            return Err(missing("kind", "is missing"));
        };
        let version = head.api_version.as_deref().or(implied_version);
        let Some(version) = version.filter(|version| !version.is_empty()) else {
            return Err(missing("apiVersion", "is missing"));
        };

        if let Some(list) = ListKind::of(Some(version), Some(kind)) {
            if depth >= LIST_DEPTH_LIMIT {
                return Err(missing("items", "lists are nested too deep"));
            }
            let items: Vec<&RawValue> = match head.items {
                None => Vec::new(),
                Some(items) => serde_json::from_str::<Option<_>>(items.get())
                    .map_err(|_| missing("items", "is not a list"))?
                    .unwrap_or_default(),
            };
            self.list(&list, 0, items, path, depth, decoded);
            return Ok(());
        }
        let Some(kind) = known_kind(version, kind)? else {
            let group = version.rsplit_once('/').map_or("", |(group, _)| group);
            let homonym = Kind::ALL.iter().any(|known| known.name() == kind);
            let label = if homonym { format!("{kind}.{group}") } else { kind.to_owned() };
            *decoded.others.entry(label).or_default() += 1;
            return Ok(());
        };

        let (name, namespace) = match head.metadata {
            Some(metadata) => (metadata.name, metadata.namespace),
            None => (None, None),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(missing("metadata.name", &format!("is missing in a {}", kind.name())));
        };
        if kind == Kind::Node && name != self.node_name {
            return Ok(());
        }
        let namespace = match kind.is_namespaced() {
            true => namespace.filter(|of| !of.is_empty()).unwrap_or_else(|| "default".to_owned()),
            false => String::new(),
        };
        let key = ObjectKey::new(kind, namespace, name);
        let outcome = checked_object(&key, json).map(Arc::new).map_err(|bad| {
            Box::new(self.problem(Some(key.clone()), bad.field, Reason::Invalid(bad.message)))
        });
        decoded.entries.push(DecodedObject { key, document: self.document, outcome });
        Ok(())
    }

    /// A problem in this document.
    pub(super) fn problem(
        &self,
        object: Option<ObjectKey>,
        field: Option<String>,
        reason: Reason,
    ) -> ManifestProblem {
        ManifestProblem {
            file: self.file.clone(),
            document: Some(self.document),
            object,
            field,
            reason,
        }
    }
}

/// The kind that these two name; `None` if it is one that weir does not read.
fn known_kind(version: &str, kind: &str) -> Result<Option<Kind>, Undecodable> {
    let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
    let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
        return Ok(None);
    };
    if known.api_version() == version {
        return Ok(Some(known));
    }
    if group(known.api_version()) != group(version) {
        return Ok(None);
    }
    let message =
        format!("{version:?} is not supported for {kind}, expected {:?}", known.api_version());
    Err(Undecodable { field: Some("apiVersion".to_owned()), message })
}
