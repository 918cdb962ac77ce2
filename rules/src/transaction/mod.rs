//! Transactions: changes to the kernel's tables that are committed atomically.

pub mod carry_over;
pub mod diff;
pub mod slots;
pub mod split;

use std::fmt;

use crate::cluster::Family;
use crate::nft::{
    BaseChain, Chain, ElementText, Elements, Name, Rule, Ruleset, Set, SetSpec, TABLE, Table,
};

/// Operations in the order in which the kernel must see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// One operation, with what it takes away as well as what it brings, so that it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The family of the table that it changes.
    pub family: Family,
    /// What it does.
    pub action: Action,
}

/// What an operation does to its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Creates the table, empty.
    AddTable {
        /// Its comment.
        comment: Option<String>,
    },
    /// Removes the table and all that is in it.
    DeleteTable {
        /// What it held.
        table: Table,
    },
    /// Creates a set or map, empty.
    AddSet {
        /// Its name.
        name: Name,
        /// What defines it.
        spec: SetSpec,
    },
    /// Removes a set or map to which no rule refers any more.
    DeleteSet {
        /// Its name.
        name: Name,
        /// What it was.
        set: Set,
    },
    /// Creates a chain, empty.
    AddChain {
        /// Its name.
        name: Name,
        /// Where it is attached.
        base: Option<BaseChain>,
        /// Its comment.
        comment: Option<String>,
    },
    /// Removes an empty chain to which nothing refers any more.
    DeleteChain {
        /// Its name.
        name: Name,
        /// Where it was attached.
        base: Option<BaseChain>,
        /// Its comment.
        comment: Option<String>,
    },
    /// Replaces all rules of a chain.
    ReplaceRules {
        /// The chain's name.
        chain: Name,
        /// The rules that go.
        old: Vec<Rule>,
        /// The rules that come.
        new: Vec<Rule>,
    },
    /// Adds elements whose keys are not in the set.
    AddElements {
        /// The set's name.
        set: Name,
        /// What defines the set.
        spec: SetSpec,
        /// The elements; not empty.
        elements: Elements,
    },
    /// Removes elements.
    DeleteElements {
        /// The set's name.
        set: Name,
        /// What defines the set.
        spec: SetSpec,
        /// The elements as they are now; not empty.
        elements: Elements,
    },
}

/// How many things a transaction adds and removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// What it adds.
    pub added: Tally,
    /// What it removes.
    pub removed: Tally,
}

/// Numbers of things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tables.
    pub tables: usize,
    /// Sets and maps.
    pub sets: usize,
    /// Chains.
    pub chains: usize,
    /// Rules.
    pub rules: usize,
    /// Elements.
    pub elements: usize,
}

/// Whether a thing comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It comes: `+`.
    Added,
    /// It goes: `-`.
    Removed,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many things it adds and removes.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in &self.operations {
            operation.action.count(&mut counts);
        }
        counts
    }

    /// The same, but for deletions of chains.
    pub fn without_chain_deletions(mut self) -> Self {
        self.operations.retain(|operation| !operation.deletes_chain());
        self
    }

    /// The same, but for elements that packets have put into dynamic maps.
    pub fn without_learned(mut self) -> Self {
        self.operations.retain(|operation| !operation.changes_learned());
        self
    }

    /// Everything that it adds or removes, in nft syntax.
    pub fn lines(&self) -> impl Iterator<Item = (Sign, String)> {
        self.operations.iter().flat_map(Operation::lines)
    }

    /// Does to a ruleset what the kernel does to its tables.
    pub fn apply(&self, ruleset: &mut Ruleset) {
        for operation in &self.operations {
            operation.apply(ruleset);
        }
    }
}

impl Tally {
    /// What a table holds, without the table itself.
    pub fn of(table: &Table) -> Self {
        Self {
            tables: 0,
            sets: table.sets.len(),
            chains: table.chains.len(),
            rules: table.chains.values().map(|chain| chain.rules.len()).sum(),
            elements: table.sets.values().map(|set| set.elements.len()).sum(),
        }
    }
}

impl Action {
    fn count(&self, counts: &mut Counts) {
        let Counts { added, removed } = counts;
        match self {
            Action::AddTable { .. } => added.tables += 1,
            Action::DeleteTable { table } => {
                let held = Tally::of(table);
                removed.tables += 1;
                removed.sets += held.sets;
                removed.chains += held.chains;
                removed.rules += held.rules;
                removed.elements += held.elements;
            }
            Action::AddSet { .. } => added.sets += 1,
            Action::DeleteSet { set, .. } => {
                removed.sets += 1;
                removed.elements += set.elements.len();
            }
            Action::AddChain { .. } => added.chains += 1,
            Action::DeleteChain { .. } => removed.chains += 1,
            Action::ReplaceRules { old, new, .. } => {
                let (gone, come) = changed_rules(old, new);
                removed.rules += gone.len();
                added.rules += come.len();
            }
            Action::AddElements { elements, .. } => added.elements += elements.len(),
            Action::DeleteElements { elements, .. } => removed.elements += elements.len(),
        }
    }
}

