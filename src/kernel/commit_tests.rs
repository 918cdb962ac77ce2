use std::net::{IpAddr, Ipv4Addr};

use weir_rules::cluster::{Cluster, Family};
use weir_rules::compile::{compile, names};
use weir_rules::config::Config;
use weir_rules::nft::{Data, Element, Elements, RawKey, Ruleset};
use weir_rules::transaction::diff::diff;
use weir_testbed::Netns;

use super::*;
use crate::kernel::exchange::tests::give_up;

fn program() -> Ruleset {
    compile(&Cluster::default(), &Config::new("node"))
}

/// So many elements for a set of the program.
fn elements(count: u32) -> Transaction {
    let key = |i| RawKey::new().address(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + i)));
    let elements: Elements = (0..count).map(|i| (key(i), Element::new(Data::Nothing))).collect();
    let spec = program().tables[&Family::Ipv4].sets[names::CLUSTER_IPS].spec.clone();
    let action = Action::AddElements { set: names::CLUSTER_IPS.into(), spec, elements };
    Transaction { operations: vec![Operation { family: Family::Ipv4, action }] }
}

/// A namespace with weir's program and a set whose dump fills a small receive buffer at once.
fn programmed(worker: &mut Worker, ns: &Netns) {
    worker.commit(&diff(&Ruleset::default(), &program()), None).expect("it is taken");
    let list: Vec<_> = (0..2000).map(|i| format!("11.0.{}.{}", i / 250, i % 250)).collect();
    let set = format!("set s {{ type ipv4_addr; elements = {{ {} }}; }}", list.join(", "));
    ns.nft(&format!("table ip weir {{ {set}; }}"));
}

/// The kernel has no room for the answer, of which it says so (`ENOBUFS`). What it has done is
/// done.
#[test]
fn a_commit_whose_answer_is_lost_may_have_happened_and_the_next_is_answered() {
    let ns = Netns::new("lost");
    ns.run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        programmed(&mut worker, &ns);
        worker.socket = Socket::with_buffer(1).expect("the least that there is");
        let port = worker.socket.port();
        give_up(&mut worker);
        let error = worker.commit(&elements(1), None).expect_err("there is no answer");
        let CommitError::AnswerLost(source) = &error else { panic!("{error:?}") };
        assert_eq!(source.raw_os_error(), Some(libc::ENOBUFS));

        worker.socket.renew();
        assert_ne!(worker.socket.port(), port, "it is another socket");
        let dumped = worker.dump().expect("it can be read").ruleset;
        assert_eq!(dumped.tables[&Family::Ipv4].sets[names::CLUSTER_IPS].elements.len(), 1);
        worker.commit(&elements(2), None).expect("it is answered");
    });
}

/// All are there before the first is read. The object of the first error is reported all the same.
#[test]
fn more_refusals_than_the_buffer_holds_are_a_refusal() {
    let ns = Netns::new("refusals");
    ns.run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        programmed(&mut worker, &ns);
        worker.socket = Socket::with_buffer(1).expect("the least that there is");
        let delete = Operation {
            family: Family::Ipv4,
            action: Action::DeleteChain { name: "none".into(), base: None, comment: None },
        };
        let transaction = Transaction { operations: vec![delete; 100] };
        let error = worker.commit(&transaction, None).expect_err("there is no such chain");
        assert!(matches!(error, CommitError::Refused { operation: Some(0), .. }), "{error:?}");
    });
}

/// Gives up all capabilities of the calling thread for good.
pub(in crate::kernel) fn drop_capabilities() {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
    const VERSION_3: u32 = 0x2008_0522;
    let (header, none) = ([VERSION_3, 0], [0_u32; 6]);
    // SAFETY: the arguments are a `struct cap_user_header`, for the calling thread, and two
    // `struct cap_user_data`, as this version takes them.
    let failed = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

/// As in a user namespace, where weir may not make its buffers as large as it likes. The kernel
/// looks at the length before it looks at who sends.
#[test]
fn what_does_not_fit_the_send_buffer_is_too_long() {
    Netns::new("too-long").run(|| {
        let mut worker = Worker::open(Default::default()).expect("nf_tables can be used");
        drop_capabilities();
        // Memory that is never touched, so that it costs nothing.
        let datagram = vec![0; 1 << 30];
        let (error, limit) = worker.socket.send(&datagram).expect_err("it does not fit");
        let CommitError::TooLong { bytes, limit } = unsent(error, datagram.len(), limit) else {
            panic!("it is too long")
        };
        assert!(bytes > limit && limit > 0, "{bytes} bytes of {limit}");
        let refused = worker.commit(&elements(1), None).expect_err("it may not");
        assert_eq!(refused.errno(), Some(libc::EPERM), "{refused:?}");
    });
}

#[test]
fn what_cannot_be_sent_tells_whether_less_may_do() {
    type Expected = fn(&CommitError) -> bool;
    let cases: [(i32, Expected); 4] = [
        (libc::EMSGSIZE, |it| matches!(it, CommitError::TooLong { bytes: 5, limit: 3 })),
        (libc::ENOBUFS, |it| matches!(it, CommitError::OutOfMemory { bytes: 5, .. })),
        (libc::ENOMEM, |it| matches!(it, CommitError::OutOfMemory { bytes: 5, .. })),
        (libc::EPERM, |it| matches!(it, CommitError::Send(_))),
    ];
    for (errno, expected) in cases {
        let error = unsent(io::Error::from_raw_os_error(errno), 5, 3);
        assert!(expected(&error), "{errno}: {error:?}");
    }
}

#[test]
fn what_was_aborted_tells_whether_an_operation_is_to_blame() {
    assert!(matches!(aborted(libc::ERESTART, 5), Some(CommitError::Stale)));
    assert!(matches!(aborted(libc::EAGAIN, 5), Some(CommitError::Busy(_))));
    let error = aborted(libc::ENOMEM, 5);
    assert!(matches!(error, Some(CommitError::OutOfMemory { bytes: 5, .. })), "{error:?}");
    for errno in [libc::ENOENT, libc::EEXIST, libc::EBUSY, libc::EINVAL, libc::EPERM] {
        assert!(aborted(errno, 5).is_none(), "{errno}");
    }
}
