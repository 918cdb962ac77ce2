//! Finds the process that holds the lock.

use std::fmt;
use std::fs;
use std::io;

use nix::unistd::geteuid;
use tokio::net::UnixStream;

/// How much of the holder's description is read, in bytes.
pub(super) const MAX_SAID: usize = 200;

/// The process that has the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid, if it can be seen from here.
    pid: Option<u32>,
    /// Its name, if its pid can be seen.
    name: Option<String>,
    /// Its effective user id, in this user namespace; `None` if the kernel does not report it.
    user: Option<u32>,
    /// Its description of itself.
    said: Option<String>,
}

impl Holder {
    /// The process that listens at the other end, as reported by the kernel, and its description of itself.
    pub(super) fn of(stream: &UnixStream, said: Option<String>) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        // The kernel says 0 of a process of another PID namespace.
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
        let name = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        let name = name.map(|name| name.trim().to_owned());
        Ok(Self { pid, name, user: Some(credentials.uid()), said })
    }

    /// One that nobody can connect to.
    pub(super) fn unknown() -> Self {
        Self { pid: None, name: None, user: None, said: None }
    }

    #[cfg(test)]
    pub(super) fn with(&self, pid: Option<u32>, user: Option<u32>, said: Option<&str>) -> Self {
        Self { pid, user, said: said.map(str::to_owned), ..self.clone() }
    }

    /// One line in which this process describes itself to those that wait for it.
    pub(super) fn line() -> String {
        format!("weir {} with pid {}\n", env!("CARGO_PKG_VERSION"), std::process::id())
    }

    /// Whether it is another than one that was seen before. One that is about to end sends no description.
    pub(super) fn is_other(&self, before: &Self) -> bool {
        let seen = |holder: &Self| (holder.pid, holder.user);
        seen(self) != seen(before) || (self.said.is_some() && self.said != before.said)
    }

    /// Whether it may keep tables: it is root's, or of the user that this process is of. Anybody in the network
    /// namespace can take the name of the socket.
    pub(super) fn is_trusted(&self) -> bool {
        self.user.is_none_or(|user| user == 0 || user == geteuid().as_raw())
    }
}

/// As in `weir (pid 123)`. A description may hold anything, and this goes to logs.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.name) {
            (Some(pid), Some(name)) => write!(f, "{} (pid {pid})", name.escape_debug())?,
            (Some(pid), None) => write!(f, "the process with pid {pid}")?,
            (None, _) if self.user.is_some() => {
                f.write_str("a process in another PID namespace")?
            }
            (None, _) => f.write_str("a process that cannot be connected to")?,
        }
        match &self.said {
            Some(said) => write!(f, ", which says that it is {}", said.escape_debug()),
            None => Ok(()),
        }
    }
}
