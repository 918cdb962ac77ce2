//! The report of a take-over.

use std::fmt;

/// What was removed, and what is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakeoverReport {
    /// Tables of nftables.
    pub tables: usize,
    /// Chains of iptables.
    pub chains: usize,
    /// Rules that led to them.
    pub rules: usize,
    /// Sets of ipset.
    pub sets: usize,
    /// Interfaces.
    pub interfaces: usize,
    /// Whether something is left that has to wait, and will be removed later.
    pub is_waiting: bool,
    /// What is left to the operator, and why; a sentence each.
    pub left: Vec<String>,
}

impl TakeoverReport {
    /// Whether rules of kube-proxy's were there, and not only what waits for connections to end.
    pub fn has_removed_rules(&self) -> bool {
        self.tables + self.chains + self.rules > 0
    }

    /// Whether nothing was there to be removed.
    pub fn is_nothing_removed(&self) -> bool {
        let Self { tables, chains, rules, sets, interfaces, is_waiting: _, left: _ } = self;
        [tables, chains, rules, sets, interfaces].into_iter().all(|&count| count == 0)
    }
}

/// What was removed: `2 nftables tables, 8 iptables chains`.
impl fmt::Display for TakeoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.tables, "nftables table", "nftables tables"),
            (self.chains, "iptables chain", "iptables chains"),
            (self.rules, "rule that led there", "rules that led there"),
            (self.sets, "ipset", "ipsets"),
            (self.interfaces, "interface", "interfaces"),
        ];
        let mut separator = "";
        for (count, one, many) in counts.into_iter().filter(|(count, ..)| *count > 0) {
            write!(f, "{separator}{count} {}", if count == 1 { one } else { many })?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
