use std::sync::mpsc;

use weir_testbed::Netns;

use super::*;

/// Runs inside a namespace, on a runtime of its own.
fn inside<T: Send>(ns: &Netns, work: impl Future<Output = T> + Send) -> T {
    ns.run(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime").block_on(work)
    })
}

/// A socket with the lock's name.
fn squat(ns: &Netns) -> std::os::unix::net::UnixListener {
    inside(ns, async { UnixListener::bind(path()).and_then(UnixListener::into_std) })
        .expect("nobody has the name")
}

#[test]
fn one_has_the_lock_of_a_namespace_and_the_next_takes_it_at_once_when_that_ends() {
    let ns = Netns::new("lock");
    let first = squat(&ns);
    assert!(inside(&ns, async { Lock::try_take() }).expect("sockets are allowed").is_none());
    let other = Netns::new("other-lock");
    assert!(inside(&other, async { Lock::try_take() }).expect("sockets are allowed").is_some());

    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lock =
                inside(&ns, Lock::take(|holder| told.send(holder.to_string()).expect("heard")));
            lock.expect("it is free at last");
        });
        let holder = heard.recv().expect("it waits");
        let pid = format!("(pid {})", std::process::id());
        assert!(holder.ends_with(&pid), "{holder}: it says nothing of itself");
        drop(first);
    });
    assert!(heard.try_recv().is_err(), "told once");
}

#[test]
fn who_has_the_lock_says_who_it_is() {
    let ns = Netns::new("lock-says");
    let listener = squat(&ns);
    let holder = inside(&ns, async {
        let lock = Lock(UnixListener::from_std(listener).expect("it is one"));
        let answering = tokio::spawn(lock.answer());
        let mut stream = UnixStream::connect(path()).await.expect("somebody listens");
        let said = said(&mut stream).await;
        answering.abort();
        Holder::of(&stream, said).expect("the kernel tells")
    });
    let expected = format!(", which says that it is weir {} with pid ", env!("CARGO_PKG_VERSION"));
    assert!(holder.to_string().contains(&expected), "{holder}");
    assert!(holder.is_trusted());
}

#[test]
fn what_cannot_be_seen_is_said_so_and_what_is_said_stays_on_one_line() {
    let mut holder = Holder::unknown();
    assert_eq!(holder.to_string(), "a process that cannot be connected to");
    holder = holder.with(None, Some(0), Some("weir\n1"));
    let text = "a process in another PID namespace, which says that it is weir\\n1";
    assert_eq!(holder.to_string(), text);
    assert!(holder.is_trusted() && !holder.with(None, Some(4_000_000), None).is_trusted());
}
