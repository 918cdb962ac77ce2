//! Compiles rules to instructions of the kernel's nf_tables virtual machine, and decompiles them.
//!
//! [`compile_rule`] makes what nft makes of the same text, so that `nft list` shows the rule as
//! it was written. [`decompile_rule`] is its inverse; what it does not know becomes
//! [`Statement::Foreign`].

use std::fmt;
use std::num::NonZeroU16;

use super::selector::hashed_source;
use super::{CtField, MarkOp, Name, RawKey, Rule, Selector, Statement, Verdict};
use crate::cluster::{Family, Protocol};

/// A register, counted in 32-bit words from `NFT_REG_1`: 0 to 15. The kernel has two names for
/// the words that begin a 128-bit register; this has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

/// One expression of nf_tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `payload load LENb @ BASE header + OFFSET => reg`.
    Payload {
        /// Whether the offset counts from the transport header, else from the network header.
        transport: bool,
        /// Offset in bytes.
        offset: u32,
        /// Length in bytes.
        len: u32,
        /// Destination.
        dreg: Register,
    },
    /// `meta load l4proto => reg`.
    LoadL4proto(Register),
    /// `meta load iifname => reg`: 16 bytes, filled up with zeros.
    LoadIifname(Register),
    /// `meta load mark => reg`, in host order.
    LoadMark(Register),
    /// `meta set mark with reg`.
    StoreMark(Register),
    /// `ct load state => reg`, in host order.
    LoadCtState(Register),
    /// `ct load status => reg`, in host order.
    LoadCtStatus(Register),
    /// `ct load src_ip|dst_ip|src_ip6|dst_ip6|proto_dst => reg , dir original`.
    LoadCtOriginal {
        /// What.
        field: CtField,
        /// The family of the address; `None` for a port.
        family: Option<Family>,
        /// Destination.
        dreg: Register,
    },
    /// `fib daddr type => reg`, in host order.
    LoadFibDaddrType(Register),
    /// `fib saddr type => reg`, in host order.
    LoadFibSaddrType(Register),
    /// `numgen reg = random mod M offset O`, in host order.
    Random {
        /// How many values there are.
        modulus: u32,
        /// The smallest.
        offset: u32,
        /// Destination.
        dreg: Register,
    },
    /// `hash reg = jhash(reg, LEN, SEED) % mod M`, in host order.
    Hash {
        /// Source.
        sreg: Register,
        /// Length of the source in bytes.
        len: u32,
        /// How many values there are.
        modulus: u32,
        /// What the hash begins with.
        seed: u32,
        /// Destination.
        dreg: Register,
    },
    /// `immediate reg DATA`: a number of 2 bytes in network order.
    LoadNumber {
        /// The number.
        value: u16,
        /// Destination.
        dreg: Register,
    },
    /// `bitwise reg = ( reg & MASK ) ^ XOR`, on 4 bytes in host order.
    Bitwise(BitwiseOp),
    /// `cmp eq|neq reg DATA`.
    Cmp {
        /// The comparison.
        op: CmpOp,
        /// Source.
        sreg: Register,
        /// What it is compared with, as it lies in the register.
        data: RawKey,
    },
    /// `lookup reg set NAME`.
    Lookup {
        /// The set or map.
        set: Name,
        /// Where the key begins.
        sreg: Register,
        /// Where the data goes.
        target: LookupTarget,
        /// Whether the rule goes on when the key is absent.
        inverted: bool,
    },
    /// `dynset update reg_key KEY set NAME sreg_data DATA timeout TIMEOUTms`.
    Update {
        /// The map.
        map: Name,
        /// Where the key begins.
        key: Register,
        /// Where the data begins.
        data: Register,
        /// How long the element lives, in milliseconds.
        timeout: u64,
    },
    /// `immediate reg 0 VERDICT`.
    Verdict(Verdict),
    /// `nat dnat`: new destination address and port from registers.
    Dnat {
        /// Family of the address.
        family: Family,
        /// The address.
        address: Register,
        /// The port.
        port: Register,
    },
    /// `masq flags 0x10`: `NF_NAT_RANGE_PROTO_RANDOM_FULLY` of linux/netfilter/nf_nat.h.
    MasqueradeFullyRandom,
    /// `reject` with an ICMP or ICMPv6 destination-unreachable code.
    RejectUnreachable {
        /// The code in the family's own numbering.
        code: u8,
    },
    /// Any other expression, as libnftnl prints it.
    Other(String),
}

