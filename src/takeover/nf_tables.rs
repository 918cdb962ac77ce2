//! What kube-proxy leaves in nf_tables: its own tables, and chains of iptables where iptables is
//! iptables-nft. No program is needed for that: a rule can be deleted by its number, and a chain by
//! its name, without understanding what else is in it.

use std::io;

use super::names::{IPTABLES_TABLES, NFT_TABLE};
use super::plan::Plan;
use super::report::Report;
use crate::kernel::others::{Others, Part, Removal};
use crate::kernel::{CommitError, DumpError, Kernel};

/// How often the tables are read again because somebody changed them meanwhile.
const ATTEMPTS: u32 = 20;

/// How many chains go in one transaction. While one is committed, nobody else's is, nor weir's own;
/// an old node may have a hundred thousand.
const CHAINS_AT_ONCE: usize = 1000;

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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

/// Removes what is there.
pub(super) fn remove(kernel: &Kernel, report: &mut Report) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let others = kernel.others(&[&[NFT_TABLE][..], &IPTABLES_TABLES].concat())?;
        match remove_read(kernel, &others, report) {
            Err(Error::Remove(error)) if was_read_too_early(&error) => {}
            Err(Error::Unsteady) => {}
            result => return result,
        }
    }
    Err(Error::Unsteady)
}

fn was_read_too_early(error: &CommitError) -> bool {
    match error {
        CommitError::Stale => true,
        CommitError::Refused { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// First, in one transaction, all that packets meet; what is then out of their reach, in portions.
fn remove_read(kernel: &Kernel, others: &Others, report: &mut Report) -> Result<(), Error> {
    let removals = Removals::new(others);
    if !removals.first.is_empty() {
        // A rule's number means that rule only while nobody has made its table anew.
        let generation = others.generation.ok_or(Error::Unsteady)?;
        kernel.remove(removals.first.clone(), Some(generation))?;
        report.tables += removals.tables;
        report.rules += removals.first.len() - removals.tables;
    }
    for portion in removals.emptied.chunks(CHAINS_AT_ONCE) {
        kernel.remove(portion.to_vec(), None)?;
    }
    for portion in removals.deleted.chunks(CHAINS_AT_ONCE) {
        kernel.remove(portion.to_vec(), None)?;
        report.chains += portion.len();
    }
    report.left.extend(removals.left);
    Ok(())
}

#[derive(Default)]
struct Removals {
    /// Tables, and rules that lead to chains.
    first: Vec<Removal>,
    /// How many of these are tables.
    tables: usize,
    emptied: Vec<Removal>,
    deleted: Vec<Removal>,
    /// What stays, for the operator.
    left: Vec<String>,
}

impl Removals {
    fn new(others: &Others) -> Self {
        let mut all = Self::default();
        for ((family, table), chains) in &others.tables {
            let part = |part| Removal { family: *family, table: table.clone(), part };
            if table == NFT_TABLE {
                all.first.push(part(Part::Whole));
                all.tables += 1;
                continue;
            }
            let plan = Plan::new(table, chains);
            let jumps = plan.jumps.into_iter().map(|(chain, handle)| Part::Rule(chain, handle));
            all.first.extend(jumps.map(part));
            all.emptied.extend(plan.empty.into_iter().map(Part::Rules).map(part));
            all.deleted.extend(plan.delete.into_iter().map(Part::Chain).map(part));
            let place = format!("table {family} {table}");
            all.left.extend(plan.kept.iter().map(|kept| kept.message(&place)));
        }
        all
    }
}
