//! Sends a batch and reads its result.

use std::io;

use nftnl::nftnl_sys::libc;
use weir_rules::nft::compile_rule;
use weir_rules::transaction::{Action, Operation, Transaction};

use super::batch::{self, Culprit, NetlinkBatch};
use super::error::CommitError;
use super::message::{Header, Reply};
use super::socket::Socket;
use super::{Worker, is_kernel_at_least};

/// What a commit took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The length of the batch in bytes.
    pub bytes: usize,
}

impl Worker {
    pub(super) fn commit(
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
        let batch =
            NetlinkBatch::new(transaction, generation, sequence, destroys, &mut self.scratch);
        self.sequence = batch.last_sequence();
        send(&mut self.socket, &batch, |errno, culprit| refusal(errno, culprit, transaction))
    }
}

/// Sends a batch and learns what became of it; `refusal` makes the error for what was refused.
pub(super) fn send(
    socket: &mut Socket,
    batch: &NetlinkBatch<'_>,
    refusal: impl FnOnce(i32, &Culprit) -> CommitError,
) -> Result<Committed, CommitError> {
    let bytes = batch.bytes().len();
    socket.send(batch.bytes()).map_err(|(error, limit)| unsent(error, bytes, limit))?;
    let result = match read_verdict(socket, batch)? {
        BatchResult::Committed => return Ok(Committed { bytes }),
        BatchResult::Aborted(errno, culprit) => {
            aborted(errno, bytes).unwrap_or_else(|| refusal(errno, &culprit))
        }
    };
    Err(result)
}

/// What became of a batch.
enum BatchResult {
    Committed,
    /// The first error, and what it is about.
    Aborted(i32, Culprit),
}

/// What the kernel said. It has processed the batch before `send` returned, so that all its
/// answers are waiting. An acknowledgement of the last operation and no error means that the
/// batch was committed; an acknowledgement alone does not.
fn read_verdict(socket: &mut Socket, batch: &NetlinkBatch<'_>) -> Result<BatchResult, CommitError> {
    let mut first_error = None;
    let mut acknowledged = false;
    let mut is_doubtful = false;
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
            Err(error) => {
                lost = Some(error);
                break;
            }
        };
        for message in messages {
            let header = message.as_ref().ok().and_then(|message| Header::read(message));
            let (Ok(message), Some(header)) = (message, header) else {
                lost = Some(io::ErrorKind::InvalidData.into());
                continue;
            };
            if !batch.contains(header.sequence) {
                // What is left of a request that was given up.
                is_doubtful = true;
                continue;
            }
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
    if is_doubtful || lost.is_some() || (first_error.is_none() && !acknowledged) {
        socket.doubt();
    }
    match (first_error, lost) {
        (Some((errno, culprit)), _) => Ok(BatchResult::Aborted(errno, culprit)),
        (None, None) if acknowledged => Ok(BatchResult::Committed),
        (None, None) => Err(CommitError::AnswerLost(io::ErrorKind::UnexpectedEof.into())),
        (None, Some(error)) => Err(CommitError::AnswerLost(error)),
    }
}

/// The error for a batch that could not be sent (`netlink_sendmsg` of net/netlink/af_netlink.c): so
/// none of it was seen.
fn unsent(source: io::Error, bytes: usize, limit: usize) -> CommitError {
    match source.raw_os_error() {
        Some(libc::EMSGSIZE) => CommitError::TooLong { bytes, limit },
        Some(libc::ENOBUFS | libc::ENOMEM) => CommitError::OutOfMemory { bytes, source },
        _ => CommitError::Send(source),
    }
}

/// The error for a batch that the kernel has aborted for a reason that lies in no operation.
fn aborted(errno: i32, bytes: usize) -> Option<CommitError> {
    let source = io::Error::from_raw_os_error(errno);
    match errno {
        libc::ERESTART => Some(CommitError::Stale),
        libc::EAGAIN => Some(CommitError::Busy(source)),
        libc::ENOMEM => Some(CommitError::OutOfMemory { bytes, source }),
        _ => None,
    }
}

/// The error for what the kernel refused.
fn refusal(errno: i32, culprit: &Culprit, transaction: &Transaction) -> CommitError {
    let operation = culprit.operation.and_then(|index| transaction.operations.get(index));
    let command = operation.map_or_else(
        || "the transaction".to_owned(),
        |operation| operation.command(culprit.part.unwrap_or(0)),
    );
    CommitError::Refused {
        operation: culprit.operation,
        part: culprit.part,
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
            let rule = new.get(culprit.part?.checked_sub(1)?)?;
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
#[path = "commit_tests.rs"]
pub(super) mod tests;
