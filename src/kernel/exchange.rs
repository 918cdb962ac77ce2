//! Sends requests to the kernel and reads each answer to its end.

use std::io;

use nftnl::nftnl_sys::libc;

use super::error::DumpError;
use super::message::Header;
use super::socket::Socket;

/// Why one attempt at reading failed.
pub(super) enum ExchangeError {
    /// The ruleset changed under it.
    Interrupted,
    /// It would fail again, if it was tried at once on the same socket.
    Final(DumpError),
}

impl From<DumpError> for ExchangeError {
    fn from(error: DumpError) -> Self {
        ExchangeError::Final(error)
    }
}

/// What a message is to a request.
pub(super) enum AnswerPart {
    /// More follow.
    Part,
    /// The last.
    Last,
    /// It answers something else.
    Strange,
}

/// Sends a datagram and passes each received message to `each`, until that returns that it was the last.
///
/// If this fails, more may come on this socket, or a dump still runs: it is to be replaced.
pub(super) fn exchange(
    socket: &mut Socket,
    what: &'static str,
    datagram: &[u8],
    each: impl FnMut(Header, &[u8]) -> Result<AnswerPart, ExchangeError>,
) -> Result<(), ExchangeError> {
    let result = converse(socket, what, datagram, each);
    if let Err(ExchangeError::Final(_)) = result {
        socket.doubt();
    }
    result
}

fn converse(
    socket: &mut Socket,
    what: &'static str,
    datagram: &[u8],
    mut each: impl FnMut(Header, &[u8]) -> Result<AnswerPart, ExchangeError>,
) -> Result<(), ExchangeError> {
    let lost = |source| ExchangeError::Final(DumpError::AnswerLost { what, source });
    socket.send(datagram).map_err(|(error, _)| lost(error))?;
    let mut is_last = false;
    while !is_last {
        let mut is_strange = false;
        for message in socket.receive_blocking().map_err(lost)? {
            let message = message.map_err(lost)?;
            let header = Header::read(message).ok_or(DumpError::Undecodable { what })?;
            match each(header, message)? {
                AnswerPart::Part => {}
                AnswerPart::Last => is_last = true,
                AnswerPart::Strange => is_strange = true,
            }
        }
        if is_strange {
            socket.doubt();
        }
    }
    Ok(())
}

/// What an error means that the kernel answers with.
pub(super) fn refused(what: &'static str, errno: i32) -> ExchangeError {
    let source = io::Error::from_raw_os_error(errno);
    match errno {
        // `ENOENT`: it was deleted after it was listed.
        libc::EINTR | libc::ENOENT => ExchangeError::Interrupted,
        // Another dump still runs on the socket (`netlink_dump_start` of net/netlink/af_netlink.c).
        libc::EBUSY | libc::EAGAIN => ExchangeError::Final(DumpError::Busy { what, source }),
        // `ENOBUFS`: of the socket's receive buffer (`nfnetlink_unicast` of nfnetlink.c).
        libc::ENOMEM | libc::ENOBUFS => {
            ExchangeError::Final(DumpError::OutOfMemory { what, source })
        }
        _ => ExchangeError::Final(DumpError::Refused { what, source }),
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
pub(super) mod tests;
