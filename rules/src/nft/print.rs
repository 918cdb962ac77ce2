//! Prints the model in nft syntax, byte for byte as `nft --stateless list table` of nft 1.0.6 prints it right
//! after it was loaded.

use std::fmt::{self, Display, Formatter, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::selector::display_key;
use super::{
    BaseChain, Chain, ChainKind, Data, DataType, Element, Hook, Lifetime, MarkOp, RawKey, Rule,
    Ruleset, Selector, Set, SetData, SetSpec, Statement, TABLE, Table, Verdict,
};
use crate::cluster::{Family, Protocol};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (&family, table) in &self.tables {
            write_table(f, family, table)?;
        }
        Ok(())
    }
}

fn write_table(f: &mut Formatter<'_>, family: Family, table: &Table) -> fmt::Result {
    writeln!(f, "table {family} {TABLE} {{")?;
    if let Some(comment) = &table.comment {
        writeln!(f, "\tcomment \"{comment}\"")?;
    }
    let mut first = true;
    let mut separate = |f: &mut Formatter<'_>| {
        if std::mem::take(&mut first) { Ok(()) } else { f.write_char('\n') }
    };
    for (name, set) in &table.sets {
        separate(f)?;
        writeln!(f, "\t{} {name} {{", set.spec.keyword())?;
        write_set_body(f, family, set)?;
        f.write_str("\t}\n")?;
    }
    for (name, chain) in &table.chains {
        separate(f)?;
        writeln!(f, "\tchain {name} {{")?;
        write_chain_body(f, family, chain)?;
        f.write_str("\t}\n")?;
    }
    f.write_str("}\n")
}

fn write_set_body(f: &mut Formatter<'_>, family: Family, set: &Set) -> fmt::Result {
    for line in set.spec.lines(family) {
        writeln!(f, "\t\t{line}")?;
    }
    if set.elements.is_empty() {
        return Ok(());
    }
    f.write_str("\t\telements = { ")?;
    let per_line = elements_per_line(&set.spec, family);
    for (i, (key, element)) in set.elements.iter().enumerate() {
        if i > 0 {
            f.write_str(if i % per_line == 0 { ",\n\t\t\t     " } else { ", " })?;
        }
        ElementText { family, spec: &set.spec, key, element }.fmt(f)?;
    }
    f.write_str(" }\n")
}

/// nft puts two IPv4 addresses on a line, and one of anything else.
fn elements_per_line(spec: &SetSpec, family: Family) -> usize {
    match (family, spec.key.as_slice(), &spec.data) {
        (Family::Ipv4, [Selector::Saddr | Selector::Daddr], SetData::Nothing) => 2,
        _ => 1,
    }
}

impl SetSpec {
    /// What defines the set, a property a line.
    pub fn lines(&self, family: Family) -> Vec<String> {
        let key = display_key(&self.key, family);
        let mut lines = vec![match &self.data {
            SetData::Nothing => format!("typeof {key}"),
            SetData::Verdict => format!("typeof {key} : verdict"),
            SetData::Values(data) => format!("typeof {key} : {}", display_key(data, family)),
        }];
        if self.counter {
            lines.push("counter".to_owned());
        }
        if self.interval {
            lines.push("flags interval".to_owned());
        }
        if let Some(size) = self.dynamic {
            lines.extend([format!("size {size}"), "flags dynamic,timeout".to_owned()]);
        }
        lines.extend(self.foreign.iter().map(|foreign| format!("# {foreign}")));
        lines.extend(self.comment.iter().map(|comment| format!("comment \"{comment}\"")));
        lines
    }
}

/// One element, as it stands between the braces of its set.
#[derive(Debug, Clone, Copy)]
pub struct ElementText<'a> {
    /// The table's family.
    pub family: Family,
    /// What defines the set.
    pub spec: &'a SetSpec,
    /// The element's key.
    pub key: &'a RawKey,
    /// The rest of the element.
    pub element: &'a Element,
}

