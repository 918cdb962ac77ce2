//! Netlink beside nf_tables: conntrack, ipset, and the node's addresses, interfaces and routes, in safe code.
//!
//! The kernel answers during the send, and prepares the next part of a dump while the one before is read. So
//! sockets never block, and a missing answer is an error.

pub mod addresses;
pub mod conntrack;
pub mod ipset;
pub mod links;
pub mod monitor;
pub mod routes;

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// The kernel sends a dump in datagrams of at most 32 KiB (`netlink_dump` of af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;
/// How often a dump that was interrupted is begun again.
const ATTEMPTS: u32 = 20;
/// `EINTR` of errno.h: the status at the end of a dump that was interrupted.
const EINTR: i32 = 4;

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be set up.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The request could not be sent, or its answer not received.
    #[error("cannot exchange netlink messages")]
    Exchange(#[source] io::Error),
    /// The kernel refused.
    #[error("the kernel refused")]
    Refused(#[source] io::Error),
    /// The kernel sent what makes no sense.
    #[error("cannot decode a netlink message")]
    Undecodable(#[source] netlink_packet_core::DecodeError),
    /// What was being read changed during every attempt.
    #[error("each of {ATTEMPTS} attempts was interrupted")]
    Unsteady,
}

/// A socket of one netlink protocol.
struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How far the answer to a request is read.
#[derive(Debug, Default, PartialEq, Eq)]
struct DumpProgress {
    /// There is no more.
    is_finished: bool,
    /// Entries may be missing in it.
    is_interrupted: bool,
}

impl Connection {
    fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.set_non_blocking(true)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(NetlinkError::Open)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Dumps everything and returns what `select` makes of it: of a complete dump, or an error.
    fn dump<M, T>(
        &mut self,
        request: &M,
        mut select: impl FnMut(M) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            let mut take = |message| found.extend(select(message));
            if !self.exchange(request.clone(), NLM_F_DUMP, &mut take)?.is_interrupted {
                return Ok(found);
            }
        }
        Err(NetlinkError::Unsteady)
    }

    /// Asks for something to be done.
    fn request<M>(&mut self, request: M) -> Result<(), NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.exchange(request, NLM_F_ACK, &mut |_: M| {}).map(|_| ())
    }

    /// Sends a request and reads its answer to the end.
    fn exchange<M>(
        &mut self,
        request: M,
        flags: u16,
        take: &mut impl FnMut(M),
    ) -> Result<DumpProgress, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(request, flags)?;
        // Read to the end in any case, lest the rest be there when the next answer is looked for.
        let mut answer = DumpProgress::default();
        while !answer.is_finished {
            self.receive(&mut answer, take)?;
        }
        Ok(answer)
    }

    /// Sends a request.
    fn send<M>(&mut self, request: M, flags: u16) -> Result<(), NetlinkError>
    where
        M: NetlinkSerializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(NetlinkError::Exchange).map(drop)
    }

    /// Reads the next datagram of the answer to the last request. The kernel makes the rest of a dump as it
    /// is read, however long that takes.
    fn receive<M>(
        &mut self,
        answer: &mut DumpProgress,
        take: &mut impl FnMut(M),
    ) -> Result<(), NetlinkError>
    where
        M: NetlinkDeserializable,
    {
        self.buffer.clear();
        // It receives into what the vector has reserved.
        self.socket.recv(&mut self.buffer, 0).map_err(NetlinkError::Exchange)?;
        answer.read(&self.buffer, self.sequence, take)
    }
}

impl DumpProgress {
    /// Reads one datagram. Messages about another request are left over from one that was given
    /// up.
    fn read<M: NetlinkDeserializable>(
        &mut self,
        mut datagram: &[u8],
        sequence: u32,
        take: &mut impl FnMut(M),
    ) -> Result<(), NetlinkError> {
        while !datagram.is_empty() {
            let NetlinkMessage { header, payload, .. } =
                NetlinkMessage::<M>::deserialize(datagram).map_err(NetlinkError::Undecodable)?;
            // Messages begin at multiples of four.
            let length = (header.length as usize).next_multiple_of(4).min(datagram.len());
            datagram = &datagram[length..];
            if header.sequence_number != sequence {
                continue;
            }
            self.is_interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match payload {
                NetlinkPayload::InnerMessage(message) => take(message),
                NetlinkPayload::Done(done) => {
                    self.is_finished = true;
                    match done.code {
                        code if code == -EINTR => self.is_interrupted = true,
                        code if code < 0 => return Err(refused(code)),
                        _ => {}
                    }
                }
                NetlinkPayload::Error(error) => {
                    self.is_finished = true;
                    match error.raw_code() {
                        0 => {}
                        code if code == -EINTR => self.is_interrupted = true,
                        code => return Err(refused(code)),
                    }
                }
                NetlinkPayload::Overrun(_) => {
                    self.is_finished = true;
                    self.is_interrupted = true;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn refused(code: i32) -> NetlinkError {
    NetlinkError::Refused(io::Error::from_raw_os_error(code.saturating_abs()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
