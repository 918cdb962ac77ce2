//! The attributes of libnftnl's objects, each with the object that it belongs to and its type.

use nftnl::nftnl_sys::{self as sys, libc};

use super::object::{Bytes, Chain, Element, Expression, Rule, Set, Str, Table, U8, U32, U64};

/// The most that libnftnl holds of a key or of data: `NFT_DATA_VALUE_MAXLEN` of
/// linux/netfilter/nf_tables.h.
const DATA_BYTES: usize = libc::NFT_DATA_VALUE_MAXLEN as usize;
/// `NFT_USERDATA_MAXLEN` of the same header.
const USERDATA_BYTES: usize = libc::NFT_USERDATA_MAXLEN as usize;

/// The longest private part of a match of xtables that weir looks at: `XT_MAX_COMMENT_LEN` of
/// linux/netfilter/xt_comment.h.
const MATCH_INFO_BYTES: usize = 256;

/// Attributes of tables.
pub(super) mod table {
    use super::*;
    pub(in crate::kernel) const NAME: Str<Table> = Str::new(sys::NFTNL_TABLE_NAME);
    pub(in crate::kernel) const FLAGS: U32<Table> = U32::new(sys::NFTNL_TABLE_FLAGS);
    pub(in crate::kernel) const USERDATA: Bytes<Table> =
        Bytes::new(sys::NFTNL_TABLE_USERDATA, USERDATA_BYTES);
}

/// Attributes of chains.
pub(super) mod chain {
    use super::*;
    pub(in crate::kernel) const TABLE: Str<Chain> = Str::new(sys::NFTNL_CHAIN_TABLE);
    pub(in crate::kernel) const NAME: Str<Chain> = Str::new(sys::NFTNL_CHAIN_NAME);
    pub(in crate::kernel) const TYPE: Str<Chain> = Str::new(sys::NFTNL_CHAIN_TYPE);
    pub(in crate::kernel) const HOOK: U32<Chain> = U32::new(sys::NFTNL_CHAIN_HOOKNUM);
    pub(in crate::kernel) const PRIORITY: U32<Chain> = U32::new(sys::NFTNL_CHAIN_PRIO);
    pub(in crate::kernel) const POLICY: U32<Chain> = U32::new(sys::NFTNL_CHAIN_POLICY);
    pub(in crate::kernel) const FLAGS: U32<Chain> = U32::new(sys::NFTNL_CHAIN_FLAGS);
    pub(in crate::kernel) const USERDATA: Bytes<Chain> =
        Bytes::new(sys::NFTNL_CHAIN_USERDATA, USERDATA_BYTES);
}

/// Attributes of rules.
pub(super) mod rule {
    use super::*;
    pub(in crate::kernel) const TABLE: Str<Rule> = Str::new(sys::NFTNL_RULE_TABLE);
    pub(in crate::kernel) const CHAIN: Str<Rule> = Str::new(sys::NFTNL_RULE_CHAIN);
    pub(in crate::kernel) const HANDLE: U64<Rule> = U64::new(sys::NFTNL_RULE_HANDLE);
    pub(in crate::kernel) const USERDATA: Bytes<Rule> =
        Bytes::new(sys::NFTNL_RULE_USERDATA, USERDATA_BYTES);
}

/// Attributes of sets.
pub(super) mod set {
    use super::*;
    pub(in crate::kernel) const TABLE: Str<Set> = Str::new(sys::NFTNL_SET_TABLE);
    pub(in crate::kernel) const NAME: Str<Set> = Str::new(sys::NFTNL_SET_NAME);
    pub(in crate::kernel) const ID: U32<Set> = U32::new(sys::NFTNL_SET_ID);
    pub(in crate::kernel) const FLAGS: U32<Set> = U32::new(sys::NFTNL_SET_FLAGS);
    pub(in crate::kernel) const KEY_TYPE: U32<Set> = U32::new(sys::NFTNL_SET_KEY_TYPE);
    pub(in crate::kernel) const KEY_LEN: U32<Set> = U32::new(sys::NFTNL_SET_KEY_LEN);
    pub(in crate::kernel) const DATA_TYPE: U32<Set> = U32::new(sys::NFTNL_SET_DATA_TYPE);
    pub(in crate::kernel) const DATA_LEN: U32<Set> = U32::new(sys::NFTNL_SET_DATA_LEN);
    pub(in crate::kernel) const SIZE: U32<Set> = U32::new(sys::NFTNL_SET_DESC_SIZE);
    pub(in crate::kernel) const POLICY: U32<Set> = U32::new(sys::NFTNL_SET_POLICY);
    pub(in crate::kernel) const TIMEOUT: U64<Set> = U64::new(sys::NFTNL_SET_TIMEOUT);
    pub(in crate::kernel) const GC_INTERVAL: U32<Set> = U32::new(sys::NFTNL_SET_GC_INTERVAL);
    pub(in crate::kernel) const USERDATA: Bytes<Set> =
        Bytes::new(sys::NFTNL_SET_USERDATA, USERDATA_BYTES);
}

