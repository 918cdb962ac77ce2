//! The order of requests to the kernel.

use weir_rules::nft::Name;
use weir_rules::transaction::{Action, Transaction};

use crate::agent::Agent;

/// The chains that a transaction makes.
fn makes(transaction: &Transaction) -> Vec<&Name> {
    let made = transaction.operations.iter().filter_map(|operation| match &operation.action {
        Action::AddChain { name, .. } => Some(name),
        _ => None,
    });
    made.collect()
}

/// The chains that elements of a transaction come to lead to.
fn leads_to(transaction: &Transaction) -> Vec<&Name> {
    let added = transaction.operations.iter().filter_map(|operation| match &operation.action {
        Action::AddElements { elements, .. } => Some(elements),
        _ => None,
    });
    added
        .flat_map(|elements| elements.values().filter_map(|element| element.data.chain()))
        .collect()
}

/// A packet that is on its way finds the new verdict, but walks each chain as it was.
#[tokio::test(start_paused = true)]
async fn a_chain_is_there_before_a_verdict_that_is_replaced_leads_to_it() {
    let mut agent = Agent::new(4);
    agent.sync();
    agent.put(2, &[1, 2, 3, 4, 5]);
    let report = agent.sync();
    agent.assert_equal("five endpoints");
    let transactions: Vec<_> =
        report.commits.iter().map(|change| change.transaction.as_deref().unwrap()).collect();
    let [first, second] = transactions[..] else { panic!("{transactions:#?}") };
    assert!(makes(first).iter().any(|name| name.as_str() == "lb-5"), "{first:#?}");
    assert_eq!(makes(second), Vec::<&Name>::new());
    assert_eq!(leads_to(first), Vec::<&Name>::new());
    assert_ne!(leads_to(second), Vec::<&Name>::new());

    // Nobody waits for what is there.
    agent.put(4, &[1, 2, 3, 4, 5]);
    assert_eq!(agent.sync().commits.len(), 1);
    agent.assert_equal("five endpoints, too");
}
