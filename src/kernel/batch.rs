//! Encodes a transaction as one netlink batch, and maps an error in the kernel's answer back to the operation
//! that caused it.

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{
    BaseChain, ChainKind, Concatenation, Data, Element, Elements, Hook, Name, RawKey, RawValue,
    Rule, Selector, SetData, SetSpec, TABLE, compile_rule,
};
use weir_rules::transaction::{Action, Operation, Transaction};

use super::attribute::{chain, element, rule, set, table};
use super::expression::{encode, protocol_family, verdict_code};
use super::message::{HEADERS, MAX_ELEMENT_BYTES, MessageWriter, Scratch, attributes};
use super::object;
use super::userdata;

/// A message gets no more elements once it is this long: the list is one attribute, whose length
/// has 16 bits, and one element more must fit.
const ELEMENTS_BYTES: usize = u16::MAX as usize - 2 * MAX_ELEMENT_BYTES;

/// `NFTA_SET_ELEM_LIST_TABLE`, `_SET`, `_ELEMENTS` of linux/netfilter/nf_tables.h.
pub(super) const SET_ELEM_LIST_TABLE: u16 = 1;
pub(super) const SET_ELEM_LIST_SET: u16 = 2;
pub(super) const SET_ELEM_LIST_ELEMENTS: u16 = 3;
/// `NFTA_RULE_EXPRESSIONS`.
const RULE_EXPRESSIONS: u16 = 4;
/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEM: u16 = 1;
/// `NFT_SET_MAP`, `NFT_SET_INTERVAL`.
const SET_F_MAP: u32 = libc::NFT_SET_MAP as u32;
const SET_F_INTERVAL: u32 = libc::NFT_SET_INTERVAL as u32;
/// `NFT_SET_EVAL | NFT_SET_TIMEOUT`: nft's `dynamic,timeout`.
pub(super) const SET_F_DYNAMIC: u32 = (libc::NFT_SET_EVAL | libc::NFT_SET_TIMEOUT) as u32;
/// `NFT_DATA_VERDICT`: the data type of verdict maps.
pub(super) const DATA_VERDICT: u32 = 0xffff_ff00;
/// Bits of one part of a concatenated type in `NFTA_SET_KEY_TYPE` (nft's `TYPE_BITS`).
const TYPE_BITS: u32 = 6;

/// `NFT_MSG_DESTROYSETELEM` of linux/netfilter/nf_tables.h: deletes the elements that exist.
const MSG_DESTROYSETELEM: i32 = 30;

/// `NLM_F_*` of the operations that create.
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

/// The bytes of a batch and where each message came from.
pub(super) struct NetlinkBatch<'a> {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    scratch: &'a mut Scratch,
    /// The sequence number of the batch as a whole; its messages have the following ones.
    sequence: u32,
    /// Whether the kernel can be asked to delete elements that may have expired.
    destroys: bool,
}

/// Where a message of a batch came from.
struct Message {
    /// Where it begins in the batch.
    start: usize,
    /// The operation, by its index.
    operation: usize,
    /// For a message of elements: the part of the operation that each of its elements is.
    /// Otherwise the part that the message is.
    parts: Vec<u32>,
}

/// What the kernel's error is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    /// The operation, by its index; `None` for the batch as a whole.
    pub(super) operation: Option<usize>,
    /// The part of it; `None` if the kernel does not say which of several.
    pub(super) part: Option<usize>,
    /// In a rule, the expression.
    pub(super) expression: Option<usize>,
}

impl<'a> NetlinkBatch<'a> {
    /// Encodes a transaction, with this sequence number and those behind it. Learned elements that
    /// have expired meanwhile are no error if the kernel can be asked for that. With a generation,
    /// the kernel refuses it (`ERESTART`) if its ruleset is of another one by then.
    pub(super) fn new(
        transaction: &Transaction,
        generation: Option<u32>,
        sequence: u32,
        destroys: bool,
        scratch: &'a mut Scratch,
    ) -> Self {
        let mut batch = Self::begin(generation, sequence, destroys, scratch);
        for (index, operation) in transaction.operations.iter().enumerate() {
            batch.push_operation(index, operation);
        }
        batch.end();
        batch
    }

    /// The beginning of a batch.
    pub(super) fn begin(
        generation: Option<u32>,
        sequence: u32,
        destroys: bool,
        scratch: &'a mut Scratch,
    ) -> Self {
        let messages = Vec::new();
        let mut batch = Self { bytes: Vec::new(), messages, scratch, sequence, destroys };
        batch.push_control(libc::NFNL_MSG_BATCH_BEGIN as u16, generation);
        batch
    }

    /// Writes the end of the batch.
    pub(super) fn end(&mut self) {
        self.acknowledge_last();
        self.push_control(libc::NFNL_MSG_BATCH_END as u16, None);
    }

