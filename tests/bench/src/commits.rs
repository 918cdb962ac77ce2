//! What the kernel says of commits to nf_tables: it tells the group NFNLGRP_NFTABLES of each element
//! that has come or gone, and of the new generation behind them.
//!
//! Telling costs the one who commits: each element is written down once more. So nobody listens where
//! whole tables are loaded.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use weir_testbed::Netns;

use crate::netlink::{self, HEADERS, messages};

/// The kernel tells in datagrams of less than that.
const DATAGRAM_BYTES: usize = 1 << 20;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`, `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_DATA` and `NFTA_DATA_VALUE` of
/// linux/netfilter/nf_tables.h: the way to an element's data.
const WAY_TO_DATA: [u16; 4] = [3, 1, 2, 1];

/// A commit, as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// When it was told, in this process: that is after the commit.
    pub(crate) at: Instant,
    /// The IPv4 addresses that new elements lead to.
    pub(crate) added: Vec<Ipv4Addr>,
    /// How many elements have come and gone.
    pub(crate) elements: usize,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Commits {
    told: Receiver<Commit>,
    thread: Option<JoinHandle<()>>,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
}

impl Commits {
    /// Listens to commits in the namespace from now on.
    pub(crate) fn listen(ns: &Netns) -> Self {
        let socket = netlink::open(ns, 1 << (libc::NFNLGRP_NFTABLES - 1));
        let (sender, told) = mpsc::channel();
        let (stop, stopped) = UnixStream::pair().expect("a socket pair needs nothing but memory");
        let thread = thread::spawn(move || listen(&socket, &stopped, &sender));
        Self { told, thread: Some(thread), stop: Some(stop) }
    }

    /// Forgets what has been told so far.
    pub(crate) fn forget(&self) {
        while self.told.try_recv().is_ok() {}
    }

    /// The next commit.
    ///
    /// # Panics
    /// If there is none in this time.
    pub(crate) fn next(&self, limit: Duration) -> Commit {
        self.within(limit).unwrap_or_else(|| panic!("no commit in {limit:?}"))
    }

    /// The next commit, if there is one in this time.
    pub(crate) fn within(&self, limit: Duration) -> Option<Commit> {
        match self.told.recv_timeout(limit) {
            Ok(commit) => Some(commit),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the listener has ended"),
        }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.stop.take();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || thread::panicking(), "the listener has failed");
    }
}

fn listen(socket: &OwnedFd, stopped: &UnixStream, sender: &Sender<Commit>) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut open = Commit { at: Instant::now(), added: Vec::new(), elements: 0 };
    loop {
        let sources = [socket.as_fd(), stopped.as_fd()];
        let mut watched = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled.expect("poll of open sockets"),
        };
        if watched[1].any() == Some(true) {
            return;
        }
        // With ENOBUFS something was not told, and what is measured would be wrong.
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
        let received = received.expect("nothing is lost");
        let at = Instant::now();
        for message in messages(&buffer[..received]) {
            match netlink::kind(message) {
                libc::NFT_MSG_NEWSETELEM => {
                    open.elements += 1;
                    open.added.extend(data_address(message));
                }
                libc::NFT_MSG_DELSETELEM => open.elements += 1,
                libc::NFT_MSG_NEWGEN => {
                    let next = Commit { at, added: Vec::new(), elements: 0 };
                    let commit = Commit { at, ..std::mem::replace(&mut open, next) };
                    // Who listened may be about to go.
                    sender.send(commit).ok();
                }
                _ => {}
            }
        }
    }
}

/// The IPv4 address with which the data of an element begins, if it has data of address and port.
fn data_address(message: &[u8]) -> Option<Ipv4Addr> {
    let mut value = message.get(HEADERS..)?;
    for step in WAY_TO_DATA {
        value = attribute(value, step)?;
    }
    (value.len() >= 8).then(|| Ipv4Addr::from(*value.first_chunk().expect("it is as long")))
}

/// The value of the first attribute of a type.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let &[l0, l1, k0, k1] = attributes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1])).max(4);
        // The upper bits say how the value is encoded.
        if u16::from_ne_bytes([k0, k1]) & 0x3fff == kind {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_commit_is_told_with_the_addresses_that_new_elements_lead_to() {
        let ns = Netns::new("commits");
        ns.nft("table ip t {\n map m { type inet_service : ipv4_addr . inet_service; }\n }\n");
        let commits = Commits::listen(&ns);
        ns.nft("add element ip t m { 1 : 192.0.2.1 . 80, 2 : 192.0.2.2 . 80 }\n");
        let commit = commits.next(LIMIT);
        let mut added = commit.added;
        added.sort();
        assert_eq!(added, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
        ns.nft("delete element ip t m { 1 : 192.0.2.1 . 80 }\n");
        let commit = commits.next(LIMIT);
        assert_eq!((commit.elements, commit.added.len()), (1, 0));
        assert!(commits.within(Duration::from_millis(1)).is_none());
    }
}
