//! Waits for notifications.

#![allow(unsafe_code, reason = "tokio has no safe way to wait for a descriptor")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for notifications to a [`Monitor`](super::Monitor).
#[derive(Debug)]
pub struct Notice(AsyncFd<OwnedFd>);

impl Notice {
    /// Waits on the descriptor from [`Monitor::waker`](super::Monitor::waker).
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn new(waker: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open for as long as it lives and always the same, and the
        // `AsyncFd` owns it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(waker, Interest::READABLE) }?))
    }

    /// Waits until the monitor has become readable since the last call, after which
    /// [`Monitor::drain`](super::Monitor::drain) is to be called. It may find nothing. Nothing is
    /// lost if the wait is given up.
    pub async fn readable(&mut self) -> io::Result<()> {
        self.0.readable_mut().await?.clear_ready();
        Ok(())
    }
}
