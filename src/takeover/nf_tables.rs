//! kube-proxy's leftovers in nf_tables: its own tables, and its chains in iptables-nft. No program is needed
//! for these: a rule can be deleted by its handle and a chain by its name, without decoding what else is in it.

use std::io;
use std::thread;
use std::time::Duration;

use weir_rules::cluster::Family;

use super::names::{FILTER_ENTRANCES, IPTABLES_TABLES, MARK_MASQ, NAT_ENTRANCES, NFT_TABLE};
use super::plan::DeletionPlan;
use super::report::TakeoverReport;
use crate::kernel::foreign_tables::{Chains, Deletion, ForeignTables, Part, TableQuery};
use crate::kernel::{CommitError, DumpError, Kernel};

/// What packets meet: kube-proxy's tables, and the built-in chains in which rules may lead to its
/// chains. Few, so that they are read and changed between two commits of others, on a node however
/// large.
const ENTRANCES: [TableQuery; 3] = [
    TableQuery { table: NFT_TABLE, chains: Chains::Named(&[]) },
    TableQuery { table: "nat", chains: Chains::Named(&NAT_ENTRANCES) },
    TableQuery { table: "filter", chains: Chains::Named(&FILTER_ENTRANCES) },
];

/// How often it is begun anew because somebody changed nf_tables meanwhile.
const ATTEMPTS: u32 = 20;
/// Pauses between attempts double from the one to the other.
const MIN_BACKOFF: Duration = Duration::from_millis(4);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// How many chains go in one transaction. While one is committed, nobody else's is, nor weir's own;
/// an old node may have a hundred thousand.
const CHAINS_AT_ONCE: usize = 1000;

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
pub enum NfTablesError {
    /// The tables could not be read.
    #[error("cannot look for kube-proxy's tables and chains")]
    Read(#[from] DumpError),
    /// They could not be removed.
    #[error("cannot remove kube-proxy's tables and chains")]
    Remove(#[from] CommitError),
    /// Others change nf_tables all the time.
    #[error("nf_tables changed before each of {ATTEMPTS} attempts to remove what is kube-proxy's")]
    Unsteady,
}

impl NfTablesError {
    /// Whether the kernel was read too early, or while others changed it.
    fn is_of_the_moment(&self) -> bool {
        match self {
            NfTablesError::Unsteady | NfTablesError::Remove(CommitError::Stale) => true,
            NfTablesError::Remove(error) => is_refused(error, io::ErrorKind::NotFound),
            NfTablesError::Read(_) => false,
        }
    }
}

fn is_refused(error: &CommitError, kind: io::ErrorKind) -> bool {
    matches!(error, CommitError::Refused { source, .. } if source.kind() == kind)
}

/// Removes all of it: first what packets traverse, then what they no longer reach.
#[allow(clippy::disallowed_methods, reason = "a thread of its own, which nobody waits for")]
pub(super) fn remove(kernel: &Kernel, report: &mut TakeoverReport) -> Result<(), NfTablesError> {
    let mut pauses = pauses();
    loop {
        match unhook(kernel, report).and_then(|()| sweep(kernel, report)) {
            Err(error) if error.is_of_the_moment() => {
                thread::sleep(pauses.next().ok_or(NfTablesError::Unsteady)?);
            }
            result => return result,
        }
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    (1..ATTEMPTS).map(|attempt| (MIN_BACKOFF * (1 << (attempt - 1))).min(MAX_BACKOFF))
}

/// Removes what packets meet, in one transaction.
fn unhook(kernel: &Kernel, report: &mut TakeoverReport) -> Result<(), NfTablesError> {
    let ForeignTables { tables, generation } = kernel.others(&ENTRANCES)?;
    let (mut whole, mut rules, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for ((family, table), chains) in tables {
        let part = |part| Deletion { family, table: table.clone(), part };
        if table == NFT_TABLE {
            whole.push(part(Part::Whole));
            continue;
        }
        let plan = DeletionPlan::new(&table, &chains);
        let jumps = plan.jumps.into_iter().map(|(chain, handle)| Part::Rule(chain, handle));
        rules.extend(jumps.map(part));
        let place = format!("table {family} {table}");
        told.extend(plan.unaccepted.iter().map(|it| it.message(&place, program(family))));
    }
    let counts = (whole.len(), rules.len());
    if counts != (0, 0) {
        // A rule's number means that rule only while nobody has made its table anew.
        let generation = generation.ok_or(NfTablesError::Unsteady)?;
        kernel.remove([whole, rules].concat(), Some(generation))?;
    }
    report.tables += counts.0;
    report.rules += counts.1;
    report.left.extend(told);
    Ok(())
}

fn program(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables-nft",
        Family::Ipv6 => "ip6tables-nft",
    }
}

/// Removes the chains that no packet reaches any more, in portions. They are known by their names,
/// so that it does not matter if others change nf_tables meanwhile; but a reading of several moments
/// may lack some.
fn sweep(kernel: &Kernel, report: &mut TakeoverReport) -> Result<(), NfTablesError> {
    let others =
        kernel.others(&IPTABLES_TABLES.map(|table| TableQuery { table, chains: Chains::All }))?;
    let is_whole = others.generation.is_some();
    let Unreached { mut emptied, mut deleted, left } =
        Unreached::of(&others).ok_or(NfTablesError::Unsteady)?;
    let found_any = !deleted.is_empty();
    if !is_whole {
        // Somebody's rule that goes there may not have been seen, and it is not even to be emptied then.
        emptied.retain(|removal| !is_mark_masq(removal));
        deleted.retain(|removal| !is_mark_masq(removal));
    }
    for portion in emptied.chunks(CHAINS_AT_ONCE) {
        kernel.remove(portion.to_vec(), None)?;
    }
    for portion in deleted.chunks(CHAINS_AT_ONCE) {
        match kernel.remove(portion.to_vec(), None) {
            // A chain that leads there was not seen.
            Err(error) if !is_whole && is_refused(&error, io::ErrorKind::ResourceBusy) => {
                return Err(NfTablesError::Unsteady);
            }
            result => result?,
        }
        report.chains += portion.len();
    }
    if !is_whole && found_any {
        return Err(NfTablesError::Unsteady);
    }
    report.left.extend(left);
    Ok(())
}

fn is_mark_masq(removal: &Deletion) -> bool {
    matches!(&removal.part, Part::Rules(chain) | Part::Chain(chain) if chain == MARK_MASQ)
}

/// kube-proxy's chains.
#[derive(Default)]
struct Unreached {
    emptied: Vec<Deletion>,
    deleted: Vec<Deletion>,
    /// What stays, for the operator.
    left: Vec<String>,
}

impl Unreached {
    /// `None` if rules lead there again.
    fn of(others: &ForeignTables) -> Option<Self> {
        let mut all = Self::default();
        for ((family, table), chains) in &others.tables {
            let part = |part| Deletion { family: *family, table: table.clone(), part };
            let plan = DeletionPlan::new(table, chains);
            if !plan.jumps.is_empty() {
                return None;
            }
            all.emptied.extend(plan.empty.into_iter().map(Part::Rules).map(part));
            all.deleted.extend(plan.delete.into_iter().map(Part::Chain).map(part));
            let place = format!("table {family} {table}");
            all.left.extend(plan.kept.iter().map(|kept| kept.message(&place)));
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second() {
        let pauses: Vec<u128> = pauses().map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses.len(), 19, "one between each two attempts");
        assert_eq!(pauses[..10], [4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000]);
        assert!(pauses[10..].iter().all(|&pause| pause == 1000), "{pauses:?}");
    }
}
