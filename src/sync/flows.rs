//! Deletes stale conntrack entries.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_rules::cluster::Family;
use weir_rules::facts::stale_flows::{Flow, FlowImpact, ServedDestinations};

use crate::netlink;
use crate::netlink::addresses::own_addresses;
use crate::netlink::conntrack::{ConntrackEntry, ConntrackTable};

/// Why entries could not be removed. What is left is tried again.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The node's addresses are not known, and so neither is which entries are about node ports.
    #[error("cannot read the node's addresses")]
    Addresses(#[source] netlink::NetlinkError),
    /// The table could not be read.
    #[error("cannot read the connection-tracking table")]
    Read(#[source] netlink::NetlinkError),
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
        source: netlink::NetlinkError,
    },
}

/// What cleaning needs of a kernel.
pub trait Connections {
    /// An entry of the table.
    type Entry: AsRef<Flow>;

    /// The node's own addresses.
    fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, netlink::NetlinkError>;
    /// Begins to read the table.
    fn begin(&mut self) -> Result<(), netlink::NetlinkError>;
    /// Reads the next entries of the table, about so many, and returns those that are wanted; `None` at
    /// the end. One may come twice.
    fn read_on(
        &mut self,
        count: usize,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Option<Vec<Self::Entry>>, netlink::NetlinkError>;
    /// Removes an entry; false if it is gone already.
    fn delete(&mut self, entry: &Self::Entry) -> Result<bool, netlink::NetlinkError>;
}

/// The kernel of the calling thread's network namespace.
///
/// Each reading opens its own sockets: what was left unread in one before is gone with it. Deletions have
/// one of their own, since the other is in the middle of a dump.
#[derive(Default)]
pub struct LiveConnections {
    reading: Option<ConntrackTable>,
    deleting: Option<ConntrackTable>,
}

/// How many entries are read, and removed if they are stale, until the caller may do something else: some
/// 5 ms for reading and at most 20 ms for removing (kernel 6.18).
const BITE: usize = 1024;

/// What came of looking for stale entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// How many were removed of each family, in the order of [`Family::ALL`].
    pub removed: [usize; 2],
    /// Whether some could not be removed, or not even looked for.
    pub failed: bool,
}

/// How far the table has been looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more of it.
    Begun,
    /// To its end, and so many entries were removed.
    Done(usize),
}

/// Knows whether entries may have become stale since they were last removed.
pub struct Flows<C> {
    connections: C,
    /// What has happened since the table was last begun to be looked through.
    effect: FlowImpact,
    /// The table is being looked through.
    pass: Option<Pass>,
    /// What came of looking last, until it is asked for.
    last: Option<Cleaning>,
}

/// What is known of looking through the table once.
#[derive(Default)]
struct Pass {
    /// Because of what.
    effect: FlowImpact,
    removed: [usize; 2],
    failed: usize,
    first_failure: Option<(Flow, netlink::NetlinkError)>,
}

impl<C: Connections> Flows<C> {
    /// Nothing is known yet, so all of the table will be checked once.
    pub fn new(connections: C) -> Self {
        let effect = FlowImpact { is_any: true, ..FlowImpact::default() };
        Self { connections, effect, pass: None, last: None }
    }

    /// Records the effect of a commit, or of changes of the cluster that have been programmed: a
    /// commit whose answer was lost is never recorded itself.
    pub fn note(&mut self, effect: FlowImpact) {
        self.effect.merge(effect);
    }

    /// All of the table will be checked once more: the node may have other addresses than before, or
    /// somebody else, whose rules are gone now, may have made entries.
    pub fn rescan(&mut self) {
        self.effect.is_any = true;
    }

    /// Removes the entries that are stale under these, which must have been committed; returns how
    /// many. Does not look if nothing has changed for UDP since it last did so with success.
    ///
    /// The order matters: an entry that goes before the ruleset has changed comes back as it was.
    pub fn clean(&mut self, serving: &ServedDestinations) -> Result<usize, CleanError> {
        loop {
            if let Progress::Done(removed) = self.clean_some(serving)? {
                return Ok(removed);
            }
        }
    }

