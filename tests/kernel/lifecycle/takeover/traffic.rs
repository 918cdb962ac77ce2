//! Old connections that must go on, and new ones that must never fail.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use weir_testbed::{ANSWER, Family, Protocol, SILENCE, Testbed, ask_here, wait_for};

use super::kube_proxy::NODE_PORT;
use super::node::{LIMIT, Node, cluster_ip};

/// A connection and a flow that were there before.
pub(super) struct Old {
    near: TcpStream,
    far: TcpStream,
    flow: UdpSocket,
    answered_by: String,
}

impl Old {
    /// A long connection and a flow of the client through the ClusterIP.
    pub(super) fn new(node: &Node, family: Family) -> Self {
        let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0; 16].into() };
        let (near, flow) = node.bed.ns("client").run(|| {
            let near = TcpStream::connect(cluster_ip(family, 90)).expect("endpoints listen");
            (near, UdpSocket::bind((any, 0)).expect("a free port"))
        });
        flow.connect(cluster_ip(family, 53)).expect("there is a route");
        let mut accepted = None;
        wait_for("the connection to be accepted", LIMIT, || {
            accepted = node.listeners.iter().find_map(|listener| listener.accept().ok());
            accepted.is_some()
        });
        let (far, _) = accepted.expect("waited for");
        far.set_nonblocking(false).expect("an open socket");
        let mut old = Self { near, far, flow, answered_by: String::new() };
        old.answered_by = old.ask(LIMIT).expect("an endpoint answers");
        old
    }

    /// Asserts that data passes in both directions, and that datagrams go where they went.
    pub(super) fn assert_alive(&mut self) {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"still there?").expect("it can be sent");
            to.set_read_timeout(Some(LIMIT)).expect("it is not zero");
            to.read_exact(&mut [0; 12]).expect("it arrives");
        }
        let answer = self.ask(LIMIT).expect("an endpoint answers");
        assert_eq!(answer, self.answered_by);
    }

    /// Sends datagrams without a pause until this endpoint answers one.
    pub(super) fn ask_until(&self, endpoint: &str) {
        let start = Instant::now();
        // An answer is lost if its conntrack entry goes while it is on its way.
        let answer = || self.ask(SILENCE).unwrap_or_default();
        while !answer().starts_with(&format!("{endpoint} ")) {
            assert!(start.elapsed() < LIMIT, "{endpoint} never answers");
        }
    }

    /// Who answers a datagram: name and the client's address as seen.
    fn ask(&self, patience: Duration) -> io::Result<String> {
        let mut line = [0; 512];
        self.flow.set_read_timeout(Some(patience)).expect("it is not zero");
        self.flow.send(b"?").expect("it can be sent");
        let length = self.flow.recv(&mut line)?;
        Ok(String::from_utf8_lossy(&line[..length]).into_owned())
    }
}

/// Ends the traffic when it is dropped, also by a panic: the threads would be waited for.
pub(super) struct Ending<'a>(&'a Traffic);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// New connections from everywhere to everywhere, as fast as they can be made.
pub(super) struct Traffic {
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self { answered: AtomicUsize::new(0), is_over: AtomicBool::new(false) }
    }

    /// Begins, on threads that panic at the first connection that is not answered at once.
    pub(super) fn start<'scope>(
        &'scope self,
        node: &'scope Node,
        scope: &'scope Scope<'scope, '_>,
    ) -> Ending<'scope> {
        let clients = [
            ("client", cluster_ip(Family::V4, 80)),
            ("client", cluster_ip(Family::V6, 80)),
            ("node", cluster_ip(Family::V4, 80)),
            ("visitor", SocketAddr::new(Testbed::NODE_V4.into(), NODE_PORT)),
            ("visitor", SocketAddr::new(Testbed::NODE_V6.into(), NODE_PORT)),
        ];
        for (from, to) in clients {
            scope.spawn(move || node.bed.ns(from).run(|| self.ask_on(from, to)));
        }
        Ending(self)
    }

    fn ask_on(&self, from: &str, to: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            let outcome = ask_here(Protocol::Tcp, to, ANSWER);
            if outcome.server().is_none() {
                // The others need not go on.
                drop(Ending(self));
                panic!("{from} to {to}: {outcome:?}");
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for this many more answers.
    pub(super) fn go_on_for(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for(&format!("{count} more answers"), LIMIT, || {
            let is_over = self.is_over.load(Ordering::Relaxed);
            assert!(!is_over, "a connection was not answered");
            self.answered.load(Ordering::Relaxed) >= before + count
        });
    }
}
