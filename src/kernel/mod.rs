//! nf_tables over netlink: the only module with `unsafe` code.
//!
//! One thread owns the socket. [`Kernel`] is a handle to it that can be cloned and sent anywhere;
//! requests are answered in order.

#![allow(unsafe_code, reason = "libnftnl, libmnl and socket options")]

mod attribute;
mod batch;
mod dump;
mod error;
mod expression;
mod message;
mod object;
pub mod others;
mod socket;
mod userdata;

use std::io;
use std::sync::mpsc;
use std::thread;

use nftnl::nftnl_sys::libc;
use weir_rules::nft::compile_rule;
use weir_rules::transaction::{Action, Operation, Transaction};

use batch::{Batch, Culprit};
pub use dump::Snapshot;
pub use error::{CommitError, DumpError, OpenError};
use message::{Header, Reply, Scratch};
use others::{Others, Removal, Wanted};
use socket::Socket;

/// A handle to the thread that talks to nf_tables in the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Kernel {
    requests: mpsc::Sender<Request>,
}

enum Request {
    Dump(mpsc::Sender<Result<Snapshot, DumpError>>),
    Generation(mpsc::Sender<Result<u32, DumpError>>),
    Commit(Transaction, Option<u32>, mpsc::Sender<Result<Committed, CommitError>>),
    Others(Vec<Wanted>, mpsc::Sender<Result<Others, DumpError>>),
    Remove(Vec<Removal>, Option<u32>, mpsc::Sender<Result<(), CommitError>>),
}

/// What a commit took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The length of the batch in bytes.
    pub bytes: usize,
}

impl Kernel {
    /// Opens the socket, in the calling thread's network namespace.
    pub fn open() -> Result<Self, OpenError> {
        let (requests, inbox) = mpsc::channel();
        let (opened, result) = mpsc::channel();
        // A new thread is in the network namespace of the one that starts it. The socket is opened
        // there because it cannot move between threads.
        let run = move || match Worker::open() {
            Ok(mut worker) => {
                let _ = opened.send(Ok(()));
                drop(opened);
                inbox.into_iter().for_each(|request| worker.answer(request));
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(run)
            .map_err(|source| OpenError::Socket { step: "start the netlink thread", source })?;
        result.recv().expect("the thread answers before it ends")?;
        Ok(Self { requests })
    }

    /// Reads weir's tables, whole and of one generation.
    pub fn dump(&self) -> Result<Snapshot, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Dump(answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// The generation of the kernel's ruleset: another number after every commit by anybody.
    pub fn generation(&self) -> Result<u32, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Generation(answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// Whether a chain can be deleted together with the last element that goes to it: since 6.2
    /// (knftables' notes on "nf_tables: fix chain use count"); a kernel that does not tell its
    /// release is taken for a new one.
    pub fn frees_chains_at_once(&self) -> bool {
        is_kernel_at_least((6, 2))
    }

    /// Commits a transaction whole, or not at all. With a generation, only if the kernel's ruleset
    /// is still of that one.
    pub fn commit(
        &self,
        transaction: Transaction,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let (answer, result) = mpsc::channel();
        self.requests
            .send(Request::Commit(transaction, generation, answer))
            .map_err(|_| CommitError::Gone)?;
        result.recv().map_err(|_| CommitError::Gone)?
    }
}

/// Whether the running kernel is of this version or later. One that does not tell its release is
/// taken for a new one.
fn is_kernel_at_least(version: (u32, u32)) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release_is_at_least(&release, version).unwrap_or(true)
}

/// Compares a kernel's release, such as `6.1.0-39-amd64`, with a version.
fn release_is_at_least(release: &str, version: (u32, u32)) -> Option<bool> {
    let mut numbers = release.split(['.', '-']).map(|number| number.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??) >= version)
}

/// The state of the thread.
struct Worker {
    socket: Socket,
    scratch: Scratch,
    /// The last sequence number that was used. Answers with an older one are left over from
    /// requests that were given up.
    sequence: u32,
}

impl Worker {
    fn open() -> Result<Self, OpenError> {
        let mut worker = Self { socket: Socket::open()?, scratch: Scratch::new(), sequence: 0 };
        // The cheapest question, to learn whether any is allowed and understood.
        match worker.generation() {
            Ok(_) => Ok(worker),
            Err(error) => Err(first_answer(error)),
        }
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        dump::generation(&mut self.socket, &mut self.scratch, &mut self.sequence)
    }

    /// Whoever asked may have gone away; the answer is then dropped.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Dump(answer) => {
                let _ = answer.send(dump::dump(
                    &mut self.socket,
                    &mut self.scratch,
                    &mut self.sequence,
                ));
            }
            Request::Generation(answer) => {
                let _ = answer.send(self.generation());
            }
            Request::Commit(transaction, generation, answer) => {
                let _ = answer.send(self.commit(&transaction, generation));
            }
            Request::Others(wanted, answer) => {
                let _ = answer.send(self.others(&wanted));
            }
            Request::Remove(removals, generation, answer) => {
                let _ = answer.send(self.remove(&removals, generation));
            }
        }
    }

    fn commit(
        &mut self,
        transaction: &Transaction,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        if transaction.is_empty() {
            return Ok(Committed { bytes: 0 });
        }
        let sequence = self.sequence.wrapping_add(1);
        // `NFT_MSG_DESTROYSETELEM` is there since 6.3.
        let destroys = is_kernel_at_least((6, 3));
        let batch = Batch::new(transaction, generation, sequence, destroys, &mut self.scratch);
        self.sequence = batch.last_sequence();
        send(&mut self.socket, &batch, |errno, culprit| refusal(errno, culprit, transaction))
    }
}

