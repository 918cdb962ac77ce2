//! Simulates a connection's first packet on the typed ruleset, as the kernel evaluates it
//! (net/netfilter/nf_tables_core.c: nft_do_chain; net/netfilter/nf_nat_core.c).
//!
//! ```text
//! from elsewhere   prerouting ─▶ route ─▶ input
//!                                     └─▶ forward ─▶ postrouting
//! from the node    output ─▶ postrouting ─▶ (to the node itself: prerouting ─▶ input)
//! ```
//!
//! Where a rule draws a random number, the walk goes on with each value, so that the answer holds
//! every possible end with its probability.

mod machine;
mod probability;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

pub use probability::Probability;

use crate::cluster::{Family, Protocol};
use crate::nft::{ElementText, Name, RawKey, Rule, Ruleset};

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its source.
    pub source: IpAddr,
    /// Its destination, of the same family.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its destination port.
    pub port: NonZeroU16,
    /// The interface that it comes in by; `None` for one that the node itself sends.
    pub input_interface: Option<String>,
    /// Its mark.
    pub mark: u32,
}

/// What becomes of a packet: every possible end, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace<'r> {
    /// The ends. Their probabilities make 1 together.
    pub outcomes: Vec<Outcome<'r>>,
}

/// One possible end of a packet's way through the ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'r> {
    /// What becomes of the packet.
    pub outcome: FinalVerdict,
    /// How probable that is.
    pub probability: Probability,
    /// What it leaves in dynamic maps, in order.
    pub learned: Vec<Learned<'r>>,
    /// The rules that it matched on the way, in order. Where several ways lead to one outcome,
    /// those of the first.
    pub steps: Vec<Step<'r>>,
}

/// An element that a packet puts into a dynamic map, or lets live as long again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned<'r> {
    /// The map.
    pub map: &'r Name,
    /// The element's key.
    pub key: RawKey,
    /// What it maps to: for one that was there already, what it mapped to before.
    pub data: RawKey,
    /// How long it lives, in seconds.
    pub timeout: u32,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalVerdict {
    /// An ICMP error goes back.
    Rejected,
    /// It vanishes.
    Dropped,
    /// It passes the ruleset.
    Delivered(Delivery),
    /// It met something that this interpreter does not know; the text names it.
    Unknown(String),
}

/// Where a packet goes, and as whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// The destination, after translation.
    pub address: IpAddr,
    /// The destination port, after translation.
    pub port: NonZeroU16,
    /// Whether the source becomes an address of the node.
    pub masqueraded: bool,
}

/// A rule that a packet matched: all its statements were taken.
#[derive(Debug, Clone, Copy)]
pub struct Step<'r> {
    /// The chain that the rule is in.
    pub chain: &'r Name,
    /// The rule.
    pub rule: &'r Rule,
    /// The element that its lookup found, where it looked one up.
    pub element: Option<ElementText<'r>>,
    /// The family of the table.
    pub family: Family,
}

impl PartialEq for Step<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Step<'_> {}

impl fmt::Display for Step<'_> {
    /// `chain: rule`, with the element behind it where one was looked up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.chain, self.rule.display(self.family))?;
        match &self.element {
            Some(element) => write!(f, " {{ {element} }}"),
            None => Ok(()),
        }
    }
}

impl Trace<'_> {
    /// The deliveries with their probabilities, sorted.
    pub fn deliveries(&self) -> Vec<(Delivery, Probability)> {
        let mut found: Vec<_> = self
            .outcomes
            .iter()
            .filter_map(|end| match end.outcome {
                FinalVerdict::Delivered(delivery) => Some((delivery, end.probability)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// The outcome, where there is only one.
    pub fn only(&self) -> Option<&FinalVerdict> {
        match self.outcomes.as_slice() {
            [end] => Some(&end.outcome),
            _ => None,
        }
    }
}

/// Walks a packet through the table of its family, on a node with these addresses. Those of the
/// loopback network are the node's in any case.
pub fn simulate<'r>(
    ruleset: &'r Ruleset,
    packet: &Packet,
    local_addresses: &BTreeSet<IpAddr>,
) -> Trace<'r> {
    let family = Family::of(packet.destination);
    let mut walk = Trace { outcomes: Vec::new() };
    let Some(table) = ruleset.tables.get(&family) else {
        let delivery =
            Delivery { address: packet.destination, port: packet.port, masqueraded: false };
        walk.outcomes.push(Outcome {
            outcome: FinalVerdict::Delivered(delivery),
            probability: Probability::ONE,
            learned: Vec::new(),
            steps: Vec::new(),
        });
        return walk;
    };
    for end in machine::run(machine::PacketContext { table, family, local_addresses }, packet) {
        match walk.outcomes.iter_mut().find(|known| known.outcome == end.outcome) {
            Some(known) => known.probability = known.probability + end.probability,
            None => walk.outcomes.push(end),
        }
    }
    walk
}
