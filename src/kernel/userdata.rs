//! The userdata that nft attaches to objects: comments, and the `typeof` of sets. Without it `nft list` could
//! not print what was written.
//!
//! The encoding is what nft 1.0.6 writes (libnftnl's udata.h, nft's src/netlink.c and the
//! `udata` functions of its expressions); nft 1.1 reads it too, while what nft 1.1.3 writes for
//! `type` makes 1.0.6 crash.

use weir_rules::cluster::Family;
use weir_rules::nft::{Selector, SetData, SetSpec};

/// One byte of type, one byte of length, the value: `struct nftnl_udata`.
struct UserdataWriter(Vec<u8>);

impl UserdataWriter {
    fn put(&mut self, kind: u8, value: &[u8]) {
        let length =
            u8::try_from(value.len()).expect("weir writes no userdata longer than 255 bytes");
        self.0.extend([kind, length]);
        self.0.extend(value);
    }

    fn put_u32(&mut self, kind: u8, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    fn put_nested(&mut self, kind: u8, write: impl FnOnce(&mut UserdataWriter)) {
        let mut nested = UserdataWriter(Vec::new());
        write(&mut nested);
        self.put(kind, &nested.0);
    }
}

/// The values by type; `None` if the bytes are not of this encoding.
fn read(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut values = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        values.push((*kind, value));
        bytes = rest;
    }
    bytes.is_empty().then_some(values)
}

fn find<'a>(values: &[(u8, &'a [u8])], kind: u8) -> Option<&'a [u8]> {
    values.iter().find(|(k, _)| *k == kind).map(|(_, value)| *value)
}