    /// Does the next part of that. Between two parts, what serves may change: an entry is judged and removed
    /// by what serves in its part. What changes meanwhile requires another pass over all of the table.
    pub fn clean_some(&mut self, serving: &ServedDestinations) -> Result<Progress, CleanError> {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None if !self.effect.is_any => return Ok(Progress::Done(0)),
            None => {
                let pass = Pass { effect: std::mem::take(&mut self.effect), ..Pass::default() };
                if let Err(error) = self.connections.begin() {
                    return Err(self.give_up(pass, CleanError::Read(error)));
                }
                pass
            }
        };
        match self.remove_stale(&mut pass, serving) {
            Ok(true) => {
                self.pass = Some(pass);
                Ok(Progress::Begun)
            }
            Ok(false) => self.finish(pass),
            Err(error) => Err(self.give_up(pass, error)),
        }
    }

    /// Whether the table is being looked through.
    pub fn is_reading(&self) -> bool {
        self.pass.is_some()
    }

    /// What came of looking for stale entries, if that was done since this was last asked.
    pub fn take_cleaning(&mut self) -> Option<Cleaning> {
        self.last.take()
    }

    /// What was the reason for a look is one for the next.
    fn give_up(&mut self, pass: Pass, error: CleanError) -> CleanError {
        self.last = Some(Cleaning { removed: pass.removed, failed: true });
        self.note(pass.effect);
        error
    }

    fn finish(&mut self, mut pass: Pass) -> Result<Progress, CleanError> {
        let removed = pass.removed.iter().sum();
        match pass.first_failure.take() {
            None => {
                self.last = Some(Cleaning { removed: pass.removed, failed: false });
                Ok(Progress::Done(removed))
            }
            Some((flow, source)) => {
                let (flow, failed) = (Box::new(flow), pass.failed);
                Err(self.give_up(pass, CleanError::Delete { flow, failed, removed, source }))
            }
        }
    }

    /// Reads the next entries and removes those that are stale; false at the end of the table.
    fn remove_stale(
        &mut self,
        pass: &mut Pass,
        serving: &ServedDestinations,
    ) -> Result<bool, CleanError> {
        let own = self.connections.own_addresses().map_err(CleanError::Addresses)?;
        let is_stale = |flow: &Flow| serving.is_stale(flow, &own, &pass.effect.removed);
        let Some(stale) = self.connections.read_on(BITE, is_stale).map_err(CleanError::Read)?
        else {
            return Ok(false);
        };
        for entry in &stale {
            match self.connections.delete(entry) {
                Ok(was_there) => {
                    let family = Family::of(entry.as_ref().destination.ip());
                    let index = usize::from(family == Family::Ipv6);
                    pass.removed[index] += usize::from(was_there);
                }
                // One that is stuck does not keep the others.
                Err(source) => {
                    pass.failed += 1;
                    pass.first_failure.get_or_insert((*entry.as_ref(), source));
                }
            }
        }
        Ok(true)
    }
}

impl Connections for LiveConnections {
    type Entry = ConntrackEntry;

    fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, netlink::NetlinkError> {
        own_addresses()
    }

    fn begin(&mut self) -> Result<(), netlink::NetlinkError> {
        self.deleting = None;
        self.reading.insert(ConntrackTable::open()?).begin()
    }

    fn read_on(
        &mut self,
        count: usize,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Option<Vec<ConntrackEntry>>, netlink::NetlinkError> {
        let Some(table) = &mut self.reading else { return Ok(None) };
        let read = table.read_on(count, is_wanted);
        if !matches!(read, Ok(Some(_))) {
            // There is nothing more to read from it.
            self.reading = None;
        }
        read
    }

    fn delete(&mut self, entry: &ConntrackEntry) -> Result<bool, netlink::NetlinkError> {
        match &mut self.deleting {
            Some(table) => table.delete(entry),
            None => self.deleting.insert(ConntrackTable::open()?).delete(entry),
        }
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
