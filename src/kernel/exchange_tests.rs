use std::sync::mpsc;

use weir_rules::cluster::Family;
use weir_rules::nft::TABLE;
use weir_testbed::Netns;

use super::*;
use crate::kernel::dump::{REQUEST_SET, REQUEST_TABLE, nf_tables};
use crate::kernel::expression::protocol_family;
use crate::kernel::{Request, Worker};

/// A namespace with a set whose dump takes many datagrams.
fn with_large_set() -> Netns {
    let ns = Netns::new("given-up");
    ns.nft("table ip weir { set s { typeof ip daddr; }; }");
    // As many at once as nft can send in a user namespace.
    for part in 0..5 {
        let list: Vec<_> =
            (0..4000).map(|i| format!("11.{part}.{}.{}", i / 250, i % 250)).collect();
        ns.nft(&format!("add element ip weir s {{ {} }}", list.join(", ")));
    }
    ns
}

/// Asks for that set and does not read the answer.
pub(in crate::kernel) fn give_up(worker: &mut Worker) {
    worker.sequence += 1;
    let kind = nf_tables(libc::NFT_MSG_GETSETELEM);
    let (family, flags) = (protocol_family(Family::Ipv4), libc::NLM_F_DUMP as u16);
    let mut request = worker.scratch.begin(kind, family, flags, worker.sequence, 0);
    request.put(REQUEST_TABLE, format!("{TABLE}\0").as_bytes());
    request.put(REQUEST_SET, b"s\0");
    worker.socket.send(request.finish()).expect("it can be sent");
}

/// What the worker answers when it is asked for everything.
fn dumped(worker: &mut Worker) -> Result<usize, DumpError> {
    let (answer, result) = mpsc::channel();
    worker.answer(Request::Dump(answer));
    let snapshot = result.recv().expect("it answers")?;
    Ok(snapshot.ruleset.tables[&Family::Ipv4].sets["s"].elements.len())
}

#[test]
fn while_another_dump_runs_on_the_socket_the_kernel_is_busy() {
    with_large_set().run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        give_up(&mut worker);
        let error = worker.dump().expect_err("the other one still runs");
        assert!(matches!(error, DumpError::Busy { what: "chains", .. }), "{error:?}");
    });
}

#[test]
fn a_dump_that_was_given_up_keeps_nobody_from_reading() {
    with_large_set().run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        let port = worker.socket.port();
        assert_eq!(dumped(&mut worker).ok(), Some(20_000));
        assert_eq!(worker.socket.port(), port, "all is well");
        give_up(&mut worker);
        assert_eq!(dumped(&mut worker).ok(), Some(20_000));
        assert_ne!(worker.socket.port(), port, "it is another socket");
    });
}

/// Answers to something else are passed over, and the socket on which they come is not used again.
#[test]
fn a_single_answer_is_found_among_those_to_another_question() {
    with_large_set().run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        let (port, generation) = (worker.socket.port(), worker.generation().expect("an answer"));
        give_up(&mut worker);
        assert_eq!(worker.generation().ok(), Some(generation));
        worker.renew();
        assert_eq!(worker.ports.all(), [port, worker.socket.port()]);
        assert_eq!(dumped(&mut worker).ok(), Some(20_000));
    });
}

#[test]
fn an_answer_that_cannot_be_decoded_leaves_the_socket_in_doubt() {
    with_large_set().run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        let port = worker.socket.port();
        worker.sequence += 1;
        let kind = nf_tables(libc::NFT_MSG_GETGEN);
        let request = worker.scratch.begin(kind, 0, 0, worker.sequence, 0).finish();
        let result = exchange(&mut worker.socket, "it", request, |_, _| {
            Err(DumpError::Undecodable { what: "it" }.into())
        });
        assert!(matches!(result, Err(ExchangeError::Final(DumpError::Undecodable { .. }))));
        worker.socket.renew();
        assert_ne!(worker.socket.port(), port);
    });
}

#[test]
fn an_error_tells_whether_reading_again_may_help() {
    type Expected = fn(&ExchangeError) -> bool;
    let cases: [(i32, Expected); 8] = [
        (libc::EINTR, |it| matches!(it, ExchangeError::Interrupted)),
        (libc::ENOENT, |it| matches!(it, ExchangeError::Interrupted)),
        (libc::EBUSY, |it| matches!(it, ExchangeError::Final(DumpError::Busy { .. }))),
        (libc::EAGAIN, |it| matches!(it, ExchangeError::Final(DumpError::Busy { .. }))),
        (libc::ENOMEM, |it| matches!(it, ExchangeError::Final(DumpError::OutOfMemory { .. }))),
        (libc::ENOBUFS, |it| matches!(it, ExchangeError::Final(DumpError::OutOfMemory { .. }))),
        (libc::EPERM, |it| matches!(it, ExchangeError::Final(DumpError::Refused { .. }))),
        (libc::EINVAL, |it| matches!(it, ExchangeError::Final(DumpError::Refused { .. }))),
    ];
    for (errno, expected) in cases {
        assert!(expected(&refused("it", errno)), "{errno}");
    }
}
