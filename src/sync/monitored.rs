//! A kernel whose notifications are followed.

use std::io;
use std::sync::Arc;

use tracing::warn;
use weir_rules::transaction::Transaction;

use super::NfTables;
use crate::kernel::generation::{latest, next_generation};
use crate::kernel::{
    CommitError, Committed, DumpError, ForeignChanges, Kernel, Monitor, Parts, Snapshot,
};

/// Transactions with more elements than this are committed unmonitored: the kernel announces each
/// element of them, which costs it as much again as the transaction.
pub const MAX_HEARD: usize = 1000;

/// A source of notifications of commits.
pub trait Listen {
    /// The foreign changes since the last call.
    fn drain(&mut self) -> ForeignChanges;
    /// Unsubscribes. Earlier notifications can still be drained.
    fn pause(&mut self) -> io::Result<()>;
    /// Subscribes again.
    fn resume(&mut self) -> io::Result<()>;
}

impl Listen for Monitor {
    fn drain(&mut self) -> ForeignChanges {
        Monitor::drain(self)
    }

    fn pause(&mut self) -> io::Result<()> {
        Monitor::pause(self)
    }

    fn resume(&mut self) -> io::Result<()> {
        Monitor::resume(self)
    }
}

/// A kernel that is listened to.
#[derive(Debug)]
pub struct MonitoredKernel<K = Kernel, L = Monitor> {
    kernel: K,
    monitor: L,
    /// Foreign changes that are not drained yet.
    foreign: ForeignChanges,
    /// Whether the monitor could not be made to listen again.
    is_unsubscribed: bool,
}

impl<K: NfTables, L: Listen> MonitoredKernel<K, L> {
    /// Follows the monitor's notifications beside the kernel's answers.
    pub fn new(kernel: K, monitor: L) -> Self {
        Self { kernel, monitor, foreign: ForeignChanges::default(), is_unsubscribed: false }
    }

    /// The same, but from the first look on: until then another weir manages the tables.
    ///
    /// # Errors
    /// If the monitor cannot be made to stop listening until then.
    pub fn later(kernel: K, mut monitor: L) -> io::Result<Self> {
        monitor.pause()?;
        Ok(Self { is_unsubscribed: true, ..Self::new(kernel, monitor) })
    }

    fn drain(&mut self) {
        self.foreign.merge(self.monitor.drain());
    }

    fn resubscribe(&mut self) {
        // Of what was committed while it was deaf nobody knows.
        self.foreign.is_lossy |= self.is_unsubscribed;
        let result = self.monitor.resume();
        if let Err(error) = &result
            && !self.is_unsubscribed
        {
            warn!("cannot listen to nf_tables again; trying again: {error}");
        }
        self.is_unsubscribed = result.is_err();
    }

    /// Commits a transaction with too many notifications unmonitored, if the ruleset is still of this
    /// generation.
    ///
    /// A commit is counted before it is announced. So whether others have committed meanwhile, unannounced,
    /// shows in the generation behind it.
    fn commit_unmonitored(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: u32,
    ) -> Result<Committed, CommitError> {
        let is_paused = match self.monitor.pause() {
            Ok(()) => true,
            Err(error) => {
                warn!("cannot stop listening to nf_tables for a while: {error}");
                false
            }
        };
        self.drain();
        let result = self.kernel.commit(transaction, Some(generation));
        if !is_paused {
            return result;
        }
        self.resubscribe();
        let expected = match &result {
            Ok(_) => Some(next_generation(generation)),
            // Nothing was committed. Notifications from before the pause may explain why.
            Err(_) => latest(self.foreign.generation, Some(generation)),
        };
        if self.kernel.generation().ok() == expected {
            self.foreign.generation = latest(self.foreign.generation, expected);
        } else {
            self.foreign.is_lossy = true;
        }
        result
    }
}

impl<K: NfTables, L: Listen> NfTables for MonitoredKernel<K, L> {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        self.kernel.dump()
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        self.kernel.read(parts)
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let counts = transaction.counts();
        let is_large = counts.added.elements + counts.removed.elements > MAX_HEARD;
        match generation {
            Some(generation) if is_large => self.commit_unmonitored(transaction, generation),
            // Without a generation others may commit at the same time, whom nobody is to miss.
            _ => {
                let result = self.kernel.commit(transaction, generation);
                if is_large {
                    // There is no room for many of this length.
                    self.drain();
                }
                result
            }
        }
    }

    fn frees_chains_at_once(&self) -> bool {
        self.kernel.frees_chains_at_once()
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        self.kernel.generation()
    }

    fn drain(&mut self) -> ForeignChanges {
        if self.is_unsubscribed {
            self.resubscribe();
        }
        self.drain();
        std::mem::take(&mut self.foreign)
    }
}
