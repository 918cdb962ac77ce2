//! A lock that lets one weir at a time manage the tables of a network namespace.
//!
//! The lock is a listening unix socket with a name in the abstract namespace. Each network namespace has its
//! own (`unix_find_abstract` of net/unix/af_unix.c), so the lock covers exactly what it guards: a Pod with
//! `hostNetwork` has the host's. It needs no file system and no capability, and the kernel releases it however
//! the process ends.

mod holder;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

pub use holder::Holder;

/// The name of the socket, behind the zero that makes it an abstract one. All versions of weir must have the same.
const NAME: &[u8] = b"\0weir/nf_tables";
/// How many waiting processes are answered; others do not learn who the holder is, but wait all the same.
const MAX_WAITING: usize = 16;
/// How long the one that has the lock may take to say who it is.
const SAY_LIMIT: Duration = Duration::from_secs(1);
/// How long until the lock is tried again where its end cannot be waited for: the socket does not let anybody
/// connect (a security module), or too many do.
const RETRY: Duration = Duration::from_secs(1);
/// The same where it was bound and nobody listened at it: it is just being taken, or given back.
const RETRY_AT_ONCE: Duration = Duration::from_millis(10);

/// The socket of the lock, which stays open until the process has ended: as long as any of its threads is in a
/// system call, whatever that changes.
static HELD: OnceLock<std::os::unix::net::UnixListener> = OnceLock::new();

/// The lock, taken. It is given back by the process's end, not before.
#[derive(Debug)]
pub struct Lock(UnixListener);

/// Why the lock is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Sockets of this kind are not allowed, or there is no room for one.
    #[error("cannot find out whether another weir keeps the tables of this network namespace")]
    Socket(#[from] io::Error),
    /// Somebody has it who may not keep any tables: a process of another user, who is not root.
    #[error("{0}, which is not allowed to keep weir's tables, has weir's lock")]
    Stranger(Holder),
}

impl Lock {
    /// Takes the lock in the calling thread's network namespace. Nothing if another process has it.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn try_take() -> Result<Option<Self>, LockError> {
        let listener = match UnixListener::bind(path()) {
            Ok(listener) => listener.into_std()?,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let copy = listener.try_clone()?;
        let lock = Self(UnixListener::from_std(listener)?);
        let _ = HELD.set(copy);
        Ok(Some(lock))
    }

    /// Takes the lock as soon as nobody else has it. `tell` is called with the holder, each time that it
    /// changes.
    pub async fn take(mut tell: impl FnMut(&Holder)) -> Result<Self, LockError> {
        let mut reported: Option<Holder> = None;
        loop {
            if let Some(lock) = Self::try_take()? {
                return Ok(lock);
            }
            match UnixStream::connect(path()).await {
                Ok(mut stream) => {
                    let said = said(&mut stream).await;
                    let holder = Holder::of(&stream, said)?;
                    if !holder.is_trusted() {
                        return Err(LockError::Stranger(holder));
                    }
                    if reported.as_ref().is_none_or(|reported| holder.is_other(reported)) {
                        tell(&holder);
                        reported = Some(holder);
                    }
                    wait_for_end(&mut stream).await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    sleep(RETRY_AT_ONCE).await;
                }
                Err(_) => {
                    if reported.is_none() {
                        tell(reported.insert(Holder::unknown()));
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Describes this process to those that wait for the lock, and keeps them connected, so that they notice
    /// its end. Never ends.
    pub async fn answer(self) {
        let line = Holder::line();
        let mut waiting: Vec<UnixStream> = Vec::new();
        loop {
            // Who has gone away makes room.
            waiting.retain(|stream| !has_ended(stream));
            if waiting.len() >= MAX_WAITING {
                sleep(RETRY).await;
                continue;
            }
            match self.0.accept().await {
                Ok((mut stream, _)) => {
                    // There is room for a line in a new connection.
                    let _ = timeout(SAY_LIMIT, stream.write_all(line.as_bytes())).await;
                    waiting.push(stream);
                }
                Err(_) => sleep(RETRY).await,
            }
        }
    }
}

fn path() -> &'static Path {
    Path::new(OsStr::from_bytes(NAME))
}

/// The holder's description of itself, if it sends one.
async fn said(stream: &mut UnixStream) -> Option<String> {
    let mut line = Vec::new();
    let read = async {
        while line.last() != Some(&b'\n') && line.len() < holder::MAX_SAID {
            match stream.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(_) => break,
            }
        }
    };
    let _ = timeout(SAY_LIMIT, read).await;
    let text = String::from_utf8_lossy(&line).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Waits until the other end is closed.
async fn wait_for_end(stream: &mut UnixStream) {
    let mut more = [0; 64];
    while !matches!(stream.read(&mut more).await, Ok(0) | Err(_)) {}
}

/// Whether the other end is closed.
fn has_ended(stream: &UnixStream) -> bool {
    let mut more = [0; 64];
    match stream.try_read(&mut more) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
