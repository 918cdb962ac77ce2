//! Servers that answer with their own name and the client's address.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Netns, sctp};

/// A server on TCP, UDP and SCTP that answers each connection, datagram and INIT with one line: its
/// own name, a space, and the client's address and port as seen.
///
/// Its one thread ends when this is stopped or dropped.
#[derive(Debug)]
pub struct EchoServer {
    thread: Option<JoinHandle<()>>,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
}

impl EchoServer {
    /// Serves at these addresses of the namespace. It listens when this returns.
    ///
    /// # Panics
    /// If an address cannot be bound.
    pub fn start(ns: &Netns, name: &str, addresses: &[SocketAddr]) -> Self {
        let sockets = ns.run(|| {
            let bound = addresses.iter().map(|&address| {
                Sockets::bind(address)
                    .unwrap_or_else(|error| panic!("{name} cannot serve at {address}: {error}"))
            });
            bound.collect::<Vec<_>>()
        });
        let (stop, stopped) = UnixStream::pair().expect("a socket pair needs nothing but memory");
        let name = name.to_owned();
        let thread = thread::spawn(move || serve(&name, &sockets, &stopped));
        Self { thread: Some(thread), stop: Some(stop) }
    }

    /// Stops serving: when this returns, its ports are closed.
    pub fn stop(self) {}
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.take();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Sockets {
    tcp: TcpListener,
    udp: UdpSocket,
    sctp: sctp::Listener,
}

impl Sockets {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let sockets = Self {
            tcp: TcpListener::bind(address)?,
            udp: UdpSocket::bind(address)?,
            sctp: sctp::Listener::bind(address)?,
        };
        sockets.tcp.set_nonblocking(true)?;
        sockets.udp.set_nonblocking(true)?;
        Ok(sockets)
    }
}

fn serve(name: &str, sockets: &[Sockets], stopped: &UnixStream) {
    let mut watched = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    for Sockets { tcp, udp, sctp } in sockets {
        watched.push(PollFd::new(tcp.as_fd(), PollFlags::POLLIN));
        watched.push(PollFd::new(udp.as_fd(), PollFlags::POLLIN));
        watched.push(PollFd::new(sctp.socket.as_fd(), PollFlags::POLLIN));
    }
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            polled => polled.expect("poll of open sockets"),
        };
        if watched[0].any() == Some(true) {
            return;
        }
        for Sockets { tcp, udp, sctp } in sockets {
            while answer_tcp(name, tcp) {}
            while answer_udp(name, udp) {}
            while answer_sctp(name, sctp) {}
        }
    }
}

/// Answers one waiting connection; false if there is none.
fn answer_tcp(name: &str, listener: &TcpListener) -> bool {
    match listener.accept() {
        Ok((mut stream, client)) => {
            // A client that left is its own loss; it is the one that counts answers.
            stream.write_all(format!("{name} {client}\n").as_bytes()).ok();
            true
        }
        // An aborted connection is reported here too, and then others may be waiting.
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Answers one waiting datagram; false if there is none.
fn answer_udp(name: &str, socket: &UdpSocket) -> bool {
    match socket.recv_from(&mut [0; 512]) {
        Ok((_, client)) => {
            socket.send_to(format!("{name} {client}\n").as_bytes(), client).ok();
            true
        }
        // An ICMP error about an earlier answer is reported here too.
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Reads one waiting packet and answers it if it is an INIT; false if there is none.
fn answer_sctp(name: &str, listener: &sctp::Listener) -> bool {
    match listener.answer(|client| format!("{name} {client}\n")) {
        Ok(()) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
