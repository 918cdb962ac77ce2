//! Clients: one connection or datagram, and its outcome.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use std::{fmt, str, thread};

use crate::{Netns, sctp};

/// A patience for answers: less than TCP's first SYN retransmit (1 s), so that a lost packet shows.
pub const ANSWER: Duration = Duration::from_millis(900);

/// A patience for refusals. An ICMP error that comes back while a TCP connect is still sending, as
/// over veth (IPv6) or from the sender's own output hook, takes effect only with the first SYN
/// retransmit, after 1 s.
pub const REFUSAL: Duration = Duration::from_secs(4);

/// A patience for silence: it is always waited out.
pub const SILENCE: Duration = Duration::from_millis(400);

/// How long an answer may take once TCP is connected: the server has yet to be scheduled.
const SERVER_DELAY: Duration = Duration::from_secs(5);

/// Transport protocol of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A connection of its own for each question.
    Tcp,
    /// A datagram from a socket of its own for each question.
    Udp,
    /// The first two packets of an association, by raw sockets. Within a process these are asked one
    /// at a time, and a host that serves no SCTP at all answers as a host without that protocol.
    Sctp,
}

impl Protocol {
    /// All, for loops.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An echo server answered.
    Answered {
        /// The name that the server was given.
        server: String,
        /// The client's address as the server saw it.
        source: SocketAddr,
    },
    /// Connection refused: a TCP reset or an ICMP port unreachable.
    Refused,
    /// Nothing within the patience.
    Silent,
    /// Anything else, such as another ICMP error, or a connection without an answer.
    Failed(ErrorKind),
}

impl Outcome {
    /// The name of the server that answered.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Answered { server, .. } => Some(server),
            _ => None,
        }
    }

    /// The client's address as the server saw it.
    pub fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Answered { source, .. } => Some(*source),
            _ => None,
        }
    }
}

/// Asks once, from this namespace. Never retries; an answer or a refusal is given back when it comes.
pub fn ask(ns: &Netns, protocol: Protocol, to: SocketAddr, patience: Duration) -> Outcome {
    ns.run(|| ask_here(protocol, to, patience))
}

/// Asks several questions at the same time and gives back what came of each, in their order: where
/// silence is expected of all, it is waited out once.
pub fn ask_all(
    ns: &Netns,
    questions: &[(Protocol, SocketAddr)],
    patience: Duration,
) -> Vec<Outcome> {
    thread::scope(|scope| {
        let asked: Vec<_> = questions
            .iter()
            .map(|&(protocol, to)| scope.spawn(move || ask(ns, protocol, to, patience)))
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect()
    })
}

/// [`ask`] by TCP.
pub fn tcp_ask(ns: &Netns, to: SocketAddr, patience: Duration) -> Outcome {
    ask(ns, Protocol::Tcp, to, patience)
}

/// [`ask`] by UDP.
pub fn udp_ask(ns: &Netns, to: SocketAddr, patience: Duration) -> Outcome {
    ask(ns, Protocol::Udp, to, patience)
}

/// [`ask`] by SCTP.
pub fn sctp_ask(ns: &Netns, to: SocketAddr, patience: Duration) -> Outcome {
    ask(ns, Protocol::Sctp, to, patience)
}

/// [`ask`] from the namespace that the calling thread is in, for use inside [`Netns::run`].
pub fn ask_here(protocol: Protocol, to: SocketAddr, patience: Duration) -> Outcome {
    let answer = match protocol {
        Protocol::Tcp => tcp(to, patience),
        Protocol::Udp => udp(to, patience),
        Protocol::Sctp => sctp::ask(to, patience).and_then(|line| parse(&line)),
    };
    match answer {
        Ok((server, source)) => Outcome::Answered { server, source },
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Outcome::Refused,
            ErrorKind::TimedOut => Outcome::Silent,
            other => Outcome::Failed(other),
        },
    }
}

fn tcp(to: SocketAddr, patience: Duration) -> io::Result<(String, SocketAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(SERVER_DELAY))?;
    let mut line = Vec::new();
    stream.read_to_end(&mut line)?; // a time-out here is WouldBlock: connected, but no answer
    parse(&line)
}

fn udp(to: SocketAddr, patience: Duration) -> io::Result<(String, SocketAddr)> {
    let socket = UdpSocket::bind(match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    match socket.send(b"?") {
        // The sender's own output hook dropped it (and an ICMP error may follow, if by a reject).
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        sent => drop(sent?),
    }
    let mut line = [0; 512];
    let len = socket.recv(&mut line).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    parse(&line[..len])
}

/// Reads `<server name> <source address>:<port>`, as the echo server writes it.
fn parse(line: &[u8]) -> io::Result<(String, SocketAddr)> {
    let fields = str::from_utf8(line).ok().and_then(|line| line.trim_end().split_once(' '));
    fields
        .and_then(|(server, source)| Some((server.to_owned(), source.parse().ok()?)))
        .ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_other_text_is_not_taken_for_one() {
        let source = "[2001:db8::1]:4242".parse().unwrap();
        assert_eq!(parse(b"b1 [2001:db8::1]:4242\n").unwrap(), ("b1".to_owned(), source));
        for other in [&b""[..], b"b1", b"b1 nowhere", b"HTTP/1.1 200 OK", b"\xff 10.0.0.1:1"] {
            assert_eq!(parse(other).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
