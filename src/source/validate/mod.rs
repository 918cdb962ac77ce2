//! Validates manifests as the API server would validate the same objects.
//!
//! Whatever is read through the API has passed its checks, or those of a version with other rules, and is
//! used as far as it makes sense. Manifests are checked as a write to the API would be: names, addresses
//! and sets of values, but not which fields may stand together. What conversion refuses by itself, such as a
//! text that is no address, is not checked here.

mod address;
mod pod;
mod service;
mod slice;
mod text;

use std::collections::BTreeMap;

pub(super) use pod::pod;
pub(super) use service::service;
pub(super) use slice::slice;

use super::convert::InvalidField;
use super::{Kind, ObjectKey};

/// Whether an object of this kind can have this namespace and name.
pub(super) fn name(key: &ObjectKey) -> Result<(), InvalidField> {
    let name = key.name();
    match key.kind {
        // The rule was DNS-1035 (no digit at the start) before `RelaxedServiceNameValidation`.
        Kind::Service => text::dns_label(name, || "metadata.name".into())?,
        Kind::EndpointSlice | Kind::Node | Kind::Pod | Kind::ServiceCidr => {
            text::dns_name(name, || "metadata.name".into())?;
        }
    }
    match key.kind.is_namespaced() {
        true => text::dns_label(key.namespace(), || "metadata.namespace".into()),
        false => Ok(()),
    }
}

/// The values of labels, or of a selector.
fn labels(labels: Option<&BTreeMap<String, String>>, field: &str) -> Result<(), InvalidField> {
    let mut labels = labels.into_iter().flatten();
    labels.try_for_each(|(key, value)| text::label_value(value, || format!("{field}[{key}]")))
}