/// Sends a batch and learns what became of it; `refusal` makes the error for what was refused.
fn send(
    socket: &mut Socket,
    batch: &Batch<'_>,
    refusal: impl FnOnce(i32, &Culprit) -> CommitError,
) -> Result<Committed, CommitError> {
    let bytes = batch.bytes().len();
    socket.send(batch.bytes()).map_err(|(error, limit)| match error.raw_os_error() {
        Some(libc::EMSGSIZE | libc::ENOBUFS) => CommitError::TooLong { bytes, limit },
        _ => CommitError::Send(error),
    })?;
    read_verdict(socket, batch, refusal)?;
    Ok(Committed { bytes })
}

/// What the kernel said. It has processed the batch before `send` returned, so that all its
/// answers are waiting. An acknowledgement of the last operation and no error means that the
/// batch was committed; an acknowledgement alone does not.
fn read_verdict(
    socket: &mut Socket,
    batch: &Batch<'_>,
    refusal: impl FnOnce(i32, &Culprit) -> CommitError,
) -> Result<(), CommitError> {
    let mut first_error = None;
    let mut acknowledged = false;
    let mut lost = None;
    loop {
        let messages = match socket.receive() {
            Ok(Some(messages)) => messages,
            Ok(None) => break,
            // More answers than the socket holds: the kernel drops the later ones, and says so
            // before it hands out the earlier ones.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && lost.is_none() => {
                lost = Some(error);
                continue;
            }
            Err(error) => return Err(CommitError::AnswerLost(error)),
        };
        for message in messages {
            let message = message.map_err(CommitError::AnswerLost)?;
            let Some(header) = Header::read(message).filter(|h| batch.contains(h.sequence)) else {
                continue;
            };
            match header.reply(message) {
                Reply::Status { errno: 0, .. } => {
                    acknowledged |= header.sequence == batch.last_sequence();
                }
                Reply::Status { errno, offset } if first_error.is_none() => {
                    first_error = Some((errno, batch.culprit(header.sequence, offset)));
                }
                Reply::Status { .. } | Reply::Content => {}
            }
        }
    }
    match first_error {
        Some((libc::ERESTART, _)) => Err(CommitError::Stale),
        Some((errno, culprit)) => Err(refusal(errno, &culprit)),
        None if acknowledged && lost.is_none() => Ok(()),
        None => {
            let nothing = || io::ErrorKind::UnexpectedEof.into();
            Err(CommitError::AnswerLost(lost.unwrap_or_else(nothing)))
        }
    }
}

/// What the kernel's answer to the first question means.
fn first_answer(error: DumpError) -> OpenError {
    match error {
        DumpError::Refused { source, .. } => match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted,
            // nfnetlink answers so where a subsystem is not there (nfnetlink_rcv_msg).
            Some(libc::EINVAL | libc::EOPNOTSUPP) => OpenError::NoNfTables,
            _ => OpenError::Socket { step: "use the netlink socket", source },
        },
        other => {
            OpenError::Socket { step: "use the netlink socket", source: io::Error::other(other) }
        }
    }
}

/// The error for what the kernel refused.
fn refusal(errno: i32, culprit: &Culprit, transaction: &Transaction) -> CommitError {
    let operation = culprit.operation.and_then(|index| transaction.operations.get(index));
    let command = operation
        .map_or_else(|| "the transaction".to_owned(), |operation| operation.command(culprit.part));
    CommitError::Refused {
        operation: culprit.operation,
        command,
        hint: operation.and_then(|operation| hint(errno, operation, culprit)),
        source: io::Error::from_raw_os_error(errno),
    }
}

/// What an operator can do about a refusal.
fn hint(errno: i32, operation: &Operation, culprit: &Culprit) -> Option<String> {
    let (what, module) = match &operation.action {
        _ if errno != libc::ENOENT => return None,
        Action::ReplaceRules { new, .. } => {
            let rule = new.get(culprit.part.checked_sub(1)?)?;
            let instructions = compile_rule(rule, operation.family);
            let expression = instructions.get(culprit.expression?)?.expression().to_owned();
            // These also answer so when what they name is not there.
            if ["lookup", "immediate"].contains(&expression.as_str()) {
                return None;
            }
            (format!("expression `{expression}`"), format!("nft_{expression}"))
        }
        Action::AddSet { spec, .. } if spec.counter => {
            ("expression `counter`".to_owned(), "nft_counter".to_owned())
        }
        Action::AddChain { base: Some(base), .. } => {
            let kind = batch::chain_type(base.kind);
            (format!("chain type `{kind}`"), format!("nft_chain_{kind}"))
        }
        _ => return None,
    };
    Some(format!("this kernel lacks the nftables {what}: module {module} or its like"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        let cases = [
            ("6.1.0-39-amd64\n", Some(false)),
            ("6.2.0", Some(true)),
            ("6.18.44-fc", Some(true)),
            ("5.13", Some(false)),
            ("10.0-rc1", Some(true)),
            ("6", None),
            ("", None),
        ];
        for (release, expected) in cases {
            assert_eq!(release_is_at_least(release, (6, 2)), expected, "{release}");
        }
    }

    #[test]
    fn the_first_answer_tells_what_is_missing() {
        let refused = |errno| DumpError::Refused {
            what: "the generation",
            source: io::Error::from_raw_os_error(errno),
        };
        assert!(matches!(first_answer(refused(libc::EPERM)), OpenError::NotPermitted));
        assert!(matches!(first_answer(refused(libc::EINVAL)), OpenError::NoNfTables));
        assert!(matches!(first_answer(refused(libc::ENOBUFS)), OpenError::Socket { .. }));
    }
}
