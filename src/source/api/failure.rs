//! Why a list or a watch ended, and what the next attempt must do.

use std::io;
use std::time::Duration;

use super::auth_errors;
use super::transport;
use super::wire::InvalidResponse;

/// Why a list or a watch has come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("the request cannot be made")]
    Request(#[from] kube::core::request::Error),
    #[error("{message} ({code})")]
    Status {
        code: u16,
        message: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
        /// Whether the version that was asked for is one that the server has not reached.
        is_too_large: bool,
    },
    #[error("{message} ({code}), in the middle of a watch")]
    Event { code: u16, message: String },
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<kube::Error>),
    #[error("no trust between the server and weir, which reads its credentials again")]
    Untrusted(#[source] Box<kube::Error>),
    #[error("there are no credentials to show; weir asks for them again")]
    Credentials(#[source] Box<kube::Error>),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the connection is dead: nothing came from the other side, not even when it was asked")]
    Dead(#[source] io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the server has not ended a watch that was to last {} s", .0.as_secs())]
    Overdue(Duration),
    #[error("an answer that makes no sense")]
    InvalidResponse(#[from] InvalidResponse),
    #[error("the answer ended before the list did")]
    Incomplete,
    #[error("the server closed the watch at once")]
    Short,
    /// Never logged: the receiver is gone.
    #[error("nobody wants updates any more")]
    Unwanted,
}

impl From<kube::Error> for WatchError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let details = status.details.as_ref();
                let seconds = details.map_or(0, |details| details.retry_after_seconds);
                let is_too_large = details.is_some_and(|details| {
                    details.causes.iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
                });
                WatchError::Status {
                    code: status.code,
                    retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
                    is_too_large: is_too_large || status.message.contains(TOO_LARGE),
                    message: status.message,
                }
            }
            other if auth_errors::has_no_credentials(&other) => {
                WatchError::Credentials(Box::new(other))
            }
            other if auth_errors::is_tls_failure(&other) => WatchError::Untrusted(Box::new(other)),
            other => WatchError::Unreachable(Box::new(other)),
        }
    }
}

impl From<io::Error> for WatchError {
    fn from(error: io::Error) -> Self {
        if transport::is_dead(&error) { WatchError::Dead(error) } else { WatchError::Broken(error) }
    }
}

/// What servers before 1.19 say of a version that they have not reached, without a cause.
const TOO_LARGE: &str = "Too large resource version";

impl WatchError {
    /// A word for it in metrics; one of a few.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            WatchError::Request(_) => "request",
            WatchError::Status { code: 410, .. } | WatchError::Event { code: 410, .. } => "expired",
            WatchError::Status { code: 401 | 403, .. } => "forbidden",
            WatchError::Status { .. } | WatchError::Event { .. } => "status",
            WatchError::Unreachable(_) => "unreachable",
            WatchError::Untrusted(_) => "untrusted",
            WatchError::Credentials(_) => "credentials",
            WatchError::Broken(_) => "broken",
            WatchError::Late(_) | WatchError::Overdue(_) => "late",
            WatchError::Dead(_) => "silent",
            WatchError::InvalidResponse(_) => "garbage",
            WatchError::Incomplete => "incomplete",
            WatchError::Short => "short",
            // Never counted.
            WatchError::Unwanted => "unwanted",
        }
    }

    /// The status that the server has given, if it has given one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            WatchError::Status { code, .. } | WatchError::Event { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether somebody has answered: the server, or what stands before it.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            WatchError::Unreachable(_) | WatchError::Untrusted(_) | WatchError::Late(_) => false,
            WatchError::Broken(_) | WatchError::Dead(_) | WatchError::Overdue(_) => false,
            WatchError::Request(_) | WatchError::Status { .. } | WatchError::Event { .. } => true,
            WatchError::Credentials(_)
            | WatchError::InvalidResponse(_)
            | WatchError::Incomplete => true,
            WatchError::Short | WatchError::Unwanted => true,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            WatchError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether newer credentials may help.
    pub(super) fn is_for_credentials(&self) -> bool {
        matches!(self, WatchError::Untrusted(_) | WatchError::Credentials(_))
            || self.code() == Some(401)
    }

    /// Whether it is transient.
    pub(super) fn is_short(&self) -> bool {
        matches!(self, WatchError::Short | WatchError::Broken(_))
    }

    /// Whether it is one of the ways in which a watch ends that was begun well.
    pub(super) fn ends_watch(&self) -> bool {
        matches!(self, WatchError::Broken(_) | WatchError::Dead(_) | WatchError::Overdue(_))
    }

    /// Whether the version that was watched from is of no use any more. After a lost connection it
    /// still is: to list anew then would be a storm of lists whenever a server restarts.
    pub(super) fn voids_version(&self) -> bool {
        match self {
            // 504 is also what a gateway says whose server is slow.
            WatchError::Status { code, is_too_large, .. } => {
                *is_too_large || matches!(code, 400 | 404 | 410 | 422)
            }
            // A busy server goes on from where it was; after any other the server does not.
            WatchError::Event { code, .. } => *code != 429,
            WatchError::InvalidResponse(_) => true,
            _ => false,
        }
    }
}
