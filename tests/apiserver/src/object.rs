//! An object as the server stores it: its text, which takes a twentieth of the memory of parsed JSON, and the
//! fields that selectors need.

use serde_json::{Value, json};

use crate::Resource;

/// An object of one version.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its JSON, without kind and apiVersion.
    text: String,
    /// What selectors and later versions ask of it, at the same places.
    head: Value,
}

/// What the head has of the metadata.
const METADATA: [&str; 5] = ["name", "namespace", "labels", "uid", "creationTimestamp"];

impl Object {
    pub(crate) fn new(resource: Resource, object: &Value) -> Self {
        let mut head = json!({});
        for field in METADATA.iter().filter(|field| !object["metadata"][**field].is_null()) {
            head["metadata"][*field] = object["metadata"][*field].clone();
        }
        for field in resource.selectable_fields() {
            let (outer, inner) = field.split_once('.').expect("a path of two");
            if !object[outer][inner].is_null() {
                head[outer][inner] = object[outer][inner].clone();
            }
        }
        Self { text: object.to_string(), head }
    }

    /// What selectors and later versions ask of it, as they would of the whole.
    pub(crate) fn head(&self) -> &Value {
        &self.head
    }

    /// Its JSON, without kind and apiVersion.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The whole, without kind and apiVersion.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("it was written from a value")
    }

    /// The same as told of in another version.
    pub(crate) fn at_version(&self, resource: Resource, version: u64) -> Self {
        let mut object = self.value();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        Self::new(resource, &object)
    }
}
