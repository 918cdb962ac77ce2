//! Measures from outside how long a writer waits while the kernel commits another's transaction.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{MsgFlags, send};
use weir_testbed::Netns;

use crate::netlink;

/// How long to wait between two turns.
const PAUSE: Duration = Duration::from_micros(500);
/// A turn that took no longer did not wait for anybody.
const OWN: Duration = Duration::from_micros(200);

/// Asks for turns until it is stopped.
///
/// Each turn is a batch without a message, which the kernel takes once it has the lock of the
/// namespace's nf_tables, and which changes nothing and makes no new generation (`nf_tables_commit` of
/// net/netfilter/nf_tables_api.c).
pub(crate) struct Turns {
    stop: Arc<AtomicBool>,
    waits: Arc<Mutex<Waits>>,
    thread: JoinHandle<()>,
}

/// How long all turns waited.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waits {
    /// The longest.
    pub(crate) longest: Duration,
    /// All together.
    pub(crate) total: Duration,
}

impl Turns {
    pub(crate) fn start(ns: &Netns) -> Self {
        let socket = netlink::open(ns, 0);
        let (stop, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (is_stopped, told) = (stop.clone(), waits.clone());
        let thread = thread::spawn(move || take_turns(&socket, &is_stopped, &told));
        Self { stop, waits, thread }
    }

    /// How long turns have waited by now.
    #[cfg(test)]
    fn waits(&self) -> Waits {
        *self.waits.lock().expect("not poisoned")
    }

    pub(crate) fn stop(self) -> Waits {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        *self.waits.lock().expect("not poisoned")
    }
}

fn take_turns(socket: &OwnedFd, is_stopped: &AtomicBool, waits: &Mutex<Waits>) {
    let batch = empty_batch();
    while !is_stopped.load(Ordering::Relaxed) {
        let start = Instant::now();
        let sent = send(socket.as_raw_fd(), &batch, MsgFlags::empty());
        let waited = start.elapsed();
        assert_eq!(sent, Ok(batch.len()), "a batch without a message is taken");
        waits.lock().expect("not poisoned").add(waited);
        thread::sleep(PAUSE);
    }
}

impl Waits {
    fn add(&mut self, waited: Duration) {
        self.longest = self.longest.max(waited);
        if waited > OWN {
            self.total += waited;
        }
    }
}

fn empty_batch() -> Vec<u8> {
    let message =
        |kind: i32| netlink::message(kind, 0, libc::AF_UNSPEC, libc::NFNL_SUBSYS_NFTABLES, &[]);
    [message(libc::NFNL_MSG_BATCH_BEGIN), message(libc::NFNL_MSG_BATCH_END)].concat()
}

#[cfg(test)]
mod tests {
    use weir_testbed::wait_for;

    use super::*;
    use crate::commits::Commits;

    #[test]
    fn a_turn_changes_nothing_and_waits_for_others() {
        let ns = Netns::new("turns");
        let commits = Commits::listen(&ns);
        let turns = Turns::start(&ns);
        assert!(commits.within(20 * PAUSE).is_none());
        drop(commits);
        let address = |n| format!("10.0.{}.{}", n / 250, n % 250);
        let elements = (0..60_000).map(address).collect::<Vec<_>>().join(", ");
        let table = format!(
            "table ip t {{\n set s {{ type ipv4_addr; elements = {{ {elements} }}; }}\n}}\n"
        );
        // On a busy machine no turn may fall into the time of a transaction.
        wait_for("a turn that waits", Duration::from_secs(60), || {
            ns.nft(&table);
            ns.nft("delete table ip t\n");
            turns.waits().longest > Duration::from_millis(2)
        });
        let Waits { longest, total } = turns.stop();
        assert!(total >= longest, "{longest:?}, {total:?}");
    }
}
