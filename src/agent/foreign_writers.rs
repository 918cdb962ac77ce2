//! Names the processes that changed weir's tables, for log lines.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::kernel::{ForeignChanges, Process};

/// So many are named.
const MAX_NAMED: usize = 8;

/// Foreign writers of weir's tables that have not been reported yet.
#[derive(Debug, Default)]
pub(super) struct ForeignWriters {
    /// As in `nft (pid 123)`.
    processes: BoundedSet,
    /// The names alone. A tool that is started anew each time is one of these.
    names: BoundedSet,
}

/// The first few of a set, in order.
#[derive(Debug, Default)]
struct BoundedSet {
    known: BTreeSet<String>,
    has_more: bool,
}

impl ForeignWriters {
    /// Records the writers of foreign commits.
    pub(super) fn foreign(&mut self, foreign: &ForeignChanges) {
        for commit in &foreign.commits {
            let by = commit.by.as_ref();
            self.processes.add(by.map(Process::to_string));
            self.names.add(by.map(|process| process.name.escape_debug().to_string()));
        }
    }

    /// Clears the record: it was reported, or nothing differed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The message of a repair: who made it necessary, and when the next one comes if it is to wait.
    pub(super) fn text(&self, pause: Option<Duration>) -> String {
        let mut text = changed(&self.processes.list());
        if let Some(pause) = pause {
            let pause = pause.as_secs();
            text.push_str(&format!(
                ". This goes on and on: until it ends, weir repairs them only {pause} s later"
            ));
        }
        text
    }

    /// The same for an Event: without what differs from one repair to the next, so that many repairs
    /// are few Events.
    pub(super) fn note(&self, is_pausing: bool) -> String {
        let who = self.names.list();
        if !is_pausing {
            return changed(&who);
        }
        let keep = if who.len() > 1 { "keep" } else { "keeps" };
        let who = who.join(", ");
        format!(
            "{who} {keep} changing weir's tables: until that ends, weir repairs them ever later"
        )
    }
}

impl BoundedSet {
    fn add(&mut self, name: Option<String>) {
        match name {
            Some(name) if self.known.len() < MAX_NAMED || self.known.contains(&name) => {
                self.known.insert(name);
            }
            _ => self.has_more = true,
        }
    }

    fn list(&self) -> Vec<String> {
        let more = if self.known.is_empty() { "somebody else" } else { "others" };
        let has_more = self.has_more || self.known.is_empty();
        let more = has_more.then(|| more.to_owned());
        self.known.iter().cloned().chain(more).collect()
    }
}

fn changed(who: &[String]) -> String {
    let has = if who.len() > 1 { "have" } else { "has" };
    format!("{} {has} changed weir's tables; weir has restored them", who.join(", "))
}

#[cfg(test)]
#[path = "foreign_writers_tests.rs"]
mod tests;