/// Operands of [`Instruction::Bitwise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitwiseOp {
    /// Source.
    pub sreg: Register,
    /// Destination.
    pub dreg: Register,
    /// And-ed first.
    pub mask: u32,
    /// Xor-ed then.
    pub xor: u32,
}

/// Comparison of [`Instruction::Cmp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

/// Where [`Instruction::Lookup`] puts what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupTarget {
    /// Nowhere: the lookup tests only for the presence of the key.
    Nowhere,
    /// The verdict register: it is a verdict map.
    Verdict,
    /// A data register.
    Data(Register),
}

impl Instruction {
    /// The name of the expression in the kernel, which is also that of the module
    /// (`nft_` + name) where it is not built in.
    pub fn expression(&self) -> &str {
        match self {
            Instruction::Payload { .. } => "payload",
            Instruction::LoadL4proto(_)
            | Instruction::LoadIifname(_)
            | Instruction::LoadMark(_)
            | Instruction::StoreMark(_) => "meta",
            Instruction::LoadCtState(_)
            | Instruction::LoadCtStatus(_)
            | Instruction::LoadCtOriginal { .. } => "ct",
            Instruction::LoadFibDaddrType(_) | Instruction::LoadFibSaddrType(_) => "fib",
            Instruction::Random { .. } => "numgen",
            Instruction::Hash { .. } => "hash",
            Instruction::Bitwise(_) => "bitwise",
            Instruction::Cmp { .. } => "cmp",
            Instruction::Lookup { .. } => "lookup",
            Instruction::Update { .. } => "dynset",
            Instruction::Verdict(_) | Instruction::LoadNumber { .. } => "immediate",
            Instruction::Dnat { .. } => "nat",
            Instruction::MasqueradeFullyRandom => "masq",
            Instruction::RejectUnreachable { .. } => "reject",
            Instruction::Other(text) => text.split_whitespace().next().unwrap_or("?"),
        }
    }
}

/// Much as `nft --debug=netlink` shows them.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instruction::Payload { transport, offset, len, dreg } => {
                let base = if *transport { "transport" } else { "network" };
                write!(f, "payload load {len}b @ {base} header + {offset} => {dreg}")
            }
            Instruction::LoadL4proto(dreg) => write!(f, "meta load l4proto => {dreg}"),
            Instruction::LoadIifname(dreg) => write!(f, "meta load iifname => {dreg}"),
            Instruction::LoadMark(dreg) => write!(f, "meta load mark => {dreg}"),
            Instruction::StoreMark(sreg) => write!(f, "meta set mark with {sreg}"),
            Instruction::LoadCtState(dreg) => write!(f, "ct load state => {dreg}"),
            Instruction::LoadCtStatus(dreg) => write!(f, "ct load status => {dreg}"),
            Instruction::LoadCtOriginal { field, family, dreg } => {
                let selector = Selector::CtOriginal(*field);
                write!(f, "{} => {dreg}", selector.display(family.unwrap_or(Family::Ipv4)))
            }
            Instruction::LoadFibDaddrType(dreg) => write!(f, "fib daddr type => {dreg}"),
            Instruction::LoadFibSaddrType(dreg) => write!(f, "fib saddr type => {dreg}"),
            Instruction::Random { modulus, offset, dreg } => {
                write!(f, "numgen {dreg} = random mod {modulus} offset {offset}")
            }
            Instruction::Hash { sreg, len, modulus, seed, dreg } => {
                write!(f, "hash {dreg} = jhash({sreg}, {len}, {seed:#x}) % mod {modulus}")
            }
            Instruction::LoadNumber { value, dreg } => write!(f, "immediate {dreg} {value:#06x}"),
            Instruction::Bitwise(BitwiseOp { sreg, dreg, mask, xor }) => {
                write!(f, "bitwise {dreg} = ( {sreg} & {mask:#010x} ) ^ {xor:#010x}")
            }
            Instruction::Cmp { op, sreg, data } => {
                let op = if *op == CmpOp::Eq { "eq" } else { "neq" };
                write!(f, "cmp {op} {sreg} 0x{data:?}")
            }
            Instruction::Lookup { set, sreg, .. } => write!(f, "lookup {sreg} set {set}"),
            Instruction::Update { map, key, data, timeout } => {
                write!(f, "dynset update {key} set {map} data {data} timeout {timeout}ms")
            }
            Instruction::Verdict(verdict) => write!(f, "immediate {verdict}"),
            Instruction::Dnat { family, address, port } => {
                write!(f, "nat dnat {family} address {address} port {port}")
            }
            Instruction::MasqueradeFullyRandom => f.write_str("masq fully-random"),
            Instruction::RejectUnreachable { code } => write!(f, "reject code {code}"),
            Instruction::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reg word {}", self.0)
    }
}

