//! Decodes libnftnl's objects into the model.

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{
    BaseChain, ChainKind, Data, Element, Elements, Lifetime, MAX_KEY_BYTES, MAX_VALUE_BYTES, Name,
    RawKey, RawValue, Set, SetData, SetSpec, TABLE, Table,
};

use super::attribute::{chain, element, set};
use super::batch::{
    DATA_VERDICT, SET_F_DYNAMIC, chain_type, concatenated_type, concatenated_width, hook, reorder,
};
use super::expression::read_verdict;
use super::object::{self, AlignedMessage, ElementRef};
use super::userdata;

const SET_F_ANONYMOUS: u32 = libc::NFT_SET_ANONYMOUS as u32;
const SET_F_INTERVAL: u32 = libc::NFT_SET_INTERVAL as u32;
const SET_F_MAP: u32 = libc::NFT_SET_MAP as u32;
/// `NFT_SET_EXPR` of linux/netfilter/nf_tables.h: elements have expressions.
const SET_F_EXPR: u32 = 0x100;
const ELEM_F_INTERVAL_END: u32 = libc::NFT_SET_ELEM_INTERVAL_END as u32;

/// Puts the elements into the set that they were read of; `None` stands for some that weir has no
/// words for.
pub(super) fn put_elements(set: &mut Set, elements: Option<Elements>) {
    match elements {
        Some(elements) => set.elements = elements,
        None => set.spec.foreign = Some("has elements that weir never makes".into()),
    }
}

/// Reads what defines a set into its table.
pub(super) fn read_set(
    message: &AlignedMessage<'_>,
    family: Family,
    table: &mut Table,
) -> Option<()> {
    let it = object::Set::parse(message)?;
    let is_ours = it.str(set::TABLE).as_deref() == Some(TABLE);
    // An anonymous set is part of the rule that it was written in.
    if is_ours && it.u32(set::FLAGS).unwrap_or(0) & SET_F_ANONYMOUS == 0 {
        table.sets.insert(Name::new(it.str(set::NAME)?), Set::new(set_spec(&it, family)));
    }
    Some(())
}

pub(super) fn base_chain(it: &object::Chain) -> Option<BaseChain> {
    let kind = it.str(chain::TYPE)?;
    Some(BaseChain {
        kind: [ChainKind::Filter, ChainKind::Nat, ChainKind::Route]
            .into_iter()
            .find(|&k| chain_type(k) == kind)?,
        hook: hook(it.u32(chain::HOOK)?)?,
        priority: it.u32(chain::PRIORITY)? as i32,
        drop: it.u32(chain::POLICY) == Some(libc::NF_DROP as u32),
    })
}

/// What defines a set; what weir cannot express is described in [`SetSpec::foreign`].
fn set_spec(it: &object::Set, family: Family) -> SetSpec {
    let flags = it.u32(set::FLAGS).unwrap_or(0);
    let notes = it.bytes(set::USERDATA).and_then(|notes| userdata::read_set(notes, family));
    let state = it.element_expression().map(|expression| expression.name());
    let (key, data, comment) = notes.unwrap_or((Vec::new(), SetData::Nothing, None));

    let data_type = match &data {
        SetData::Nothing => None,
        SetData::Verdict => Some(DATA_VERDICT),
        SetData::Values(values) => Some(concatenated_type(values, family)),
    };
    let data_len = match &data {
        SetData::Nothing => None,
        // The kernel's `struct nft_verdict` is of no interest.
        SetData::Verdict => it.u32(set::DATA_LEN),
        SetData::Values(values) => Some(concatenated_width(values, family)),
    };
    // The kernel reports several expressions by this flag and a list that weir does not read.
    let has_state = flags & SET_F_EXPR != 0;
    let dynamic = (flags & SET_F_DYNAMIC == SET_F_DYNAMIC)
        .then(|| it.u32(set::SIZE))
        .flatten()
        .filter(|&size| size > 0);
    let limits = [set::SIZE, set::POLICY, set::GC_INTERVAL].map(|limit| it.u32(limit).unwrap_or(0));
    let allowed_flags =
        SET_F_INTERVAL | SET_F_MAP | SET_F_EXPR | dynamic.map_or(0, |_| SET_F_DYNAMIC);
    let is_known = it.u32(set::KEY_TYPE) == Some(concatenated_type(&key, family))
        && it.u32(set::KEY_LEN) == Some(concatenated_width(&key, family))
        && (1..=MAX_KEY_BYTES as u32).contains(&concatenated_width(&key, family))
        && it.u32(set::DATA_TYPE) == data_type
        && it.u32(set::DATA_LEN) == data_len
        && flags & !allowed_flags == 0
        && state.as_ref().is_none_or(|name| name == "counter")
        && (!has_state || state.is_some())
        && limits == [dynamic.unwrap_or(0), 0, 0]
        && it.u64(set::TIMEOUT).unwrap_or(0) == 0;
    let foreign = (!is_known)
        .then(|| format!("flags {flags:#x}, key type {:#x}", it.u32(set::KEY_TYPE).unwrap_or(0)));
    let interval = flags & SET_F_INTERVAL != 0;
    SetSpec { key, data, interval, dynamic, counter: state.is_some(), comment, foreign }
}

