//! Dumps weir's tables from the kernel into the model that they were written from.

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{Chain, Elements, Name, Ruleset, Set, SetSpec, TABLE, Table, decompile_rule};

use super::attribute::{chain, rule, table};
use super::decode::{base_chain, join_intervals, put_elements, read_element, read_set};
use super::error::DumpError;
use super::exchange::{AnswerPart, ExchangeError, exchange, refused};
use super::expression::{decode, protocol_family};
use super::message::{Reply, Scratch, find_attribute};
use super::object::{self, AlignedMessage};
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

/// `NFT_CHAIN_BINDING` of linux/netfilter/nf_tables.h.
const CHAIN_F_BINDING: u32 = 1 << 2;
/// `NFT_MSG_GETFLOWTABLE` of the same header.
const MSG_GETFLOWTABLE: i32 = 23;

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

/// Reads until nothing changes meanwhile, and returns what was read with its generation; after some
/// attempts, without.
pub(super) fn steadily<T>(
    socket: &mut Socket,
    scratch: &mut Scratch,
    sequence: &mut u32,
    mut read: impl FnMut(&mut DumpReader<'_>) -> Result<T, ExchangeError>,
) -> Result<(T, Option<u32>), DumpError> {
    let mut reader = DumpReader { socket, scratch, sequence, strict: true };
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
            Err(ExchangeError::Interrupted) => {}
            Err(ExchangeError::Final(error)) => return Err(error),
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
    DumpReader { socket, scratch, sequence, strict: true }.generation()
}

pub(super) struct DumpReader<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) scratch: &'a mut Scratch,
    /// The last sequence number that was used.
    pub(super) sequence: &'a mut u32,
    /// Whether a dump that the kernel says was interrupted is given up.
    strict: bool,
}

impl DumpReader<'_> {
    /// weir's tables.
    fn ruleset(&mut self) -> Result<Ruleset, ExchangeError> {
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
                ExchangeError::Final(error) => error,
                ExchangeError::Interrupted => DumpError::Unsteady { attempts: 1 },
            },
        )?;
        id.ok_or(DumpError::Undecodable { what: "the generation" })
    }

    /// The table of a family, with nothing in it.
    pub(super) fn table(&mut self, family: Family) -> Result<Option<Table>, ExchangeError> {
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

    pub(super) fn chains(
        &mut self,
        family: Family,
        table: &mut Table,
    ) -> Result<(), ExchangeError> {
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

    pub(super) fn rules(&mut self, family: Family, table: &mut Table) -> Result<(), ExchangeError> {
        self.dump("rules", libc::NFT_MSG_GETRULE, family, &[TABLE], |message| {
            let it = object::Rule::parse(&message)?;
            if it.str(rule::TABLE).as_deref() != Some(TABLE) {
                return Some(());
            }
            let mut instructions = Vec::new();
            it.for_each_expression(|expression| instructions.push(decode(&expression)));
            let comment = it.bytes(rule::USERDATA).and_then(userdata::read_comment);
            // A missing chain was deleted in between, which the generation will show.
            if let Some(chain) = table.chains.get_mut(it.str(rule::CHAIN)?.as_str()) {
                chain.rules.push(decompile_rule(&instructions, comment, family));
            }
            Some(())
        })
    }

    fn sets(&mut self, family: Family, table: &mut Table) -> Result<(), ExchangeError> {
        self.definitions(family, table)?;
        for (name, set) in &mut table.sets {
            self.fill(family, name, set)?;
        }
        Ok(())
    }

    /// The sets, without elements.
    pub(super) fn definitions(
        &mut self,
        family: Family,
        table: &mut Table,
    ) -> Result<(), ExchangeError> {
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
    ) -> Result<(), ExchangeError> {
        if set.spec.foreign.is_none() {
            let elements = self.elements(family, name, &set.spec)?;
            put_elements(set, elements);
        }
        Ok(())
    }

    /// Notes kinds of objects of which weir has none.
    pub(super) fn others(
        &mut self,
        family: Family,
        table: &mut Table,
    ) -> Result<(), ExchangeError> {
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
    ) -> Result<Option<Elements>, ExchangeError> {
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
        if !is_settled { Err(ExchangeError::Interrupted) } else { Ok(Some(elements)) }
    }

    /// Asks for a dump and calls `each` with every message of it.
    pub(super) fn dump(
        &mut self,
        what: &'static str,
        kind: i32,
        family: Family,
        names: &[&str],
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), ExchangeError> {
        let names = [REQUEST_TABLE, REQUEST_SET].into_iter().zip(names.iter().copied());
        self.request(what, kind, Some(family), libc::NLM_F_DUMP as u16, names, each)
    }

    /// Asks for one chain and calls `each` with the message about it, if it exists.
    pub(super) fn chain(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), ExchangeError> {
        let names = [(REQUEST_TABLE, table), (CHAIN_NAME, chain)];
        self.single("a chain", libc::NFT_MSG_GETCHAIN, family, &names, each)
    }

    /// Asks for one thing and calls `each` with the message about it, if it exists.
    pub(super) fn single(
        &mut self,
        what: &'static str,
        kind: i32,
        family: Family,
        names: &[(u16, &str)],
        each: impl FnMut(AlignedMessage<'_>) -> Option<()>,
    ) -> Result<(), ExchangeError> {
        let names = names.iter().copied();
        match self.request(what, kind, Some(family), libc::NLM_F_ACK as u16, names, each) {
            // The kernel has no such thing, or no such table. Nothing else interrupts a single
            // answer.
            Err(ExchangeError::Interrupted) => Ok(()),
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
    ) -> Result<(), ExchangeError> {
        let sequence = self.next_sequence();
        let family = family.map_or(libc::AF_UNSPEC as u8, protocol_family);
        let mut request = self.scratch.begin(nf_tables(kind), family, flags, sequence, 0);
        for (attribute, name) in names {
            request.put(attribute, format!("{name}\0").as_bytes());
        }
        let mut interrupted = false;
        exchange(self.socket, what, request.finish(), |header, message| {
            if header.sequence != sequence {
                return Ok(AnswerPart::Strange);
            }
            interrupted |= self.strict && header.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
            match header.reply(message) {
                Reply::Content => {
                    let taken = AlignedMessage::new(message).and_then(&mut each);
                    taken.ok_or(DumpError::Undecodable { what })?;
                    Ok(AnswerPart::Part)
                }
                Reply::Status { .. } if interrupted => Err(ExchangeError::Interrupted),
                Reply::Status { errno: 0, .. } => Ok(AnswerPart::Last),
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