const REG: Register = Register(0);
/// `NF_CT_STATE_BIT(IP_CT_NEW)` of linux/netfilter/nf_conntrack_common.h.
const CT_STATE_NEW: u32 = 1 << 3;
/// `IPS_DST_NAT` of the same header.
const CT_STATUS_DNAT: u32 = 1 << 5;
/// `RTN_LOCAL` of linux/rtnetlink.h.
const ROUTE_TYPE_LOCAL: u32 = 2;

/// `IFNAMSIZ` of linux/if.h: a name has at most one byte less, which is zero.
pub const INTERFACE_NAME_BYTES: usize = 16;

/// The instructions of a rule in a table of this family.
pub fn compile_rule(rule: &Rule, family: Family) -> Vec<Instruction> {
    let mut out = Vec::new();
    for statement in &rule.statements {
        compile_statement(statement, family, &mut out);
    }
    out
}

fn compile_statement(statement: &Statement, family: Family, out: &mut Vec<Instruction>) {
    match statement {
        // ct state new: the kernel knows states as bits, and the packet has one of them.
        Statement::CtStateNew => {
            out.push(Instruction::LoadCtState(REG));
            any_bit_set(CT_STATE_NEW, out);
        }
        Statement::CtStatusDnat => {
            out.push(Instruction::LoadCtStatus(REG));
            any_bit_set(CT_STATUS_DNAT, out);
        }
        Statement::ProtocolIs(protocol) => {
            out.push(Instruction::LoadL4proto(REG));
            out.push(compare(CmpOp::Eq, &[protocol.number()]));
        }
        Statement::DestinationIsLocal => {
            out.push(Instruction::LoadFibDaddrType(REG));
            out.push(compare(CmpOp::Eq, &ROUTE_TYPE_LOCAL.to_ne_bytes()));
        }
        Statement::SourceIsLocal => {
            out.push(Instruction::LoadFibSaddrType(REG));
            out.push(compare(CmpOp::Eq, &ROUTE_TYPE_LOCAL.to_ne_bytes()));
        }
        Statement::InputInterface { name, is_prefix, negated } => {
            let mut data = [0; INTERFACE_NAME_BYTES];
            data[..name.len()].copy_from_slice(name.as_bytes());
            // A prefix is compared as far as it goes.
            let data = if *is_prefix { &data[..name.len()] } else { &data[..] };
            out.push(Instruction::LoadIifname(REG));
            out.push(compare(if *negated { CmpOp::Neq } else { CmpOp::Eq }, data));
        }
        Statement::DestinationPortIs(port) => {
            out.push(load(Selector::Dport, family, REG));
            out.push(compare(CmpOp::Eq, &port.get().to_be_bytes()));
        }
        Statement::DestinationIsNotLoopback => match family {
            // A prefix of whole bytes is a comparison of just these bytes.
            Family::Ipv4 => {
                out.push(Instruction::Payload { transport: false, offset: 16, len: 1, dreg: REG });
                out.push(compare(CmpOp::Neq, &[127]));
            }
            Family::Ipv6 => {
                out.push(load(Selector::Daddr, family, REG));
                out.push(compare(CmpOp::Neq, &std::net::Ipv6Addr::LOCALHOST.octets()));
            }
        },
        Statement::MarkHas(bits) => {
            out.push(Instruction::LoadMark(REG));
            any_bit_set(*bits, out);
        }
        Statement::SetMark(op, bits) => {
            let (mask, xor) = match op {
                MarkOp::Or => (!bits, *bits),
                MarkOp::Xor => (u32::MAX, *bits),
            };
            out.push(Instruction::LoadMark(REG));
            out.push(Instruction::Bitwise(BitwiseOp { sreg: REG, dreg: REG, mask, xor }));
            out.push(Instruction::StoreMark(REG));
        }
        Statement::InSet { key, set, negated } => {
            load_key(key, family, out);
            out.push(lookup(set, LookupTarget::Nowhere, *negated));
        }
        Statement::VerdictMap { key, map } => {
            load_key(key, family, out);
            out.push(lookup(map, LookupTarget::Verdict, false));
        }
        Statement::Dnat { key, map } => {
            load_key(key, family, out);
            out.push(lookup(map, LookupTarget::Data(REG), false));
            out.push(dnat(family));
        }
        Statement::DnatToPort { key, map, port } => {
            // nft keeps a register of 128 bits for each of address and port.
            let (address, behind) = (REG, Register(8));
            load_concatenation(key, 0, behind, family, out);
            out.push(lookup(map, LookupTarget::Data(address), false));
            let (value, port) = (port.get(), Register(4));
            out.push(Instruction::LoadNumber { value, dreg: port });
            out.push(Instruction::Dnat { family, address, port });
        }
        Statement::Update { map, key, timeout, data } => {
            // Data begins at a register of 128 bits.
            let data_begins = words(key, family).next_multiple_of(4);
            load_concatenation(key, 0, Register(data_begins), family, out);
            load_concatenation(data, data_begins, Register(data_begins), family, out);
            let timeout = 1000 * u64::from(*timeout);
            let data = Register(data_begins);
            out.push(Instruction::Update { map: map.clone(), key: REG, data, timeout });
        }
        Statement::Masquerade => out.push(Instruction::MasqueradeFullyRandom),
        Statement::Reject => {
            out.push(Instruction::RejectUnreachable { code: port_unreachable(family) })
        }
        Statement::Verdict(verdict) => out.push(Instruction::Verdict(verdict.clone())),
        Statement::Foreign(text) => out.push(Instruction::Other(text.clone())),
    }
}

