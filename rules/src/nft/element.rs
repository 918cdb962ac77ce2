//! Elements of sets and maps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::{Name, Verdict};
use crate::cluster::Protocol;

/// The longest key that weir uses, in bytes: two IPv6 addresses, a protocol and a port.
pub const MAX_KEY_BYTES: usize = 40;

/// The longest value that weir uses, in bytes: an IPv6 address and a port.
pub const MAX_VALUE_BYTES: usize = 20;

/// Elements by key; for interval sets the key is the first address.
pub type Elements = BTreeMap<RawKey, Element>;

/// A concatenation of values: each in network byte order and padded with zeros to a multiple of
/// four bytes, so that keys of one set sort as the numbers that they stand for.
///
/// There is room for `N` bytes: what there are many of should be small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Concatenation<const N: usize> {
    // The length comes last so that the derived order looks at the bytes first.
    bytes: [u8; N],
    len: u8,
}

/// The key of an element.
pub type RawKey = Concatenation<MAX_KEY_BYTES>;
/// What the key of an element maps to, or where a range ends.
pub type RawValue = Concatenation<MAX_VALUE_BYTES>;

impl<const N: usize> Concatenation<N> {
    /// The empty concatenation, to which values are appended.
    pub fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// A concatenation from its bytes, or `None` if there are more than `N`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= N).then(|| Self::new().append(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The same with room for a key.
    ///
    /// # Panics
    /// If it is longer than a key.
    pub fn to_key(&self) -> RawKey {
        RawKey::from_bytes(self.as_bytes())
            .expect("the caller passes no more bytes than a key holds")
    }

    /// With an address at the end.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => self.append(&a.octets()),
            IpAddr::V6(a) => self.append(&a.octets()),
        }
    }

    /// With a protocol at the end.
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.append(&[protocol.number(), 0, 0, 0])
    }

    /// With a port at the end.
    pub fn port(self, port: NonZeroU16) -> Self {
        let [high, low] = port.get().to_be_bytes();
        self.append(&[high, low, 0, 0])
    }

    /// With a slot of an endpoint list at the end.
    pub fn slot(self, slot: u32) -> Self {
        self.append(&slot.to_be_bytes())
    }

    /// The slot at the end, where it ends with one.
    pub fn last_slot(&self) -> Option<u32> {
        self.as_bytes().last_chunk().copied().map(u32::from_be_bytes)
    }

    fn append(mut self, value: &[u8]) -> Self {
        let start = usize::from(self.len);
        let end = start + value.len();
        self.bytes[start..end].copy_from_slice(value);
        self.len = end as u8;
        self
    }
}

impl<const N: usize> Default for Concatenation<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> std::fmt::Debug for Concatenation<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What an element carries beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// What the key maps to.
    pub data: Data,
    /// Its comment, at most [`super::MAX_COMMENT_BYTES`] long.
    pub comment: Option<Box<str>>,
}

impl Element {
    /// An element without a comment.
    pub fn new(data: Data) -> Self {
        Self { data, comment: None }
    }
}

/// What an element's key maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing: an element of a set.
    Nothing,
    /// The last address of the range that begins at the key: an element of an interval set.
    RangeEnd(RawValue),
    /// A verdict.
    Verdict(Verdict),
    /// Values.
    Values(RawValue),
    /// Values that a packet put there: an element of a dynamic map.
    Learned(RawValue, Lifetime),
}

impl Data {
    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&Name> {
        match self {
            Data::Verdict(verdict) => verdict.chain(),
            _ => None,
        }
    }
}

/// The timeout of an element, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// From when it was put there or last refreshed; 0 for ever.
    pub timeout: u64,
    /// From now on.
    pub expires: u64,
}
