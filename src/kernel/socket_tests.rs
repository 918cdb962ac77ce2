use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

/// How often the thread was interrupted.
static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Lets SIGUSR2 interrupt system calls, none of which the kernel then begins anew.
fn handle_signal() {
    // SAFETY: zeros are a valid `sigaction`: no flags, nothing masked. The handler does nothing but
    // count, which a signal handler may do.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut())
    };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the kernel counts real time")]
fn signals_neither_end_the_wait_for_an_answer_nor_make_it_longer() {
    const LIMIT: Duration = Duration::from_millis(200);
    handle_signal();
    let waiting = thread::spawn(|| {
        let mut socket = Socket::open().expect("it can be opened");
        let begin = Instant::now();
        let kind = socket.receive_within(LIMIT).map(|_| ()).expect_err("nothing comes").kind();
        (kind, begin.elapsed())
    });
    while !waiting.is_finished() {
        // SAFETY: the thread was not joined, so that its handle is valid.
        unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR2) };
        thread::yield_now();
    }
    let (kind, waited) = waiting.join().expect("no panic in there");
    assert_eq!(kind, io::ErrorKind::TimedOut);
    assert!(waited >= LIMIT, "{waited:?}");
    assert!(SIGNALS.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_call_that_was_interrupted_is_made_again() {
    let mut calls = 0;
    let result = uninterrupted(|| {
        calls += 1;
        if calls < 3 { Err(io::Error::from_raw_os_error(libc::EINTR)) } else { Ok(calls) }
    });
    assert_eq!(result.ok(), Some(3));
    let failed = uninterrupted(|| Err::<(), _>(io::Error::from_raw_os_error(libc::ENOBUFS)));
    assert_eq!(failed.expect_err("it fails").raw_os_error(), Some(libc::ENOBUFS));
}

#[test]
fn only_a_socket_that_is_in_doubt_is_replaced() {
    let mut socket = Socket::open().expect("it can be opened");
    let port = socket.port();
    socket.renew();
    assert_eq!(socket.port(), port);
    socket.doubt();
    socket.renew();
    assert_ne!(socket.port(), port);
    let port = socket.port();
    socket.renew();
    assert_eq!(socket.port(), port);
}
