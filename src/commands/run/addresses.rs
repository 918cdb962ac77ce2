//! The node's own addresses, followed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use tracing::warn;

use crate::commands::chain;
use crate::netlink::addresses::own_addresses;
use crate::netlink::monitor::AddressWatch;

/// Tells when the node has other addresses than before.
pub(super) struct Addresses {
    /// None if there is no notice to be had.
    watch: Option<AddressWatch>,
    /// None while they could not be read.
    known: Option<BTreeSet<IpAddr>>,
}

impl Addresses {
    /// Follows them from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn watch() -> Self {
        let watch = AddressWatch::new().inspect_err(|error| {
            let error = chain(error);
            warn!(error, "changes of the node's addresses will not be seen");
        });
        Self { watch: watch.ok(), known: read() }
    }

    /// Waits until the node has others. Nothing is lost if the wait is given up.
    ///
    /// Notices come also when an address is given a new lifetime, as routers do to IPv6's every
    /// few minutes.
    pub(super) async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        loop {
            watch.changed().await;
            let before = std::mem::replace(&mut self.known, read());
            if self.known.is_none() || self.known != before {
                return;
            }
        }
    }
}

/// All but link-local ones: these come and go with every Pod's interface, and no Service is reached
/// by them.
fn read() -> Option<BTreeSet<IpAddr>> {
    let mut addresses = own_addresses().ok()?;
    addresses.retain(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !Ipv6Addr::is_unicast_link_local(address),
    });
    Some(addresses)
}
