//! Removing connection-tracking entries that the ruleset has overtaken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_rules::cluster::Family;
use weir_rules::stale::{Effect, Flow, Serving};

use crate::netlink;
use crate::netlink::addresses::own_addresses;
use crate::netlink::conntrack::{Entry, Table};

/// Why entries could not be removed. What is left is tried again.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The node's addresses are not known, and so neither is which entries are about node ports.
    #[error("cannot read the node's addresses")]
    Addresses(#[source] netlink::Error),
    /// The table could not be read.
    #[error("cannot read the connection-tracking table")]
    Read(#[source] netlink::Error),
    /// An entry could not be removed.
    #[error(
        "cannot remove the connection-tracking entry from {} to {} ({failed} of {} failed)",
        flow.source, flow.destination, removed + failed
    )]
    Delete {
        /// The first that could not be.
        flow: Box<Flow>,
        /// How many could not be.
        failed: usize,
        /// How many were removed all the same.
        removed: usize,
        /// What the kernel said.
        source: netlink::Error,
    },
}

/// What cleaning needs of a kernel.
pub trait Connections {
    /// An entry of the table.
    type Entry: AsRef<Flow>;

    /// The node's own addresses.
    fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, netlink::Error>;
    /// The entries of the table that are wanted.
    fn select(
        &mut self,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<Self::Entry>, netlink::Error>;
    /// Removes an entry; false if it is gone already.
    fn delete(&mut self, entry: &Self::Entry) -> Result<bool, netlink::Error>;
}

/// The kernel of the calling thread's network namespace.
///
/// Each reading opens a socket, which the deletions after it use: what was left unread in the one
/// before is gone with it.
#[derive(Default)]
pub struct LiveConnections(Option<Table>);

/// What came of looking for stale entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// How many were removed of each family, in the order of [`Family::ALL`].
    pub removed: [usize; 2],
    /// Whether some could not be removed, or not even looked for.
    pub failed: bool,
}

/// Knows whether entries may have become stale since they were last removed.
pub struct Flows<C> {
    connections: C,
    /// What has happened since then.
    effect: Effect,
    /// What came of looking last, until it is asked for.
    last: Option<Cleaning>,
}

impl<C: Connections> Flows<C> {
    /// Nothing is known yet, so that the whole table will be compared once.
    pub fn new(connections: C) -> Self {
        let effect = Effect { is_any: true, ..Effect::default() };
        Self { connections, effect, last: None }
    }

    /// Takes note of what a commit means, or what changes of the cluster do that have been programmed:
    /// a commit whose answer was lost is never taken note of itself.
    pub fn note(&mut self, effect: Effect) {
        self.effect.merge(effect);
    }

    /// The whole table will be compared once more: the node may have other addresses than before, or
    /// somebody else, whose rules are gone now, may have made entries.
    pub fn look_again(&mut self) {
        self.effect.is_any = true;
    }

    /// Removes the entries that are stale under these, which must have been committed; returns how
    /// many. Does not look if nothing has changed for UDP since it last did so with success.
    ///
    /// The order matters: an entry that goes before the ruleset has changed comes back as it was.
    pub fn clean(&mut self, serving: &Serving) -> Result<usize, CleanError> {
        if !self.effect.is_any {
            return Ok(0);
        }
        self.last = Some(Cleaning { failed: true, ..Cleaning::default() });
        let removed = self.remove_stale(serving)?;
        self.effect = Effect::default();
        Ok(removed)
    }

    /// What came of looking for stale entries, if that was done since this was last asked.
    pub fn take_cleaning(&mut self) -> Option<Cleaning> {
        self.last.take()
    }

    fn remove_stale(&mut self, serving: &Serving) -> Result<usize, CleanError> {
        let own = self.connections.own_addresses().map_err(CleanError::Addresses)?;
        let is_stale = |flow: &Flow| serving.is_stale(flow, &own, &self.effect.removed);
        let stale = self.connections.select(is_stale).map_err(CleanError::Read)?;
        let (mut by_family, mut failed, mut first) = ([0, 0], 0, None);
        for entry in &stale {
            match self.connections.delete(entry) {
                Ok(was_there) => {
                    let family = Family::of(entry.as_ref().destination.ip());
                    let index = usize::from(family == Family::Ipv6);
                    by_family[index] += usize::from(was_there);
                }
                // One that is stuck does not keep the others.
                Err(source) => {
                    failed += 1;
                    first.get_or_insert((*entry.as_ref(), source));
                }
            }
        }
        let removed = by_family.iter().sum();
        self.last = Some(Cleaning { removed: by_family, failed: failed > 0 });
        match first {
            None => Ok(removed),
            Some((flow, source)) => {
                Err(CleanError::Delete { flow: Box::new(flow), failed, removed, source })
            }
        }
    }
}

impl Connections for LiveConnections {
    type Entry = Entry;

    fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, netlink::Error> {
        own_addresses()
    }

    fn select(&mut self, is_wanted: impl Fn(&Flow) -> bool) -> Result<Vec<Entry>, netlink::Error> {
        self.0.insert(Table::open()?).select(is_wanted)
    }

    fn delete(&mut self, entry: &Entry) -> Result<bool, netlink::Error> {
        match &mut self.0 {
            Some(table) => table.delete(entry),
            None => self.0.insert(Table::open()?).delete(entry),
        }
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
