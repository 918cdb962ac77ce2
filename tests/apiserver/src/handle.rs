//! Handles a request.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::connection::Peer;
use crate::query::Query;
use crate::selector::Selector;
use crate::server::{Request, Shared};
use crate::{Fault, Resource, Verb, answer, stream};

/// The text of an answer; an error breaks the connection.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// The lines of a stream on their way.
pub(crate) type Lines = mpsc::UnboundedSender<io::Result<Frame<Bytes>>>;

/// Answers a request; an error closes the connection without an answer.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    peer: &Peer,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let Some((resource, namespace)) = Resource::of_path(head.uri.path()) else {
        return Ok(plain(404, "404 page not found\n"));
    };
    let text = head.uri.query().unwrap_or_default();
    let query = Query::parse(text);
    let verb = match head.method {
        Method::POST => Verb::Create,
        _ if query.is_true("watch") => Verb::Watch,
        _ => Verb::List,
    };
    let fault =
        shared.begin(Request { resource, verb, query: text.to_owned(), time: Instant::now() });
    let authorization = head.headers.get("authorization").and_then(|of| of.to_str().ok());
    if let Some(refusal) = refusal(&shared, authorization, &peer.shown, resource, verb) {
        return Ok(json_answer(&refusal));
    }
    match fault {
        None => {}
        Some(Fault::Delay(time)) => sleep(time).await,
        Some(Fault::GoneFromVersion)
            if query.is_true("sendInitialEvents") || verb == Verb::List => {}
        Some(Fault::Half) if verb == Verb::Create => {
            create(&shared, resource, namespace, body).await?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Some(fault) => return fail(&shared, resource, verb, &query, fault).await,
    }
    if verb == Verb::Create {
        return create(&shared, resource, namespace, body).await;
    }
    let selector = match Selector::parse(resource, namespace, &query) {
        Ok(selector) => selector,
        Err(message) => return Ok(json_answer(&answer::status(400, "BadRequest", &message))),
    };
    Ok(match verb {
        Verb::Watch => stream::watch(shared, resource, &query, selector, peer.knife.clone()),
        _ => list_answer(list(&shared, resource, &query, &selector)),
    })
}

/// The Status for somebody who is not known, or may not do what he asks for.
fn refusal(
    shared: &Shared,
    authorization: Option<&str>,
    shown: &[CertificateDer<'static>],
    resource: Resource,
    verb: Verb,
) -> Option<Value> {
    let mut admission = shared.admission.lock().expect("not poisoned");
    let refusal = if !admission.knows(authorization, shown) {
        answer::status(401, "Unauthorized", "Unauthorized")
    } else if !admission.allows(resource, verb) {
        answer::forbidden(resource, verb.word())
    } else {
        return None;
    };
    admission.refusals += 1;
    Some(refusal)
}

/// Takes an Event, of the namespace of the path and of a new name; all else comes from the test.
async fn create(
    shared: &Shared,
    resource: Resource,
    namespace: Option<&str>,
    body: Incoming,
) -> io::Result<Response<Body>> {
    if resource != Resource::Events {
        return Ok(json_answer(&answer::forbidden(resource, "create")));
    }
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let event: Value = match serde_json::from_slice(&bytes) {
        Ok(event) => event,
        Err(error) => {
            return Ok(json_answer(&answer::status(400, "BadRequest", &error.to_string())));
        }
    };
    let (name, of) = (&event["metadata"]["name"], event["metadata"]["namespace"].as_str());
    if of != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the \
                       request";
        return Ok(json_answer(&answer::status(400, "BadRequest", message)));
    }
    if shared.events.borrow().iter().any(|event| event["metadata"]["name"] == *name) {
        let message = format!("events.events.k8s.io {name} already exists");
        return Ok(json_answer(&answer::status(409, "AlreadyExists", &message)));
    }
    shared.events.send_modify(|events| events.push(event.clone()));
    Ok(text(StatusCode::CREATED, format!("{event}\n")))
}

