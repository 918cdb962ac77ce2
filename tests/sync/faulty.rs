//! A kernel that injects faults in front of one that works.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use weir::kernel::{CommitError, Committed, DumpError, ForeignChanges, Parts, Snapshot};
use weir::sync::NfTables;
use weir_rules::transaction::{Operation, Transaction};

/// What the kernel is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    Dump,
    Read,
    Commit,
    Generation,
    ForeignChanges,
}

/// How a request fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Reading fails.
    Unread(fn() -> DumpError),
    /// Nothing is committed.
    Uncommitted(fn() -> CommitError),
    /// It is committed, and nobody is told.
    Unanswered(fn() -> CommitError),
    /// Something was heard that could not be kept.
    Lossy,
    /// What there was to hear is lost without a word.
    Deaf,
}

/// How much the kernel says of what it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The element or rule.
    Part,
    /// Only the operation: of elements, kernels before 5.19.
    Operation,
    /// Nothing.
    Nothing,
}

/// Gives the part of an operation, if it has one, that is refused.
type Find = dyn Fn(&Operation) -> Option<usize>;

/// What the kernel refuses whenever it is asked for it.
pub(crate) struct Refusal {
    pub(crate) find: Box<Find>,
    pub(crate) errno: i32,
    pub(crate) told: Told,
}

/// What is to fail, and what has been asked.
#[derive(Default)]
pub(crate) struct Plan {
    /// The request of a kind, counted from 1, that fails, and how.
    pub(crate) fault: Option<(Request, u32, Fault)>,
    pub(crate) refusals: Vec<Refusal>,
    /// What somebody else does right before each commit.
    pub(crate) before_commit: Option<Box<dyn FnMut()>>,
    pub(crate) asked: BTreeMap<Request, u32>,
    /// Whether nobody can listen any more who has stopped.
    #[allow(dead_code, reason = "not for a real monitor")]
    pub(crate) cannot_resume: bool,
}

impl Plan {
    /// Counts a request, and says how it fails.
    pub(crate) fn fault(&mut self, request: Request) -> Option<Fault> {
        let count = self.asked.entry(request).or_default();
        *count += 1;
        let count = *count;
        self.fault.filter(|(kind, n, _)| (*kind, *n) == (request, count)).map(|(.., fault)| fault)
    }
}

/// The plan is shared, so that it can be changed while the kernel is in use.
pub(crate) struct Faulty<K> {
    kernel: K,
    plan: Rc<RefCell<Plan>>,
}

impl<K> Faulty<K> {
    pub(crate) fn new(kernel: K, plan: &Rc<RefCell<Plan>>) -> Self {
        Self { kernel, plan: Rc::clone(plan) }
    }

    fn fault(&self, request: Request) -> Option<Fault> {
        self.plan.borrow_mut().fault(request)
    }

    fn read_fault(&self, request: Request) -> Result<(), DumpError> {
        match self.fault(request) {
            Some(Fault::Unread(error)) => Err(error()),
            _ => Ok(()),
        }
    }

    fn refusal(&self, transaction: &Transaction) -> Option<CommitError> {
        let plan = self.plan.borrow();
        transaction.operations.iter().enumerate().find_map(|(index, operation)| {
            plan.refusals.iter().find_map(|refusal| {
                let part = (refusal.find)(operation)?;
                let source = io::Error::from_raw_os_error(refusal.errno);
                let is_told = refusal.told != Told::Nothing;
                Some(CommitError::Refused {
                    operation: is_told.then_some(index),
                    part: (refusal.told == Told::Part).then_some(part),
                    command: operation.command(part),
                    hint: None,
                    source,
                })
            })
        })
    }
}

