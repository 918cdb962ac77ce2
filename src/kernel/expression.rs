//! Encodes instructions as libnftnl's expressions, and decodes them.

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{
    BitwiseOp, CmpOp, CtField, Instruction, LookupTarget, Name, RawKey, Register, Verdict,
};

use super::attribute::expression as attribute;
use super::object::{Expression, ExpressionRef};

/// `NFT_FIB_RESULT_ADDRTYPE` of linux/netfilter/nf_tables.h.
const FIB_RESULT_ADDRTYPE: u32 = 3;
/// `NFTA_FIB_F_DADDR` of the same header.
const FIB_F_DADDR: u32 = 1 << 1;
/// `NFTA_FIB_F_SADDR`.
const FIB_F_SADDR: u32 = 1 << 0;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY` of linux/netfilter/nf_nat.h.
const NAT_RANDOM_FULLY: u32 = 1 << 4;
/// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`, which the kernel sets itself.
const NAT_ADDRESS_AND_PORT: u32 = 1 | 2;
/// `NFT_HASH_JENKINS` of linux/netfilter/nf_tables.h.
const HASH_JENKINS: u32 = 0;
/// `NFT_BITWISE_BOOL`.
const BITWISE_BOOL: u32 = 0;

const META_L4PROTO: u32 = libc::NFT_META_L4PROTO as u32;
const META_IIFNAME: u32 = libc::NFT_META_IIFNAME as u32;
const META_MARK: u32 = libc::NFT_META_MARK as u32;
const CT_STATE: u32 = libc::NFT_CT_STATE as u32;
const CT_STATUS: u32 = libc::NFT_CT_STATUS as u32;
/// `NFT_CT_SRC_IP` and the like of linux/netfilter/nf_tables.h.
const CT_SRC_IP: u32 = 19;
const CT_DST_IP: u32 = 20;
const CT_SRC_IP6: u32 = 21;
const CT_DST_IP6: u32 = 22;
const CT_PROTO_DST: u32 = libc::NFT_CT_PROTO_DST as u32;
/// `IP_CT_DIR_ORIGINAL` of linux/netfilter/nf_conntrack_tuple_common.h.
const CT_DIR_ORIGINAL: u8 = 0;
const DYNSET_UPDATE: u32 = libc::NFT_DYNSET_OP_UPDATE as u32;
const NETWORK_HEADER: u32 = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
const TRANSPORT_HEADER: u32 = libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32;
const REJECT_ICMP_UNREACH: u32 = libc::NFT_REJECT_ICMP_UNREACH as u32;
const NUMGEN_RANDOM: u32 = libc::NFT_NG_RANDOM as u32;
const NAT_DNAT: u32 = libc::NFT_NAT_DNAT as u32;
const CMP_EQ: u32 = libc::NFT_CMP_EQ as u32;
const CMP_NEQ: u32 = libc::NFT_CMP_NEQ as u32;
const LOOKUP_F_INV: u32 = libc::NFT_LOOKUP_F_INV as u32;
const REG_VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

