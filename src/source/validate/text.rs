//! Validates formats such as DNS labels (Kubernetes:
//! staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go).

use crate::source::convert::{InvalidField, Quoted};

/// The longest label of a DNS name, and the longest value of a Kubernetes label, in bytes.
const LABEL_LENGTH: usize = 63;
/// The longest DNS name, in bytes.
const DNS_NAME_LENGTH: usize = 253;
/// The longest service name of IANA (RFC 6335), in bytes.
const PORT_NAME_LENGTH: usize = 15;

/// `IsDNS1123Label`: of a namespace, a Service, or a port of these.
pub(super) fn dns_label(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    check(text.len() <= LABEL_LENGTH && is_label(text), text, field, || {
        format!(
            "a DNS label: at most {LABEL_LENGTH} lower-case letters, digits and `-`, no `-` at an end"
        )
    })
}

/// `IsDNS1123Subdomain`: of most objects.
pub(super) fn dns_name(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    check(text.len() <= DNS_NAME_LENGTH && text.split('.').all(is_label), text, field, || {
        format!(
            "a DNS name: at most {DNS_NAME_LENGTH} lower-case letters, digits, `-` and `.`, the parts \
             between dots not empty and without a `-` at an end"
        )
    })
}

/// `IsValidLabelValue`; the empty one is good.
pub(super) fn label_value(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_good = text.is_empty() || is_framed(text, is_inner, |byte| byte.is_ascii_alphanumeric());
    check(text.len() <= LABEL_LENGTH && is_good, text, field, || {
        format!(
            "the value of a label: at most {LABEL_LENGTH} letters, digits, `-`, `_` and `.`, the first \
             and the last a letter or digit"
        )
    })
}

/// `IsValidPortName`: of a container's port, by which a Service may ask for it.
pub(super) fn port_name(text: &str, field: impl Fn() -> String) -> Result<(), InvalidField> {
    let is_good = text.len() <= PORT_NAME_LENGTH
        && is_label(text)
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase());
    check(is_good, text, field, || {
        format!(
            "the name of a port: at most {PORT_NAME_LENGTH} lower-case letters, digits and `-`, with a \
             letter among them and no `-` at an end or beside another"
        )
    })
}

/// One of a set of values.
pub(super) fn one_of(
    text: &str,
    values: &[&str],
    field: impl Fn() -> String,
) -> Result<(), InvalidField> {
    if values.contains(&text) {
        return Ok(());
    }
    let (last, first) = values.split_last().expect("sets of values are constants and not empty");
    let message = format!("{} is none of {} and {last}", Quoted(text), first.join(", "));
    Err(InvalidField::new(field(), message))
}

/// One of a set of values, or nothing: then the API server puts the default there.
pub(super) fn one_of_or_default(
    text: Option<&str>,
    values: &[&str],
    field: &str,
) -> Result<(), InvalidField> {
    match text {
        None | Some("") => Ok(()),
        Some(text) => one_of(text, values, || field.to_owned()),
    }
}

fn is_label(text: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    is_framed(text, |byte| is_end(byte) || byte == b'-', is_end)
}

/// Whether a text is not empty, all of it is `inner`, and its first and last byte are `end`.
fn is_framed(text: &str, inner: impl Fn(u8) -> bool, end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| end(*first))
        && bytes.last().is_some_and(|last| end(*last))
        && bytes.iter().all(|byte| inner(*byte))
}

fn check(
    is_good: bool,
    text: &str,
    field: impl Fn() -> String,
    rule: impl Fn() -> String,
) -> Result<(), InvalidField> {
    let message = || format!("{} is not {}", Quoted(text), rule());
    if is_good { Ok(()) } else { Err(InvalidField::new(field(), message())) }
}
