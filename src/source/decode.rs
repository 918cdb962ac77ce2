//! Decodes the JSON text of one object to weir's compact type, or to the reason why that fails.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use serde::Deserialize;

use super::convert::{self, Converted, InvalidField};
use super::{Kind, ObjectKey, validate};

/// A field that cannot be decoded.
#[derive(Debug)]
pub(super) struct Undecodable {
    /// Its path within the object, if it is known.
    pub(super) field: Option<String>,
    /// What is wrong with it.
    pub(super) message: String,
}

impl From<InvalidField> for Undecodable {
    fn from(bad: InvalidField) -> Self {
        Self { field: Some(bad.field), message: bad.message }
    }
}

/// Decodes, and only when that fails asks a second time where it did.
pub(super) fn decode<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Undecodable> {
    if let Ok(value) = serde_json::from_str(json) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        // The position is one in a line that nobody has written.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
        Undecodable { field: (path != ".").then_some(path), message: message.to_owned() }
    })
}

/// Decodes and converts the object of this identity.
pub(super) fn object(key: &ObjectKey, json: &str) -> Result<Converted, Undecodable> {
    let namespace = key.namespace();
    check_name(key)?;
    Ok(match key.kind {
        Kind::Service => convert::service(&decode(json)?)?,
        Kind::EndpointSlice => convert::slice(&decode(json)?, namespace)?,
        Kind::Node => convert::node(&decode(json)?),
        Kind::Pod => convert::pod(&decode(json)?)?,
        Kind::ServiceCidr => convert::service_cidr(&decode(json)?),
    })
}

/// The same, where nothing is left out, what does not matter must be of its type, too, and everything is
/// such as the API server takes it: nobody but weir has read it yet.
pub(super) fn checked_object(key: &ObjectKey, json: &str) -> Result<Converted, Undecodable> {
    validate::name(key)?;
    match key.kind {
        Kind::Service => validate::service(&decode::<core::Service>(json)?)?,
        Kind::EndpointSlice => validate::slice(&decode::<discovery::EndpointSlice>(json)?)?,
        Kind::Pod => validate::pod(&decode::<core::Pod>(json)?)?,
        Kind::Node | Kind::ServiceCidr => {}
    }
    let converted = object(key, json)?;
    match converted.left_out.first() {
        Some(bad) => Err(bad.clone().into()),
        None => Ok(converted),
    }
}

/// # Errors
/// If the object has a name or namespace that the API server allows for none.
pub(super) fn check_name(key: &ObjectKey) -> Result<(), InvalidField> {
    convert::name(key.name(), "metadata.name", 253)?;
    convert::name(key.namespace(), "metadata.namespace", 63)
}