    /// What to send, in one datagram.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence number of the last message, whose acknowledgement says that all were
    /// processed.
    pub(super) fn last_sequence(&self) -> u32 {
        self.sequence.wrapping_add(self.messages.len() as u32)
    }

    /// Whether an answer with this sequence number is about this batch.
    pub(super) fn contains(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.sequence) as usize <= self.messages.len()
    }

    /// The operation that an error concerns, by its message and the offset in it, if the kernel reported one.
    pub(super) fn culprit(&self, sequence: u32, offset: Option<u32>) -> Culprit {
        let index = sequence.wrapping_sub(self.sequence) as usize;
        let Some(message) = index.checked_sub(1).and_then(|i| self.messages.get(i)) else {
            return Culprit { operation: None, part: None, expression: None };
        };
        let bytes = &self.bytes[message.start..];
        let at = |list| offset.and_then(|offset| index_in_list(bytes, list, offset as usize));
        let part = match (message.parts.as_slice(), at(SET_ELEM_LIST_ELEMENTS)) {
            ([part], _) => Some(*part),
            (parts, Some(index)) => parts.get(index).copied(),
            (_, None) => None,
        };
        Culprit {
            operation: Some(message.operation),
            part: part.map(|part| part as usize),
            expression: at(RULE_EXPRESSIONS),
        }
    }

    fn push_control(&mut self, kind: u16, generation: Option<u32>) {
        // The kernel reads the subsystem from here, in network order.
        let subsystem = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be();
        let mut message =
            self.scratch.begin(kind, libc::AF_UNSPEC as u8, 0, self.sequence, subsystem);
        if let Some(generation) = generation {
            message.put(libc::NFNL_BATCH_GENID as u16, &generation.to_be_bytes());
        }
        let bytes = message.finish();
        self.bytes.extend_from_slice(bytes);
    }

    /// Asks for an acknowledgement of the last operation.
    fn acknowledge_last(&mut self) {
        if let Some(last) = self.messages.last() {
            // `nlmsg_flags` follows `nlmsg_len` and `nlmsg_type`.
            let at = last.start + 6..last.start + 8;
            let flags: [u8; 2] =
                self.bytes[at.clone()].try_into().expect("`nlmsg_flags` has two bytes");
            let flags = u16::from_ne_bytes(flags) | libc::NLM_F_ACK as u16;
            self.bytes[at].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// Appends a message about an operation, given by its index and family.
    pub(super) fn push(
        &mut self,
        operation: (usize, Family),
        kind: i32,
        flags: u16,
        parts: Vec<u32>,
        write: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let (operation, family) = operation;
        self.messages.push(Message { start: self.bytes.len(), operation, parts });
        let sequence = self.last_sequence();
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
        let mut message = self.scratch.begin(kind, protocol_family(family), flags, sequence, 0);
        write(&mut message);
        self.bytes.extend_from_slice(message.finish());
    }

    fn push_operation(&mut self, index: usize, operation: &Operation) {
        let at = (index, operation.family);
        match &operation.action {
            Action::AddTable { comment } => self.push_table(at, true, comment.as_deref()),
            Action::DeleteTable { .. } => self.push_table(at, false, None),
            Action::AddSet { name, spec } => {
                // Any number that no other set of this batch has.
                let id = self.messages.len() as u32 + 1;
                self.push(at, libc::NFT_MSG_NEWSET, CREATE, vec![0], |message| {
                    encode_set(name, spec, operation.family, id).write(message);
                });
            }
            Action::DeleteSet { name, .. } => {
                self.push(at, libc::NFT_MSG_DELSET, 0, vec![0], |message| {
                    let mut it = object::Set::new();
                    it.set_str(set::TABLE, TABLE);
                    it.set_str(set::NAME, name.as_str());
                    it.write(message);
                });
            }
            Action::AddChain { name, base, comment } => {
                self.push(at, libc::NFT_MSG_NEWCHAIN, CREATE, vec![0], |message| {
                    encode_chain(name, base.as_ref(), comment.as_deref()).write(message);
                });
            }
            Action::DeleteChain { name, .. } => {
                self.push(at, libc::NFT_MSG_DELCHAIN, 0, vec![0], |message| {
                    encode_chain(name, None, None).write(message);
                });
            }
            Action::ReplaceRules { chain, old, new } => {
                if !old.is_empty() {
                    // Without a handle, all rules of the chain.
                    self.push(at, libc::NFT_MSG_DELRULE, 0, vec![0], |message| {
                        encode_rule(chain, &Rule::default(), operation.family).write(message);
                    });
                }
                for (part, rule) in (1..).zip(new) {
                    self.push(at, libc::NFT_MSG_NEWRULE, CREATE | APPEND, vec![part], |message| {
                        encode_rule(chain, rule, operation.family).write(message);
                    });
                }
            }
            Action::AddElements { set, spec, elements } => {
                self.push_elements(at, libc::NFT_MSG_NEWSETELEM, CREATE, set, spec, elements);
            }
            Action::DeleteElements { set, spec, elements } => {
                let kind = match spec.dynamic {
                    Some(_) if self.destroys => MSG_DESTROYSETELEM,
                    _ => libc::NFT_MSG_DELSETELEM,
                };
                self.push_elements(at, kind, 0, set, spec, elements);
            }
        }
    }

    fn push_table(&mut self, at: (usize, Family), add: bool, comment: Option<&str>) {
        let (kind, flags) =
            if add { (libc::NFT_MSG_NEWTABLE, CREATE) } else { (libc::NFT_MSG_DELTABLE, 0) };
        self.push(at, kind, flags, vec![0], |message| {
            let mut it = object::Table::new();
            it.set_str(table::NAME, TABLE);
            if let Some(comment) = comment {
                it.set_bytes(table::USERDATA, &userdata::comment(comment));
            }
            it.write(message);
        });
    }

    /// As many messages as the elements need.
    fn push_elements(
        &mut self,
        at: (usize, Family),
        kind: i32,
        flags: u16,
        name: &Name,
        spec: &SetSpec,
        elements: &Elements,
    ) {
        let (_, family) = at;
        let mut pending = (0..)
            .zip(elements)
            .flat_map(|(part, (key, element))| {
                kernel_elements(key, element, spec, family).map(move |element| (part, element))
            })
            .peekable();
        while pending.peek().is_some() {
            let mut parts = Vec::new();
            let filled = &mut parts;
            self.push(at, kind, flags, Vec::new(), |message| {
                message.put(SET_ELEM_LIST_TABLE, format!("{TABLE}\0").as_bytes());
                message.put(SET_ELEM_LIST_SET, format!("{name}\0").as_bytes());
                message.nest(SET_ELEM_LIST_ELEMENTS, |message| {
                    while message.len() < ELEMENTS_BYTES {
                        let Some((part, element)) = pending.next() else { break };
                        message.nest(LIST_ELEM, |message| message.put_element(&element));
                        filled.push(part);
                    }
                });
            });
            self.messages.last_mut().expect("this operation's message was just pushed").parts =
                parts;
        }
    }
}

/// The kernel's elements for one of the model's: a range has one at its first address and, unless
/// it is open, one behind its last.
fn kernel_elements(
    key: &RawKey,
    element: &Element,
    spec: &SetSpec,
    family: Family,
) -> impl Iterator<Item = object::Element> {
    let mut first = object::Element::new();
    first.set_bytes(element::KEY, reorder(key, &spec.key, family).as_bytes());
    let mut end = None;
    match (&element.data, &spec.data) {
        (Data::RangeEnd(last), _) => match successor(last) {
            Some(behind) => {
                let mut it = object::Element::new();
                it.set_u32(element::FLAGS, libc::NFT_SET_ELEM_INTERVAL_END as u32);
                it.set_bytes(element::KEY, behind.as_bytes());
                end = Some(it);
            }
            None => first.set_bytes(element::USERDATA, &userdata::open_interval()),
        },
        (Data::Verdict(verdict), _) => {
            let (code, chain) = verdict_code(verdict);
            first.set_u32(element::VERDICT, code as u32);
            if let Some(chain) = chain {
                first.set_str(element::CHAIN, chain.as_str());
            }
        }
        (Data::Values(values), SetData::Values(selectors)) => {
            first.set_bytes(element::DATA, reorder(values, selectors, family).as_bytes());
        }
        (Data::Learned(values, lifetime), SetData::Values(selectors)) => {
            first.set_bytes(element::DATA, reorder(values, selectors, family).as_bytes());
            first.set_u64(element::TIMEOUT, lifetime.timeout);
            first.set_u64(element::EXPIRATION, lifetime.expires);
        }
        _ => {}
    }
    if let Some(comment) = &element.comment {
        first.set_bytes(element::USERDATA, &userdata::comment(comment));
    }
    [Some(first), end].into_iter().flatten()
}

/// The next address, if there is one.
fn successor(address: &RawValue) -> Option<RawValue> {
    let mut bytes = address.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            return RawValue::from_bytes(&bytes);
        }
    }
    None
}

