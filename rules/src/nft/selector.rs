//! Packet fields and generators (random numbers, hashes) that keys are made of.

use std::fmt;

use crate::cluster::Family;

/// One part of a key: something the kernel can load into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `ip saddr` or `ip6 saddr`.
    Saddr,
    /// `ip daddr` or `ip6 daddr`.
    Daddr,
    /// `meta l4proto`, 1 byte.
    L4proto,
    /// `th dport`: the destination port of TCP, UDP or SCTP, 2 bytes.
    Dport,
    /// `ct original ...`: what the connection's first packet had before any translation.
    CtOriginal(CtField),
    /// `numgen random mod M offset O`: uniform over `O..O+M`, 4 bytes in the host's byte order.
    Random {
        /// How many values there are; not 0.
        modulus: u32,
        /// The smallest value.
        offset: u32,
    },
    /// `jhash ip saddr mod M seed S`, or of `ct original ip saddr`: which of `M` values the source
    /// address has, 4 bytes in the host's byte order (Linux's `jhash`).
    SourceHash {
        /// Whether it is the source of the connection's first packet before any translation, else
        /// that of the packet.
        original: bool,
        /// How many values there are; not 0.
        modulus: u32,
        /// The seed of this hash. nft does not list 0.
        seed: u32,
    },
}

/// What conntrack knows of the first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CtField {
    /// `ip saddr` or `ip6 saddr`.
    Saddr,
    /// `ip daddr` or `ip6 daddr`.
    Daddr,
    /// `proto-dst`: the destination port. nft 1.0.6 takes it only behind a match on the protocol.
    ProtoDst,
}

impl CtField {
    /// All of them.
    pub const ALL: [CtField; 3] = [CtField::Saddr, CtField::Daddr, CtField::ProtoDst];

    /// The same field of the packet at hand.
    fn of_packet(self) -> Selector {
        match self {
            CtField::Saddr => Selector::Saddr,
            CtField::Daddr => Selector::Daddr,
            CtField::ProtoDst => Selector::Dport,
        }
    }
}

impl Selector {
    /// A selector that is always this number. nft has no words for a constant within a key that is
    /// looked up, but lists and loads this.
    pub fn constant(value: u32) -> Self {
        Selector::Random { modulus: 1, offset: value }
    }
}

/// The selector by which the endpoint maps declare their slot. Of it only counts what type and width it
/// has: nft takes and lists elements with any number of 32 bits, whatever the modulus.
pub fn slot_selector() -> Selector {
    Selector::Random { modulus: 65536, offset: 0 }
}

/// nft's data types, with the numbers of its `enum datatypes`, which `nft list` reads back from
/// `NFTA_SET_KEY_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum DataType {
    /// `integer`.
    Integer = 4,
    /// `ipv4_addr`.
    Ipv4Addr = 7,
    /// `ipv6_addr`.
    Ipv6Addr = 8,
    /// `inet_proto`.
    InetProto = 12,
    /// `inet_service`.
    InetService = 13,
}

impl Selector {
    /// Its data type in a table of this family.
    pub fn data_type(self, family: Family) -> DataType {
        match (self, family) {
            (Selector::Saddr | Selector::Daddr, Family::Ipv4) => DataType::Ipv4Addr,
            (Selector::Saddr | Selector::Daddr, Family::Ipv6) => DataType::Ipv6Addr,
            (Selector::CtOriginal(field), _) => field.of_packet().data_type(family),
            (Selector::L4proto, _) => DataType::InetProto,
            (Selector::Dport, _) => DataType::InetService,
            (Selector::Random { .. } | Selector::SourceHash { .. }, _) => DataType::Integer,
        }
    }

    /// How many bytes its value has.
    pub fn width(self, family: Family) -> usize {
        self.data_type(family).width()
    }

    /// How many bytes its value takes in a concatenation, where each part fills whole 32-bit
    /// registers.
    pub fn padded_width(self, family: Family) -> usize {
        self.width(family).next_multiple_of(4)
    }

    /// Whether the kernel holds its value in the host's byte order. The model holds every value
    /// in network order.
    pub fn is_host_order(self) -> bool {
        matches!(self, Selector::Random { .. } | Selector::SourceHash { .. })
    }

    /// How it prints in a table of this family.
    pub fn display(self, family: Family) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Selector::Saddr => write!(f, "{family} saddr"),
            Selector::Daddr => write!(f, "{family} daddr"),
            Selector::L4proto => f.write_str("meta l4proto"),
            Selector::Dport => f.write_str("th dport"),
            Selector::CtOriginal(CtField::ProtoDst) => f.write_str("ct original proto-dst"),
            Selector::CtOriginal(field) => {
                write!(f, "ct original {}", field.of_packet().display(family))
            }
            Selector::Random { modulus, offset: 0 } => write!(f, "numgen random mod {modulus}"),
            Selector::Random { modulus, offset } => {
                write!(f, "numgen random mod {modulus} offset {offset}")
            }
            Selector::SourceHash { original, modulus, seed } => {
                let source = hashed_source(original).display(family);
                write!(f, "jhash {source} mod {modulus} seed {seed:#x}")
            }
        })
    }
}

impl DataType {
    /// How many bytes a value has.
    pub fn width(self) -> usize {
        match self {
            DataType::Integer | DataType::Ipv4Addr => 4,
            DataType::Ipv6Addr => 16,
            DataType::InetProto => 1,
            DataType::InetService => 2,
        }
    }
}

/// What [`Selector::SourceHash`] is the hash of.
pub(crate) fn hashed_source(original: bool) -> Selector {
    if original { Selector::CtOriginal(CtField::Saddr) } else { Selector::Saddr }
}

/// How a concatenation of selectors prints: parts joined by ` . `.
pub(crate) fn display_key(key: &[Selector], family: Family) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (i, selector) in key.iter().enumerate() {
            if i > 0 {
                f.write_str(" . ")?;
            }
            write!(f, "{}", selector.display(family))?;
        }
        Ok(())
    })
}
