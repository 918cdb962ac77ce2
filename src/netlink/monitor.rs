//! Watches for changes of the node's addresses.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::NetlinkError;

/// How long to wait before a socket that has failed is opened anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Notifies of addresses that are added to or removed from interfaces of the network namespace.
pub struct AddressWatch {
    notices: BoxStream<'static, ()>,
    /// When to open a socket in place of one that has failed.
    reopen_at: Option<Instant>,
    /// Reads the socket until this is dropped.
    _reading: JoinSet<()>,
}

impl AddressWatch {
    /// Watches from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> Result<Self, NetlinkError> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) =
            new_multicast_connection(&groups).map_err(NetlinkError::Open)?;
        let mut reading = JoinSet::new();
        reading.spawn(connection);
        Ok(Self { notices: messages.map(drop).boxed(), reopen_at: None, _reading: reading })
    }

    /// Waits until an address has come or gone, or may have without a notice. Nothing is lost if the
    /// wait is given up.
    pub async fn changed(&mut self) {
        if self.reopen_at.is_none() && self.notices.next().await.is_some() {
            // Interfaces come with several addresses; all notices that are here are answered at once.
            while let Some(Some(())) = self.notices.next().now_or_never() {}
            return;
        }
        // The reader has ended with its socket. (One that was sent more than it can hold goes on, with
        // a notice of that.)
        loop {
            sleep_until(*self.reopen_at.get_or_insert_with(|| Instant::now() + PAUSE)).await;
            if let Ok(new) = Self::new() {
                *self = new;
                return;
            }
            self.reopen_at = None;
        }
    }
}