/// The expression for an instruction; `None` where libnftnl does not know it.
#[allow(clippy::too_many_lines, reason = "one arm for each kind of instruction")]
pub(super) fn encode(instruction: &Instruction) -> Option<Expression> {
    let mut e = Expression::new(instruction.expression())?;
    match instruction {
        Instruction::Payload { transport, offset, len, dreg } => {
            let base = if *transport { TRANSPORT_HEADER } else { NETWORK_HEADER };
            e.set_u32(attribute::PAYLOAD_DREG, register(*dreg));
            e.set_u32(attribute::PAYLOAD_BASE, base);
            e.set_u32(attribute::PAYLOAD_OFFSET, *offset);
            e.set_u32(attribute::PAYLOAD_LEN, *len);
        }
        Instruction::LoadL4proto(dreg) => load_meta(&mut e, META_L4PROTO, *dreg),
        Instruction::LoadIifname(dreg) => load_meta(&mut e, META_IIFNAME, *dreg),
        Instruction::LoadMark(dreg) => load_meta(&mut e, META_MARK, *dreg),
        Instruction::StoreMark(sreg) => {
            e.set_u32(attribute::META_KEY, META_MARK);
            e.set_u32(attribute::META_SREG, register(*sreg));
        }
        Instruction::LoadCtState(dreg) => load_ct(&mut e, CT_STATE, *dreg),
        Instruction::LoadCtStatus(dreg) => load_ct(&mut e, CT_STATUS, *dreg),
        Instruction::LoadCtOriginal { field, family, dreg } => {
            load_ct(&mut e, ct_field(*field, *family)?, *dreg);
            e.set_u8(attribute::CT_DIR, CT_DIR_ORIGINAL);
        }
        Instruction::LoadFibDaddrType(dreg) => load_fib(&mut e, FIB_F_DADDR, *dreg),
        Instruction::LoadFibSaddrType(dreg) => load_fib(&mut e, FIB_F_SADDR, *dreg),
        Instruction::Random { modulus, offset, dreg } => {
            e.set_u32(attribute::NUMGEN_TYPE, NUMGEN_RANDOM);
            e.set_u32(attribute::NUMGEN_MODULUS, *modulus);
            e.set_u32(attribute::NUMGEN_OFFSET, *offset);
            e.set_u32(attribute::NUMGEN_DREG, register(*dreg));
        }
        Instruction::Hash { sreg, len, modulus, seed, dreg } => {
            e.set_u32(attribute::HASH_TYPE, HASH_JENKINS);
            e.set_u32(attribute::HASH_SREG, register(*sreg));
            e.set_u32(attribute::HASH_LEN, *len);
            e.set_u32(attribute::HASH_MODULUS, *modulus);
            e.set_u32(attribute::HASH_SEED, *seed);
            e.set_u32(attribute::HASH_DREG, register(*dreg));
        }
        Instruction::LoadNumber { value, dreg } => {
            e.set_u32(attribute::IMMEDIATE_DREG, register(*dreg));
            e.set_bytes(attribute::IMMEDIATE_DATA, &value.to_be_bytes());
        }
        Instruction::Bitwise(op) => {
            e.set_u32(attribute::BITWISE_SREG, register(op.sreg));
            e.set_u32(attribute::BITWISE_DREG, register(op.dreg));
            e.set_u32(attribute::BITWISE_OP, BITWISE_BOOL);
            e.set_u32(attribute::BITWISE_LEN, 4);
            e.set_bytes(attribute::BITWISE_MASK, &op.mask.to_ne_bytes());
            e.set_bytes(attribute::BITWISE_XOR, &op.xor.to_ne_bytes());
        }
        Instruction::Cmp { op, sreg, data } => {
            let op = match op {
                CmpOp::Eq => CMP_EQ,
                CmpOp::Neq => CMP_NEQ,
            };
            e.set_u32(attribute::CMP_SREG, register(*sreg));
            e.set_u32(attribute::CMP_OP, op);
            e.set_bytes(attribute::CMP_DATA, data.as_bytes());
        }
        Instruction::Lookup { set, sreg, target, inverted } => {
            e.set_str(attribute::LOOKUP_SET, set.as_str());
            e.set_u32(attribute::LOOKUP_SREG, register(*sreg));
            match target {
                LookupTarget::Nowhere => {}
                LookupTarget::Verdict => e.set_u32(attribute::LOOKUP_DREG, REG_VERDICT),
                LookupTarget::Data(dreg) => e.set_u32(attribute::LOOKUP_DREG, register(*dreg)),
            }
            if *inverted {
                e.set_u32(attribute::LOOKUP_FLAGS, LOOKUP_F_INV);
            }
        }
        Instruction::Update { map, key, data, timeout } => {
            e.set_str(attribute::DYNSET_SET, map.as_str());
            e.set_u32(attribute::DYNSET_OP, DYNSET_UPDATE);
            e.set_u32(attribute::DYNSET_KEY, register(*key));
            e.set_u32(attribute::DYNSET_DATA, register(*data));
            e.set_u64(attribute::DYNSET_TIMEOUT, *timeout);
        }
        Instruction::Verdict(verdict) => {
            let (code, chain) = verdict_code(verdict);
            e.set_u32(attribute::IMMEDIATE_DREG, REG_VERDICT);
            e.set_u32(attribute::IMMEDIATE_VERDICT, code as u32);
            if let Some(chain) = chain {
                e.set_str(attribute::IMMEDIATE_CHAIN, chain.as_str());
            }
        }
        Instruction::Dnat { family, address, port } => {
            e.set_u32(attribute::NAT_TYPE, NAT_DNAT);
            e.set_u32(attribute::NAT_FAMILY, u32::from(protocol_family(*family)));
            e.set_u32(attribute::NAT_ADDR_MIN, register(*address));
            e.set_u32(attribute::NAT_PROTO_MIN, register(*port));
        }
        Instruction::MasqueradeFullyRandom => {
            e.set_u32(attribute::MASQUERADE_FLAGS, NAT_RANDOM_FULLY);
        }
        Instruction::RejectUnreachable { code } => {
            e.set_u32(attribute::REJECT_TYPE, REJECT_ICMP_UNREACH);
            e.set_u8(attribute::REJECT_CODE, *code);
        }
        Instruction::Other(_) => {}
    }
    Some(e)
}

