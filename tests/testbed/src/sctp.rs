//! SCTP by raw sockets, for kernels that filter and translate it but have no SCTP sockets.
//!
//! A question is an INIT, and its answer an INIT ACK that carries the line as its state cookie: the
//! first two packets of a real association (RFC 9260), which connection tracking follows.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket,
};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const STATE_COOKIE: u16 = 7;

/// The initiate tag of every side: any number but zero would do.
const TAG: u32 = 0x7765_6972;

/// A raw socket has no ports: an ICMP error reaches all those that are connected to its address.
/// So one question at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Asks once and gives back the answer's line.
pub(crate) fn ask(to: SocketAddr, patience: Duration) -> io::Result<Vec<u8>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let port = 32768 + NEXT.fetch_add(1, Ordering::Relaxed) % 28000;

    let socket = raw(to)?;
    socket.connect(SocketAddr::new(to.ip(), 0))?;
    match socket.send(&Packet { source: port, destination: to.port(), tag: 0 }.with(INIT, b"")) {
        // As for UDP: dropped in the sender's own output hook.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        sent => drop(sent?),
    }
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            received => received?,
        };
        // The namespace's other SCTP packets come here too.
        if let Some((header, INIT_ACK, body)) = parse(payload(to, &buffer[..len]))
            && (header.source, header.destination, header.tag) == (to.port(), port, TAG)
        {
            return cookie(body).map(<[u8]>::to_vec).ok_or(ErrorKind::InvalidData.into());
        }
    }
}

/// Answers the INITs that reach one address and port.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: UdpSocket,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = raw(address)?;
        let any_port = SockaddrStorage::from(SocketAddr::new(address.ip(), 0));
        bind(socket.as_raw_fd(), &any_port)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Reads one packet, and answers it with what `line` makes of the client's address if it is an
    /// INIT to this port.
    pub(crate) fn answer(&self, line: impl FnOnce(SocketAddr) -> String) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer)?;
        let Some((header, INIT, _)) = parse(payload(self.address, &buffer[..len])) else {
            return Ok(());
        };
        if header.destination == self.address.port() {
            let reply = Packet { source: header.destination, destination: header.source, tag: TAG };
            let line = line(SocketAddr::new(from.ip(), header.source));
            let to = SocketAddr::new(from.ip(), 0);
            self.socket.send_to(&reply.with(INIT_ACK, line.as_bytes()), to)?;
        }
        Ok(())
    }
}

/// A raw socket for SCTP, of the address's family. As a UdpSocket, since std then reads and writes
/// it: an address's port has no meaning.
fn raw(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)?;
    Ok(UdpSocket::from(socket))
}

/// What a raw socket received, less the header that IPv4's leave in front.
fn payload(address: SocketAddr, packet: &[u8]) -> &[u8] {
    match packet.first() {
        Some(first) if address.is_ipv4() => {
            packet.get(4 * usize::from(first & 0xf)..).unwrap_or(&[])
        }
        _ => packet,
    }
}

/// The common header, less the checksum.
struct Packet {
    source: u16,
    destination: u16,
    tag: u32,
}

impl Packet {
    /// The packet with one chunk: INIT or INIT ACK, the latter with its cookie.
    fn with(&self, chunk: u8, cookie: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(TAG.to_be_bytes());
        body.extend(65536_u32.to_be_bytes()); // receiver window
        body.extend([0, 1, 0, 1]); // one stream out, one in
        body.extend(1_u32.to_be_bytes()); // initial TSN
        if !cookie.is_empty() {
            body.extend(STATE_COOKIE.to_be_bytes());
            body.extend(length(cookie).to_be_bytes());
            body.extend(cookie);
        }
        let mut packet = Vec::new();
        packet.extend(self.source.to_be_bytes());
        packet.extend(self.destination.to_be_bytes());
        packet.extend(self.tag.to_be_bytes());
        packet.extend([0; 4]); // checksum
        packet.extend([chunk, 0]);
        packet.extend(length(&body).to_be_bytes());
        packet.extend(&body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        let checksum = crc32c(&packet);
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        packet
    }
}

/// A chunk's or parameter's length field: its content and the four bytes before that.
fn length(content: &[u8]) -> u16 {
    (content.len() + 4).try_into().expect("a line is short")
}

/// Header, type and content of a packet's first chunk; None if it is no packet or its checksum is
/// wrong, as after a translation that forgot it.
fn parse(packet: &[u8]) -> Option<(Packet, u8, &[u8])> {
    let (header, chunk) = packet.split_at_checked(12)?;
    let mut unsigned = packet.to_vec();
    unsigned[8..12].fill(0);
    if header[8..12] != crc32c(&unsigned).to_le_bytes() {
        return None;
    }
    let &[s0, s1, d0, d1, t0, t1, t2, t3, ..] = header else { return None };
    let header = Packet {
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        tag: u32::from_be_bytes([t0, t1, t2, t3]),
    };
    let &[kind, _flags, l0, l1, ..] = chunk else { return None };
    let content = chunk.get(4..u16::from_be_bytes([l0, l1]).into())?;
    Some((header, kind, content))
}

/// The state cookie of an INIT ACK made here, where it is the only parameter.
fn cookie(body: &[u8]) -> Option<&[u8]> {
    let parameter = body.get(16..)?;
    let &[k0, k1, l0, l1, ..] = parameter else { return None };
    let value = parameter.get(4..u16::from_be_bytes([l0, l1]).into())?;
    (u16::from_be_bytes([k0, k1]) == STATE_COOKIE).then_some(value)
}

/// CRC32c (Castagnoli), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_its_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_packet_is_read_back_and_a_damaged_one_is_not() {
        let sent = Packet { source: 40000, destination: 80, tag: TAG };
        let mut packet = sent.with(INIT_ACK, b"b1 10.244.0.9:40000\n");
        let (header, chunk, body) = parse(&packet).unwrap();
        assert_eq!((header.source, header.destination, header.tag), (40000, 80, TAG));
        assert_eq!((chunk, cookie(body)), (INIT_ACK, Some(&b"b1 10.244.0.9:40000\n"[..])));

        packet[0] ^= 1;
        assert!(parse(&packet).is_none());
        assert!(parse(b"short").is_none());
    }
}
