//! Nodes with very many of kube-proxy's chains.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir::kernel::Kernel;
use weir_rules::nft::Table;
use weir_rules::transaction::{Action, Operation, Transaction};
use weir_testbed::{Family, Netns};

use super::kube_proxy::Mode;
use super::leftovers::clean;

/// Makes chains of kube-proxy's names, more than go in one transaction. Each leads to the one
/// before.
fn make_chains(ns: &Netns) {
    // An ordinary user's socket takes no more at once.
    for portion in 0..10 {
        let numbers = portion * 300..(portion + 1) * 300;
        let chain = |number: i32| format!("KUBE-SEP-{number:016}");
        let declared: String =
            numbers.clone().map(|number| format!(":{} - [0:0]\n", chain(number))).collect();
        let rules: String = numbers
            .skip(1)
            .map(|number| format!("-A {} -p tcp -j {}\n", chain(number), chain(number - 1)))
            .collect();
        let text = format!("*nat\n{declared}{rules}COMMIT\n");
        Mode::IptablesNft.restore(ns, Family::V6, &text);
    }
}

#[test]
fn a_large_node_is_cleaned_whole() {
    let ns = Netns::new("large");
    make_chains(&ns);
    let (said, _) = clean(&ns);
    assert_eq!(said, "removed what kube-proxy had left: 3000 iptables chains\n");
    assert!(!Mode::IptablesNft.saved(&ns).contains("KUBE-"));
}

/// How long the neighbour rests between two changes: longer than it takes to read the built-in
/// chains, far shorter than it takes to read all of kube-proxy's.
const REST: Duration = Duration::from_millis(5);

/// Adds a table and removes it, again and again, and gives how often.
fn change_until(is_over: &AtomicBool) -> usize {
    let kernel = Kernel::open().expect("nf_tables can be used");
    let table = || Action::AddTable { comment: None };
    let no_table = || Action::DeleteTable { table: Table::default() };
    let actions = iter::repeat_with(|| [table(), no_table()]).flatten();
    let change = |action| {
        let operations = vec![Operation { family: weir_rules::cluster::Family::Ipv4, action }];
        kernel.commit(Transaction { operations }, None).expect("nothing keeps it from that");
        thread::sleep(REST);
    };
    actions.take_while(|_| !is_over.load(Ordering::Relaxed)).map(change).count()
}

#[test]
fn a_large_node_is_cleaned_whole_beside_a_busy_neighbour() {
    let ns = Netns::new("busy");
    make_chains(&ns);
    Mode::IptablesNft.program(&ns);
    let is_over = AtomicBool::new(false);
    let (cleaned, changes) = thread::scope(|scope| {
        let neighbour = scope.spawn(|| ns.run(|| change_until(&is_over)));
        let cleaned = scope.spawn(|| clean(&ns)).join();
        is_over.store(true, Ordering::Relaxed);
        (cleaned, neighbour.join().expect("no panic"))
    });
    let (said, _) = cleaned.expect("no panic");
    assert!(changes > 3, "the test's premise: {changes}");
    assert!(said.contains("3042 iptables chains, 14 rules that led there"), "{said}");
    assert!(!Mode::IptablesNft.saved(&ns).contains("KUBE-"));
}