/// An element as the kernel has it: the key, whether it ends a range, and the rest.
pub(super) type Point = (RawKey, bool, Element);

pub(super) fn read_element(it: &ElementRef<'_>, spec: &SetSpec, family: Family) -> Option<Point> {
    let key = reorder(&RawKey::from_bytes(it.bytes(element::KEY)?)?, &spec.key, family);
    let data = match &spec.data {
        SetData::Nothing => Data::Nothing,
        SetData::Verdict => {
            let code = it.u32(element::VERDICT)? as i32;
            Data::Verdict(read_verdict(code, it.str(element::CHAIN))?)
        }
        SetData::Values(values) => {
            let data = RawValue::from_bytes(it.bytes(element::DATA)?)?;
            let data = reorder(&data, values, family);
            let time = |attribute| it.u64(attribute).unwrap_or(0);
            match spec.dynamic {
                None => Data::Values(data),
                Some(_) => {
                    let (timeout, expires) = (time(element::TIMEOUT), time(element::EXPIRATION));
                    Data::Learned(data, Lifetime { timeout, expires })
                }
            }
        }
    };
    let comment = it.bytes(element::USERDATA).and_then(userdata::read_comment).map(Into::into);
    let flags = it.u32(element::FLAGS).unwrap_or(0);
    let ends_range = flags & ELEM_F_INTERVAL_END != 0;
    // Its end would have to be as long.
    let is_too_long = spec.interval && key.as_bytes().len() > MAX_VALUE_BYTES;
    if flags & !ELEM_F_INTERVAL_END != 0 || ends_range && !spec.interval || is_too_long {
        return None;
    }
    Some((key, ends_range, Element { data, comment }))
}

/// Ranges from the points at which they begin and, one behind their last address, end.
pub(super) fn join_intervals(mut points: Vec<Point>) -> Elements {
    // Where one range ends and the next begins at the same address, the end comes first.
    points.sort_by_key(|(key, ends_range, _)| (*key, !ends_range));
    let mut ranges = Elements::new();
    let mut open: Option<(RawKey, Element)> = None;
    for (key, ends_range, element) in points {
        if let Some((start, element)) = open.take() {
            ranges.insert(start, Element { data: Data::RangeEnd(predecessor(&key)), ..element });
        }
        if !ends_range {
            open = Some((key, element));
        }
    }
    if let Some((start, element)) = open {
        let end = RawValue::from_bytes(&vec![0xff; start.as_bytes().len()])
            .expect("an address fits a value");
        ranges.insert(start, Element { data: Data::RangeEnd(end), ..element });
    }
    ranges
}

/// The address before one; the first has none, but no range ends there.
fn predecessor(address: &RawKey) -> RawValue {
    let mut bytes = address.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let (previous, borrow) = byte.overflowing_sub(1);
        *byte = previous;
        if !borrow {
            break;
        }
    }
    RawValue::from_bytes(&bytes).expect("an address fits a value")
}
