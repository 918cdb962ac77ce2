//! Reading weir's tables back from the kernel, into the model that they were written from.

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{
    BaseChain, Chain, ChainKind, Data, Element, Elements, Lifetime, MAX_KEY_BYTES, Name, RawKey,
    Ruleset, Set, SetData, SetSpec, TABLE, Table, decompile_rule,
};

use super::attribute::{chain, element, rule, set, table};
use super::batch::{
    DATA_VERDICT, SET_F_DYNAMIC, chain_type, concatenated_type, concatenated_width, hook, reorder,
};
use super::error::DumpError;
use super::exchange::{Answer, Failure, exchange, refused};
use super::expression::{decode, protocol_family, read_verdict};
use super::message::{Reply, Scratch, find_attribute};
use super::object::{self, AlignedMessage, ElementRef};
use super::socket::Socket;
use super::userdata;

/// How often a dump is tried again when the ruleset changes under it.
const ATTEMPTS: u32 = 20;
/// How many of these insist that nobody changes anything. The kernel counts changes to all tables,
/// and where others change theirs without rest a large dump would never come to an end.
const STRICT_ATTEMPTS: u32 = 4;

/// The attribute that names the table in requests for chains, rules, sets and elements, and the
/// one that names the set in requests for elements, or the chain in requests for rules.
pub(super) const REQUEST_TABLE: u16 = 1;
pub(super) const REQUEST_SET: u16 = 2;
/// `NFTA_CHAIN_NAME`, in requests for one chain.
const CHAIN_NAME: u16 = 3;
/// `NFTA_GEN_ID`.
pub(super) const GEN_ID: u16 = 1;

const SET_F_ANONYMOUS: u32 = libc::NFT_SET_ANONYMOUS as u32;
const SET_F_INTERVAL: u32 = libc::NFT_SET_INTERVAL as u32;
const SET_F_MAP: u32 = libc::NFT_SET_MAP as u32;
/// `NFT_SET_EXPR` of linux/netfilter/nf_tables.h: elements have expressions.
const SET_F_EXPR: u32 = 0x100;
/// `NFT_CHAIN_BINDING` of the same header.
const CHAIN_F_BINDING: u32 = 1 << 2;
/// `NFT_MSG_GETFLOWTABLE` of the same header.
const MSG_GETFLOWTABLE: i32 = 23;
const ELEM_F_INTERVAL_END: u32 = libc::NFT_SET_ELEM_INTERVAL_END as u32;

/// weir's tables at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What they hold.
    pub ruleset: Ruleset,
    /// The generation of the kernel's ruleset: another number after every commit by anybody.
    /// `None` if others changed nf_tables while weir's tables were read, so that what was read may
    /// be of several moments.
    pub generation: Option<u32>,
}

/// Reads weir's tables.
pub(super) fn dump(
    socket: &mut Socket,
    scratch: &mut Scratch,
    sequence: &mut u32,
) -> Result<Snapshot, DumpError> {
    let (ruleset, generation) = steadily(socket, scratch, sequence, |reader| reader.ruleset())?;
    Ok(Snapshot { ruleset, generation })
}

/// Reads until nothing changes meanwhile, and gives what was read with its generation; after some
/// attempts, without.
pub(super) fn steadily<T>(
    socket: &mut Socket,
    scratch: &mut Scratch,
    sequence: &mut u32,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Failure>,
) -> Result<(T, Option<u32>), DumpError> {
    let mut reader = Reader { socket, scratch, sequence, strict: true };
    for attempt in 1..=ATTEMPTS {
        reader.strict = attempt <= STRICT_ATTEMPTS;
        let generation = reader.generation()?;
        match read(&mut reader) {
            Ok(found) => {
                let is_unchanged = reader.generation()? == generation;
                if is_unchanged || !reader.strict {
                    return Ok((found, is_unchanged.then_some(generation)));
                }
            }
            Err(Failure::Interrupted) => {}
            Err(Failure::Final(error)) => return Err(error),
        }
    }
    Err(DumpError::Unsteady { attempts: ATTEMPTS })
}

