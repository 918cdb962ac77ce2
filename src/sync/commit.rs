//! Commits a transaction, and splits it when the kernel does not take it in one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use weir_rules::cluster::Family;
use weir_rules::compile::names;
use weir_rules::reconcile::mirror::RejectedObject;
use weir_rules::transaction::split::split;
use weir_rules::transaction::{Action, Operation, Transaction};

use super::partition::{split_chain_deletions, split_new_chains};
use super::{Commit, NfTables, SyncError};
use crate::kernel::generation::next_generation;
use crate::kernel::{CommitError, Committed};

/// How many elements a transaction changes at most, but for those that must change together. For as
/// long as it lasts nobody else can change nf_tables: some 60 ms (kernel 6.18 took 52 to 104 ms for
/// 33,600 elements, 136 to 159 ms for 67,200).
pub(super) const MAX_ELEMENTS: usize = 25_000;

/// Why a transaction is not committed, or not all of it.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Others have changed nf_tables since the kernel was read.
    Stale,
    /// A learned element has expired that was to be deleted.
    Expired,
    /// It is not known any more what the kernel holds.
    Drifted,
    /// The kernel has not what it is thought to have, or has more.
    Suspect(CommitError),
    /// The kernel does not take this object.
    Rejected {
        /// The object, if it is known.
        object: Option<Box<(Family, RejectedObject)>>,
        /// What the kernel said.
        error: CommitError,
    },
    /// It is no transaction's fault.
    Failed(SyncError),
}

impl<E: Into<SyncError>> From<E> for ApplyError {
    fn from(error: E) -> Self {
        ApplyError::Failed(error.into())
    }
}

/// Commits a transaction in parts of bounded length. After an error `commits` may hold those that
/// were committed before. With a generation, only while nobody else commits anything; it becomes the
/// one after the last part that was committed.
pub(super) fn commit(
    kernel: &mut impl NfTables,
    transaction: Transaction,
    generation: &mut Option<u32>,
    commits: &mut Vec<Commit>,
) -> Result<(), ApplyError> {
    let parts = split(transaction, MAX_ELEMENTS).into_iter();
    let mut queue: VecDeque<_> = parts.flat_map(split_new_chains).collect();
    if !kernel.frees_chains_at_once() {
        queue = queue.into_iter().flat_map(split_chain_deletions).collect();
    }
    while let Some(piece) = queue.pop_front() {
        let piece = Arc::new(piece);
        match kernel.commit(&piece, *generation) {
            Ok(Committed { bytes }) => {
                *generation = generation.map(next_generation);
                commits.push(Commit::new(piece, bytes, *generation));
            }
            Err(error) => {
                let parts = fallback(error, &piece, generation.is_some())?;
                parts.into_iter().rev().for_each(|part| queue.push_front(part));
            }
        }
    }
    Ok(())
}

/// What to try instead of a transaction that was not committed.
fn fallback(
    error: CommitError,
    transaction: &Transaction,
    is_strict: bool,
) -> Result<Vec<Transaction>, ApplyError> {
    match error {
        CommitError::Stale => Err(ApplyError::Stale),
        CommitError::TooLong { .. } | CommitError::OutOfMemory { .. } => {
            bisect(transaction).ok_or_else(|| error.into())
        }
        CommitError::Refused { operation, part, ref source, .. } => {
            let culprit = operation.and_then(|index| transaction.operations.get(index));
            let kind = source.kind();
            if kind == io::ErrorKind::ResourceBusy
                && culprit.is_some_and(|operation| operation.deletes_chain())
            {
                let parts = split_chain_deletions(transaction.clone());
                if parts.len() > 1 {
                    return Ok(parts);
                }
            }
            if kind == io::ErrorKind::NotFound && culprit.is_some_and(|it| it.changes_learned()) {
                return Err(ApplyError::Expired);
            }
            if is_existence_conflict(kind) && !is_strict {
                return Err(ApplyError::Stale);
            }
            let object = culprit.and_then(|operation| {
                let part = part.or_else(|| sole_item(operation))?;
                Some(Box::new((operation.family, RejectedObject::of(operation, part)?)))
            });
            if object.is_some() {
                return Err(ApplyError::Rejected { object, error });
            }
            // Who it is shows when it is alone.
            bisect(transaction).ok_or_else(|| ApplyError::Rejected {
                object: fallback_culprit(transaction),
                error,
            })
        }
        error => Err(error.into()),
    }
}

/// Whether the error is about an object that exists, is missing, or is in use: for an element that
/// exists with other data the kernel returns EBUSY (`nft_add_set_elem` of nf_tables_api.c).
pub(super) fn is_existence_conflict(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound, ResourceBusy};
    matches!(kind, AlreadyExists | NotFound | ResourceBusy)
}

/// The transaction in several shorter ones, if that is possible.
fn bisect(transaction: &Transaction) -> Option<Vec<Transaction>> {
    let counts = transaction.counts();
    let elements = counts.added.elements + counts.removed.elements;
    let parts = split(transaction.clone(), elements.div_ceil(2).max(1));
    (parts.len() > 1).then_some(parts)
}

/// The only item of an operation, if it has just one: the error is about it even if the kernel does not say so.
fn sole_item(operation: &Operation) -> Option<usize> {
    match &operation.action {
        Action::AddElements { elements, .. } | Action::DeleteElements { elements, .. } => {
            (elements.len() == 1).then_some(0)
        }
        _ => Some(0),
    }
}

/// The first thing that is some Service's alone.
fn fallback_culprit(transaction: &Transaction) -> Option<Box<(Family, RejectedObject)>> {
    let is_one = |object: &RejectedObject| match object {
        RejectedObject::Element(set, _) => set.as_str() != names::HAIRPIN_CONNECTIONS,
        RejectedObject::Named(name) => name.as_str().contains('/'),
    };
    let mut objects = transaction.operations.iter().filter_map(|operation| {
        let object = RejectedObject::of(operation, 0).filter(is_one)?;
        Some(Box::new((operation.family, object)))
    });
    objects.next()
}
