//! In which order the ruleset and the flows that the kernel remembers change, at the packet.
//!
//! A client asks all the time. An entry that goes before the ruleset has changed comes back with the
//! next packet as it was, and nobody removes it again.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use weir_apiserver::Resource;
use weir_testbed::{eventually, wait_for};

use crate::running::{LIMIT, Running};
use crate::serve::{node, prepared};

const SERVICE: &str = "10.96.0.20:53";

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "dns", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"],
                 "ports": [{"protocol": "UDP", "port": 53}]},
    })
}

fn slice(address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "dns-1", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "", "protocol": "UDP", "port": 8080}],
    })
}

/// A node that serves `dns` by b1, with a Service of another protocol beside it.
fn started() -> Running {
    let mut running = prepared(&[node(json!([])), service(), slice("10.244.0.2")]);
    running.write_config("mode: nftables\n");
    running.start_as_proxy();
    running.wait_until_logged("added 2 tables");
    running
}

/// Sends from one port without rest until it is over.
fn flood(socket: &UdpSocket, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        // What the kernel refuses for want of room, or since somebody has refused one before, is
        // made up for by the next.
        socket.send(b"?").ok();
    }
}

/// The name of whoever answers next; `None` after a refusal, or a time in which all that is on its way
/// has come.
fn answers(socket: &UdpSocket) -> Option<String> {
    let mut line = [0; 512];
    let length = socket.recv(&mut line).ok()?;
    let text = String::from_utf8_lossy(&line[..length]).into_owned();
    text.split(' ').next().map(str::to_owned)
}

/// Asks without rest from the client's namespace while `work` is done.
fn while_asking(running: &Running, work: impl FnOnce(&UdpSocket)) {
    let socket = running.bed.ns("client").run(|| UdpSocket::bind("0.0.0.0:0")).expect("a port");
    socket.connect(SERVICE).expect("there is a route");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it is not zero");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&socket, &is_over));
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&socket)));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn a_client_that_never_pauses_follows_each_change_of_endpoints() {
    let running = started();
    while_asking(&running, |socket| {
        let follows = |backend: &str| {
            wait_for(&format!("{backend} to answer; log:\n{}", running.log()), LIMIT, || {
                answers(socket).as_deref() == Some(backend)
            });
        };
        follows("b1");
        for (address, backend) in [("10.244.0.3", "b2"), ("10.244.0.2", "b1")].repeat(3) {
            running.server.apply(slice(address));
            follows(backend);
        }
    });
}

#[test]
fn a_service_that_goes_answers_a_client_that_never_pauses_no_more() {
    let running = started();
    while_asking(&running, |socket| {
        wait_for("b1 to answer", LIMIT, || answers(socket).as_deref() == Some("b1"));
        running.server.delete(Resource::Services, "default", "dns");
        running.wait_until_logged("removed stale UDP flows");
        // What was on its way has been read by then.
        let silence = eventually(LIMIT, || (0..5).all(|_| answers(socket).is_none()).then_some(()));
        assert!(silence.is_some(), "it is still answered; log:\n{}", running.log());
    });
}
