//! Errors of nf_tables and its socket.

use std::io;

/// Why nf_tables cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process has no CAP_NET_ADMIN in its network namespace's user namespace.
    #[error("not permitted to use nf_tables: CAP_NET_ADMIN is missing")]
    NotPermitted,
    /// The kernel has no nf_tables.
    #[error("this kernel has no nf_tables (CONFIG_NF_TABLES, module nf_tables)")]
    NoNfTables,
    /// The kernel does not speak netlink with netfilter.
    #[error("this kernel has no nfnetlink (CONFIG_NETFILTER_NETLINK, module nfnetlink)")]
    NoNfnetlink,
    /// The socket could not be set up.
    #[error("cannot {step}")]
    Socket {
        /// What was attempted.
        step: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Why the kernel's state could not be read. Reading has no effect, so that it can always be tried
/// again, on another socket where this one has failed; the variants show when that may help.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The kernel refused or broke off a dump.
    #[error("cannot read {what} from nf_tables")]
    Refused {
        /// What was being read.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The question could not be sent, or its answer was lost or did not come in time.
    #[error("the kernel's answer about {what} was lost")]
    AnswerLost {
        /// What was being read.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The kernel is at something else (`EBUSY`, `EAGAIN`), even on a new socket: later.
    #[error("nf_tables is busy and tells nothing about {what}")]
    Busy {
        /// What was being read.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel has no memory for the answer.
    #[error("the kernel has no memory for an answer about {what}")]
    OutOfMemory {
        /// What was being read.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// libnftnl could not decode a message.
    #[error("cannot decode a message of nf_tables about {what}")]
    Undecodable {
        /// What was being read.
        what: &'static str,
    },
    /// Others changed the ruleset during every attempt.
    #[error("nf_tables changed during each of {attempts} attempts to read it")]
    Unsteady {
        /// How many attempts were made.
        attempts: u32,
    },
    /// The thread that owns the socket has ended.
    #[error("the netlink thread has ended")]
    Gone,
}

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The kernel rejected an operation, and with it the transaction.
    #[error("the kernel refused `{command}`{}", hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Refused {
        /// The operation's index in the transaction; `None` where it is about all of it.
        operation: Option<usize>,
        /// Which part of it, as `Operation::command` counts them; `None` where the kernel does not
        /// report it. Of several elements kernels report it since 5.19 (`nf_tables_newsetelem`).
        part: Option<usize>,
        /// The operation in nft syntax.
        command: String,
        /// What may be done about it.
        hint: Option<String>,
        /// The kernel's error.
        source: io::Error,
    },
    /// The ruleset is of another generation than the transaction was made for. Nothing was
    /// committed: it has to be read again.
    #[error("somebody else changed nf_tables in the meantime")]
    Stale,
    /// The transaction is longer than the socket can send at once. Nothing was committed: it can be
    /// split.
    #[error(
        "a transaction of {bytes} bytes does not fit the socket's send buffer of {limit}: \
         raise net.core.wmem_max, or run with CAP_NET_ADMIN in the initial user namespace"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The send buffer's size as the kernel reports it.
        limit: usize,
    },
    /// The kernel has no memory for the transaction (`ENOMEM`, and in sending `ENOBUFS`), of which
    /// nothing was committed: a part of it may do.
    #[error("the kernel has no memory for a transaction of {bytes} bytes")]
    OutOfMemory {
        /// Its length.
        bytes: usize,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel is at something else (`EAGAIN`) and has committed nothing: later. When nf_tables
    /// lacks a module it loads that and begins anew, of which nothing is reported here.
    #[error("nf_tables is busy and takes no transaction")]
    Busy(#[source] io::Error),
    /// Sending failed, for a reason that has nothing to do with this transaction. Nothing was
    /// committed.
    #[error("cannot send a transaction to nf_tables")]
    Send(#[source] io::Error),
    /// The kernel's answer was lost: whether the transaction was committed is not known until the
    /// ruleset is read.
    #[error("the kernel's answer to a transaction was lost")]
    AnswerLost(#[source] io::Error),
    /// The thread that owns the socket has ended.
    #[error("the netlink thread has ended")]
    Gone,
}

impl CommitError {
    /// What the kernel said of the operation that it refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            CommitError::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