/// Attributes of elements.
pub(super) mod element {
    use super::*;
    pub(in crate::kernel) const FLAGS: U32<Element> = U32::new(sys::NFTNL_SET_ELEM_FLAGS);
    pub(in crate::kernel) const KEY: Bytes<Element> =
        Bytes::new(sys::NFTNL_SET_ELEM_KEY, DATA_BYTES);
    pub(in crate::kernel) const DATA: Bytes<Element> =
        Bytes::new(sys::NFTNL_SET_ELEM_DATA, DATA_BYTES);
    pub(in crate::kernel) const VERDICT: U32<Element> = U32::new(sys::NFTNL_SET_ELEM_VERDICT);
    pub(in crate::kernel) const TIMEOUT: U64<Element> = U64::new(sys::NFTNL_SET_ELEM_TIMEOUT);
    pub(in crate::kernel) const EXPIRATION: U64<Element> = U64::new(sys::NFTNL_SET_ELEM_EXPIRATION);
    pub(in crate::kernel) const CHAIN: Str<Element> = Str::new(sys::NFTNL_SET_ELEM_CHAIN);
    pub(in crate::kernel) const USERDATA: Bytes<Element> =
        Bytes::new(sys::NFTNL_SET_ELEM_USERDATA, USERDATA_BYTES);
}

