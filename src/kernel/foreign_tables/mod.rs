//! Tables of other owners: lists their chains and the rules that jump to these, and deletes both. The rest of a
//! rule is not decoded.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::mpsc;

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;

use super::attribute::{chain, rule, table};
use super::batch::{Culprit, NetlinkBatch};
use super::commit::send;
use super::error::{CommitError, DumpError};
use super::object;
use super::{Kernel, Request, Worker};

/// What to read of the tables of one name, of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableQuery {
    /// The name of the tables.
    pub table: &'static str,
    /// What of them.
    pub chains: Chains,
}

/// What to read of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chains {
    /// All chains with their rules.
    All,
    /// Those of these names with their rules. The kernel finds them without looking at others, of
    /// which there may be a hundred thousand.
    Named(&'static [&'static str]),
}

/// Tables of other owners at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignTables {
    /// The chains of the tables that were asked for, by family and name of the table.
    pub tables: BTreeMap<(Family, String), BTreeMap<String, ForeignChain>>,
    /// The generation of the kernel's ruleset; `None` if others changed it without rest, so that
    /// what was read may be of several moments.
    pub generation: Option<u32>,
}

/// A chain in a table of another owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignChain {
    /// What becomes of packets that no rule decides about; `None` if it is not attached to a hook.
    pub policy: Option<Policy>,
    /// Its rules in order.
    pub rules: Vec<ForeignRule>,
}

/// The policy of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They pass.
    Accept,
    /// They are dropped.
    Drop,
}

/// A rule in a chain of another owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignRule {
    /// The kernel's number for it.
    pub handle: u64,
    /// The chain that it goes to or jumps to, if it is the rule itself that says so.
    pub target: Option<String>,
    /// Its comment, as nft or as iptables keeps it.
    pub comment: Option<String>,
}

/// Something to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// What of it.
    pub part: Part,
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// One rule of a chain, by its handle.
    Rule(String, u64),
    /// All rules of a chain.
    Rules(String),
    /// An empty chain to which nothing goes.
    Chain(String),
}

/// The command of nft that does the same.
impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, part } = self;
        match part {
            Part::Whole => write!(f, "delete table {family} {table}"),
            Part::Rule(chain, handle) => {
                write!(f, "delete rule {family} {table} {chain} handle {handle}")
            }
            Part::Rules(chain) => write!(f, "flush chain {family} {table} {chain}"),
            Part::Chain(chain) => write!(f, "delete chain {family} {table} {chain}"),
        }
    }
}

impl Kernel {
    /// Reads this of the tables of other owners.
    pub fn others(&self, wanted: &[TableQuery]) -> Result<ForeignTables, DumpError> {
        let (answer, result) = mpsc::channel();
        self.requests
            .send(Request::ForeignTables(wanted.to_vec(), answer))
            .map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// Removes all of these, or nothing. With a generation, only if the kernel's ruleset is still
    /// of that one.
    pub fn remove(
        &self,
        removals: Vec<Deletion>,
        generation: Option<u32>,
    ) -> Result<(), CommitError> {
        let (answer, result) = mpsc::channel();
        self.requests
            .send(Request::Remove(removals, generation, answer))
            .map_err(|_| CommitError::Gone)?;
        result.recv().map_err(|_| CommitError::Gone)?
    }
}

impl Worker {
    pub(super) fn remove(
        &mut self,
        removals: &[Deletion],
        generation: Option<u32>,
    ) -> Result<(), CommitError> {
        if removals.is_empty() {
            return Ok(());
        }
        let sequence = self.sequence.wrapping_add(1);
        let mut batch = NetlinkBatch::begin(generation, sequence, false, &mut self.scratch);
        for (index, removal) in removals.iter().enumerate() {
            push(&mut batch, index, removal);
        }
        batch.end();
        self.sequence = batch.last_sequence();
        send(&mut self.socket, &batch, |errno, culprit| refusal(errno, culprit, removals))?;
        Ok(())
    }
}

fn push(batch: &mut NetlinkBatch<'_>, index: usize, removal: &Deletion) {
    let at = (index, removal.family);
    let name = removal.table.as_str();
    let rules_of = |chain: &str| {
        let mut it = object::Rule::new();
        it.set_str(rule::TABLE, name);
        it.set_str(rule::CHAIN, chain);
        it
    };
    match &removal.part {
        Part::Whole => batch.push(at, libc::NFT_MSG_DELTABLE, 0, vec![0], |message| {
            let mut it = object::Table::new();
            it.set_str(table::NAME, name);
            it.write(message);
        }),
        Part::Rule(chain, handle) => {
            batch.push(at, libc::NFT_MSG_DELRULE, 0, vec![0], |message| {
                let mut it = rules_of(chain);
                it.set_u64(rule::HANDLE, *handle);
                it.write(message);
            });
        }
        Part::Rules(chain) => batch.push(at, libc::NFT_MSG_DELRULE, 0, vec![0], |message| {
            rules_of(chain).write(message);
        }),
        Part::Chain(name_of_chain) => {
            batch.push(at, libc::NFT_MSG_DELCHAIN, 0, vec![0], |message| {
                let mut it = object::Chain::new();
                it.set_str(chain::TABLE, name);
                it.set_str(chain::NAME, name_of_chain);
                it.write(message);
            });
        }
    }
}

/// The error for what the kernel refused.
fn refusal(errno: i32, culprit: &Culprit, removals: &[Deletion]) -> CommitError {
    let removal = culprit.operation.and_then(|index| removals.get(index));
    CommitError::Refused {
        operation: culprit.operation,
        part: culprit.part,
        command: removal.map_or_else(|| "the transaction".to_owned(), Deletion::to_string),
        hint: None,
        source: io::Error::from_raw_os_error(errno),
    }
}
