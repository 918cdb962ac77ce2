//! nf_tables over netlink: the only module with `unsafe` code but for one call of `host`.
//!
//! One thread owns the socket. [`Kernel`] is a handle to it that can be cloned and sent anywhere;
//! requests are answered in order.

#![allow(unsafe_code, reason = "libnftnl, libmnl and socket options")]

mod attribute;
mod batch;
mod commit;
mod decode;
mod dump;
mod error;
mod exchange;
mod expression;
pub mod foreign_tables;
pub(crate) mod generation;
mod message;
mod monitor;
mod object;
mod parts;
mod ports;
mod socket;
mod userdata;

use std::io;
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;

use nftnl::nftnl_sys::libc;
use weir_rules::transaction::Transaction;

use batch::NetlinkBatch;
pub use commit::Committed;
pub use dump::Snapshot;
pub use error::{CommitError, DumpError, OpenError};
use foreign_tables::{Deletion, ForeignTables, TableQuery};
use message::Scratch;
pub use monitor::{
    ForeignChanges, ForeignCommit, Monitor, Notice, Process, Suspects, TableSuspects,
};
pub use parts::{Keys, Parts, SetParts, TableParts};
pub use ports::Ports;
use socket::Socket;

/// The name of the thread, by which the kernel announces who has committed: at most 15 bytes.
const THREAD: &str = "weir-nftables";

/// A handle to the thread that talks to nf_tables in the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Kernel {
    requests: mpsc::Sender<Request>,
    ports: Ports,
}

enum Request {
    Dump(mpsc::Sender<Result<Snapshot, DumpError>>),
    Read(Parts, mpsc::Sender<Result<Snapshot, DumpError>>),
    Generation(mpsc::Sender<Result<u32, DumpError>>),
    Commit(Arc<Transaction>, Option<u32>, mpsc::Sender<Result<Committed, CommitError>>),
    ForeignTables(Vec<TableQuery>, mpsc::Sender<Result<ForeignTables, DumpError>>),
    Remove(Vec<Deletion>, Option<u32>, mpsc::Sender<Result<(), CommitError>>),
}

impl Kernel {
    /// Opens the socket, in the calling thread's network namespace.
    pub fn open() -> Result<Self, OpenError> {
        let (requests, inbox) = mpsc::channel();
        let (opened, result) = mpsc::channel();
        // A new thread is in the network namespace of the one that starts it. The socket is opened
        // there because it cannot move between threads.
        let ports = Ports::default();
        let shared = ports.clone();
        let run = move || match Worker::open(shared) {
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
            .name(THREAD.to_owned())
            .spawn(run)
            .map_err(|source| OpenError::Socket { step: "start the netlink thread", source })?;
        result.recv().expect("the netlink thread answers each request before it ends")?;
        Ok(Self { requests, ports })
    }

    /// Reads weir's tables in full, at one generation.
    pub fn dump(&self) -> Result<Snapshot, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Dump(answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// Reads these parts of weir's tables, all of one generation.
    pub fn read(&self, parts: Parts) -> Result<Snapshot, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Read(parts, answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// The port ids of the sockets that commit, by which a [`Monitor`] knows weir's own commits.
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }

    /// The generation of the kernel's ruleset: another number after every commit by anybody.
    pub fn generation(&self) -> Result<u32, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Generation(answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// Whether a chain can be deleted together with the last element that goes to it: since 6.2
    /// (knftables' notes on "nf_tables: fix chain use count"); a kernel that does not report its
    /// release is taken for a new one.
    pub fn frees_chains_at_once(&self) -> bool {
        is_kernel_at_least((6, 2))
    }

    /// Commits a transaction atomically. With a generation, only if the kernel's ruleset is still
    /// of that one.
    pub fn commit(
        &self,
        transaction: impl Into<Arc<Transaction>>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let (answer, result) = mpsc::channel();
        self.requests
            .send(Request::Commit(transaction.into(), generation, answer))
            .map_err(|_| CommitError::Gone)?;
        result.recv().map_err(|_| CommitError::Gone)?
    }
}

/// Encodes transactions as commits do, with memory that it keeps as they do, and sends nothing: for who
/// wants to know what that costs. Returns the length of a batch in bytes.
pub fn encoder() -> impl FnMut(&Transaction) -> usize {
    let mut scratch = Scratch::new();
    move |transaction| NetlinkBatch::new(transaction, None, 0, true, &mut scratch).bytes().len()
}

/// Whether the running kernel is of this version or later. One that does not report its release is
/// taken for a new one.
fn is_kernel_at_least(version: (u32, u32)) -> bool {
    // Each commit asks.
    static RELEASE: LazyLock<String> =
        LazyLock::new(|| std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default());
    release_is_at_least(&RELEASE, version).unwrap_or(true)
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
    /// The port id of the socket, for others to see.
    ports: Ports,
}

impl Worker {
    fn open(ports: Ports) -> Result<Self, OpenError> {
        let (socket, scratch) = (Socket::open()?, Scratch::new());
        let mut worker = Self { socket, scratch, sequence: 0, ports };
        worker.renew();
        // The cheapest question, to learn whether any is allowed and understood.
        match worker.generation() {
            Ok(_) => Ok(worker),
            Err(error) => Err(first_answer(error)),
        }
    }

    /// Replaces a socket with unknown pending messages, and reports the new port id.
    fn renew(&mut self) {
        self.socket.renew();
        self.ports.set(self.socket.port());
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        dump::generation(&mut self.socket, &mut self.scratch, &mut self.sequence)
    }

    /// Whoever asked may have gone away; the answer is then dropped.
    fn answer(&mut self, request: Request) {
        self.renew();
        match request {
            Request::Dump(answer) => {
                let _ = answer.send(self.patiently(Self::dump));
            }
            Request::Read(parts, answer) => {
                let _ = answer.send(self.patiently(|worker| worker.read(&parts)));
            }
            Request::Generation(answer) => {
                let _ = answer.send(self.patiently(Self::generation));
            }
            Request::Commit(transaction, generation, answer) => {
                let _ = answer.send(self.commit(&transaction, generation));
            }
            Request::ForeignTables(wanted, answer) => {
                let _ = answer.send(self.patiently(|worker| worker.others(&wanted)));
            }
            Request::Remove(removals, generation, answer) => {
                let _ = answer.send(self.remove(&removals, generation));
            }
        }
    }

    /// Reads, and once more on a new socket if the kernel still is at something else on this one.
    fn patiently<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, DumpError>,
    ) -> Result<T, DumpError> {
        match read(self) {
            Err(DumpError::Busy { .. }) => {
                self.renew();
                read(self)
            }
            result => result,
        }
    }

    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        dump::dump(&mut self.socket, &mut self.scratch, &mut self.sequence)
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        parts::read(&mut self.socket, &mut self.scratch, &mut self.sequence, parts)
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
