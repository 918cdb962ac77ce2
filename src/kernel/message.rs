//! Builds single netlink messages, and reads their headers and attributes.

use std::ptr::NonNull;

use mnl::mnl_sys;
use nftnl::nftnl_sys::{self as sys, libc};

use super::object;

/// Room for the largest message: its payload is little more than one attribute, whose length has
/// 16 bits.
const MESSAGE_BYTES: usize = 2 * (u16::MAX as usize + 1);

/// More than the longest element takes: key, value and a chain's name of at most 64, 64 and 128
/// bytes, and 256 bytes of notes, each behind a header or two.
pub(super) const MAX_ELEMENT_BYTES: usize = 1024;

/// The bytes in front of the attributes: `struct nlmsghdr` and `struct nfgenmsg`.
pub(super) const HEADERS: usize = size_of::<libc::nlmsghdr>() + size_of::<NfGenMsg>();

/// `struct nfgenmsg` of linux/netfilter/nfnetlink.h.
#[repr(C)]
struct NfGenMsg {
    family: u8,
    version: u8,
    res_id: u16,
}

/// What weir reads of a `struct nlmsghdr`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// The port id of the socket that it answers, or that caused it.
    pub(super) port: u32,
}

/// An answer to a request, or the end of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// `NLMSG_ERROR` or `NLMSG_DONE` with this error, 0 for an acknowledgement, and the offset of
    /// the offending attribute, where the kernel reports it.
    Status { errno: i32, offset: Option<u32> },
    /// A message of content.
    Content,
}

impl Header {
    /// The header of a message.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let &[_, _, _, _, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] =
            message.first_chunk()?;
        Some(Self {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
        })
    }

    /// What a message with this header is.
    pub(super) fn reply(&self, message: &[u8]) -> Reply {
        /// Where the attributes begin: behind the header, the error and the header of the message
        /// that it is about, the rest of which NETLINK_CAP_ACK leaves out.
        const TLVS: usize = 2 * size_of::<libc::nlmsghdr>() + 4;
        /// `NLMSGERR_ATTR_OFFS` of linux/netlink.h.
        const ATTR_OFFS: u16 = 2;

        if ![libc::NLMSG_ERROR as u16, libc::NLMSG_DONE as u16].contains(&self.kind) {
            return Reply::Content;
        }
        let number = |at: usize| message.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
        let errno = number(size_of::<libc::nlmsghdr>()).map_or(0, |error| -(error as i32));
        let has_attributes = self.flags & libc::NLM_F_ACK_TLVS as u16 != 0;
        let offset = attributes(message, TLVS, message.len())
            .find(|&(_, _, kind)| has_attributes && kind == ATTR_OFFS)
            .and_then(|(start, _, _)| number(start + 4));
        Reply::Status { errno, offset }
    }
}

/// The value of a message's first attribute of a type.
pub(super) fn find_attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
    let (start, end, _) = attributes(message, HEADERS, message.len()).find(|a| a.2 == kind)?;
    message.get(start + 4..end)
}

/// The value of the first attribute of a type within the value of another.
pub(super) fn nested_attribute(list: &[u8], kind: u16) -> Option<&[u8]> {
    let (start, end, _) = attributes(list, 0, list.len()).find(|a| a.2 == kind)?;
    list.get(start + 4..end)
}

/// The attributes between two offsets: where each begins and ends, and its type.
pub(super) fn attributes(
    message: &[u8],
    mut at: usize,
    end: usize,
) -> impl Iterator<Item = (usize, usize, u16)> {
    std::iter::from_fn(move || {
        let &[l0, l1, k0, k1] = message.get(at..end)?.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        // The upper bits say how the value is encoded: NLA_F_NESTED, NLA_F_NET_BYTEORDER.
        let kind = u16::from_ne_bytes([k0, k1]) & 0x3fff;
        let start = at;
        at += length.max(4).next_multiple_of(4);
        Some((start, start + length, kind))
    })
}

/// A buffer in which one message at a time is built.
pub(super) struct Scratch(Box<[u64]>);

/// A message under construction.
pub(super) struct MessageWriter<'a> {
    pub(super) header: NonNull<libc::nlmsghdr>,
    scratch: &'a mut Scratch,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self(vec![0; MESSAGE_BYTES / size_of::<u64>()].into())
    }

    pub(super) fn begin(
        &mut self,
        kind: u16,
        family: u8,
        flags: u16,
        sequence: u32,
        resource: u16,
    ) -> MessageWriter<'_> {
        let flags = flags | libc::NLM_F_REQUEST as u16;
        // SAFETY: the buffer is aligned for a header and has room for the largest message.
        let header = unsafe {
            sys::nftnl_nlmsg_build_hdr(
                self.0.as_mut_ptr().cast(),
                kind,
                u16::from(family),
                flags,
                sequence,
            )
        };
        let header = NonNull::new(header).expect("the buffer begins with a header");
        // SAFETY: a `nfgenmsg` follows the header; both are in the buffer.
        unsafe {
            // The library adds nf_tables' subsystem, which the ends of a batch do not have.
            (*header.as_ptr()).nlmsg_type = kind;
            (*header.as_ptr().add(1).cast::<NfGenMsg>()).res_id = resource;
        }
        MessageWriter { header, scratch: self }
    }
}

impl<'a> MessageWriter<'a> {
    pub(super) fn len(&self) -> usize {
        // SAFETY: the header is in the scratch buffer, which this borrows.
        unsafe { self.header.as_ref() }.nlmsg_len as usize
    }

    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        assert!(self.len() + value.len() + 8 <= MESSAGE_BYTES, "the message is full");
        // SAFETY: the check keeps the attribute within the buffer.
        unsafe {
            mnl_sys::mnl_attr_put(self.header.as_ptr(), kind, value.len(), value.as_ptr().cast());
        }
    }

    pub(super) fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        assert!(self.len() + 8 <= MESSAGE_BYTES, "the message is full");
        // SAFETY: the check keeps the attribute's header within the buffer, and its start stays
        // where it is until its end is written.
        unsafe {
            let start = mnl_sys::mnl_attr_nest_start(self.header.as_ptr(), kind);
            write(self);
            mnl_sys::mnl_attr_nest_end(self.header.as_ptr(), start);
        }
    }

    pub(super) fn put_element(&mut self, element: &object::Element) {
        assert!(self.len() <= MESSAGE_BYTES - MAX_ELEMENT_BYTES, "the message is full");
        // SAFETY: the element is live, and behind the check there is room for the largest.
        unsafe {
            sys::nftnl_set_elem_nlmsg_build_payload(self.header.as_ptr(), element.as_ptr());
        }
    }

    pub(super) fn finish(self) -> &'a [u8] {
        let len = self.len().next_multiple_of(4);
        // SAFETY: the message lies at the beginning of the buffer, is not longer than that, and
        // the writer that could change it is gone.
        unsafe { std::slice::from_raw_parts(self.scratch.0.as_ptr().cast::<u8>(), len) }
    }
}