/// The instruction that an expression is; [`Instruction::Other`] where weir has no word for it.
pub(super) fn decode(e: &ExpressionRef<'_>) -> Instruction {
    let known = match e.name().as_str() {
        "payload" => decode_payload(e),
        "meta" => decode_meta(e),
        "ct" => decode_ct(e),
        "fib" => decode_fib(e),
        "numgen" => decode_numgen(e),
        "hash" => decode_hash(e),
        "bitwise" => decode_bitwise(e),
        "cmp" => decode_cmp(e),
        "lookup" => decode_lookup(e),
        "dynset" => decode_dynset(e),
        "immediate" => decode_immediate(e),
        "nat" => decode_nat(e),
        "masq" => (e.u32(attribute::MASQUERADE_FLAGS) == Some(NAT_RANDOM_FULLY))
            .then_some(Instruction::MasqueradeFullyRandom),
        "reject" => (e.u32(attribute::REJECT_TYPE) == Some(REJECT_ICMP_UNREACH))
            .then(|| e.u8(attribute::REJECT_CODE))
            .flatten()
            .map(|code| Instruction::RejectUnreachable { code }),
        _ => None,
    };
    known.unwrap_or_else(|| Instruction::Other(e.text()))
}

fn decode_payload(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let transport = match e.u32(attribute::PAYLOAD_BASE)? {
        NETWORK_HEADER => false,
        TRANSPORT_HEADER => true,
        _ => return None,
    };
    Some(Instruction::Payload {
        transport,
        offset: e.u32(attribute::PAYLOAD_OFFSET)?,
        len: e.u32(attribute::PAYLOAD_LEN)?,
        dreg: read_register(e.u32(attribute::PAYLOAD_DREG)?)?,
    })
}

fn decode_meta(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let dreg = e.u32(attribute::META_DREG).and_then(read_register);
    let sreg = e.u32(attribute::META_SREG).and_then(read_register);
    match (e.u32(attribute::META_KEY)?, dreg, sreg) {
        (META_L4PROTO, Some(dreg), None) => Some(Instruction::LoadL4proto(dreg)),
        (META_IIFNAME, Some(dreg), None) => Some(Instruction::LoadIifname(dreg)),
        (META_MARK, Some(dreg), None) => Some(Instruction::LoadMark(dreg)),
        (META_MARK, None, Some(sreg)) => Some(Instruction::StoreMark(sreg)),
        _ => None,
    }
}

fn decode_ct(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let dreg = read_register(e.u32(attribute::CT_DREG)?)?;
    match (e.u32(attribute::CT_KEY)?, e.u8(attribute::CT_DIR)) {
        (CT_STATE, None) => Some(Instruction::LoadCtState(dreg)),
        (CT_STATUS, None) => Some(Instruction::LoadCtStatus(dreg)),
        (key, Some(CT_DIR_ORIGINAL)) => {
            let families = [Some(Family::Ipv4), Some(Family::Ipv6), None];
            let (field, family) = CtField::ALL
                .into_iter()
                .flat_map(|field| families.map(|family| (field, family)))
                .find(|&(field, family)| ct_field(field, family) == Some(key))?;
            Some(Instruction::LoadCtOriginal { field, family, dreg })
        }
        _ => None,
    }
}

