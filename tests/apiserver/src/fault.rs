//! Faults on command.

use std::time::Duration;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A list, or a page of one.
    List,
    /// A watch, also one that begins with a list.
    Watch,
    /// A new object. [`Fault::Half`] takes it, and its answer is lost.
    Create,
}

impl Verb {
    /// As RBAC calls it.
    pub fn word(self) -> &'static str {
        match self {
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
        }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is right, and comes late: it tells what is there by then.
    Delay(Duration),
    /// The connection closes without an answer.
    Drop,
    /// The connection stays, and nothing comes: a server that is gone without a word.
    Hang,
    /// The answer begins, and nothing more comes.
    HangAfterHead,
    /// 401 Unauthorized.
    Unauthorized,
    /// 403 Forbidden.
    Forbidden,
    /// 404, as for an API that the server does not have.
    NotFound,
    /// 410 Gone, as the status of the answer.
    Gone,
    /// 429 Too Many Requests.
    TooManyRequests,
    /// 500 Internal Server Error, with a Status.
    InternalError,
    /// 503 from something in between that speaks no Kubernetes.
    Unavailable,
    /// 200 and text that is no JSON.
    Garbage,
    /// 200 and JSON of another shape.
    OtherJson,
    /// 200, then the first half of what should come, then the connection breaks.
    Half,
    /// 200, and at once the end of the answer.
    Empty,
    /// A watch: 200, then an ERROR event of code 410.
    GoneEvent,
    /// A watch from a version: 410. One that begins with a list is answered as it should be.
    GoneFromVersion,
    /// 429 as API priority and fairness says it: text, and a header with the time to wait.
    RetryAfter(Duration),
    /// 504 from something in between that speaks no Kubernetes.
    GatewayTimeout,
    /// 504, with a Status: the version is one that the server has not reached.
    TooLargeVersion,
    /// A watch that begins with a list: 200, then the ERROR event of a storage that cannot.
    RefuseWatchList,
    /// A watch that begins with a list: 422, as by a server that cannot.
    InvalidWatchList,
}

/// How watches end before their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Orderly.
    End,
    /// The connection breaks.
    Reset,
    /// The connection breaks within an event, between two chunks of the answer.
    Half,
    /// The connection breaks within a chunk of the answer.
    HalfChunk,
    /// Text that is no event.
    Garbage,
    /// An ERROR event of code 410.
    Gone,
    /// An ERROR event of code 500.
    InternalError,
    /// An ERROR event of code 429.
    Busy,
    /// Nothing comes any more, and the connection stays.
    Stall,
}
