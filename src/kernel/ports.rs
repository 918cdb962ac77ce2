//! The netlink port ids that identify weir's own commits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The port ids of the sockets from which a [`Kernel`](super::Kernel) has committed: that of the socket that it
/// has now, and those of sockets that it has replaced and of which a commit may still have to be announced.
///
/// The kernel announces a commit before it answers the sender. So once everything is read that was announced
/// behind the replacement of a socket, nothing of that socket is to come, and somebody else may be given its
/// port id.
#[derive(Debug, Clone, Default)]
pub struct Ports(Arc<Mutex<Vec<u32>>>);

impl Ports {
    /// Records the port id of the socket that is used from now on.
    pub(super) fn set(&self, port: u32) {
        let mut ports = self.lock();
        if ports.last() != Some(&port) {
            ports.retain(|known| *known != port);
            ports.push(port);
        }
    }

    /// The port id of the socket that is in use, which is the last, and those of sockets before it.
    pub(super) fn all(&self) -> Vec<u32> {
        self.lock().clone()
    }

    /// Records that all announcements of these sockets' commits are read, except the last socket's.
    pub(super) fn forget_replaced(&self, ports: &[u32]) {
        let Some((_, replaced)) = ports.split_last() else { return };
        self.lock().retain(|port| !replaced.contains(port));
    }

    /// A list of numbers stays consistent even if a writer panics.
    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one socket that is never replaced.
impl From<u32> for Ports {
    fn from(port: u32) -> Self {
        let ports = Self::default();
        ports.set(port);
        ports
    }
}
