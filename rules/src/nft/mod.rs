//! A typed model of the part of nftables that weir programs.
//!
//! The text that `weir print` shows, the netlink batch, the difference between two rulesets and
//! what a dump of the kernel comes back as are all made of these types, so that they cannot
//! disagree.

mod bytecode;
mod element;
mod jhash;
mod print;
mod rule;
mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use bytecode::{
    BitwiseOp, CmpOp, INTERFACE_NAME_BYTES, Instruction, LookupTarget, Register, compile_rule,
    decompile_rule,
};
pub use element::{
    Concatenation, Data, Element, Elements, Lifetime, MAX_KEY_BYTES, MAX_VALUE_BYTES, RawKey,
    RawValue,
};
pub use jhash::jhash;
pub use print::ElementText;
pub use rule::{MarkOp, Rule, Statement, Verdict};
pub use selector::{CtField, DataType, Selector, slot_selector};

use crate::cluster::Family;

/// The name of weir's table, in each family.
pub const TABLE: &str = "weir";

/// Longest comment on an object, in bytes. libnftnl's `NFTNL_UDATA_COMMENT_MAXLEN` is 128 with the
/// terminating zero.
pub const MAX_COMMENT_BYTES: usize = 127;

/// The name of a chain, set or map. Cheap to clone: one allocation serves every element that
/// goes to the same chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Takes a name as it is.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// weir's tables: at most one of each family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables by family.
    pub tables: BTreeMap<Family, Table>,
}

impl Ruleset {
    /// How many elements its sets and maps hold together.
    pub fn element_count(&self) -> usize {
        self.tables.values().flat_map(|t| t.sets.values()).map(|s| s.elements.len()).sum()
    }
}

/// One table `weir`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its comment.
    pub comment: Option<String>,
    /// Sets and maps by name.
    pub sets: BTreeMap<Name, Set>,
    /// Chains by name.
    pub chains: BTreeMap<Name, Chain>,
    /// What the kernel reports of it that this model has no word for: flags, or objects of other
    /// kinds. Never set on what weir makes: it marks a table that others have changed.
    pub foreign: Option<String>,
}

/// A chain and its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where it is attached, for a base chain.
    pub base: Option<BaseChain>,
    /// Its comment.
    pub comment: Option<String>,
    /// The rules in the order in which the kernel walks them.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// The statements of all rules.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.rules.iter().flat_map(|rule| &rule.statements)
    }
}

/// Where a base chain is attached. weir's base chains accept by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    /// `type`.
    pub kind: ChainKind,
    /// `hook`.
    pub hook: Hook,
    /// `priority`: lower comes first (`enum nf_ip_hook_priorities`).
    pub priority: i32,
    /// `policy`: whether a packet that reaches the end is dropped.
    pub drop: bool,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`.
    Filter,
    /// `nat`: sees only the first packet of a connection.
    Nat,
    /// `route`: weir has none, but somebody may put one in its table.
    Route,
}

/// A netfilter hook. The discriminants are `enum nf_inet_hooks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Packets that arrive, before routing.
    Prerouting = 0,
    /// Packets to this host.
    Input = 1,
    /// Packets that pass through.
    Forward = 2,
    /// Packets from this host.
    Output = 3,
    /// Packets that leave, after routing.
    Postrouting = 4,
}

/// What defines a set or map, without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    /// The parts of the key, as `typeof` declares them.
    pub key: Vec<Selector>,
    /// What a key maps to.
    pub data: SetData,
    /// `flags interval`: elements are ranges of addresses.
    pub interval: bool,
    /// `flags dynamic,timeout; size N`: packets add elements, up to this many at a time, and each
    /// expires.
    pub dynamic: Option<u32>,
    /// `counter`: each element counts the packets and bytes that hit it.
    pub counter: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// What the kernel reports of it that this model has no word for. Never set on what weir
    /// makes: it marks a foreign set as different.
    pub foreign: Option<String>,
}

impl SetSpec {
    /// An exact-match set or map with no counter and no comment.
    pub fn new(key: Vec<Selector>, data: SetData) -> Self {
        Self {
            key,
            data,
            interval: false,
            dynamic: None,
            counter: false,
            comment: None,
            foreign: None,
        }
    }

    /// The same with `flags dynamic,timeout` and room for so many elements.
    pub fn dynamic(mut self, size: u32) -> Self {
        self.dynamic = Some(size);
        self
    }

    /// The same with `flags interval`.
    pub fn interval(mut self) -> Self {
        self.interval = true;
        self
    }

    /// The same with a counter on each element.
    pub fn counter(mut self) -> Self {
        self.counter = true;
        self
    }

    /// The same with a comment.
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.to_owned());
        self
    }

    /// `map` or `set`, as nft calls it.
    pub fn keyword(&self) -> &'static str {
        if self.data == SetData::Nothing { "set" } else { "map" }
    }
}

/// What the elements of a set carry beside the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetData {
    /// Nothing: it is a set.
    Nothing,
    /// A verdict: a verdict map.
    Verdict,
    /// A concatenation of values.
    Values(Vec<Selector>),
}

/// A set or map with its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What defines it.
    pub spec: SetSpec,
    /// Its elements by key.
    pub elements: Elements,
}

impl Set {
    /// An empty set or map.
    pub fn new(spec: SetSpec) -> Self {
        Self { spec, elements: Elements::new() }
    }
}

/// Makes a comment of a text: what nft's syntax cannot quote becomes `?`, and what is too long is
/// cut, which `...` marks.
pub fn comment(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c == '"' || c.is_control() { '?' } else { c }).collect();
    if text.len() <= MAX_COMMENT_BYTES {
        return text;
    }
    let mut end = MAX_COMMENT_BYTES - 3;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// Whether an interface can have this name, and nft can show it.
pub fn is_interface_name(name: &str) -> bool {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "/*\"\\".contains(c);
    !name.is_empty() && name.len() < INTERFACE_NAME_BYTES && !name.contains(is_bad)
}