/// `NFTNL_UDATA_TABLE_COMMENT`, and the same number for rules, chains and elements.
const COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_*`.
const SET_KEYBYTEORDER: u8 = 0;
const SET_DATABYTEORDER: u8 = 1;
const SET_KEY_TYPEOF: u8 = 3;
const SET_DATA_TYPEOF: u8 = 4;
const SET_DATA_INTERVAL: u8 = 6;
const SET_COMMENT: u8 = 7;
/// `NFTNL_UDATA_SET_TYPEOF_EXPR` and `_DATA`.
const TYPEOF_EXPR: u8 = 0;
const TYPEOF_DATA: u8 = 1;
/// nft's `enum byteorder`.
const BYTEORDER_INVALID: u32 = 0;
const BYTEORDER_BIG_ENDIAN: u32 = 2;
/// nft's `enum expr_types`.
const EXPR_VERDICT: u32 = 1;
const EXPR_PAYLOAD: u32 = 7;
const EXPR_META: u32 = 9;
const EXPR_CONCAT: u32 = 13;
const EXPR_NUMGEN: u32 = 23;
/// `NFT_META_L4PROTO` of linux/netfilter/nf_tables.h.
const META_L4PROTO: u32 = 16;
/// `NFT_NG_RANDOM` of the same header.
const NUMGEN_RANDOM: u32 = 1;
/// `NFTNL_UDATA_SET_ELEM_FLAGS` and its `NFTNL_SET_ELEM_F_INTERVAL_OPEN`.
const ELEMENT_FLAGS: u8 = 1;
const INTERVAL_OPEN: u32 = 1;

/// A comment on a table, chain, rule or element. It ends with a zero.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut out = UserdataWriter(Vec::with_capacity(text.len() + 3));
    out.put(COMMENT, &zero_terminated(text));
    out.0
}

/// What nft notes at the first element of a range that reaches the last address.
pub(super) fn open_interval() -> Vec<u8> {
    let mut out = UserdataWriter(Vec::new());
    out.put_u32(ELEMENT_FLAGS, INTERVAL_OPEN);
    out.0
}

/// The comment in the notes of a table, chain, rule or element.
pub(super) fn read_comment(bytes: &[u8]) -> Option<String> {
    text(find(&read(bytes)?, COMMENT)?)
}

/// The notes of a set.
pub(super) fn set(spec: &SetSpec, family: Family) -> Vec<u8> {
    let mut out = UserdataWriter(Vec::new());
    let order = |selectors: &[Selector]| match selectors {
        [_] => BYTEORDER_BIG_ENDIAN,
        _ => BYTEORDER_INVALID,
    };
    out.put_u32(SET_KEYBYTEORDER, order(&spec.key));
    match &spec.data {
        SetData::Nothing => {}
        SetData::Verdict => out.put_u32(SET_DATABYTEORDER, BYTEORDER_INVALID),
        SetData::Values(data) => out.put_u32(SET_DATABYTEORDER, order(data)),
    }
    out.put_nested(SET_KEY_TYPEOF, |typeof_| put_key(typeof_, &spec.key, family));
    match &spec.data {
        SetData::Nothing => {}
        SetData::Verdict => out.put_nested(SET_DATA_TYPEOF, |typeof_| {
            typeof_.put_u32(TYPEOF_EXPR, EXPR_VERDICT);
            typeof_.put(TYPEOF_DATA, &[]);
        }),
        SetData::Values(data) => {
            out.put_nested(SET_DATA_TYPEOF, |typeof_| put_key(typeof_, data, family));
        }
    }
    if spec.data != SetData::Nothing {
        out.put_u32(SET_DATA_INTERVAL, 0);
    }
    if let Some(comment) = &spec.comment {
        out.put(SET_COMMENT, &zero_terminated(comment));
    }
    out.0
}

fn put_key(out: &mut UserdataWriter, key: &[Selector], family: Family) {
    if let [selector] = key {
        put_selector(out, *selector, family);
        return;
    }
    out.put_u32(TYPEOF_EXPR, EXPR_CONCAT);
    out.put_nested(TYPEOF_DATA, |parts| {
        for (i, selector) in (0..).zip(key) {
            parts.put_nested(i, |part| put_selector(part, *selector, family));
        }
    });
}

fn put_selector(out: &mut UserdataWriter, selector: Selector, family: Family) {
    let (expression, operands) = match selector {
        Selector::L4proto => (EXPR_META, vec![META_L4PROTO]),
        Selector::Random { modulus, offset } => (EXPR_NUMGEN, vec![NUMGEN_RANDOM, modulus, offset]),
        Selector::CtOriginal(_) | Selector::SourceHash { .. } => {
            unreachable!("no set of weir's is declared by it")
        }
        Selector::Saddr | Selector::Daddr | Selector::Dport => {
            (EXPR_PAYLOAD, payload_field(selector, family).to_vec())
        }
    };
    out.put_u32(TYPEOF_EXPR, expression);
    out.put_nested(TYPEOF_DATA, |data| {
        for (i, operand) in (0..).zip(operands) {
            data.put_u32(i, operand);
        }
    });
}

/// nft's numbers of the header (`enum proto_desc_id`) and of the field in it.
fn payload_field(selector: Selector, family: Family) -> [u32; 2] {
    match (selector, family) {
        (Selector::Saddr, Family::Ipv4) => [12, 11],
        (Selector::Saddr, Family::Ipv6) => [13, 8],
        (Selector::Daddr, Family::Ipv4) => [12, 12],
        (Selector::Daddr, Family::Ipv6) => [13, 9],
        (Selector::Dport, _) => [11, 2],
        (
            Selector::L4proto
            | Selector::CtOriginal(_)
            | Selector::Random { .. }
            | Selector::SourceHash { .. },
            _,
        ) => unreachable!("not a field of a packet"),
    }
}

/// What the notes of a set say: key, data and comment. `None` if weir has no words for it.
pub(super) fn read_set(
    bytes: &[u8],
    family: Family,
) -> Option<(Vec<Selector>, SetData, Option<String>)> {
    let values = read(bytes)?;
    let key = read_key(find(&values, SET_KEY_TYPEOF)?, family)?;
    let data = match find(&values, SET_DATA_TYPEOF) {
        None => SetData::Nothing,
        Some(data) if expression(&read(data)?) == Some(EXPR_VERDICT) => SetData::Verdict,
        Some(data) => SetData::Values(read_key(data, family)?),
    };
    Some((key, data, find(&values, SET_COMMENT).and_then(text)))
}

fn read_key(bytes: &[u8], family: Family) -> Option<Vec<Selector>> {
    let values = read(bytes)?;
    if expression(&values)? != EXPR_CONCAT {
        return Some(vec![read_selector(&values, family)?]);
    }
    let parts = read(find(&values, TYPEOF_DATA)?)?;
    parts.into_iter().map(|(_, part)| read_selector(&read(part)?, family)).collect()
}

fn read_selector(values: &[(u8, &[u8])], family: Family) -> Option<Selector> {
    let operands: Vec<u32> = read(find(values, TYPEOF_DATA)?)?
        .into_iter()
        .map(|(_, operand)| number(operand))
        .collect::<Option<_>>()?;
    match (expression(values)?, operands.as_slice()) {
        (EXPR_META, [META_L4PROTO]) => Some(Selector::L4proto),
        (EXPR_NUMGEN, &[NUMGEN_RANDOM, modulus, offset]) => {
            Some(Selector::Random { modulus, offset })
        }
        (EXPR_PAYLOAD, field) => [Selector::Saddr, Selector::Daddr, Selector::Dport]
            .into_iter()
            .find(|&selector| payload_field(selector, family) == field),
        _ => None,
    }
}

fn expression(values: &[(u8, &[u8])]) -> Option<u32> {
    number(find(values, TYPEOF_EXPR)?)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().map(u32::from_ne_bytes).ok()
}

fn zero_terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_rules::nft::slot_selector;

    /// As `nft --debug=mnl` of nft 1.0.6 shows it for
    /// `typeof ip6 daddr . meta l4proto . th dport . numgen random mod 65536 : ip6 daddr . th dport`.
    #[cfg(target_endian = "little")]
    const ENDPOINTS_IP6: &str = "00 04 00000000 01 04 00000000 \
        03 60 00 04 0d000000 01 58 \
          00 14 00 04 07000000 01 0c 00 04 0d000000 01 04 09000000 \
          01 0e 00 04 09000000 01 06 00 04 10000000 \
          02 14 00 04 07000000 01 0c 00 04 0b000000 01 04 02000000 \
          03 1a 00 04 17000000 01 12 00 04 01000000 01 04 00000100 02 04 00000000 \
        04 34 00 04 0d000000 01 2c \
          00 14 00 04 07000000 01 0c 00 04 0d000000 01 04 09000000 \
          01 14 00 04 07000000 01 0c 00 04 0b000000 01 04 02000000 \
        06 04 00000000";

    #[cfg(target_endian = "little")]
    #[test]
    fn notes_of_a_set_are_those_of_nft() {
        let hex: String = ENDPOINTS_IP6.split_whitespace().collect();
        let expected: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        let key = vec![Selector::Daddr, Selector::L4proto, Selector::Dport, slot_selector()];
        let spec = SetSpec::new(key, SetData::Values(vec![Selector::Daddr, Selector::Dport]));
        assert_eq!(set(&spec, Family::Ipv6), expected);
    }

    #[test]
    fn notes_of_a_set_read_back() {
        let key = vec![Selector::Saddr, Selector::L4proto, Selector::Dport, slot_selector()];
        for data in [
            SetData::Nothing,
            SetData::Verdict,
            SetData::Values(vec![Selector::Daddr, Selector::Dport]),
        ] {
            for family in Family::ALL {
                for key in [key.clone(), vec![Selector::Daddr]] {
                    let spec = SetSpec::new(key.clone(), data.clone()).comment("a set");
                    let read = read_set(&set(&spec, family), family);
                    assert_eq!(read, Some((key, data.clone(), Some("a set".into()))));
                }
            }
        }
    }

    #[test]
    fn truncated_or_foreign_notes_are_not_understood() {
        let spec = SetSpec::new(vec![Selector::Daddr], SetData::Nothing);
        let notes = set(&spec, Family::Ipv4);
        for length in 0..notes.len() {
            assert_eq!(read_set(&notes[..length], Family::Ipv4), None, "{length} bytes");
        }
        assert_eq!(read_set(&notes, Family::Ipv6), None, "a field of the other family");
        assert_eq!(read_comment(&[0, 200, b'x']), None);
    }
}
