//! Follows the node's own addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use tracing::warn;

use crate::error::chain;
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

/// The addresses when they were last read: all but link-local ones, which come and go with every
/// Pod's interface, and by which no Service is reached.
#[derive(Default)]
pub(super) struct HostAddresses {
    known: Option<BTreeSet<IpAddr>>,
    is_failing: bool,
}

impl HostAddresses {
    /// None if they could not be read, or have not been yet.
    pub(super) fn known(&self) -> Option<&BTreeSet<IpAddr>> {
        self.known.as_ref()
    }

    /// Reads them, which asks the kernel; returns whether they are known and have changed. Notices
    /// come also when an address is given a new lifetime, as routers do to IPv6's every few minutes.
    pub(super) fn read(&mut self) -> bool {
        let now = own_addresses().map(|mut addresses| {
            addresses.retain(|address| !is_link_local(address));
            addresses
        });
        if let Err(error) = &now
            && !self.is_failing
        {
            let error = chain(error);
            warn!(error, "cannot read the node's addresses; trying again each second");
        }
        self.is_failing = now.is_err();
        let before = std::mem::replace(&mut self.known, now.ok());
        self.known.is_some() && self.known != before
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(address))
}
