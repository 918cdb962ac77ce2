//! Listening sockets and their connections.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::answer::Handler;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long a client may take for the head of a request; and stay without one.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// How many clients a server has at once. Probes and scrapers come one at a time; many at once keep
/// file descriptors from the agent.
pub(super) const MAX_CONNECTIONS: usize = 128;
/// How long to wait after a connection could not be accepted, as when there are too many.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which clients a socket takes that is bound to no address in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    /// Those of both families, as Go's `net.Listen` takes them at `0.0.0.0` and at `::`.
    Both,
    /// Those of its own.
    Own,
}

/// Binds an address.
pub(super) fn listen(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    if families == Families::Both && address.ip().is_unspecified() {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        match bind(any, false) {
            // The kernel has no IPv6 (EAFNOSUPPORT), or it is turned off (EADDRNOTAVAIL).
            Err(error) if has_no_ipv6(&error) && address.is_ipv4() => {}
            bound => return bound,
        }
    }
    bind(address, true)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    // Linux' EAFNOSUPPORT, for which there is no ErrorKind.
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers those who come, until it is dropped; so are its connections then. Where there are too many,
/// one of whoever has the most goes, the oldest: who floods a server, or keeps connections open, takes
/// the place of no probe that comes from elsewhere.
pub(super) async fn serve(listener: TcpListener, handler: Handler) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<Open> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    by_age.retain(|open| !open.connection.is_finished());
                    if by_age.len() >= MAX_CONNECTIONS
                        && let Some(open) = victim(&by_age).and_then(|place| by_age.remove(place))
                    {
                        open.connection.abort();
                    }
                    let connection = connections.spawn(answer(stream, handler.clone()));
                    by_age.push_back(Open { peer: peer.ip().to_canonical(), connection });
                    // Who has sent a request already is answered before the next one is let in.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection.
struct Open {
    peer: IpAddr,
    connection: AbortHandle,
}

/// The place of the connection that has to go: the first of the peer that has the most.
fn victim(by_age: &VecDeque<Open>) -> Option<usize> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for open in by_age {
        *counts.entry(open.peer).or_default() += 1;
    }
    let most = counts.values().max()?;
    by_age.iter().position(|open| counts.get(&open.peer) == Some(most))
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, handler: Handler) {
    let service = service_fn(|request| {
        let answer = handler(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // The client's doing; it has an answer or does not want one.
    if let Err(error) = served {
        debug!(%error, "a connection ended");
    }
}
