//! Reads tables of other owners.

use std::collections::BTreeMap;

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::Verdict;

use super::{Chains, ForeignChain, ForeignRule, ForeignTables, Policy, TableQuery};
use crate::kernel::attribute::{chain, expression, rule, table};
use crate::kernel::dump::{DumpReader, steadily};
use crate::kernel::error::DumpError;
use crate::kernel::exchange::ExchangeError;
use crate::kernel::expression::read_verdict;
use crate::kernel::object::{self, ExpressionRef};
use crate::kernel::{Worker, userdata};

/// Chains by name.
type ByName = BTreeMap<String, ForeignChain>;

impl Worker {
    pub(in crate::kernel) fn others(
        &mut self,
        wanted: &[TableQuery],
    ) -> Result<ForeignTables, DumpError> {
        let (tables, generation) =
            steadily(&mut self.socket, &mut self.scratch, &mut self.sequence, |reader| {
                let mut tables = BTreeMap::new();
                for family in Family::ALL {
                    let names = table_names(reader, family)?;
                    let is_there = |wanted: &&TableQuery| names.iter().any(|it| it == wanted.table);
                    for TableQuery { table, chains } in wanted.iter().filter(is_there) {
                        let chains = match chains {
                            Chains::All => all_chains(reader, family, table)?,
                            Chains::Named(names) => named_chains(reader, family, table, names)?,
                        };
                        tables.insert((family, (*table).to_owned()), chains);
                    }
                }
                Ok(tables)
            })?;
        Ok(ForeignTables { tables, generation })
    }
}

fn table_names(reader: &mut DumpReader<'_>, family: Family) -> Result<Vec<String>, ExchangeError> {
    let mut names = Vec::new();
    reader.dump("tables", libc::NFT_MSG_GETTABLE, family, &[], |message| {
        names.extend(object::Table::parse(&message)?.str(table::NAME));
        Some(())
    })?;
    Ok(names)
}

fn all_chains(
    reader: &mut DumpReader<'_>,
    family: Family,
    table_name: &str,
) -> Result<ByName, ExchangeError> {
    let mut chains = ByName::new();
    reader.dump("chains", libc::NFT_MSG_GETCHAIN, family, &[table_name], |message| {
        let it = object::Chain::parse(&message)?;
        // Kernels may answer with chains of other tables too.
        if it.str(chain::TABLE).as_deref() == Some(table_name) {
            chains.insert(it.str(chain::NAME)?, read_chain(&it));
        }
        Some(())
    })?;
    rules(reader, family, &[table_name], &mut chains)?;
    Ok(chains)
}

fn named_chains(
    reader: &mut DumpReader<'_>,
    family: Family,
    table_name: &str,
    names: &[&str],
) -> Result<ByName, ExchangeError> {
    let mut chains = ByName::new();
    for name in names {
        reader.chain(family, table_name, name, |message| {
            let it = object::Chain::parse(&message)?;
            chains.insert(it.str(chain::NAME)?, read_chain(&it));
            Some(())
        })?;
        // The kernel heeds both names (`nf_tables_dump_rules` of net/netfilter/nf_tables_api.c),
        // and answers with nothing if there is no such chain.
        rules(reader, family, &[table_name, name], &mut chains)?;
    }
    Ok(chains)
}

/// Puts the rules of a table, or of one chain of it, where they belong.
fn rules(
    reader: &mut DumpReader<'_>,
    family: Family,
    names: &[&str],
    chains: &mut ByName,
) -> Result<(), ExchangeError> {
    reader.dump("rules", libc::NFT_MSG_GETRULE, family, names, |message| {
        let it = object::Rule::parse(&message)?;
        let chain = it.str(rule::CHAIN)?;
        let is_wanted = it.str(rule::TABLE).as_deref() == names.first().copied()
            && names.get(1).is_none_or(|name| *name == chain);
        // A chain that is not there has gone or come in between; then there is no one generation.
        if is_wanted && let Some(chain) = chains.get_mut(&chain) {
            chain.rules.push(read_rule(&it)?);
        }
        Some(())
    })
}

fn read_chain(it: &object::Chain) -> ForeignChain {
    let policy = it.u32(chain::HOOK).map(|_| match it.u32(chain::POLICY) {
        Some(policy) if policy as i32 == libc::NF_DROP => Policy::Drop,
        _ => Policy::Accept,
    });
    ForeignChain { policy, rules: Vec::new() }
}

fn read_rule(it: &object::Rule) -> Option<ForeignRule> {
    let mut read = ForeignRule {
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
