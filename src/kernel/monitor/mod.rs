//! Watches nf_tables for foreign commits.
//!
//! The kernel sends a multicast group one message for each object that a commit changes. It sends nothing about
//! elements that packets add to maps or that expire there.

#![deny(unsafe_code)]

mod decoder;
mod foreign;
mod notice;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nftnl::nftnl_sys::libc;

use decoder::NotificationDecoder;
pub(super) use decoder::{DATA_VALUE, SET_ELEM_KEY};
pub use foreign::{ForeignChanges, ForeignCommit, Process, Suspects, TableSuspects};
pub use notice::Notice;

use super::error::OpenError;
use super::ports::Ports;
use super::socket::{RECEIVE_BUFFER_BYTES, set_receive_buffer};

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// More than the kernel puts into one datagram: a page or two (`nft_commit_notify` of
/// nf_tables_api.c).
const DATAGRAM_BYTES: usize = 64 << 10;

/// Hears of every commit to nf_tables in the network namespace in which it was opened.
///
/// Earlier commits are not announced, so open it before the first dump.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    /// By which weir's own commits are known.
    own: Ports,
    hearing: NotificationDecoder,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Hears from now on. `own` are the port ids of the sockets whose commits are weir's own
    /// ([`Kernel::ports`](super::Kernel::ports)).
    pub fn open(own: impl Into<Ports>) -> Result<Self, OpenError> {
        Self::with_buffer(own, RECEIVE_BUFFER_BYTES)
    }

    fn with_buffer(own: impl Into<Ports>, bytes: libc::c_int) -> Result<Self, OpenError> {
        let failed = |step| move |source| OpenError::Socket { step, source };
        let mut socket =
            Socket::new(NETLINK_NETFILTER).map_err(|error| match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT) => OpenError::NoNfnetlink,
                _ => failed("open a netlink socket to hear of commits")(error),
            })?;
        socket.set_non_blocking(true).map_err(failed("set flags of the monitor's socket"))?;
        set_receive_buffer(&socket, bytes)
            .map_err(failed("set the size of the monitor's receive buffer"))?;
        socket.bind_auto().map_err(failed("bind the monitor's socket"))?;
        // From others than the kernel it then takes nothing that is sent to it alone.
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connect the monitor's socket"))?;
        socket.add_membership(GROUP).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => OpenError::NotPermitted,
            _ => failed("join the group that hears of commits")(error),
        })?;
        let buffer = Vec::with_capacity(DATAGRAM_BYTES);
        Ok(Self { socket, own: own.into(), hearing: NotificationDecoder::default(), buffer })
    }

    /// All foreign changes since the last call. Never waits.
    ///
    /// A commit that is received in part is returned by a later call.
    pub fn drain(&mut self) -> ForeignChanges {
        // Before anything is read: a socket that is replaced from now on may still be announced.
        self.hearing.own = self.own.all();
        let foreign = self.read_all();
        self.own.forget_replaced(&self.hearing.own);
        foreign
    }

    fn read_all(&mut self) -> ForeignChanges {
        loop {
            self.buffer.clear();
            // With this flag it answers how long the datagram was, not how much of it there was
            // room for.
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(length) if length == self.buffer.len() => self.hearing.datagram(&self.buffer),
                Ok(_) => self.hearing.lose(),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return self.hearing.take(),
                    io::ErrorKind::Interrupted => {}
                    // The buffer overflowed. What it holds can still be read, and the kernel sends
                    // nothing more until all of that is read.
                    _ if error.raw_os_error() == Some(libc::ENOBUFS) => self.hearing.lose(),
                    _ => {
                        self.hearing.lose();
                        return self.hearing.take();
                    }
                },
            }
        }
    }

    /// Hears nothing until [`Monitor::resume`]: for a large transaction of weir's own, of which
    /// every element would be announced.
    pub fn pause(&mut self) -> io::Result<()> {
        self.socket.drop_membership(GROUP)
    }

    /// Hears again.
    ///
    /// Notifications from before the pause that were not drained are dropped, and those during it
    /// are missed. Whoever wants to know compares generations *after* this: a commit that is
    /// announced by half has been counted before.
    pub fn resume(&mut self) -> io::Result<()> {
        self.drain();
        self.hearing = NotificationDecoder::default();
        self.socket.add_membership(GROUP)
    }

    /// A descriptor that becomes readable when there is something to drain. It is a duplicate, to
    /// be read by nobody; [`Notice`] waits on it.
    pub fn waker(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