impl Display for ElementText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.element.data {
            Data::RangeEnd(end) => write_range(f, self.key, &end.to_key())?,
            _ => write_values(f, self.key, &self.spec.key, self.family)?,
        }
        if self.spec.counter {
            f.write_str(" counter")?;
        }
        if let Data::Learned(_, Lifetime { timeout, expires }) = self.element.data {
            write!(f, " timeout {} expires {}", duration(timeout), duration(expires))?;
        }
        if let Some(comment) = &self.element.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match (&self.element.data, &self.spec.data) {
            (Data::Verdict(verdict), _) => write!(f, " : {verdict}"),
            (Data::Values(values) | Data::Learned(values, _), SetData::Values(selectors)) => {
                f.write_str(" : ")?;
                write_values(f, &values.to_key(), selectors, self.family)
            }
            _ => Ok(()),
        }
    }
}

fn write_values(
    f: &mut Formatter<'_>,
    key: &RawKey,
    selectors: &[Selector],
    family: Family,
) -> fmt::Result {
    let mut rest = key.as_bytes();
    for (i, selector) in selectors.iter().enumerate() {
        if i > 0 {
            f.write_str(" . ")?;
        }
        let (value, tail) = rest.split_at(selector.padded_width(family).min(rest.len()));
        rest = tail;
        write_value(f, value, selector.data_type(family))?;
    }
    Ok(())
}

fn write_value(f: &mut Formatter<'_>, value: &[u8], data_type: DataType) -> fmt::Result {
    match (data_type, value) {
        (DataType::Ipv4Addr | DataType::Ipv6Addr, _) => match address(value) {
            Some(address) => address.fmt(f),
            None => write!(f, "{value:02x?}"),
        },
        (DataType::Integer, &[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]).fmt(f),
        (DataType::InetProto, &[number, ..]) => match Protocol::from_number(number) {
            Some(protocol) => protocol.fmt(f),
            None => number.fmt(f),
        },
        (DataType::InetService, &[high, low, ..]) => u16::from_be_bytes([high, low]).fmt(f),
        _ => write!(f, "{value:02x?}"),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|b| IpAddr::V6(Ipv6Addr::from(b)))).ok()
}

/// A range prints as a prefix where it is one.
fn write_range(f: &mut Formatter<'_>, start: &RawKey, end: &RawKey) -> fmt::Result {
    let (Some(first), Some(last)) = (address(start.as_bytes()), address(end.as_bytes())) else {
        return write!(f, "{start:?}-{end:?}");
    };
    if first == last {
        return first.fmt(f);
    }
    match prefix_length(start.as_bytes(), end.as_bytes()) {
        Some(length) => write!(f, "{first}/{length}"),
        None => write!(f, "{first}-{last}"),
    }
}

/// How many leading bits a range shares, if it is all the addresses with these bits.
fn prefix_length(start: &[u8], end: &[u8]) -> Option<u32> {
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |n, &b| n << 8 | u128::from(b));
    let (first, last) = (number(start), number(end));
    let host = first ^ last;
    let is_prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
    is_prefix.then(|| 8 * start.len() as u32 - host.count_ones())
}

fn write_chain_body(f: &mut Formatter<'_>, family: Family, chain: &Chain) -> fmt::Result {
    if let Some(comment) = &chain.comment {
        writeln!(f, "\t\tcomment \"{comment}\"")?;
    }
    if let Some(base) = &chain.base {
        writeln!(f, "\t\t{base}")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", rule.display(family))?;
    }
    Ok(())
}

impl Display for BaseChain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        let policy = if self.drop { "drop" } else { "accept" };
        write!(f, "type {kind} hook {hook} priority ")?;
        write_priority(f, self.hook, self.priority)?;
        write!(f, "; policy {policy};")
    }
}

