//! Why a list or a watch has come to its end, and what that means for the next.

use std::io;
use std::time::Duration;

use super::trust;
use super::wire::Garbage;

/// Why a list or a watch has come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the request cannot be made")]
    Request(#[from] kube::core::request::Error),
    #[error("{message} ({code})")]
    Status { code: u16, message: String },
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<kube::Error>),
    #[error("no trust between the server and weir, which reads its credentials again")]
    Untrusted(#[source] Box<kube::Error>),
    #[error("there are no credentials to show; weir asks for them again")]
    Credentials(#[source] Box<kube::Error>),
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("an answer that makes no sense")]
    Garbage(#[from] Garbage),
    #[error("the answer ended before the list did")]
    Incomplete,
    #[error("the server closed the watch at once")]
    Short,
    /// Not said: nobody is there to hear it.
    #[error("nobody wants updates any more")]
    Unwanted,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Failure::Status { code: status.code, message: status.message.clone() }
            }
            other if trust::has_no_credentials(&other) => Failure::Credentials(Box::new(other)),
            other if trust::is_tls_failure(&other) => Failure::Untrusted(Box::new(other)),
            other => Failure::Unreachable(Box::new(other)),
        }
    }
}

impl Failure {
    /// A word for it in metrics; one of a few.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Failure::Request(_) => "request",
            Failure::Status { code: 410, .. } => "expired",
            Failure::Status { code: 401 | 403, .. } => "forbidden",
            Failure::Status { .. } => "status",
            Failure::Unreachable(_) => "unreachable",
            Failure::Untrusted(_) => "untrusted",
            Failure::Credentials(_) => "credentials",
            Failure::Broken(_) => "broken",
            Failure::Late(_) => "late",
            Failure::Silent(_) => "silent",
            Failure::Garbage(_) => "garbage",
            Failure::Incomplete => "incomplete",
            Failure::Short => "short",
            // Never counted.
            Failure::Unwanted => "unwanted",
        }
    }

    /// The status that the server has given, if it has given one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Failure::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether newer credentials may help.
    pub(super) fn is_for_credentials(&self) -> bool {
        matches!(self, Failure::Untrusted(_) | Failure::Credentials(_)) || self.code() == Some(401)
    }

    /// Whether it is one of the ways in which a good watch ends.
    pub(super) fn ends_watch(&self) -> bool {
        matches!(self, Failure::Short | Failure::Broken(_) | Failure::Silent(_))
    }

    /// Whether the version that was watched from is of no use any more. After a lost connection it
    /// still is: to list anew then would be a storm of lists whenever a server restarts.
    pub(super) fn voids_version(&self) -> bool {
        match self {
            Failure::Status { code, .. } => matches!(code, 400 | 404 | 410 | 422 | 504),
            Failure::Garbage(_) => true,
            _ => false,
        }
    }
}