/// The list or the page of it, as text, or the Status that a list's query asks for.
pub(crate) fn list(
    shared: &Shared,
    resource: Resource,
    query: &Query,
    selector: &Selector,
) -> Result<String, Value> {
    let store = shared.store.lock().expect("not poisoned");
    let (version, after) = match query.get("continue") {
        None => (store.version(), None),
        Some(token) => match answer::parse_token(token) {
            None => {
                let message = "invalid continue token: continue key is not valid: invalid character \
                               '\\xba' in literal null (expecting 'u')";
                return Err(answer::status(400, "BadRequest", message));
            }
            Some((version, ..)) if version <= store.forgotten() => {
                let message = "The provided continue parameter is too old to display a consistent \
                               list result. You can start a new list without the continue parameter.";
                return Err(answer::status(410, "Expired", message));
            }
            Some((version, namespace, name)) => (version, Some((resource, namespace, name))),
        },
    };
    let mut objects = store.select(resource, selector, version);
    objects.retain(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let rest = objects.split_off(limit.unwrap_or(objects.len()).min(objects.len()));
    let last = objects.last().filter(|_| !rest.is_empty());
    let token = last.map(|(key, _)| answer::continue_token(version, key));
    // With a selector a real server does not count.
    let is_selective = query.get("labelSelector").or(query.get("fieldSelector")).is_some();
    let remaining = (token.is_some() && !is_selective).then_some(rest.len());
    let items: Vec<_> = objects.into_iter().map(|(_, object)| object).collect();
    Ok(answer::list(resource, version, token.as_deref(), remaining, &items))
}

async fn fail(
    shared: &Arc<Shared>,
    resource: Resource,
    verb: Verb,
    query: &Query,
    fault: Fault,
) -> io::Result<Response<Body>> {
    let event = |status: Value| text(StatusCode::OK, answer::error_event(&status));
    Ok(match fault {
        Fault::Delay(time) => unreachable!("answered after {time:?}"),
        Fault::Drop => return Err(io::ErrorKind::ConnectionReset.into()),
        Fault::Hang => std::future::pending().await,
        Fault::HangAfterHead => {
            let (lines, response) = streamed();
            // Kept, so that the answer does not end.
            std::mem::forget(lines);
            response
        }
        Fault::Unauthorized => json_answer(&answer::status(401, "Unauthorized", "Unauthorized")),
        Fault::Forbidden => json_answer(&answer::forbidden(resource, verb.word())),
        Fault::NotFound => plain(404, "404 page not found\n"),
        Fault::Gone | Fault::GoneFromVersion => {
            json_answer(&answer::status(410, "Expired", "too old resource version"))
        }
        Fault::TooManyRequests => {
            let message = "Too many requests, please try again later.";
            json_answer(&answer::status(429, "TooManyRequests", message))
        }
        Fault::InternalError => {
            json_answer(&answer::status(500, "InternalError", "Internal error occurred"))
        }
        Fault::RetryAfter(time) => {
            let mut response = plain(429, "Too many requests, please try again later.\n");
            response.headers_mut().insert("retry-after", time.as_secs().into());
            response
        }
        Fault::GatewayTimeout => plain(504, "<html>the upstream has not answered</html>\n"),
        Fault::TooLargeVersion => {
            let message = "Too large resource version: 9999, current: 7";
            let mut status = answer::status(504, "Timeout", message);
            status["details"] = json!({"causes": [{"reason": "ResourceVersionTooLarge",
                                                   "message": "Too large resource version"}],
                                       "retryAfterSeconds": 1});
            json_answer(&status)
        }
        Fault::Unavailable => plain(503, "<html>no upstream</html>\n"),
        Fault::Garbage => text(StatusCode::OK, "}{ what is this\n".to_owned()),
        Fault::OtherJson => text(StatusCode::OK, "[{\"type\":\"ADDED\"},null]\n".to_owned()),
        Fault::Half => half(shared, resource, verb, query),
        Fault::Empty => text(StatusCode::OK, String::new()),
        Fault::GoneEvent => event(too_old(0, 1)),
        Fault::RefuseWatchList => event(answer::status(
            500,
            "InternalError",
            "a watch stream was requested by the client but the required storage feature \
             RequestWatchProgress is disabled",
        )),
        Fault::InvalidWatchList => json_answer(&answer::status(
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: \
             sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        )),
    })
}

/// The Status for a version that is forgotten.
pub(crate) fn too_old(version: u64, oldest: u64) -> Value {
    let message = format!("too old resource version: {version} ({oldest})");
    answer::status(410, "Expired", &message)
}

/// The first half of the list, also where a watch begins with it, then the end of the connection.
fn half(shared: &Arc<Shared>, resource: Resource, verb: Verb, query: &Query) -> Response<Body> {
    let selector = Selector::parse(resource, None, query).unwrap_or_default();
    let whole = match verb {
        Verb::List | Verb::Create => {
            list(shared, resource, query, &selector).unwrap_or_else(|status| status.to_string())
        }
        Verb::Watch => stream::initial_events(shared, resource, &selector).0,
    };
    let whole_length = whole.len();
    let (lines, response) = streamed();
    let half = Bytes::from(whole).slice(..whole_length / 2);
    lines.send(Ok(Frame::data(half))).ok();
    lines.send(Err(io::ErrorKind::ConnectionReset.into())).ok();
    response
}

/// An answer that goes on as long as its sender is kept.
pub(crate) fn streamed() -> (Lines, Response<Body>) {
    let (lines, receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let response = response(StatusCode::OK, "application/json", StreamBody::new(frames).boxed());
    (lines, response)
}

/// The answer to one who asks for a list.
fn list_answer(list: Result<String, Value>) -> Response<Body> {
    match list {
        Ok(list) => text(StatusCode::OK, format!("{list}\n")),
        Err(status) => json_answer(&status),
    }
}

/// A JSON answer; a Status has its own code.
fn json_answer(value: &Value) -> Response<Body> {
    let code = match value["kind"] == json!("Status") {
        true => value["code"].as_u64().and_then(|code| u16::try_from(code).ok()),
        false => None,
    };
    let code = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK);
    text(code, format!("{value}\n"))
}

fn text(code: StatusCode, text: String) -> Response<Body> {
    response(code, "application/json", full(text))
}

fn plain(code: u16, text: &str) -> Response<Body> {
    let code = StatusCode::from_u16(code).expect("a constant");
    response(code, "text/plain; charset=utf-8", full(text.to_owned()))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

fn response(code: StatusCode, content: &str, body: Body) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", content)
        .header("cache-control", "no-cache, private")
        .body(body)
        .expect("constants")
}