/// Swaps the parts of a concatenation that the kernel holds in the host's byte order.
pub(super) fn reorder<const N: usize>(
    key: &Concatenation<N>,
    selectors: &[Selector],
    family: Family,
) -> Concatenation<N> {
    let mut bytes = [0; N];
    let bytes = &mut bytes[..key.as_bytes().len()];
    bytes.copy_from_slice(key.as_bytes());
    let mut start = 0;
    for selector in selectors {
        let end = start + selector.padded_width(family);
        if let (true, Some(part)) = (selector.is_host_order(), bytes.get_mut(start..end)) {
            let value =
                u32::from_be_bytes(part.try_into().expect("values in host order have four bytes"));
            part.copy_from_slice(&value.to_ne_bytes());
        }
        start = end;
    }
    Concatenation::from_bytes(bytes).expect("the length is unchanged")
}

fn encode_set(name: &Name, spec: &SetSpec, family: Family, id: u32) -> object::Set {
    let mut it = object::Set::new();
    let mut flags = 0;
    it.set_str(set::TABLE, TABLE);
    it.set_str(set::NAME, name.as_str());
    it.set_u32(set::ID, id);
    it.set_u32(set::KEY_TYPE, concatenated_type(&spec.key, family));
    it.set_u32(set::KEY_LEN, concatenated_width(&spec.key, family));
    match &spec.data {
        SetData::Nothing => {}
        SetData::Verdict => {
            flags |= SET_F_MAP;
            it.set_u32(set::DATA_TYPE, DATA_VERDICT);
            it.set_u32(set::DATA_LEN, 0);
        }
        SetData::Values(data) => {
            flags |= SET_F_MAP;
            it.set_u32(set::DATA_TYPE, concatenated_type(data, family));
            it.set_u32(set::DATA_LEN, concatenated_width(data, family));
        }
    }
    if spec.interval {
        flags |= SET_F_INTERVAL;
    }
    if let Some(size) = spec.dynamic {
        flags |= SET_F_DYNAMIC;
        it.set_u32(set::SIZE, size);
    }
    it.set_u32(set::FLAGS, flags);
    it.set_bytes(set::USERDATA, &userdata::set(spec, family));
    if spec.counter {
        it.push(object::Expression::new("counter").expect("libnftnl has the counter expression"));
    }
    it
}