/// The rule that these instructions are, in a table of this family.
pub fn decompile_rule(mut rest: &[Instruction], comment: Option<String>, family: Family) -> Rule {
    let mut statements = Vec::new();
    while !rest.is_empty() {
        let Some((statement, used)) = decompile_statement(rest, family) else {
            // What follows has no meaning without it.
            let texts: Vec<String> = rest.iter().map(|i| format!("[ {i} ]")).collect();
            statements.push(Statement::Foreign(texts.join(" ")));
            break;
        };
        statements.push(statement);
        rest = &rest[used..];
    }
    Rule { statements, comment }
}

/// The statement that the instructions begin with, and how many of them it takes.
fn decompile_statement(rest: &[Instruction], family: Family) -> Option<(Statement, usize)> {
    const FIXED: [Statement; 10] = [
        Statement::SourceIsLocal,
        Statement::CtStateNew,
        Statement::CtStatusDnat,
        Statement::ProtocolIs(Protocol::Tcp),
        Statement::ProtocolIs(Protocol::Udp),
        Statement::ProtocolIs(Protocol::Sctp),
        Statement::DestinationIsLocal,
        Statement::DestinationIsNotLoopback,
        Statement::Masquerade,
        Statement::Reject,
    ];
    let mut code = Vec::new();
    for statement in FIXED {
        code.clear();
        compile_statement(&statement, family, &mut code);
        if rest.starts_with(&code) {
            return Some((statement, code.len()));
        }
    }
    if let Instruction::Verdict(verdict) = &rest[0] {
        return Some((Statement::Verdict(verdict.clone()), 1));
    }
    // The remaining forms have operands: read these, write the statement, compare.
    let statement = decompile_mark(rest)
        .or_else(|| decompile_interface(rest))
        .or_else(|| decompile_port(rest, family))
        .or_else(|| decompile_lookup(rest, family))?;
    code.clear();
    compile_statement(&statement, family, &mut code);
    rest.starts_with(&code).then_some((statement, code.len()))
}

