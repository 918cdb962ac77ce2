//! Tables of other owners: which chains they have and which rules go to these, and removing such
//! things. What a rule does beyond that is not read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::mpsc;

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::Verdict;

use super::attribute::{chain, expression, rule, table};
use super::batch::{Batch, Culprit};
use super::dump::{Failure, Reader, steadily};
use super::error::{CommitError, DumpError};
use super::expression::read_verdict;
use super::object::{self, ExpressionRef};
use super::{Kernel, Request, Worker, send, userdata};

/// Tables of other owners at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// The tables of the names that were asked for, by family and name.
    pub tables: BTreeMap<(Family, String), BTreeMap<String, OtherChain>>,
    /// The generation of the kernel's ruleset; `None` if others changed it without rest.
    pub generation: Option<u32>,
}

/// A chain in a table of another owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherChain {
    /// Whether it is attached to a hook.
    pub is_base: bool,
    /// Its rules in order.
    pub rules: Vec<OtherRule>,
}

/// A rule in a chain of another owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherRule {
    /// The kernel's number for it.
    pub handle: u64,
    /// The chain that it goes to or jumps to, if it is the rule itself that says so.
    pub target: Option<String>,
    /// Its comment, as nft or as iptables keeps it.
    pub comment: Option<String>,
}

/// Something to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
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
impl fmt::Display for Removal {
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
    /// Reads the tables of these names, of either family.
    pub fn others(&self, names: &[&str]) -> Result<Others, DumpError> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let (answer, result) = mpsc::channel();
        self.requests.send(Request::Others(names, answer)).map_err(|_| DumpError::Gone)?;
        result.recv().map_err(|_| DumpError::Gone)?
    }

    /// Removes all of these, or nothing. With a generation, only if the kernel's ruleset is still
    /// of that one.
    pub fn remove(
        &self,
        removals: Vec<Removal>,
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
    pub(super) fn others(&mut self, names: &[String]) -> Result<Others, DumpError> {
        let (tables, generation) =
            steadily(&mut self.socket, &mut self.scratch, &mut self.sequence, |reader| {
                let mut tables = BTreeMap::new();
                for family in Family::ALL {
                    for name in table_names(reader, family, names)? {
                        let chains = chains(reader, family, &name)?;
                        tables.insert((family, name), chains);
                    }
                }
                Ok(tables)
            })?;
        Ok(Others { tables, generation })
    }

    pub(super) fn remove(
        &mut self,
        removals: &[Removal],
        generation: Option<u32>,
    ) -> Result<(), CommitError> {
        if removals.is_empty() {
            return Ok(());
        }
        let sequence = self.sequence.wrapping_add(1);
        let mut batch = Batch::begin(generation, sequence, false, &mut self.scratch);
        for (index, removal) in removals.iter().enumerate() {
            push(&mut batch, index, removal);
        }
        batch.end();
        self.sequence = batch.last_sequence();
        send(&mut self.socket, &batch, |errno, culprit| refusal(errno, culprit, removals))?;
        Ok(())
    }
}

/// Those of the names that are tables.
fn table_names(
    reader: &mut Reader<'_>,
    family: Family,
    names: &[String],
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    reader.dump("tables", libc::NFT_MSG_GETTABLE, family, &[], |message| {
        found.extend(object::Table::parse(&message)?.str(table::NAME));
        Some(())
    })?;
    found.retain(|name| names.contains(name));
    Ok(found)
}

/// The chains of a table, with their rules.
fn chains(
    reader: &mut Reader<'_>,
    family: Family,
    name: &str,
) -> Result<BTreeMap<String, OtherChain>, Failure> {
    let mut chains = BTreeMap::<String, OtherChain>::new();
    reader.dump("chains", libc::NFT_MSG_GETCHAIN, family, &[name], |message| {
        let it = object::Chain::parse(&message)?;
        // Kernels may answer with chains of other tables too.
        if it.str(chain::TABLE).as_deref() == Some(name) {
            let is_base = it.u32(chain::HOOK).is_some();
            chains.insert(it.str(chain::NAME)?, OtherChain { is_base, rules: Vec::new() });
        }
        Some(())
    })?;
    reader.dump("rules", libc::NFT_MSG_GETRULE, family, &[name], |message| {
        let it = object::Rule::parse(&message)?;
        if it.str(rule::TABLE).as_deref() == Some(name)
            && let Some(chain) = chains.get_mut(&it.str(rule::CHAIN)?)
        {
            chain.rules.push(read_rule(&it)?);
        }
        Some(())
    })?;
    Ok(chains)
}

fn read_rule(it: &object::Rule) -> Option<OtherRule> {
    let mut read = OtherRule {
        handle: it.u64(rule::HANDLE)?,
        target: None,
        comment: it.bytes(rule::USERDATA).and_then(userdata::read_comment),
    };
    it.for_each_expression(|expression| match expression.name().as_str() {
        "immediate" => read.target = target(&expression).or(read.target.take()),
        "match" => read.comment = comment(&expression).or(read.comment.take()),
        _ => {}
    });
    Some(read)
}

fn target(immediate: &ExpressionRef<'_>) -> Option<String> {
    let code = immediate.u32(expression::IMMEDIATE_VERDICT)? as i32;
    match read_verdict(code, immediate.str(expression::IMMEDIATE_CHAIN))? {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain.as_str().to_owned()),
        Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Continue => None,
    }
}

/// The text of xtables' match `comment`, which iptables-nft uses as it is: `struct
/// xt_comment_info` of linux/netfilter/xt_comment.h.
fn comment(xtables_match: &ExpressionRef<'_>) -> Option<String> {
    if xtables_match.str(expression::MATCH_NAME)? != "comment" {
        return None;
    }
    let text = xtables_match.bytes(expression::MATCH_INFO)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn push(batch: &mut Batch<'_>, index: usize, removal: &Removal) {
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
fn refusal(errno: i32, culprit: &Culprit, removals: &[Removal]) -> CommitError {
    let removal = culprit.operation.and_then(|index| removals.get(index));
    CommitError::Refused {
        operation: culprit.operation,
        command: removal.map_or_else(|| "the transaction".to_owned(), Removal::to_string),
        hint: None,
        source: io::Error::from_raw_os_error(errno),
    }
}
