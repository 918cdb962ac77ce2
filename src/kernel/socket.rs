//! The netlink socket.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mnl::mnl_sys;
use nftnl::nftnl_sys::libc;

use super::error::OpenError;

/// Room for answers: errors and acknowledgements are small, and a batch asks for one of these.
pub(super) const RECEIVE_BUFFER_BYTES: libc::c_int = 8 << 20;
/// How long an answer may take. The kernel answers while it is sent to, and fills the next part of a
/// dump while the one before is read, so that none ever takes any time.
const SILENCE: Duration = Duration::from_secs(10);
/// The kernel sends a dump in datagrams of at most 32 KiB (`netlink_dump` of af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;

/// A socket of NETLINK_NETFILTER that never blocks in sending or, but for dumps, in receiving.
pub(super) struct Socket {
    inner: mnl::Socket,
    buffer: Box<[u64]>,
    /// Whether answers may still come that belong to no request to come, or a dump may still run,
    /// in which the kernel begins no other (`EBUSY`).
    is_doubtful: bool,
}

impl Socket {
    pub(super) fn open() -> Result<Self, OpenError> {
        Self::with_buffer(RECEIVE_BUFFER_BYTES)
    }

    /// A socket with a receive buffer of this size.
    pub(super) fn with_buffer(bytes: libc::c_int) -> Result<Self, OpenError> {
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
        set_receive_buffer(&inner, bytes).map_err(step("set the receive buffer's size"))?;
        let buffer = vec![0; DATAGRAM_BYTES / size_of::<u64>()].into();
        Ok(Self { inner, buffer, is_doubtful: false })
    }

    /// The socket's address, which is in every announcement of its commits.
    pub(super) fn port(&self) -> u32 {
        self.inner.portid()
    }

    /// Marks the socket as out of step: it has to be replaced.
    pub(super) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Puts a new socket in its place if nobody knows what would come next. If none can be had,
    /// this one has to do: answers are distinguished by their sequence numbers, and the kernel
    /// reports a dump that still runs.
    pub(super) fn renew(&mut self) {
        if self.is_doubtful
            && let Ok(new) = Self::open()
        {
            *self = new;
        }
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
        match uninterrupted(|| self.inner.send(datagram)) {
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
        match uninterrupted(|| self.inner.recv_raw(bytes_mut(&mut self.buffer))) {
            Ok(length) => Ok(Some(self.messages(length))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives the next datagram.
    pub(super) fn receive_blocking(&mut self) -> io::Result<mnl::NlMessages<'_>> {
        self.receive_within(SILENCE)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the thread that talks to the kernel has no runtime"
    )]
    fn receive_within(&mut self, limit: Duration) -> io::Result<mnl::NlMessages<'_>> {
        let deadline = Instant::now() + limit;
        loop {
            match uninterrupted(|| self.inner.recv_raw(bytes_mut(&mut self.buffer))) {
                Ok(length) => return Ok(self.messages(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// The messages at the beginning of the buffer.
    fn messages(&mut self, length: usize) -> mnl::NlMessages<'_> {
        mnl::NlMessages::new(&bytes_mut(&mut self.buffer)[..length])
    }

    /// Waits until there is something to receive, or a signal comes. Behind the deadline that is an
    /// error.
    #[allow(
        clippy::disallowed_methods,
        reason = "the thread that talks to the kernel has no runtime"
    )]
    fn wait(&self, deadline: Instant) -> io::Result<()> {
        let mut poll =
            libc::pollfd { fd: self.inner.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that it does not spin in the last of them.
        let milliseconds = left.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
        // SAFETY: `poll` is one entry, and the socket is open.
        match unsafe { libc::poll(&mut poll, 1, milliseconds) } {
            0 => Err(io::ErrorKind::TimedOut.into()),
            1.. => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// Calls again what a signal has interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
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

/// Makes a socket's receive buffer as large as it may be, up to this many bytes. The kernel doubles
/// what it is asked for.
pub(super) fn set_receive_buffer(socket: &impl AsRawFd, bytes: libc::c_int) -> io::Result<()> {
    // The "force" option needs CAP_NET_ADMIN in the initial user namespace.
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

fn set_option(
    socket: &impl AsRawFd,
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

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