fn ct_field(field: CtField, family: Option<Family>) -> Option<u32> {
    match (field, family) {
        (CtField::Saddr, Some(Family::Ipv4)) => Some(CT_SRC_IP),
        (CtField::Saddr, Some(Family::Ipv6)) => Some(CT_SRC_IP6),
        (CtField::Daddr, Some(Family::Ipv4)) => Some(CT_DST_IP),
        (CtField::Daddr, Some(Family::Ipv6)) => Some(CT_DST_IP6),
        (CtField::ProtoDst, None) => Some(CT_PROTO_DST),
        _ => None,
    }
}

fn decode_dynset(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let is_plain = e.u32(attribute::DYNSET_OP)? == DYNSET_UPDATE
        && e.u32(attribute::DYNSET_FLAGS).unwrap_or(0) == 0;
    is_plain.then_some(())?;
    Some(Instruction::Update {
        map: Name::new(e.str(attribute::DYNSET_SET)?),
        key: read_register(e.u32(attribute::DYNSET_KEY)?)?,
        data: read_register(e.u32(attribute::DYNSET_DATA)?)?,
        timeout: e.u64(attribute::DYNSET_TIMEOUT)?,
    })
}

fn decode_fib(e: &ExpressionRef<'_>) -> Option<Instruction> {
    (e.u32(attribute::FIB_RESULT)? == FIB_RESULT_ADDRTYPE).then_some(())?;
    let dreg = read_register(e.u32(attribute::FIB_DREG)?)?;
    match e.u32(attribute::FIB_FLAGS)? {
        FIB_F_DADDR => Some(Instruction::LoadFibDaddrType(dreg)),
        FIB_F_SADDR => Some(Instruction::LoadFibSaddrType(dreg)),
        _ => None,
    }
}

fn decode_numgen(e: &ExpressionRef<'_>) -> Option<Instruction> {
    (e.u32(attribute::NUMGEN_TYPE)? == NUMGEN_RANDOM).then_some(())?;
    Some(Instruction::Random {
        modulus: e.u32(attribute::NUMGEN_MODULUS)?,
        offset: e.u32(attribute::NUMGEN_OFFSET).unwrap_or(0),
        dreg: read_register(e.u32(attribute::NUMGEN_DREG)?)?,
    })
}

fn decode_hash(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let is_plain = e.u32(attribute::HASH_TYPE)? == HASH_JENKINS
        && e.u32(attribute::HASH_OFFSET).unwrap_or(0) == 0;
    is_plain.then_some(())?;
    Some(Instruction::Hash {
        sreg: read_register(e.u32(attribute::HASH_SREG)?)?,
        len: e.u32(attribute::HASH_LEN)?,
        modulus: e.u32(attribute::HASH_MODULUS)?,
        seed: e.u32(attribute::HASH_SEED)?,
        dreg: read_register(e.u32(attribute::HASH_DREG)?)?,
    })
}

fn decode_bitwise(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let word = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u32::from_ne_bytes);
    (e.u32(attribute::BITWISE_OP).unwrap_or(BITWISE_BOOL) == BITWISE_BOOL).then_some(())?;
    Some(Instruction::Bitwise(BitwiseOp {
        sreg: read_register(e.u32(attribute::BITWISE_SREG)?)?,
        dreg: read_register(e.u32(attribute::BITWISE_DREG)?)?,
        mask: word(e.bytes(attribute::BITWISE_MASK))?,
        xor: word(e.bytes(attribute::BITWISE_XOR))?,
    }))
}

fn decode_cmp(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let op = match e.u32(attribute::CMP_OP)? {
        CMP_EQ => CmpOp::Eq,
        CMP_NEQ => CmpOp::Neq,
        _ => return None,
    };
    let sreg = read_register(e.u32(attribute::CMP_SREG)?)?;
    let data = RawKey::from_bytes(e.bytes(attribute::CMP_DATA)?)?;
    Some(Instruction::Cmp { op, sreg, data })
}

