//! Reads parts of weir's tables.

use std::collections::{BTreeMap, BTreeSet};

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{Elements, Name, RawKey, Ruleset, Set, SetSpec, TABLE, Table};

use super::batch::{
    LIST_ELEM, SET_ELEM_LIST_ELEMENTS, SET_ELEM_LIST_SET, SET_ELEM_LIST_TABLE, concatenated_width,
    reorder,
};
use super::decode::{put_elements, read_element, read_set};
use super::dump::{DumpReader, REQUEST_SET, REQUEST_TABLE, Snapshot, nf_tables, steadily};
use super::error::DumpError;
use super::exchange::{AnswerPart, ExchangeError, exchange, refused};
use super::expression::protocol_family;
use super::message::{Reply, Scratch};
use super::monitor::{DATA_VALUE, SET_ELEM_KEY};
use super::object::{self, AlignedMessage};
use super::socket::Socket;

/// How many single elements are asked for in one datagram. All answers are there before the first
/// is read; the smallest receive buffer that a user namespace may get (`net.core.rmem_max`) holds
/// as many.
const KEYS_AT_ONCE: usize = 32;

/// Which parts of weir's tables are asked for, by family.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// The tables to read. Others are left out.
    pub tables: BTreeMap<Family, TableParts>,
}

/// Which parts of a table are asked for.
#[derive(Debug, Clone, Default)]
pub struct TableParts {
    /// Its comment and flags, all chains and rules, what defines each set, and whether it has
    /// objects of other kinds; no elements. Without this, the table is returned with just the sets
    /// that are asked for.
    pub structure: bool,
    /// Elements of these sets. Missing ones are left out.
    pub sets: BTreeMap<Name, SetParts>,
}

/// Which elements of a set are asked for.
#[derive(Debug, Clone)]
pub struct SetParts {
    /// The set's specification, as far as it is known. It is returned as the kernel has it.
    pub spec: SetSpec,
    /// Which of them.
    pub keys: Keys,
}

/// Some elements of a set.
#[derive(Debug, Clone)]
pub enum Keys {
    /// All of them.
    All,
    /// Those that are there of these, in the model's order; at a cost that does not depend on how
    /// many others there are. All are returned all the same if the set is of intervals or dynamic,
    /// or is not what it was thought to be.
    These(BTreeSet<RawKey>),
}

/// Reads these parts.
pub(super) fn read(
    socket: &mut Socket,
    scratch: &mut Scratch,
    sequence: &mut u32,
    parts: &Parts,
) -> Result<Snapshot, DumpError> {
    let (ruleset, generation) = steadily(socket, scratch, sequence, |reader| reader.parts(parts))?;
    Ok(Snapshot { ruleset, generation })
}

impl DumpReader<'_> {
    fn parts(&mut self, parts: &Parts) -> Result<Ruleset, ExchangeError> {
        let mut ruleset = Ruleset::default();
        for (&family, parts) in &parts.tables {
            if let Some(table) = self.table_parts(family, parts)? {
                ruleset.tables.insert(family, table);
            }
        }
        Ok(ruleset)
    }

    fn table_parts(
        &mut self,
        family: Family,
        parts: &TableParts,
    ) -> Result<Option<Table>, ExchangeError> {
        let Some(mut table) = self.table(family)? else { return Ok(None) };
        if parts.structure {
            self.chains(family, &mut table)?;
            self.rules(family, &mut table)?;
            self.definitions(family, &mut table)?;
            self.others(family, &mut table)?;
        } else {
            table = Table::default();
            for name in parts.sets.keys() {
                self.definition(family, name, &mut table)?;
            }
        }
        for (name, parts) in &parts.sets {
            if let Some(set) = table.sets.get_mut(name) {
                self.set_parts(family, name, parts, set)?;
            }
        }
        Ok(Some(table))
    }

    /// Reads the specification of one set, if it exists.
    fn definition(
        &mut self,
        family: Family,
        name: &Name,
        table: &mut Table,
    ) -> Result<(), ExchangeError> {
        let names = [(REQUEST_TABLE, TABLE), (REQUEST_SET, name.as_str())];
        self.single("a set", libc::NFT_MSG_GETSET, family, &names, |message| {
            read_set(&message, family, table)
        })
    }

    fn set_parts(
        &mut self,
        family: Family,
        name: &Name,
        parts: &SetParts,
        set: &mut Set,
    ) -> Result<(), ExchangeError> {
        match &parts.keys {
            Keys::These(keys)
                if set.spec == parts.spec && !set.spec.interval && set.spec.dynamic.is_none() =>
            {
                let elements = self.elements_of(family, name, &set.spec, keys)?;
                put_elements(set, elements);
                Ok(())
            }
            Keys::These(_) | Keys::All => self.fill(family, name, set),
        }
    }

    /// The elements of a set that have one of these keys; `None` if there are some that weir has no
    /// words for.
    fn elements_of(
        &mut self,
        family: Family,
        name: &Name,
        spec: &SetSpec,
        keys: &BTreeSet<RawKey>,
    ) -> Result<Option<Elements>, ExchangeError> {
        // The kernel takes no others (`EINVAL`), and has none.
        let width = concatenated_width(&spec.key, family) as usize;
        let keys: Vec<_> = keys.iter().filter(|key| key.as_bytes().len() == width).collect();
        let mut elements = Elements::new();
        let mut all_known = true;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut request = Vec::new();
            let first = self.sequence.wrapping_add(1);
            for key in keys {
                let key = reorder(key, &spec.key, family);
                request.extend_from_slice(self.element_request(family, name, &key));
            }
            let count = keys.len() as u32;
            let mut answered = 0;
            exchange(self.socket, "elements", &request, |header, message| {
                if header.sequence.wrapping_sub(first) >= count {
                    return Ok(AnswerPart::Strange);
                }
                match header.reply(message) {
                    Reply::Content => {
                        let list = AlignedMessage::new(message)
                            .and_then(|message| object::Set::parse_elements(&message))
                            .ok_or(DumpError::Undecodable { what: "elements" })?;
                        list.for_each_element(|it| match read_element(&it, spec, family) {
                            Some((key, _, element)) => drop(elements.insert(key, element)),
                            None => all_known = false,
                        });
                    }
                    // One that is not there. So is one whose set has just gone, and of that the
                    // generation will show it.
                    Reply::Status { errno: libc::ENOENT, .. } => {}
                    Reply::Status { errno, .. } => return Err(refused("elements", errno)),
                }
                answered += 1;
                Ok(if answered == count { AnswerPart::Last } else { AnswerPart::Part })
            })?;
        }
        Ok(all_known.then_some(elements))
    }

    /// Asks for one element. Each has a message of its own: of several in one, the kernel answers
    /// up to the first that is not there (`nf_tables_getsetelem` of nf_tables_api.c). It answers
    /// with the element or an error, so that an acknowledgement would be of no use.
    fn element_request(&mut self, family: Family, name: &Name, key: &RawKey) -> &[u8] {
        let sequence = self.next_sequence();
        let kind = nf_tables(libc::NFT_MSG_GETSETELEM);
        let mut request = self.scratch.begin(kind, protocol_family(family), 0, sequence, 0);
        request.put(SET_ELEM_LIST_TABLE, format!("{TABLE}\0").as_bytes());
        request.put(SET_ELEM_LIST_SET, format!("{name}\0").as_bytes());
        request.nest(SET_ELEM_LIST_ELEMENTS, |list| {
            list.nest(LIST_ELEM, |element| {
                element.nest(SET_ELEM_KEY, |value| value.put(DATA_VALUE, key.as_bytes()));
            });
        });
        request.finish()
    }
}
