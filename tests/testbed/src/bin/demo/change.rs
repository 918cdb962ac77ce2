//! How fast a change of the endpoints reaches the kernel, seen from a client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_testbed::{ANSWER, Netns, Protocol, Tally, ask_here};

/// Connections in a row without the endpoint that left before it counts as gone. One of three that
/// is still there is missed with a chance of (2/3)^100, some 10^-18.
const GONE: usize = 100;

/// How long a change may take to arrive.
const LIMIT: Duration = Duration::from_secs(10);

/// What connections, one after the other, saw of a change.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the change to the moment that the connection that tells was begun.
    pub(crate) after: Duration,
    /// All connections of the measurement, before and after the change.
    pub(crate) tally: Tally,
    /// How long one connection took on average: the resolution.
    pub(crate) each: Duration,
}

/// Makes the change, which tells when it did, and connects until `server` no longer answers. `after` belongs to the last
/// connection that it did answer; zero if it answered none.
pub(crate) fn until_gone(
    client: &Netns,
    to: SocketAddr,
    server: &str,
    change: impl FnOnce() -> Instant + Send,
) -> Option<Seen> {
    let (mut last, mut missed) = (Duration::ZERO, 0);
    watch(client, to, change, |begun, answered_by| {
        if answered_by == Some(server) {
            (last, missed) = (begun, 0);
        } else {
            missed += 1;
        }
        (missed == GONE).then_some(last)
    })
}

/// Makes the change, and connects until `server` answers. `after` belongs to that connection.
pub(crate) fn until_there(
    client: &Netns,
    to: SocketAddr,
    server: &str,
    change: impl FnOnce() -> Instant + Send,
) -> Option<Seen> {
    watch(client, to, change, |begun, answered_by| (answered_by == Some(server)).then_some(begun))
}

/// Connects again and again, makes the change in between, and gives each connection after it to
/// `look` (begun how long after the change, answered by whom) until that tells a time.
fn watch(
    client: &Netns,
    to: SocketAddr,
    change: impl FnOnce() -> Instant + Send,
    mut look: impl FnMut(Duration, Option<&str>) -> Option<Duration> + Send,
) -> Option<Seen> {
    client.run(|| {
        let mut tally = Tally::default();
        for _ in 0..GONE {
            tally.add(&ask_here(Protocol::Tcp, to, ANSWER));
        }
        let (changed, mut count) = (change(), 0);
        while changed.elapsed() < LIMIT {
            let begun = changed.elapsed();
            let outcome = ask_here(Protocol::Tcp, to, ANSWER);
            count += 1;
            tally.add(&outcome);
            if let Some(after) = look(begun, outcome.server()) {
                return Some(Seen { after, tally, each: changed.elapsed() / count });
            }
        }
        None
    })
}
