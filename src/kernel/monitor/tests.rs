//! With a real kernel, and a receive buffer that is full at once.

use weir_rules::cluster::Family;
use weir_rules::nft::{Ruleset, Table};
use weir_rules::transaction::diff::diff;
use weir_testbed::Netns;

use super::*;
use crate::kernel::Kernel;
use crate::kernel::commit::tests::drop_capabilities;

fn add_elements(ns: &Netns, table: &str, count: u32) {
    let list: Vec<_> = (0..count).map(|i| format!("11.0.{}.{}", i / 250, i % 250)).collect();
    let set = format!("set s {{ type ipv4_addr; elements = {{ {} }}; }}", list.join(", "));
    ns.nft(&format!("table ip {table} {{ {set}; }}"));
}

#[test]
fn more_than_the_buffer_holds_is_a_loss_and_what_comes_after_it_is_heard() {
    let ns = Netns::new("overrun");
    let mut monitor =
        ns.run(|| Monitor::with_buffer(0, 8 << 10)).expect("it can be heard of commits");
    ns.nft("add table ip weir");
    let foreign = monitor.drain();
    assert_eq!((foreign.commits.len(), foreign.is_lossy), (1, false));

    for table in ["weir", "other"] {
        add_elements(&ns, table, 2000);
        assert!(monitor.drain().is_lossy, "{table}");
        assert_eq!(monitor.drain(), ForeignChanges::default(), "{table}");
        ns.nft("add chain ip weir c; delete chain ip weir c");
        let foreign = monitor.drain();
        assert_eq!((foreign.commits.len(), foreign.is_lossy), (1, false), "{table}: {foreign:?}");
    }
}

/// Nothing else would ever empty the buffer.
#[test]
fn a_full_buffer_is_empty_after_a_pause() {
    let ns = Netns::new("overrun-pause");
    let mut monitor =
        ns.run(|| Monitor::with_buffer(0, 8 << 10)).expect("it can be heard of commits");
    add_elements(&ns, "weir", 2000);
    monitor.pause().expect("it can pause");
    monitor.resume().expect("it can go on");
    ns.nft("add chain ip weir c");
    let foreign = monitor.drain();
    assert_eq!((foreign.commits.len(), foreign.is_lossy), (1, false), "{foreign:?}");
}

/// However often it is replaced before the monitor is asked.
#[test]
fn commits_from_a_socket_that_was_replaced_are_weirs_own() {
    let ns = Netns::new("replaced");
    let kernels = [(); 3].map(|()| ns.run(|| Kernel::open().expect("nf_tables can be used")));
    let [first, second, third] = kernels.each_ref().map(|kernel| kernel.ports().all()[0]);
    let own = Ports::from(first);
    let mut monitor = ns.run(|| Monitor::open(own.clone())).expect("it can be heard of commits");
    let table = Table::default();
    let (none, some) = (Ruleset::default(), Ruleset { tables: [(Family::Ipv4, table)].into() });
    for (port, kernel) in [first, second, third].into_iter().zip(&kernels) {
        own.set(port);
        for (before, after) in [(&none, &some), (&some, &none)] {
            kernel.commit(diff(before, after), None).expect("it is taken");
        }
    }
    let foreign = monitor.drain();
    assert!(foreign.commits.is_empty() && !foreign.is_lossy, "{foreign:?}");
    assert_eq!(own.all(), [third]);
    // Somebody else may be given the port id of a socket that is no more.
    kernels[0].commit(diff(&none, &some), None).expect("it is taken");
    assert_eq!(monitor.drain().commits.len(), 1);
}

#[test]
fn whoever_may_not_change_nf_tables_may_not_hear_of_it() {
    let opened = Netns::new("unprivileged").run(|| {
        drop_capabilities();
        Monitor::open(0)
    });
    assert!(matches!(opened, Err(OpenError::NotPermitted)), "{opened:?}");
}

#[test]
fn it_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Monitor>();
}