/// The generation of the kernel's ruleset.
pub(super) fn generation(
    socket: &mut Socket,
    scratch: &mut Scratch,
    sequence: &mut u32,
) -> Result<u32, DumpError> {
    Reader { socket, scratch, sequence, strict: true }.generation()
}

pub(super) struct Reader<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) scratch: &'a mut Scratch,
    /// The last sequence number that was used.
    pub(super) sequence: &'a mut u32,
    /// Whether a dump that the kernel says was interrupted is given up.
    strict: bool,
}

impl Reader<'_> {
    /// weir's tables.
    fn ruleset(&mut self) -> Result<Ruleset, Failure> {
        let mut ruleset = Ruleset::default();
        for family in Family::ALL {
            if let Some(mut table) = self.table(family)? {
                self.chains(family, &mut table)?;
                self.rules(family, &mut table)?;
                self.sets(family, &mut table)?;
                self.others(family, &mut table)?;
                ruleset.tables.insert(family, table);
            }
        }
        Ok(ruleset)
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        let mut id = None;
        let kind = libc::NFT_MSG_GETGEN;
        let each = |message: AlignedMessage<'_>| {
            id = find_attribute(message.bytes(), GEN_ID)
                .and_then(|value| value.try_into().ok())
                .map(u32::from_be_bytes);
            id.map(|_| ())
        };
        self.request("the generation", kind, None, libc::NLM_F_ACK as u16, [], each).map_err(
            |failure| match failure {
                Failure::Final(error) => error,
                Failure::Interrupted => DumpError::Unsteady { attempts: 1 },
            },
        )?;
        id.ok_or(DumpError::Undecodable { what: "the generation" })
    }

    /// The table of a family, with nothing in it.
    pub(super) fn table(&mut self, family: Family) -> Result<Option<Table>, Failure> {
        let mut found = None;
        let names = [(REQUEST_TABLE, TABLE)];
        self.single("the table", libc::NFT_MSG_GETTABLE, family, &names, |message| {
            let it = object::Table::parse(&message)?;
            if it.str(table::NAME).as_deref() == Some(TABLE) {
                let comment = it.bytes(table::USERDATA).and_then(userdata::read_comment);
                let flags = it.u32(table::FLAGS).filter(|&flags| flags != 0);
                let foreign = flags.map(|flags| format!("flags {flags:#x}"));
                found = Some(Table { comment, foreign, ..Table::default() });
            }
            Some(())
        })?;
        Ok(found)
    }

    pub(super) fn chains(&mut self, family: Family, table: &mut Table) -> Result<(), Failure> {
        self.dump("chains", libc::NFT_MSG_GETCHAIN, family, &[TABLE], |message| {
            let it = object::Chain::parse(&message)?;
            let is_ours = it.str(chain::TABLE).as_deref() == Some(TABLE);
            // A chain that is bound to a rule is part of it, as an anonymous set is.
            if is_ours && it.u32(chain::FLAGS).unwrap_or(0) & CHAIN_F_BINDING == 0 {
                let chain = Chain {
                    base: base_chain(&it),
                    comment: it.bytes(chain::USERDATA).and_then(userdata::read_comment),
                    rules: Vec::new(),
                };
                table.chains.insert(Name::new(it.str(chain::NAME)?), chain);
            }
            Some(())
        })
    }

    pub(super) fn rules(&mut self, family: Family, table: &mut Table) -> Result<(), Failure> {
        self.dump("rules", libc::NFT_MSG_GETRULE, family, &[TABLE], |message| {
            let it = object::Rule::parse(&message)?;
            if it.str(rule::TABLE).as_deref() != Some(TABLE) {
                return Some(());
            }
            let mut instructions = Vec::new();
            it.for_each_expression(|expression| instructions.push(decode(&expression)));
            let comment = it.bytes(rule::USERDATA).and_then(userdata::read_comment);
            // A chain that is not there was deleted in between, and the generation will tell.
            if let Some(chain) = table.chains.get_mut(it.str(rule::CHAIN)?.as_str()) {
                chain.rules.push(decompile_rule(&instructions, comment, family));
            }
            Some(())
        })
    }

    fn sets(&mut self, family: Family, table: &mut Table) -> Result<(), Failure> {
        self.definitions(family, table)?;
        for (name, set) in &mut table.sets {
            self.fill(family, name, set)?;
        }
        Ok(())
    }

    /// The sets, without elements.
    pub(super) fn definitions(&mut self, family: Family, table: &mut Table) -> Result<(), Failure> {
        self.dump("sets", libc::NFT_MSG_GETSET, family, &[TABLE], |message| {
            read_set(&message, family, table)
        })
    }

    /// Reads the elements of a set, if weir has words for what defines it.
    pub(super) fn fill(
        &mut self,
        family: Family,
        name: &Name,
        set: &mut Set,
    ) -> Result<(), Failure> {
        if set.spec.foreign.is_none() {
            let elements = self.elements(family, name, &set.spec)?;
            put_elements(set, elements);
        }
        Ok(())
    }

    /// Notes kinds of objects of which weir has none.
    pub(super) fn others(&mut self, family: Family, table: &mut Table) -> Result<(), Failure> {
        for (what, kind) in [("objects", libc::NFT_MSG_GETOBJ), ("flowtables", MSG_GETFLOWTABLE)] {
            let mut found = false;
            self.dump(what, kind, family, &[TABLE], |message| {
                // NFTA_OBJ_TABLE and NFTA_FLOWTABLE_TABLE have the number of the request's.
                let name = find_attribute(message.bytes(), REQUEST_TABLE);
                found |= name.is_some_and(|name| name.strip_suffix(&[0]) == Some(TABLE.as_bytes()));
                Some(())
            })?;
            if found {
                table.foreign.get_or_insert_with(|| format!("has {what}"));
            }
        }
        Ok(())
    }

    /// The elements of a set; `None` if there are some that weir has no words for.
    fn elements(
        &mut self,
        family: Family,
        name: &Name,
        spec: &SetSpec,
    ) -> Result<Option<Elements>, Failure> {
        let mut points = Vec::new();
        let mut all_known = true;
        let (kind, attributes) = (libc::NFT_MSG_GETSETELEM, [TABLE, name.as_str()]);
        self.dump("elements", kind, family, &attributes, |message| {
            let list = object::Set::parse_elements(&message)?;
            list.for_each_element(|it| match read_element(&it, spec, family) {
                Some(point) => points.push(point),
                None => all_known = false,
            });
            Some(())
        })?;
        if !all_known {
            return Ok(None);
        }
        if spec.interval {
            return Ok(Some(join_intervals(points)));
        }
        let count = points.len();
        let elements: Elements =
            points.into_iter().map(|(key, _, element)| (key, element)).collect();
        // The kernel continues a dump by counting elements from the start. While it moves them to
        // a larger hash table, on a worker and in the same generation, their order changes, and
        // for each that is missed another comes twice.
        // Packets make dynamic maps grow at any time.
        let is_settled = elements.len() == count || spec.dynamic.is_some() && !self.strict;
        if !is_settled { Err(Failure::Interrupted) } else { Ok(Some(elements)) }
    }

    /// Asks for a dump and calls `each` with every message of it.
    pub(super) fn dump(
        &mut self,
        what: &'static str,
        kind: i32,
        family: Family,
        names: &[&str],
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), Failure> {
        let names = [REQUEST_TABLE, REQUEST_SET].into_iter().zip(names.iter().copied());
        self.request(what, kind, Some(family), libc::NLM_F_DUMP as u16, names, each)
    }

    /// Asks for one chain and calls `each` with the message about it, if it is there.
    pub(super) fn chain(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), Failure> {
        let names = [(REQUEST_TABLE, table), (CHAIN_NAME, chain)];
        self.single("a chain", libc::NFT_MSG_GETCHAIN, family, &names, each)
    }

    /// Asks for one thing and calls `each` with the message about it, if it is there.
    pub(super) fn single(
        &mut self,
        what: &'static str,
        kind: i32,
        family: Family,
        names: &[(u16, &str)],
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), Failure> {
        let names = names.iter().copied();
        match self.request(what, kind, Some(family), libc::NLM_F_ACK as u16, names, each) {
            // The kernel has no such thing, or no such table. Nothing else interrupts a single
            // answer.
            Err(Failure::Interrupted) => Ok(()),
            result => result,
        }
    }

    fn request<'n>(
        &mut self,
        what: &'static str,
        kind: i32,
        family: Option<Family>,
        flags: u16,
        names: impl IntoIterator<Item = (u16, &'n str)>,
        mut each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), Failure> {
        let sequence = self.next_sequence();
        let family = family.map_or(libc::AF_UNSPEC as u8, protocol_family);
        let mut request = self.scratch.begin(nf_tables(kind), family, flags, sequence, 0);
        for (attribute, name) in names {
            request.put(attribute, format!("{name}\0").as_bytes());
        }
        let mut interrupted = false;
        exchange(self.socket, what, request.finish(), |header, message| {
            if header.sequence != sequence {
                return Ok(Answer::Strange);
            }
            interrupted |= self.strict && header.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
            match header.reply(message) {
                Reply::Content => {
                    let taken = AlignedMessage::new(message).and_then(&mut each);
                    taken.ok_or(DumpError::Undecodable { what })?;
                    Ok(Answer::Part)
                }
                Reply::Status { .. } if interrupted => Err(Failure::Interrupted),
                Reply::Status { errno: 0, .. } => Ok(Answer::Last),
                Reply::Status { errno, .. } => Err(refused(what, errno)),
            }
        })
    }

    /// The next sequence number of the socket.
    pub(super) fn next_sequence(&mut self) -> u32 {
        *self.sequence = self.sequence.wrapping_add(1);
        *self.sequence
    }
}

