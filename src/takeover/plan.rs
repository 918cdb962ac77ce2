//! Plans what to delete from an iptables table, for either backend.

use std::collections::{BTreeMap, BTreeSet};

use super::accept::Unaccepted;
use super::names;
use crate::kernel::foreign_tables::ForeignChain;

/// What to remove of a table, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeletionPlan {
    /// Rules in built-in chains that lead to kube-proxy's chains: once they are gone, no packet gets
    /// there. The chain and the rule's handle.
    pub(super) jumps: Vec<(String, u64)>,
    /// kube-proxy's chains, to be emptied.
    pub(super) empty: Vec<String>,
    /// Those of them that can then be deleted.
    pub(super) delete: Vec<String>,
    /// Those that cannot, because somebody else's rules go there.
    pub(super) kept: Vec<ChainInUse>,
    /// What the policy of a built-in chain may drop without the rules in `jumps`.
    pub(super) unaccepted: Vec<Unaccepted>,
}

/// A chain of kube-proxy's that somebody else uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChainInUse {
    /// The chain.
    pub(super) chain: String,
    /// A chain with a rule that goes there.
    pub(super) user: String,
}

impl ChainInUse {
    /// What to tell the operator; `place` names the table.
    pub(super) fn message(&self, place: &str) -> String {
        let Self { chain, user } = self;
        let what = if chain == names::MARK_MASQ { "as it was" } else { "empty" };
        format!(
            "chain {chain} of {place} stays, {what}, because a rule of chain {user} goes there that \
             is not kube-proxy's: delete that rule, then the chain"
        )
    }
}

impl DeletionPlan {
    /// Decides for a table of this name, as far as its chains are known: of the built-in chains
    /// alone, which rules in them go.
    pub(super) fn new(table: &str, chains: &BTreeMap<String, ForeignChain>) -> Self {
        let is_ours = |chain: &str| names::is_chain(table, chain);
        let mut plan = Self::default();
        let mut used = BTreeSet::new();
        for (name, chain) in chains.iter().filter(|(name, _)| !is_ours(name)) {
            let is_entrance = chain.policy.is_some() && names::is_entrance(table, name);
            for rule in &chain.rules {
                let Some(target) = rule.target.as_deref().filter(|target| is_ours(target)) else {
                    continue;
                };
                if is_entrance && rule.comment.as_deref().is_some_and(names::is_comment) {
                    plan.jumps.push((name.clone(), rule.handle));
                    plan.unaccepted.extend(Unaccepted::without(table, (name, chain), target));
                } else if used.insert(target) {
                    plan.kept.push(ChainInUse { chain: target.to_owned(), user: name.clone() });
                }
            }
        }
        for name in chains.keys().filter(|name| is_ours(name)) {
            let is_used = used.contains(name.as_str());
            // Whoever asks for masquerade still means it, and weir does it, for the same mark.
            if is_used && name == names::MARK_MASQ {
                continue;
            }
            if !is_used || !chains[name].rules.is_empty() {
                plan.empty.push(name.clone());
            }
            if !is_used {
                plan.delete.push(name.clone());
            }
        }
        plan
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.jumps.is_empty() && self.empty.is_empty()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
