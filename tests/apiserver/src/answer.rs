//! Texts of responses.

use serde_json::{Value, json};

use crate::Resource;
use crate::object::Object;
use crate::store::{Key, Told};

/// A Status that tells of a failure.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
           "message": message, "reason": reason, "code": code})
}

/// The Status for somebody who may not do what he asks for.
pub(crate) fn forbidden(resource: Resource, verb: &str) -> Value {
    let plural = resource.plural();
    let group = resource.group();
    let message = format!(
        "{plural} is forbidden: User \"system:anonymous\" cannot {verb} resource \"{plural}\" in API \
         group \"{group}\" at the cluster scope"
    );
    let mut status = status(403, "Forbidden", &message);
    status["details"] = match group {
        "" => json!({"kind": plural}),
        group => json!({"group": group, "kind": plural}),
    };
    status
}

/// A list, or a page of one. Its items have no kind and apiVersion.
pub(crate) fn list(
    resource: Resource,
    version: u64,
    continue_token: Option<&str>,
    remaining: Option<usize>,
    items: &[&Object],
) -> String {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(token) = continue_token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let (kind, api_version) = (resource.kind(), resource.api_version());
    let items = items.iter().map(|item| item.text()).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":[{items}]}}"#
    )
}

/// The line of an event.
pub(crate) fn event(resource: Resource, told: Told, version: u64) -> String {
    match told {
        Told::Object(event, object) => line(event, &typed(resource, &object)),
        Told::Bookmark => line("BOOKMARK", &bookmark(resource, version, false).to_string()),
    }
}

/// The line of the event that tells of an object at the beginning of a watch.
pub(crate) fn added(resource: Resource, object: &Object) -> String {
    line("ADDED", &typed(resource, object))
}

/// The line that ends the objects that a watch begins with.
pub(crate) fn initial_events_end(resource: Resource, version: u64) -> String {
    line("BOOKMARK", &bookmark(resource, version, true).to_string())
}

/// The line of an ERROR event.
pub(crate) fn error_event(status: &Value) -> String {
    line("ERROR", &status.to_string())
}

/// An object as a watch gives it: with kind and apiVersion.
fn typed(resource: Resource, object: &Object) -> String {
    let (kind, api_version) = (resource.kind(), resource.api_version());
    // Never empty: there is metadata.
    let fields = object.text().strip_prefix('{').expect("an object");
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}",{fields}"#)
}

fn bookmark(resource: Resource, version: u64, ends_initial_events: bool) -> Value {
    let mut object = json!({"kind": resource.kind(), "apiVersion": resource.api_version(),
                            "metadata": {"resourceVersion": version.to_string()}});
    if ends_initial_events {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    for (field, value) in resource.empty_fields() {
        object[*field] = serde_json::from_str(value).expect("a constant");
    }
    object
}

fn line(event: &str, object: &str) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

/// Where a list goes on: after an object, in the state of a version. Opaque to clients.
pub(crate) fn continue_token(version: u64, after: &Key) -> String {
    let place = json!({"v": "meta.k8s.io/v1", "rv": version, "start": [after.1, after.2]});
    place.to_string().bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The version, and namespace and name of the last object before, of a token.
pub(crate) fn parse_token(token: &str) -> Option<(u64, String, String)> {
    let digits = token.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let place: Value = serde_json::from_slice(&bytes?).ok()?;
    let text = |index: usize| place["start"][index].as_str().map(str::to_owned);
    Some((place["rv"].as_u64()?, text(0)?, text(1)?))
}