/// Attributes of expressions. Each belongs to the expression that its name begins with.
pub(super) mod expression {
    use super::*;
    type E = Expression;
    pub(in crate::kernel) const NAME: Str<E> = Str::new(sys::NFTNL_EXPR_NAME);
    pub(in crate::kernel) const PAYLOAD_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_PAYLOAD_DREG);
    pub(in crate::kernel) const PAYLOAD_BASE: U32<E> = U32::new(sys::NFTNL_EXPR_PAYLOAD_BASE);
    pub(in crate::kernel) const PAYLOAD_OFFSET: U32<E> = U32::new(sys::NFTNL_EXPR_PAYLOAD_OFFSET);
    pub(in crate::kernel) const PAYLOAD_LEN: U32<E> = U32::new(sys::NFTNL_EXPR_PAYLOAD_LEN);
    pub(in crate::kernel) const META_KEY: U32<E> = U32::new(sys::NFTNL_EXPR_META_KEY);
    pub(in crate::kernel) const META_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_META_DREG);
    pub(in crate::kernel) const META_SREG: U32<E> = U32::new(sys::NFTNL_EXPR_META_SREG);
    pub(in crate::kernel) const CT_KEY: U32<E> = U32::new(sys::NFTNL_EXPR_CT_KEY);
    pub(in crate::kernel) const CT_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_CT_DREG);
    pub(in crate::kernel) const CT_DIR: U8<E> = U8::new(sys::NFTNL_EXPR_CT_DIR);
    pub(in crate::kernel) const DYNSET_SET: Str<E> = Str::new(sys::NFTNL_EXPR_DYNSET_SET_NAME);
    pub(in crate::kernel) const DYNSET_OP: U32<E> = U32::new(sys::NFTNL_EXPR_DYNSET_OP);
    pub(in crate::kernel) const DYNSET_KEY: U32<E> = U32::new(sys::NFTNL_EXPR_DYNSET_SREG_KEY);
    pub(in crate::kernel) const DYNSET_DATA: U32<E> = U32::new(sys::NFTNL_EXPR_DYNSET_SREG_DATA);
    pub(in crate::kernel) const DYNSET_TIMEOUT: U64<E> = U64::new(sys::NFTNL_EXPR_DYNSET_TIMEOUT);
    pub(in crate::kernel) const DYNSET_FLAGS: U32<E> = U32::new(sys::NFTNL_EXPR_DYNSET_FLAGS);
    pub(in crate::kernel) const FIB_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_FIB_DREG);
    pub(in crate::kernel) const FIB_RESULT: U32<E> = U32::new(sys::NFTNL_EXPR_FIB_RESULT);
    pub(in crate::kernel) const FIB_FLAGS: U32<E> = U32::new(sys::NFTNL_EXPR_FIB_FLAGS);
    pub(in crate::kernel) const NUMGEN_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_NG_DREG);
    pub(in crate::kernel) const NUMGEN_TYPE: U32<E> = U32::new(sys::NFTNL_EXPR_NG_TYPE);
    pub(in crate::kernel) const NUMGEN_MODULUS: U32<E> = U32::new(sys::NFTNL_EXPR_NG_MODULUS);
    pub(in crate::kernel) const NUMGEN_OFFSET: U32<E> = U32::new(sys::NFTNL_EXPR_NG_OFFSET);
    pub(in crate::kernel) const HASH_SREG: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_SREG);
    pub(in crate::kernel) const HASH_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_DREG);
    pub(in crate::kernel) const HASH_LEN: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_LEN);
    pub(in crate::kernel) const HASH_MODULUS: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_MODULUS);
    pub(in crate::kernel) const HASH_SEED: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_SEED);
    pub(in crate::kernel) const HASH_OFFSET: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_OFFSET);
    pub(in crate::kernel) const HASH_TYPE: U32<E> = U32::new(sys::NFTNL_EXPR_HASH_TYPE);
    pub(in crate::kernel) const BITWISE_SREG: U32<E> = U32::new(sys::NFTNL_EXPR_BITWISE_SREG);
    pub(in crate::kernel) const BITWISE_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_BITWISE_DREG);
    pub(in crate::kernel) const BITWISE_LEN: U32<E> = U32::new(sys::NFTNL_EXPR_BITWISE_LEN);
    pub(in crate::kernel) const BITWISE_OP: U32<E> = U32::new(sys::NFTNL_EXPR_BITWISE_OP);
    pub(in crate::kernel) const BITWISE_MASK: Bytes<E> =
        Bytes::new(sys::NFTNL_EXPR_BITWISE_MASK, DATA_BYTES);
    pub(in crate::kernel) const BITWISE_XOR: Bytes<E> =
        Bytes::new(sys::NFTNL_EXPR_BITWISE_XOR, DATA_BYTES);
    pub(in crate::kernel) const CMP_SREG: U32<E> = U32::new(sys::NFTNL_EXPR_CMP_SREG);
    pub(in crate::kernel) const CMP_OP: U32<E> = U32::new(sys::NFTNL_EXPR_CMP_OP);
    pub(in crate::kernel) const CMP_DATA: Bytes<E> =
        Bytes::new(sys::NFTNL_EXPR_CMP_DATA, DATA_BYTES);
    pub(in crate::kernel) const LOOKUP_SET: Str<E> = Str::new(sys::NFTNL_EXPR_LOOKUP_SET);
    pub(in crate::kernel) const LOOKUP_SREG: U32<E> = U32::new(sys::NFTNL_EXPR_LOOKUP_SREG);
    pub(in crate::kernel) const LOOKUP_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_LOOKUP_DREG);
    pub(in crate::kernel) const LOOKUP_FLAGS: U32<E> = U32::new(sys::NFTNL_EXPR_LOOKUP_FLAGS);
    pub(in crate::kernel) const IMMEDIATE_DREG: U32<E> = U32::new(sys::NFTNL_EXPR_IMM_DREG);
    pub(in crate::kernel) const IMMEDIATE_DATA: Bytes<E> =
        Bytes::new(sys::NFTNL_EXPR_IMM_DATA, DATA_BYTES);
    pub(in crate::kernel) const IMMEDIATE_VERDICT: U32<E> = U32::new(sys::NFTNL_EXPR_IMM_VERDICT);
    pub(in crate::kernel) const IMMEDIATE_CHAIN: Str<E> = Str::new(sys::NFTNL_EXPR_IMM_CHAIN);
    pub(in crate::kernel) const MATCH_NAME: Str<E> = Str::new(sys::NFTNL_EXPR_MT_NAME);
    pub(in crate::kernel) const MATCH_INFO: Bytes<E> =
        Bytes::new(sys::NFTNL_EXPR_MT_INFO, MATCH_INFO_BYTES);
    pub(in crate::kernel) const NAT_TYPE: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_TYPE);
    pub(in crate::kernel) const NAT_FAMILY: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_FAMILY);
    pub(in crate::kernel) const NAT_ADDR_MIN: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN);
    pub(in crate::kernel) const NAT_ADDR_MAX: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_REG_ADDR_MAX);
    pub(in crate::kernel) const NAT_PROTO_MIN: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN);
    pub(in crate::kernel) const NAT_PROTO_MAX: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_REG_PROTO_MAX);
    pub(in crate::kernel) const NAT_FLAGS: U32<E> = U32::new(sys::NFTNL_EXPR_NAT_FLAGS);
    pub(in crate::kernel) const MASQUERADE_FLAGS: U32<E> = U32::new(sys::NFTNL_EXPR_MASQ_FLAGS);
    pub(in crate::kernel) const REJECT_TYPE: U32<E> = U32::new(sys::NFTNL_EXPR_REJECT_TYPE);
    pub(in crate::kernel) const REJECT_CODE: U8<E> = U8::new(sys::NFTNL_EXPR_REJECT_CODE);
}
