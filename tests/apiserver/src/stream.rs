//! Watches.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Frame;
use tokio::time::{Instant, sleep_until};

use crate::cut::Knife;
use crate::handle::{Body, Lines, streamed, too_old};
use crate::query::Query;
use crate::selector::Selector;
use crate::server::Shared;
use crate::{Break, Resource, answer};

/// A watch, from the version of the query on, or with all objects first.
pub(crate) fn watch(
    shared: Arc<Shared>,
    resource: Resource,
    query: &Query,
    selector: Selector,
    knife: Knife,
) -> Response<Body> {
    let (lines, response) = streamed();
    let mut text = String::new();
    let store = shared.store.lock().expect("not poisoned");
    let newest = store.version();
    let asked = query.get("resourceVersion").and_then(|version| version.parse().ok());
    let mut from = asked.unwrap_or(newest);
    let forgotten = store.forgotten();
    let place_of = |version| store.place(version);
    let place;
    if query.is_true("sendInitialEvents") {
        place = place_of(newest);
        drop(store);
        (text, from) = initial_events(&shared, resource, &selector);
    } else {
        place = place_of(from);
        drop(store);
        if asked.is_some() && from <= forgotten {
            let event = answer::error_event(&too_old(from, forgotten + 1));
            lines.send(Ok(Frame::data(event.into()))).ok();
            return response;
        }
    }
    if !text.is_empty() {
        lines.send(Ok(Frame::data(text.into()))).ok();
    }
    let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1800));
    tokio::spawn(follow(shared, resource, selector, lines, Start { from, place, end }, knife));
    response
}

/// Where a watch begins and when it ends.
struct Start {
    from: u64,
    place: usize,
    end: Instant,
}

async fn follow(
    shared: Arc<Shared>,
    resource: Resource,
    selector: Selector,
    lines: Lines,
    start: Start,
    knife: Knife,
) {
    let mut changes = shared.changes.subscribe();
    let mut breaks = shared.breaks.subscribe();
    breaks.mark_unchanged();
    let mut place = start.place;
    loop {
        changes.mark_unchanged();
        let text = {
            let store = shared.store.lock().expect("not poisoned");
            // Behind its place, the server has been set back, and this watch is about to end.
            let Some((new, next)) = store.changes(place.min(store.end())) else {
                drop(store);
                return end(Some(Break::Gone), lines, &knife);
            };
            place = next;
            new.filter(|change| change.version > start.from || change.is_bookmark())
                // A server that is behind the version of the watch is silent.
                .filter(|_| store.version() >= start.from)
                .filter_map(|change| {
                    let told = change.told(resource, &selector)?;
                    Some(answer::event(resource, told, change.version))
                })
                .collect::<String>()
        };
        if !text.is_empty() && lines.send(Ok(Frame::data(text.into()))).is_err() {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = breaks.changed() => {
                let how = *breaks.borrow_and_update();
                return end(how, lines, &knife);
            }
            () = lines.closed() => return,
            () = sleep_until(start.end) => return,
        }
    }
}

/// Ends a watch in this way.
fn end(how: Option<Break>, lines: Lines, knife: &Knife) {
    let say = |text: String| lines.send(Ok(Frame::data(Bytes::from(text)))).ok();
    match how {
        None | Some(Break::End) => {}
        Some(Break::Reset) => {
            lines.send(Err(io::ErrorKind::ConnectionReset.into())).ok();
        }
        Some(Break::Half) => {
            say("{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Ser".to_owned());
            lines.send(Err(io::ErrorKind::ConnectionReset.into())).ok();
        }
        Some(Break::HalfChunk) => {
            knife.cut();
            say("{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Service\"}}\n".to_owned());
        }
        Some(Break::Garbage) => {
            say("}{ what is this\n".to_owned());
        }
        Some(Break::Gone) => {
            say(answer::error_event(&too_old(0, 1)));
        }
        Some(Break::InternalError) => {
            let status =
                answer::status(500, "InternalError", "etcd event received with PrevKv=nil");
            say(answer::error_event(&status));
        }
        Some(Break::Busy) => {
            let message = "Too many requests, please try again later.";
            say(answer::error_event(&answer::status(429, "TooManyRequests", message)));
        }
        // Never dropped, so that the answer does not end.
        Some(Break::Stall) => std::mem::forget(lines),
    }
}

/// All objects as events, the bookmark that ends them, and its version.
pub(crate) fn initial_events(
    shared: &Shared,
    resource: Resource,
    selector: &Selector,
) -> (String, u64) {
    let store = shared.store.lock().expect("not poisoned");
    let version = store.version();
    let objects = store.select(resource, selector, version).into_iter();
    let events = objects.map(|(_, object)| answer::added(resource, object));
    let end = answer::initial_events_end(resource, version);
    (events.chain([end]).collect(), version)
}