/// nft names the priorities of `enum nf_ip_hook_priorities`, also with an offset of up to 10.
fn write_priority(f: &mut Formatter<'_>, hook: Hook, priority: i32) -> fmt::Result {
    let names = [
        ("raw", -300, None),
        ("mangle", -150, None),
        ("dstnat", -100, Some(Hook::Prerouting)),
        ("filter", 0, None),
        ("security", 50, None),
        ("srcnat", 100, Some(Hook::Postrouting)),
    ];
    let named = names
        .into_iter()
        .filter(|(_, _, only)| only.is_none_or(|only| only == hook))
        .map(|(name, value, _)| (name, priority - value))
        .find(|(_, offset)| offset.abs() <= 10);
    match named {
        Some((name, 0)) => f.write_str(name),
        Some((name, offset)) if offset > 0 => write!(f, "{name} + {offset}"),
        Some((name, offset)) => write!(f, "{name} - {}", -offset),
        None => priority.fmt(f),
    }
}

impl Rule {
    /// How it prints in a table of this family.
    pub fn display(&self, family: Family) -> impl Display {
        fmt::from_fn(move |f| {
            for (i, statement) in self.statements.iter().enumerate() {
                if i > 0 {
                    f.write_char(' ')?;
                }
                write_statement(f, statement, family)?;
            }
            match &self.comment {
                Some(comment) => write!(f, " comment \"{comment}\""),
                None => Ok(()),
            }
        })
    }
}

fn write_statement(f: &mut Formatter<'_>, statement: &Statement, family: Family) -> fmt::Result {
    match statement {
        Statement::CtStateNew => f.write_str("ct state new"),
        Statement::CtStatusDnat => f.write_str("ct status dnat"),
        Statement::ProtocolIs(protocol) => write!(f, "meta l4proto {protocol}"),
        Statement::DestinationIsLocal => f.write_str("fib daddr type local"),
        Statement::SourceIsLocal => f.write_str("fib saddr type local"),
        Statement::InputInterface { name, is_prefix, negated } => {
            let not = if *negated { "!= " } else { "" };
            let star = if *is_prefix { "*" } else { "" };
            write!(f, "iifname {not}\"{name}{star}\"")
        }
        Statement::DestinationPortIs(port) => write!(f, "th dport {port}"),
        Statement::DestinationIsNotLoopback => f.write_str(match family {
            Family::Ipv4 => "ip daddr != 127.0.0.0/8",
            Family::Ipv6 => "ip6 daddr != ::1",
        }),
        Statement::MarkHas(bits) => write!(f, "meta mark & {bits:#010x} != 0x00000000"),
        Statement::SetMark(op, bits) => {
            let op = match op {
                MarkOp::Or => '|',
                MarkOp::Xor => '^',
            };
            write!(f, "meta mark set meta mark {op} {bits:#010x}")
        }
        Statement::InSet { key, set, negated } => {
            let not = if *negated { "!= " } else { "" };
            write!(f, "{} {not}@{set}", display_key(key, family))
        }
        Statement::VerdictMap { key, map } => {
            write!(f, "{} vmap @{map}", display_key(key, family))
        }
        Statement::Dnat { key, map } => {
            write!(f, "dnat {family} to {} map @{map}", display_key(key, family))
        }
        Statement::DnatToPort { key, map, port } => {
            write!(f, "dnat to {} map @{map}:{port}", display_key(key, family))
        }
        Statement::Update { map, key, timeout, data } => {
            let timeout = duration(1000 * u64::from(*timeout));
            let (key, data) = (display_key(key, family), display_key(data, family));
            write!(f, "update @{map} {{ {key} timeout {timeout} : {data} }}")
        }
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Reject => f.write_str("reject"),
        Statement::Verdict(verdict) => verdict.fmt(f),
        Statement::Foreign(text) => write!(f, "# {text}"),
    }
}

/// Milliseconds as nft writes times: `1d2h3m4s5ms`, without what is 0.
fn duration(milliseconds: u64) -> impl Display {
    const UNITS: [(u64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    fmt::from_fn(move |f| {
        let mut rest = milliseconds;
        for (unit, name) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        if milliseconds == 0 { f.write_str("0s") } else { Ok(()) }
    })
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Continue => f.write_str("continue"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}