/// The rules of either side that are not also at the same end of the other.
fn changed_rules<'a>(old: &'a [Rule], new: &'a [Rule]) -> (&'a [Rule], &'a [Rule]) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    (&old[..old.len() - tail], &new[..new.len() - tail])
}

impl Operation {
    fn lines(&self) -> Vec<(Sign, String)> {
        let family = self.family;
        match &self.action {
            Action::AddTable { comment } => vec![(Sign::Added, table_text(family, comment))],
            Action::AddSet { name, spec } => vec![(Sign::Added, set_text(family, name, spec))],
            Action::AddChain { name, base, comment } => {
                vec![(Sign::Added, chain_text(family, name, base, comment))]
            }
            Action::DeleteChain { name, base, comment } => {
                vec![(Sign::Removed, chain_text(family, name, base, comment))]
            }
            Action::DeleteSet { name, set } => removed_set(family, name, set),
            Action::ReplaceRules { chain, old, new } => {
                let (gone, come) = changed_rules(old, new);
                let gone = rule_lines(Sign::Removed, family, chain, gone);
                gone.chain(rule_lines(Sign::Added, family, chain, come)).collect()
            }
            Action::AddElements { set, spec, elements } => {
                element_lines(Sign::Added, family, set, spec, elements).collect()
            }
            Action::DeleteElements { set, spec, elements } => {
                element_lines(Sign::Removed, family, set, spec, elements).collect()
            }
            Action::DeleteTable { table } => removed_table(family, table),
        }
    }

    /// Whether it removes a chain.
    pub fn deletes_chain(&self) -> bool {
        matches!(self.action, Action::DeleteChain { .. })
    }

    /// Whether it adds or removes elements of a dynamic map.
    pub fn changes_learned(&self) -> bool {
        matches!(
            &self.action,
            Action::AddElements { spec, .. } | Action::DeleteElements { spec, .. }
                if spec.dynamic.is_some()
        )
    }

    /// The nft command that this operation is, or one of several that it is made of: with rules,
    /// the flush and then each rule; with elements, each element.
    pub fn command(&self, part: usize) -> String {
        let family = self.family;
        let element = |verb: &str, set: &Name, spec: &SetSpec, elements: &Elements| {
            let text = elements
                .iter()
                .nth(part)
                .map(|(key, element)| ElementText { family, spec, key, element }.to_string());
            format!("{verb} element {family} {TABLE} {set} {{ {} }}", text.unwrap_or_default())
        };
        match &self.action {
            Action::AddTable { comment } => format!("add {}", table_text(family, comment)),
            Action::DeleteTable { .. } => format!("delete table {family} {TABLE}"),
            Action::AddSet { name, spec } => format!("add {}", set_text(family, name, spec)),
            Action::DeleteSet { name, set } => {
                format!("delete {} {family} {TABLE} {name}", set.spec.keyword())
            }
            Action::AddChain { name, base, comment } => {
                format!("add {}", chain_text(family, name, base, comment))
            }
            Action::DeleteChain { name, .. } => format!("delete chain {family} {TABLE} {name}"),
            Action::ReplaceRules { chain, new, .. } => match part.checked_sub(1) {
                None => format!("flush chain {family} {TABLE} {chain}"),
                Some(i) => format!("add rule {family} {TABLE} {chain} {}", new[i].display(family)),
            },
            Action::AddElements { set, spec, elements } => element("add", set, spec, elements),
            Action::DeleteElements { set, spec, elements } => {
                element("delete", set, spec, elements)
            }
        }
    }

