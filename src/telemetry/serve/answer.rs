//! Requests and answers, worded as Go's `net/http` words them.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers requests, at once. Methods do not matter, as they do not to Go's handlers; what answers
/// HEAD is sent without its body.
pub(super) type Handler = Arc<dyn Fn(&Request<Incoming>) -> Answer + Send + Sync>;

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of a type that a browser must not guess otherwise.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The same with one more header.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}

/// What is asked for is not there (`http.NotFound`).
pub(super) fn not_found() -> Answer {
    answer(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
}

/// What is asked for cannot be made (`http.Error`).
pub(super) fn failed(reason: &str) -> Answer {
    answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{reason}\n"))
}
