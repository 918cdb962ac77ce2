//! Decodes NFNLGRP_NFTABLES notifications.
//!
//! The kernel sends one message for each object of a commit, then `NFT_MSG_NEWGEN` (`nf_tables_commit` of
//! net/netfilter/nf_tables_api.c), several messages to a datagram. All carry the port id of the socket that
//! sent the transaction, and commits never interleave: the kernel holds a lock until the last message is out.
//! It increments the generation before it sends the first.

use std::collections::BTreeSet;

use nftnl::nftnl_sys::libc;
use weir_rules::cluster::Family;
use weir_rules::nft::{RawKey, TABLE};

use super::foreign::{ForeignChanges, ForeignCommit, Process, Suspects, TableSuspects};
use crate::kernel::batch::{LIST_ELEM, SET_ELEM_LIST_ELEMENTS, SET_ELEM_LIST_SET};
use crate::kernel::dump::GEN_ID;
use crate::kernel::expression::protocol_family;
use crate::kernel::message::{HEADERS, Header, attributes, find_attribute, nested_attribute};

/// The attribute that names the table, in messages about anything in it: `NFTA_TABLE_NAME`,
/// `NFTA_CHAIN_TABLE` and so on of linux/netfilter/nf_tables.h.
const OBJECT_TABLE: u16 = 1;
/// `NFTA_SET_ELEM_KEY` and `NFTA_DATA_VALUE`.
pub(in crate::kernel) const SET_ELEM_KEY: u16 = 1;
pub(in crate::kernel) const DATA_VALUE: u16 = 1;
/// `NFTA_GEN_PROC_PID`, `NFTA_GEN_PROC_NAME`.
const GEN_PROC_PID: u16 = 2;
const GEN_PROC_NAME: u16 = 3;

// `NFT_MSG_*` of linux/netfilter/nf_tables.h. What a `destroy` has deleted is announced under its
// own name (since 6.3).
const NEWTABLE: u16 = libc::NFT_MSG_NEWTABLE as u16;
const DELTABLE: u16 = libc::NFT_MSG_DELTABLE as u16;
const DESTROYTABLE: u16 = 26;
const NEWSETELEM: u16 = libc::NFT_MSG_NEWSETELEM as u16;
const DELSETELEM: u16 = libc::NFT_MSG_DELSETELEM as u16;
const DESTROYSETELEM: u16 = 30;
const NEWGEN: u16 = libc::NFT_MSG_NEWGEN as u16;

/// The state of decoding.
#[derive(Debug, Default)]
pub(super) struct NotificationDecoder {
    /// The port ids of the sockets whose commits are weir's own.
    pub(super) own: Vec<u32>,
    /// A commit whose end has not been received yet.
    begun: Option<PartialCommit>,
    foreign: ForeignChanges,
}

/// A commit of somebody else's that concerns weir's tables, and whose end has not been received.
#[derive(Debug)]
struct PartialCommit {
    port: u32,
    changed: Suspects,
}

impl NotificationDecoder {
    /// The foreign changes since the last call.
    pub(super) fn take(&mut self) -> ForeignChanges {
        let foreign = std::mem::take(&mut self.foreign);
        if foreign.is_lossy {
            // Its end may be what was lost. It is in what will be read again.
            self.begun = None;
        }
        foreign
    }

    /// Notifications were lost, or cannot be decoded.
    pub(super) fn lose(&mut self) {
        self.foreign.is_lossy = true;
    }

    /// Takes a datagram of the kernel's.
    pub(super) fn datagram(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let Some(message) = first_message(rest) else { return self.lose() };
            // Messages begin at multiples of four.
            rest = rest.get(message.len().next_multiple_of(4)..).unwrap_or_default();
            if self.message(message).is_none() {
                self.lose();
            }
        }
    }

    /// Takes a message; `None` if it makes no sense.
    fn message(&mut self, message: &[u8]) -> Option<()> {
        let header = Header::read(message)?;
        if header.kind >> 8 != libc::NFNL_SUBSYS_NFTABLES as u16 {
            return None;
        }
        match header.kind & 0xff {
            NEWGEN => self.end(header.port, message),
            _ if self.own.contains(&header.port) => Some(()),
            kind => self.change(kind, header.port, message),
        }
    }

    /// A commit ends.
    fn end(&mut self, port: u32, message: &[u8]) -> Option<()> {
        let number =
            |kind| Some(u32::from_be_bytes(find_attribute(message, kind)?.try_into().ok()?));
        self.foreign.generation = Some(number(GEN_ID)?);
        let Some(begun) = self.begun.take() else { return Some(()) };
        if begun.port != port {
            // The end of the one that had begun is missing, and perhaps more.
            return None;
        }
        let by = number(GEN_PROC_PID).zip(find_attribute(message, GEN_PROC_NAME));
        let by = by.map(|(pid, name)| Process { pid, name: text(name).into_owned() });
        self.foreign.push(ForeignCommit { by, changed: begun.changed });
        Some(())
    }

    /// Something was changed in a table.
    fn change(&mut self, kind: u16, port: u32, message: &[u8]) -> Option<()> {
        let name = find_attribute(message, OBJECT_TABLE)?;
        let family = message.get(size_of::<libc::nlmsghdr>())?;
        let family = Family::ALL.into_iter().find(|&it| protocol_family(it) == *family);
        let Some(family) = family.filter(|_| text(name) == TABLE) else { return Some(()) };
        if self.begun.as_ref().is_some_and(|begun| begun.port != port) {
            self.begun = None;
            self.lose();
        }
        let begun =
            self.begun.get_or_insert_with(|| PartialCommit { port, changed: Suspects::default() });
        begun.changed.tables.entry(family).or_default().suspect(kind, message)
    }
}

impl TableSuspects {
    /// Records the object of a message.
    fn suspect(&mut self, kind: u16, message: &[u8]) -> Option<()> {
        match kind {
            NEWTABLE | DELTABLE | DESTROYTABLE => self.suspect_everything(),
            // Of a hundred thousand, most need not be looked at.
            NEWSETELEM | DELSETELEM | DESTROYSETELEM if self.everything => {}
            NEWSETELEM | DELSETELEM | DESTROYSETELEM => {
                let set = text(find_attribute(message, SET_ELEM_LIST_SET)?);
                match keys(message) {
                    Some(keys) => self.suspect_elements(&set, keys),
                    // Such as weir never makes: of all other keys (`*`), or a longer key.
                    None => self.suspect_everything(),
                }
            }
            _ => self.structure = true,
        }
        Some(())
    }
}

/// The keys of the elements that a message is about.
fn keys(message: &[u8]) -> Option<BTreeSet<RawKey>> {
    let is_list = |&(_, _, kind): &(usize, usize, u16)| kind == SET_ELEM_LIST_ELEMENTS;
    let (start, end, _) = attributes(message, HEADERS, message.len()).find(is_list)?;
    attributes(message, start + 4, end)
        .filter(|&(_, _, kind)| kind == LIST_ELEM)
        .map(|(start, end, _)| {
            let element = message.get(start + 4..end)?;
            let key = nested_attribute(nested_attribute(element, SET_ELEM_KEY)?, DATA_VALUE)?;
            RawKey::from_bytes(key)
        })
        .collect()
}

/// The message that a datagram, or what is left of one, begins with.
fn first_message(datagram: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(datagram.first_chunk().copied()?) as usize;
    datagram.get(..length).filter(|message| message.len() >= HEADERS)
}

/// A string without the zero that ends it.
fn text(value: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value))
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
