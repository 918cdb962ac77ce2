//! The node's own addresses, followed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use tracing::warn;

use crate::commands::chain;
use crate::netlink::addresses::own_addresses;
use crate::netlink::monitor::AddressWatch;

/// Notices of addresses that come and go, if they can be had.
pub(super) struct Notices(Option<AddressWatch>);

impl Notices {
    /// Follows them from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn watch() -> Self {
        let watch = AddressWatch::new().inspect_err(|error| {
            let error = chain(error);
            warn!(error, "changes of the node's addresses will not be seen");
        });
        Self(watch.ok())
    }

    /// Waits for a notice. Nothing is lost if the wait is given up.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// The addresses when they were last read.
#[derive(Default)]
pub(super) struct Addresses(Option<BTreeSet<IpAddr>>);

impl Addresses {
    /// Reads them, which asks the kernel; says whether they may be others than before. Notices come
    /// also when an address is given a new lifetime, as routers do to IPv6's every few minutes.
    pub(super) fn have_changed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.0, read());
        self.0.is_none() || self.0 != before
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