    /// Does to a ruleset what the kernel does to its tables.
    ///
    /// # Panics
    /// If the ruleset is not the one that the operation was made for.
    fn apply(&self, ruleset: &mut Ruleset) {
        match &self.action {
            Action::AddTable { comment } => {
                let table = Table { comment: comment.clone(), ..Table::default() };
                ruleset.tables.insert(self.family, table);
                return;
            }
            Action::DeleteTable { .. } => {
                ruleset.tables.remove(&self.family);
                return;
            }
            _ => {}
        }
        let Table { sets, chains, .. } = ruleset
            .tables
            .get_mut(&self.family)
            .expect("operations on a table follow its creation");
        match &self.action {
            Action::AddTable { .. } | Action::DeleteTable { .. } => unreachable!("handled above"),
            Action::AddSet { name, spec } => {
                sets.insert(name.clone(), Set::new(spec.clone()));
            }
            Action::DeleteSet { name, .. } => {
                sets.remove(name);
            }
            Action::AddChain { name, base, comment } => {
                let chain = Chain { base: *base, comment: comment.clone(), rules: Vec::new() };
                chains.insert(name.clone(), chain);
            }
            Action::DeleteChain { name, .. } => {
                chains.remove(name);
            }
            Action::ReplaceRules { chain, new, .. } => {
                chains.get_mut(chain).expect("the chain exists").rules.clone_from(new);
            }
            Action::AddElements { set, elements, .. } => {
                let target = &mut sets.get_mut(set).expect("the set exists").elements;
                target.extend(elements.iter().map(|(key, element)| (*key, element.clone())));
            }
            Action::DeleteElements { set, elements, .. } => {
                let target = &mut sets.get_mut(set).expect("the set exists").elements;
                target.retain(|key, _| !elements.contains_key(key));
            }
        }
    }
}

fn removed_table(family: Family, table: &Table) -> Vec<(Sign, String)> {
    let sets = table.sets.iter().flat_map(|(name, set)| removed_set(family, name, set));
    let chains = table.chains.iter().flat_map(|(name, chain)| {
        let text = chain_text(family, name, &chain.base, &chain.comment);
        rule_lines(Sign::Removed, family, name, &chain.rules).chain([(Sign::Removed, text)])
    });
    let foreign = table.foreign.iter().map(|foreign| format!(" # {foreign}")).collect::<String>();
    let text = table_text(family, &table.comment) + &foreign;
    sets.chain(chains).chain([(Sign::Removed, text)]).collect()
}

fn removed_set(family: Family, name: &Name, set: &Set) -> Vec<(Sign, String)> {
    element_lines(Sign::Removed, family, name, &set.spec, &set.elements)
        .chain([(Sign::Removed, set_text(family, name, &set.spec))])
        .collect()
}

fn rule_lines(
    sign: Sign,
    family: Family,
    chain: &Name,
    rules: &[Rule],
) -> impl Iterator<Item = (Sign, String)> {
    rules
        .iter()
        .map(move |rule| (sign, format!("rule {family} {TABLE} {chain} {}", rule.display(family))))
}

fn element_lines(
    sign: Sign,
    family: Family,
    set: &Name,
    spec: &SetSpec,
    elements: &Elements,
) -> impl Iterator<Item = (Sign, String)> {
    elements.iter().map(move |(key, element)| {
        let text = ElementText { family, spec, key, element };
        (sign, format!("element {family} {TABLE} {set} {{ {text} }}"))
    })
}

fn table_text(family: Family, comment: &Option<String>) -> String {
    let comment = comment.iter().map(|c| format!("comment \"{c}\"")).collect();
    format!("table {family} {TABLE}{}", braces(comment))
}

fn set_text(family: Family, name: &Name, spec: &SetSpec) -> String {
    format!("{} {family} {TABLE} {name}{}", spec.keyword(), braces(spec.lines(family)))
}

fn chain_text(
    family: Family,
    name: &Name,
    base: &Option<BaseChain>,
    comment: &Option<String>,
) -> String {
    let base = base.iter().map(|base| base.to_string().trim_end_matches(';').to_owned());
    let comment = comment.iter().map(|c| format!("comment \"{c}\""));
    format!("chain {family} {TABLE} {name}{}", braces(base.chain(comment).collect()))
}

fn braces(properties: Vec<String>) -> String {
    match properties.as_slice() {
        [] => String::new(),
        some => format!(" {{ {}; }}", some.join("; ")),
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sign::Added => "+",
            Sign::Removed => "-",
        })
    }
}

impl fmt::Display for Counts {
    /// For example `added 2 tables, 22 sets, 5 elements; removed nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "added {}; removed {}", self.added, self.removed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.tables, "table"),
            (self.sets, "set"),
            (self.chains, "chain"),
            (self.rules, "rule"),
            (self.elements, "element"),
        ];
        let mut first = true;
        for (number, noun) in parts.into_iter().filter(|(number, _)| *number > 0) {
            let separator = if std::mem::take(&mut first) { "" } else { ", " };
            let plural = if number == 1 { "" } else { "s" };
            write!(f, "{separator}{number} {noun}{plural}")?;
        }
        if first { f.write_str("nothing") } else { Ok(()) }
    }
}
