//! The netlink socket.

use std::io;
use std::os::fd::AsRawFd;

use mnl::mnl_sys;
use nftnl::nftnl_sys::libc;

use super::error::OpenError;

/// Room for answers: errors and acknowledgements are small, and a batch asks for one of these.
const RECEIVE_BUFFER_BYTES: libc::c_int = 8 << 20;
/// How long a dump may stay silent, in milliseconds. The kernel fills the next part of a dump
/// while the one before is read, so that it never is.
const SILENCE_MS: libc::c_int = 10_000;
/// The kernel sends a dump in datagrams of at most 32 KiB (`netlink_dump` of af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;

/// A socket of NETLINK_NETFILTER that never blocks in sending or, but for dumps, in receiving.
pub(super) struct Socket {
    inner: mnl::Socket,
    buffer: Box<[u64]>,
}

impl Socket {
    pub(super) fn open() -> Result<Self, OpenError> {
        let step = |step| move |source| OpenError::Socket { step, source };
        let inner =
            mnl::Socket::open(mnl::Bus::Netfilter).map_err(|error| match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT) => OpenError::NoNfnetlink,
                _ => step("open a netlink socket")(error),
            })?;
        set_flags(&inner).map_err(step("set flags of the netlink socket"))?;
        inner.bind(0, mnl_sys::MNL_SOCKET_AUTOPID).map_err(step("bind the netlink socket"))?;
        let on = |option| set_option(&inner, libc::SOL_NETLINK, option, 1);
        // Errors without the message that they are about, which may be 64 KiB long, but with the
        // place in it.
        on(libc::NETLINK_CAP_ACK).map_err(step("set NETLINK_CAP_ACK"))?;
        on(libc::NETLINK_EXT_ACK).map_err(step("set NETLINK_EXT_ACK"))?;
        // The "force" option needs CAP_NET_ADMIN in the initial user namespace.
        set_option(&inner, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            .or_else(|_| {
                set_option(&inner, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            })
            .map_err(step("set the receive buffer's size"))?;
        Ok(Self { inner, buffer: vec![0; DATAGRAM_BYTES / size_of::<u64>()].into() })
    }

    /// Sends one datagram, for which the send buffer grows if it may. On failure, the buffer's
    /// size comes with the error.
    pub(super) fn send(&self, datagram: &[u8]) -> Result<(), (io::Error, usize)> {
        // The kernel keeps 32 bytes of the buffer, and doubles what it is asked for.
        let needed = datagram.len() + 32;
        if self.send_buffer() < needed {
            let needed = libc::c_int::try_from(needed).unwrap_or(libc::c_int::MAX);
            let _ = set_option(&self.inner, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, needed)
                .or_else(|_| set_option(&self.inner, libc::SOL_SOCKET, libc::SO_SNDBUF, needed));
        }
        match self.inner.send(datagram) {
            Ok(sent) if sent == datagram.len() => Ok(()),
            Ok(_) => Err((io::ErrorKind::WriteZero.into(), self.send_buffer())),
            Err(error) => Err((error, self.send_buffer())),
        }
    }

    fn send_buffer(&self) -> usize {
        let mut value: libc::c_int = 0;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the socket is open, and `value` has room for the `len` bytes of an integer.
        let result = unsafe {
            libc::getsockopt(
                self.inner.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw mut value).cast(),
                &mut len,
            )
        };
        if result == 0 { usize::try_from(value).unwrap_or(0) } else { 0 }
    }

    /// The next datagram that waits, or `None` if none does.
    pub(super) fn receive(&mut self) -> io::Result<Option<mnl::NlMessages<'_>>> {
        match self.inner.recv(bytes_mut(&mut self.buffer)) {
            Ok(messages) => Ok(Some(messages)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next datagram, once it is there.
    pub(super) fn receive_blocking(&mut self) -> io::Result<mnl::NlMessages<'_>> {
        let mut poll =
            libc::pollfd { fd: self.inner.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: `poll` is one entry, and the socket is open.
            match unsafe { libc::poll(&mut poll, 1, SILENCE_MS) } {
                0 => return Err(io::ErrorKind::TimedOut.into()),
                1.. => return self.inner.recv(bytes_mut(&mut self.buffer)),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
    }
}

/// The buffer is of 64-bit words so that a header at its beginning is aligned.
fn bytes_mut(buffer: &mut [u64]) -> &mut [u8] {
    // SAFETY: the same memory, which any byte is valid for, borrowed for as long.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), size_of_val(buffer)) }
}

fn set_flags(socket: &mnl::Socket) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    // SAFETY: the socket is open; the calls take integers.
    let failed = unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) < 0
            || libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) < 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_option(
    socket: &mnl::Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket is open, and `value` is the integer of `len` bytes that the options take.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