fn decode_lookup(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let target = match e.u32(attribute::LOOKUP_DREG) {
        None => LookupTarget::Nowhere,
        Some(REG_VERDICT) => LookupTarget::Verdict,
        Some(dreg) => LookupTarget::Data(read_register(dreg)?),
    };
    Some(Instruction::Lookup {
        set: Name::new(e.str(attribute::LOOKUP_SET)?),
        sreg: read_register(e.u32(attribute::LOOKUP_SREG)?)?,
        target,
        inverted: e.u32(attribute::LOOKUP_FLAGS).unwrap_or(0) & LOOKUP_F_INV != 0,
    })
}

fn decode_immediate(e: &ExpressionRef<'_>) -> Option<Instruction> {
    if let Some(data) = e.bytes(attribute::IMMEDIATE_DATA) {
        let value = u16::from_be_bytes(data.try_into().ok()?);
        let dreg = read_register(e.u32(attribute::IMMEDIATE_DREG)?)?;
        return Some(Instruction::LoadNumber { value, dreg });
    }
    let code = e.u32(attribute::IMMEDIATE_VERDICT)? as i32;
    read_verdict(code, e.str(attribute::IMMEDIATE_CHAIN)).map(Instruction::Verdict)
}

fn decode_nat(e: &ExpressionRef<'_>) -> Option<Instruction> {
    let address = e.u32(attribute::NAT_ADDR_MIN)?;
    let port = e.u32(attribute::NAT_PROTO_MIN)?;
    let is_plain = e.u32(attribute::NAT_TYPE)? == NAT_DNAT
        && e.u32(attribute::NAT_ADDR_MAX).is_none_or(|max| max == address)
        && e.u32(attribute::NAT_PROTO_MAX).is_none_or(|max| max == port)
        && e.u32(attribute::NAT_FLAGS).is_none_or(|flags| flags == NAT_ADDRESS_AND_PORT);
    is_plain.then_some(())?;
    Some(Instruction::Dnat {
        family: read_family(e.u32(attribute::NAT_FAMILY)?)?,
        address: read_register(address)?,
        port: read_register(port)?,
    })
}

fn load_meta(e: &mut Expression, key: u32, dreg: Register) {
    e.set_u32(attribute::META_KEY, key);
    e.set_u32(attribute::META_DREG, register(dreg));
}

fn load_fib(e: &mut Expression, flags: u32, dreg: Register) {
    e.set_u32(attribute::FIB_FLAGS, flags);
    e.set_u32(attribute::FIB_RESULT, FIB_RESULT_ADDRTYPE);
    e.set_u32(attribute::FIB_DREG, register(dreg));
}

fn load_ct(e: &mut Expression, key: u32, dreg: Register) {
    e.set_u32(attribute::CT_KEY, key);
    e.set_u32(attribute::CT_DREG, register(dreg));
}

/// `NFT_REG_1` to `NFT_REG_4` are 16 bytes long, `NFT_REG32_00` to `NFT_REG32_15` the words of
/// these. The kernel reports the short name where there is one.
fn register(register: Register) -> u32 {
    let word = u32::from(register.0);
    if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
}

fn read_register(number: u32) -> Option<Register> {
    match number {
        1..=4 => Some(Register(4 * (number as u8 - 1))),
        8..=23 => Some(Register(number as u8 - 8)),
        _ => None,
    }
}

/// A verdict's code in netlink, and the chain that it names.
pub(super) fn verdict_code(verdict: &Verdict) -> (i32, Option<&Name>) {
    match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Continue => (libc::NFT_CONTINUE, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
    }
}

/// The verdict of a code.
pub(super) fn read_verdict(code: i32, chain: Option<String>) -> Option<Verdict> {
    match code {
        libc::NF_ACCEPT => Some(Verdict::Accept),
        libc::NF_DROP => Some(Verdict::Drop),
        libc::NFT_RETURN => Some(Verdict::Return),
        libc::NFT_CONTINUE => Some(Verdict::Continue),
        libc::NFT_JUMP => Some(Verdict::Jump(Name::new(chain?))),
        libc::NFT_GOTO => Some(Verdict::Goto(Name::new(chain?))),
        _ => None,
    }
}

/// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
pub(super) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::Ipv4 => libc::NFPROTO_IPV4 as u8,
        Family::Ipv6 => libc::NFPROTO_IPV6 as u8,
    }
}

fn read_family(number: u32) -> Option<Family> {
    Family::ALL.into_iter().find(|&family| u32::from(protocol_family(family)) == number)
}