/// The type of a concatenation: six bits for each part.
pub(super) fn concatenated_type(key: &[Selector], family: Family) -> u32 {
    key.iter().fold(0, |kind, part| kind << TYPE_BITS | part.data_type(family) as u32)
}

/// The length of a concatenation in bytes; a single value is not padded.
pub(super) fn concatenated_width(key: &[Selector], family: Family) -> u32 {
    match key {
        [single] => single.width(family) as u32,
        parts => parts.iter().map(|part| part.padded_width(family) as u32).sum(),
    }
}

fn encode_chain(name: &Name, base: Option<&BaseChain>, comment: Option<&str>) -> object::Chain {
    let mut it = object::Chain::new();
    it.set_str(chain::TABLE, TABLE);
    it.set_str(chain::NAME, name.as_str());
    if let Some(base) = base {
        it.set_str(chain::TYPE, chain_type(base.kind));
        it.set_u32(chain::HOOK, base.hook as u32);
        it.set_u32(chain::PRIORITY, base.priority as u32);
        let policy = if base.drop { libc::NF_DROP } else { libc::NF_ACCEPT };
        it.set_u32(chain::POLICY, policy as u32);
    }
    if let Some(comment) = comment {
        it.set_bytes(chain::USERDATA, &userdata::comment(comment));
    }
    it
}

/// The name of a chain type.
pub(super) fn chain_type(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

/// The hook of a number.
pub(super) fn hook(number: u32) -> Option<Hook> {
    [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
        .into_iter()
        .find(|&hook| hook as u32 == number)
}

fn encode_rule(chain: &Name, rule: &Rule, family: Family) -> object::Rule {
    let mut it = object::Rule::new();
    it.set_str(rule::TABLE, TABLE);
    it.set_str(rule::CHAIN, chain.as_str());
    for instruction in compile_rule(rule, family) {
        // Only a foreign statement can be unknown, and no desired ruleset has one.
        let name = instruction.expression().to_owned();
        it.push(encode(&instruction).unwrap_or_else(|| panic!("libnftnl knows {name}")));
    }
    if let Some(comment) = &rule.comment {
        it.set_bytes(rule::USERDATA, &userdata::comment(comment));
    }
    it
}

/// In a message, the index of the entry of a list attribute that holds an offset.
fn index_in_list(message: &[u8], list: u16, offset: usize) -> Option<usize> {
    let length = u32::from_ne_bytes(message.first_chunk().copied()?) as usize;
    let message = message.get(..length)?;
    let (start, end, _) =
        attributes(message, HEADERS, length).find(|&(_, _, kind)| kind == list)?;
    attributes(message, start + 4, end).position(|(start, end, _)| (start..end).contains(&offset))
}