fn decompile_mark(rest: &[Instruction]) -> Option<Statement> {
    let [Instruction::LoadMark(_), Instruction::Bitwise(op), last, ..] = rest else { return None };
    match last {
        Instruction::Cmp { .. } => Some(Statement::MarkHas(op.mask)),
        Instruction::StoreMark(_) if op.mask == u32::MAX => {
            Some(Statement::SetMark(MarkOp::Xor, op.xor))
        }
        Instruction::StoreMark(_) => Some(Statement::SetMark(MarkOp::Or, op.xor)),
        _ => None,
    }
}

fn decompile_interface(rest: &[Instruction]) -> Option<Statement> {
    let [Instruction::LoadIifname(_), Instruction::Cmp { op, data, .. }, ..] = rest else {
        return None;
    };
    let data = data.as_bytes();
    let is_prefix = data.len() < INTERFACE_NAME_BYTES;
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let name = String::from_utf8(data[..end].to_vec()).ok()?;
    Some(Statement::InputInterface { name, is_prefix, negated: *op == CmpOp::Neq })
}

fn decompile_port(rest: &[Instruction], family: Family) -> Option<Statement> {
    let [first, Instruction::Cmp { data, .. }, ..] = rest else { return None };
    let value = u16::from_be_bytes(data.as_bytes().try_into().ok()?);
    let port = NonZeroU16::new(value)?;
    (*first == load(Selector::Dport, family, REG)).then_some(Statement::DestinationPortIs(port))
}

fn decompile_lookup(rest: &[Instruction], family: Family) -> Option<Statement> {
    let mut loaded: Vec<(Selector, Register)> = Vec::new();
    let mut rest = rest;
    while let Some((selector, register, used)) = loaded_selector(rest, family) {
        loaded.push((selector, register));
        rest = &rest[used..];
    }
    let selectors = |loaded: &[(Selector, Register)]| loaded.iter().map(|(s, _)| *s).collect();
    let key: Vec<Selector> = selectors(&loaded);
    match rest.first()? {
        Instruction::Update { map, data, timeout, .. } => {
            let split = loaded.iter().position(|(_, register)| register.0 >= data.0)?;
            let (key, data) = loaded.split_at(split);
            Some(Statement::Update {
                map: map.clone(),
                key: selectors(key),
                timeout: u32::try_from(timeout / 1000).ok()?,
                data: selectors(data),
            })
        }
        Instruction::Lookup { set, target, inverted, .. } => Some(match target {
            LookupTarget::Nowhere => Statement::InSet { key, set: set.clone(), negated: *inverted },
            LookupTarget::Verdict => Statement::VerdictMap { key, map: set.clone() },
            LookupTarget::Data(_) => match rest.get(1) {
                Some(&Instruction::LoadNumber { value, .. }) => {
                    let port = NonZeroU16::new(value)?;
                    Statement::DnatToPort { key, map: set.clone(), port }
                }
                _ => Statement::Dnat { key, map: set.clone() },
            },
        }),
        _ => None,
    }
}

