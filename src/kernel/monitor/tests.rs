//! With a real kernel and a receive buffer that is full at once.

use weir_testbed::Netns;

use super::*;
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
    let heard = monitor.drain();
    assert_eq!((heard.commits.len(), heard.is_lossy), (1, false));

    for table in ["weir", "other"] {
        add_elements(&ns, table, 2000);
        assert!(monitor.drain().is_lossy, "{table}");
        assert_eq!(monitor.drain(), Heard::default(), "{table}");
        ns.nft("add chain ip weir c; delete chain ip weir c");
        let heard = monitor.drain();
        assert_eq!((heard.commits.len(), heard.is_lossy), (1, false), "{table}: {heard:?}");
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
    let heard = monitor.drain();
    assert_eq!((heard.commits.len(), heard.is_lossy), (1, false), "{heard:?}");
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