/// The type of a message of nf_tables.
pub(super) fn nf_tables(kind: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16
}

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

fn base_chain(it: &object::Chain) -> Option<BaseChain> {
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

/// What defines a set; what weir has no words for is told in [`SetSpec::foreign`].
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
type Point = (RawKey, bool, Element);

pub(super) fn read_element(it: &ElementRef<'_>, spec: &SetSpec, family: Family) -> Option<Point> {
    let key = reorder(&RawKey::from_bytes(it.bytes(element::KEY)?)?, &spec.key, family);
    let data = match &spec.data {
        SetData::Nothing => Data::Nothing,
        SetData::Verdict => {
            let code = it.u32(element::VERDICT)? as i32;
            Data::Verdict(read_verdict(code, it.str(element::CHAIN))?)
        }
        SetData::Values(values) => {
            let data = RawKey::from_bytes(it.bytes(element::DATA)?)?;
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
    if flags & !ELEM_F_INTERVAL_END != 0 || ends_range && !spec.interval {
        return None;
    }
    Some((key, ends_range, Element { data, comment }))
}

/// Ranges from the points at which they begin and, one behind their last address, end.
fn join_intervals(mut points: Vec<Point>) -> Elements {
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
        let end = RawKey::from_bytes(&vec![0xff; start.as_bytes().len()]).expect("an address");
        ranges.insert(start, Element { data: Data::RangeEnd(end), ..element });
    }
    ranges
}

/// The address before one; the first has none, but no range ends there.
fn predecessor(address: &RawKey) -> RawKey {
    let mut bytes = address.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let (previous, borrow) = byte.overflowing_sub(1);
        *byte = previous;
        if !borrow {
            break;
        }
    }
    RawKey::from_bytes(&bytes).expect("as long as before")
}
