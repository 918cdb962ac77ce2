//! Servers that say who they are, and connections to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use weir_testbed::Netns;

/// How long a connection may take before it counts as none: less than the kernel waits for the answer
/// to its first packet before it sends another.
const PATIENCE: Duration = Duration::from_millis(200);

/// Serves TCP at all addresses of the namespace until the end of the process, with its name as the
/// answer to each connection.
pub(crate) fn serve(ns: &Netns, name: &'static str, port: u16) {
    let listener = ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("it is free"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that left is its own loss.
            stream.and_then(|mut stream| stream.write_all(name.as_bytes())).ok();
        }
    });
}

/// Connects from the namespace of the calling thread; gives the name of who has answered.
pub(crate) fn ask(to: SocketAddr) -> Option<String> {
    ask_for(PATIENCE, to)
}

/// The same for so long at most.
pub(crate) fn ask_for(patience: Duration, to: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let mut name = String::new();
    stream.read_to_string(&mut name).ok()?;
    (!name.is_empty()).then_some(name)
}
