//! Rules as sequences of statements.

use std::num::NonZeroU16;

use super::{Name, Selector};
use crate::cluster::Protocol;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Matches and actions from left to right.
    pub statements: Vec<Statement>,
    /// Its comment.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(statements: impl Into<Vec<Statement>>) -> Self {
        Self { statements: statements.into(), comment: None }
    }

    /// The same with a comment.
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.to_owned());
        self
    }
}

/// One statement of a rule, in the forms that weir uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ct state new`.
    CtStateNew,
    /// `ct status dnat`.
    CtStatusDnat,
    /// `meta l4proto tcp`.
    ProtocolIs(Protocol),
    /// `fib daddr type local`.
    DestinationIsLocal,
    /// `fib saddr type local`.
    SourceIsLocal,
    /// `iifname "NAME"`, or with `*` behind a prefix, or `!=`.
    InputInterface {
        /// The interface's name, or the beginning of it.
        name: String,
        /// Whether it is only the beginning.
        is_prefix: bool,
        /// Whether the rule goes on at every *other* interface.
        negated: bool,
    },
    /// `th dport NUMBER`.
    DestinationPortIs(NonZeroU16),
    /// `ip daddr != 127.0.0.0/8`, `ip6 daddr != ::1`.
    DestinationIsNotLoopback,
    /// `meta mark & BITS != 0`.
    MarkHas(u32),
    /// `meta mark set meta mark | BITS`, or `^`.
    SetMark(MarkOp, u32),
    /// `KEY @SET`, or `KEY != @SET`.
    InSet {
        /// What is looked up.
        key: Vec<Selector>,
        /// The set's name.
        set: Name,
        /// Whether the rule goes on when the key is *not* in the set.
        negated: bool,
    },
    /// `KEY vmap @MAP`.
    VerdictMap {
        /// What is looked up.
        key: Vec<Selector>,
        /// The map's name.
        map: Name,
    },
    /// `dnat ip to KEY map @MAP`: the map holds address and port.
    Dnat {
        /// What is looked up.
        key: Vec<Selector>,
        /// The map's name.
        map: Name,
    },
    /// `dnat to KEY map @MAP:PORT`: the map holds the address.
    DnatToPort {
        /// What is looked up.
        key: Vec<Selector>,
        /// The map's name.
        map: Name,
        /// The new port.
        port: NonZeroU16,
    },
    /// `update @MAP { KEY timeout SECONDS : DATA }`: adds an element, or restarts the timeout of
    /// the one that exists, which keeps its data. The rule ends here for a packet for which the map
    /// has no room.
    Update {
        /// The map's name.
        map: Name,
        /// The element's key.
        key: Vec<Selector>,
        /// How long it lives, in seconds; not 0.
        timeout: u32,
        /// What it maps to.
        data: Vec<Selector>,
    },
    /// `masquerade fully-random`.
    Masquerade,
    /// `reject`: with ICMP port unreachable, nft's default.
    Reject,
    /// `jump CHAIN` and the like.
    Verdict(Verdict),
    /// Something that weir never writes, found in its table; the text says what.
    Foreign(String),
}

impl Statement {
    /// The chain that it leads to itself, not by a map.
    pub fn chain(&self) -> Option<&Name> {
        match self {
            Statement::Verdict(verdict) => verdict.chain(),
            _ => None,
        }
    }

    /// The set or map that it looks into.
    pub fn set(&self) -> Option<&Name> {
        match self {
            Statement::InSet { set, .. } => Some(set),
            Statement::VerdictMap { map, .. }
            | Statement::Dnat { map, .. }
            | Statement::DnatToPort { map, .. }
            | Statement::Update { map, .. } => Some(map),
            _ => None,
        }
    }
}

/// How a mark is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkOp {
    /// `|`: set the bits.
    Or,
    /// `^`: flip the bits.
    Xor,
}

/// Where a packet goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `accept`.
    Accept,
    /// `drop`.
    Drop,
    /// `return`.
    Return,
    /// `continue`.
    Continue,
    /// `jump CHAIN`.
    Jump(Name),
    /// `goto CHAIN`.
    Goto(Name),
}

impl Verdict {
    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&Name> {
        match self {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}
