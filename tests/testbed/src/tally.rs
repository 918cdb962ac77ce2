//! Many questions, counted by the server that answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::{ANSWER, Netns, Outcome, Protocol, ask_here};

/// What came of a number of questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by server name.
    pub answers: BTreeMap<String, u64>,
    /// The client addresses that the servers saw.
    pub sources: BTreeSet<IpAddr>,
    /// Questions refused.
    pub refused: u64,
    /// Questions with no reply at all.
    pub silent: u64,
    /// Questions that failed in another way.
    pub failed: u64,
}

impl Tally {
    /// Counts one outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answered { server, source } => {
                match self.answers.get_mut(server) {
                    Some(count) => *count += 1,
                    None => drop(self.answers.insert(server.clone(), 1)),
                }
                self.sources.insert(source.ip());
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Silent => self.silent += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
    }

    /// How often each of these servers answered.
    ///
    /// # Panics
    /// If a question was not answered, or was by another server: what they counted would not add up.
    pub fn counts<const N: usize>(&self, servers: [&str; N]) -> [u64; N] {
        let stranger = self.answers.keys().find(|name| !servers.contains(&name.as_str()));
        assert!(stranger.is_none() && self.unanswered() == 0, "expected only {servers:?}: {self}");
        servers.map(|name| self.count(name))
    }

    /// How often this server answered.
    pub fn count(&self, server: &str) -> u64 {
        self.answers.get(server).copied().unwrap_or(0)
    }

    /// Questions with no answer, for whatever reason.
    pub fn unanswered(&self) -> u64 {
        self.refused + self.silent + self.failed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (server, count) in &self.answers {
            write!(f, "{server} {count}, ")?;
        }
        let Self { refused, silent, failed, sources, .. } = self;
        write!(f, "refused {refused}, silent {silent}, failed {failed}; sources {sources:?}")
    }
}

/// Asks `times` times, one after the other, each by a connection or socket of its own, with the
/// patience [`ANSWER`].
pub fn tally(ns: &Netns, protocol: Protocol, to: SocketAddr, times: usize) -> Tally {
    ns.run(|| {
        let mut tally = Tally::default();
        for _ in 0..times {
            tally.add(&ask_here(protocol, to, ANSWER));
        }
        tally
    })
}