impl<K: NfTables> NfTables for Faulty<K> {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        self.read_fault(Request::Dump)?;
        self.kernel.dump()
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        self.read_fault(Request::Read)?;
        self.kernel.read(parts)
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let fault = self.fault(Request::Commit);
        if let Some(meddle) = &mut self.plan.borrow_mut().before_commit {
            meddle();
        }
        if let Some(Fault::Uncommitted(error)) = fault {
            return Err(error());
        }
        if let Some(refusal) = self.refusal(transaction) {
            return Err(refusal);
        }
        let committed = self.kernel.commit(transaction, generation)?;
        match fault {
            Some(Fault::Unanswered(error)) => Err(error()),
            _ => Ok(committed),
        }
    }

    fn frees_chains_at_once(&self) -> bool {
        self.kernel.frees_chains_at_once()
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        self.read_fault(Request::Generation)?;
        self.kernel.generation()
    }

    fn drain(&mut self) -> ForeignChanges {
        let fault = self.fault(Request::ForeignChanges);
        let foreign = self.kernel.drain();
        match fault {
            Some(Fault::Lossy) => ForeignChanges { is_lossy: true, ..foreign },
            Some(Fault::Deaf) => ForeignChanges::default(),
            _ => foreign,
        }
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn refused(number: i32) -> CommitError {
    let command = "the transaction".to_owned();
    CommitError::Refused { operation: None, part: None, command, hint: None, source: errno(number) }
}

/// Every way in which a request of each kind can fail once.
pub(crate) const FAULTS: [(&str, Request, Fault); 29] = [
    ("stale", Request::Commit, Fault::Uncommitted(|| CommitError::Stale)),
    (
        "too long",
        Request::Commit,
        Fault::Uncommitted(|| CommitError::TooLong { bytes: 2, limit: 1 }),
    ),
    (
        "no memory for it",
        Request::Commit,
        Fault::Uncommitted(|| CommitError::OutOfMemory { bytes: 1, source: errno(libc::ENOMEM) }),
    ),
    ("busy", Request::Commit, Fault::Uncommitted(|| CommitError::Busy(errno(libc::EAGAIN)))),
    ("unsent", Request::Commit, Fault::Uncommitted(|| CommitError::Send(errno(libc::EINTR)))),
    ("interrupted", Request::Commit, Fault::Uncommitted(|| refused(libc::EINTR))),
    ("refused once", Request::Commit, Fault::Uncommitted(|| refused(libc::EINVAL))),
    ("not there", Request::Commit, Fault::Uncommitted(|| refused(libc::ENOENT))),
    ("there", Request::Commit, Fault::Uncommitted(|| refused(libc::EEXIST))),
    ("in use", Request::Commit, Fault::Uncommitted(|| refused(libc::EBUSY))),
    (
        "lost before",
        Request::Commit,
        Fault::Uncommitted(|| CommitError::AnswerLost(errno(libc::ENOBUFS))),
    ),
    (
        "lost behind",
        Request::Commit,
        Fault::Unanswered(|| CommitError::AnswerLost(errno(libc::ENOBUFS))),
    ),
    ("refused", Request::Dump, Fault::Unread(dump_refused)),
    ("lost", Request::Dump, Fault::Unread(dump_lost)),
    ("busy", Request::Dump, Fault::Unread(dump_busy)),
    ("no memory", Request::Dump, Fault::Unread(dump_no_memory)),
    ("undecodable", Request::Dump, Fault::Unread(|| DumpError::Undecodable { what: "rules" })),
    ("unsteady", Request::Dump, Fault::Unread(|| DumpError::Unsteady { attempts: 20 })),
    ("refused", Request::Read, Fault::Unread(dump_refused)),
    ("lost", Request::Read, Fault::Unread(dump_lost)),
    ("busy", Request::Read, Fault::Unread(dump_busy)),
    ("no memory", Request::Read, Fault::Unread(dump_no_memory)),
    ("undecodable", Request::Read, Fault::Unread(|| DumpError::Undecodable { what: "rules" })),
    ("unsteady", Request::Read, Fault::Unread(|| DumpError::Unsteady { attempts: 20 })),
    ("refused", Request::Generation, Fault::Unread(dump_refused)),
    ("lost", Request::Generation, Fault::Unread(dump_lost)),
    ("busy", Request::Generation, Fault::Unread(dump_busy)),
    ("lossy", Request::ForeignChanges, Fault::Lossy),
    ("deaf", Request::ForeignChanges, Fault::Deaf),
];

fn dump_refused() -> DumpError {
    DumpError::Refused { what: "rules", source: errno(libc::EINTR) }
}

fn dump_lost() -> DumpError {
    DumpError::AnswerLost { what: "rules", source: errno(libc::ENOBUFS) }
}

fn dump_busy() -> DumpError {
    DumpError::Busy { what: "rules", source: errno(libc::EBUSY) }
}

fn dump_no_memory() -> DumpError {
    DumpError::OutOfMemory { what: "rules", source: errno(libc::ENOMEM) }
}