/// The selector that the first instructions load, where to, and how many of them it takes.
fn loaded_selector(
    instructions: &[Instruction],
    family: Family,
) -> Option<(Selector, Register, usize)> {
    let (first, rest) = instructions.split_first()?;
    if let Some(&Instruction::Hash { sreg, modulus, seed, dreg, .. }) = rest.first() {
        let of = |original: &bool| load(hashed_source(*original), family, sreg) == *first;
        if let Some(original) = [false, true].into_iter().find(of) {
            return Some((Selector::SourceHash { original, modulus, seed }, dreg, 2));
        }
    }
    let (selector, dreg) = match *first {
        Instruction::LoadL4proto(dreg) => (Selector::L4proto, dreg),
        Instruction::Random { modulus, offset, dreg } => {
            (Selector::Random { modulus, offset }, dreg)
        }
        Instruction::LoadCtOriginal { field, dreg, .. } => (Selector::CtOriginal(field), dreg),
        Instruction::Payload { dreg, .. } => {
            let fields = [Selector::Saddr, Selector::Daddr, Selector::Dport];
            (fields.into_iter().find(|&field| load(field, family, dreg) == *first)?, dreg)
        }
        _ => return None,
    };
    Some((selector, dreg, 1))
}

/// How many words a concatenation takes. A foreign key may be of any length; the kernel's registers
/// end at word 15.
fn words(key: &[Selector], family: Family) -> u8 {
    let widths = key.iter().map(|selector| selector.padded_width(family) / 4);
    u8::try_from(widths.sum::<usize>()).unwrap_or(u8::MAX - 3)
}

fn load_key(key: &[Selector], family: Family, out: &mut Vec<Instruction>) {
    load_concatenation(key, 0, Register(words(key, family)), family, out);
}

/// Loads values one behind the other from this word on. What a hash is made of goes to `scratch`.
fn load_concatenation(
    key: &[Selector],
    mut word: u8,
    scratch: Register,
    family: Family,
    out: &mut Vec<Instruction>,
) {
    for &selector in key {
        if let Selector::SourceHash { original, modulus, seed } = selector {
            let source = hashed_source(original);
            let len = source.width(family) as u32;
            out.push(load(source, family, scratch));
            let (sreg, dreg) = (scratch, Register(word));
            out.push(Instruction::Hash { sreg, len, modulus, seed, dreg });
        } else {
            out.push(load(selector, family, Register(word)));
        }
        word = word.saturating_add((selector.padded_width(family) / 4) as u8);
    }
}

fn load(selector: Selector, family: Family, dreg: Register) -> Instruction {
    let address = |v4, v6| Instruction::Payload {
        transport: false,
        offset: if family == Family::Ipv4 { v4 } else { v6 },
        len: selector.width(family) as u32,
        dreg,
    };
    match selector {
        // Offsets in struct iphdr and struct ipv6hdr.
        Selector::Saddr => address(12, 8),
        Selector::Daddr => address(16, 24),
        Selector::L4proto => Instruction::LoadL4proto(dreg),
        Selector::Dport => Instruction::Payload { transport: true, offset: 2, len: 2, dreg },
        Selector::CtOriginal(field) => {
            let family = (field != CtField::ProtoDst).then_some(family);
            Instruction::LoadCtOriginal { field, family, dreg }
        }
        Selector::Random { modulus, offset } => Instruction::Random { modulus, offset, dreg },
        Selector::SourceHash { .. } => unreachable!("it takes two instructions"),
    }
}

/// `& BITS != 0` on the value in the first register.
fn any_bit_set(bits: u32, out: &mut Vec<Instruction>) {
    out.push(Instruction::Bitwise(BitwiseOp { sreg: REG, dreg: REG, mask: bits, xor: 0 }));
    out.push(compare(CmpOp::Neq, &0u32.to_ne_bytes()));
}

fn compare(op: CmpOp, data: &[u8]) -> Instruction {
    let data = RawKey::from_bytes(data).expect("no comparison is longer than an address");
    Instruction::Cmp { op, sreg: REG, data }
}

fn lookup(set: &Name, target: LookupTarget, inverted: bool) -> Instruction {
    Instruction::Lookup { set: set.clone(), sreg: REG, target, inverted }
}

/// The address comes back in the first register, the port in the word behind it.
fn dnat(family: Family) -> Instruction {
    let port = Register((Selector::Daddr.padded_width(family) / 4) as u8);
    Instruction::Dnat { family, address: REG, port }
}

/// `ICMP_PORT_UNREACH` of linux/icmp.h, `ICMPV6_PORT_UNREACH` of linux/icmpv6.h.
fn port_unreachable(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 3,
        Family::Ipv6 => 4,
    }
}
