//! The kernel rejects objects that some Services need.

use std::time::Duration;

use weir::kernel::CommitError;
use weir::sync::{SyncError, SyncReport};
use weir_rules::cluster::{Cluster, NamespacedName};
use weir_rules::config::{DetectLocal, NodePortAddresses};
use weir_rules::nft::Statement;

use crate::agent::{Agent, name};
use crate::faulty::{Request, Told};

const MANY: u16 = 1000;

/// The offenders.
const ONE: &[u16] = &[500];
const SEVERAL: &[u16] = &[1, 500, 501, 1000];

fn names_of(numbers: &[u16]) -> Vec<NamespacedName> {
    let mut names: Vec<_> = numbers.iter().copied().map(name).collect();
    names.sort();
    names
}

fn quarantined(report: &SyncReport) -> Vec<NamespacedName> {
    let mut names: Vec<_> = report.quarantined.iter().map(|it| it.service.clone()).collect();
    names.sort();
    names
}

/// The cluster with these Services as they are in another.
fn with(cluster: &Cluster, numbers: &[u16], other: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    for name in numbers.iter().copied().map(name) {
        match other.services.get(&name) {
            Some(service) => drop(cluster.services.insert(name.clone(), service.clone())),
            None => drop(cluster.services.remove(&name)),
        }
        if let Some(slice) = other.slices.get(&name) {
            cluster.slices.insert(name, slice.clone());
        }
    }
    cluster
}

/// These Services are set aside, and the kernel holds something for them or nothing.
fn assert_aside(agent: &Agent, numbers: &[u16], are_held: bool, context: &str) {
    let expected: Vec<_> = names_of(numbers).into_iter().map(|name| (name, are_held)).collect();
    let quarantine = agent.reconciler.quarantine().map(|(name, is_held)| (name.clone(), is_held));
    assert_eq!(quarantine.collect::<Vec<_>>(), expected, "{context}");
}

/// What is set aside comes back when its time comes.
async fn assert_comes_back(agent: &mut Agent, context: &str) {
    agent.take_all();
    agent.settle().await;
    agent.assert_equal(context);
    assert_eq!(agent.reconciler.quarantined(), 0, "{context}");
}

/// Attempts that a refusal costs, by what the kernel tells: one is enough where it says who it is;
/// else halves are tried.
const ATTEMPTS: [(Told, u32); 3] = [(Told::Part, 1), (Told::Operation, 32), (Told::Nothing, 32)];

#[tokio::test(start_paused = true)]
async fn at_first_load_all_others_are_served_at_once() {
    for offenders in [ONE, SEVERAL] {
        for (told, attempts) in ATTEMPTS {
            let context = format!("{} offenders, {told:?}", offenders.len());
            let mut agent = Agent::new(MANY);
            agent.refuse(offenders, told);
            let report = agent.sync();
            assert_eq!(quarantined(&report), names_of(offenders), "{context}");
            let cluster = with(&agent.cluster, offenders, &Cluster::default());
            agent.assert_holds(&cluster, offenders, &context);
            assert_aside(&agent, offenders, false, &context);
            let count = offenders.len() as u32;
            assert!(agent.asked(Request::Commit) <= 1 + attempts * count, "{context}: commits");
            assert!(agent.asked(Request::Dump) <= 1 + count, "{context}: dumps");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_burst_all_others_are_served_at_once_and_those_stay_as_they_were() {
    for offenders in [&[15][..], &[10, 15, 19]] {
        for (told, attempts) in ATTEMPTS {
            let context = format!("{} offenders, {told:?}", offenders.len());
            let mut agent = Agent::new(100);
            agent.sync();
            let before = agent.cluster.clone();
            let [commits, dumps] = [Request::Commit, Request::Dump].map(|it| agent.asked(it));
            agent.refuse(offenders, told);
            for number in 10..20 {
                agent.remove(number);
            }
            agent.sync();
            for number in 10..20 {
                agent.put(number, &[1, 5]);
            }
            let gone = with(&before, &(10..20).collect::<Vec<_>>(), &Cluster::default());
            let report = agent.sync();
            assert_eq!(quarantined(&report), names_of(offenders), "{context}");
            agent.assert_holds(&with(&agent.cluster, offenders, &gone), offenders, &context);
            let count = offenders.len() as u32;
            let commits = agent.asked(Request::Commit) - commits;
            assert!(commits <= 2 + attempts * count, "{context}: {commits} commits");
            let dumps = agent.asked(Request::Dump) - dumps;
            assert!(dumps <= if told == Told::Part { 0 } else { count }, "{context}: {dumps}");
            assert_comes_back(&mut agent, &context).await;
        }
    }
}

/// What it is to have now is refused, what it has had is served on.
#[tokio::test(start_paused = true)]
async fn a_service_that_changes_to_what_is_refused_stays_as_it_was() {
    for told in [Told::Part, Told::Operation, Told::Nothing] {
        let mut agent = Agent::new(20);
        agent.sync();
        let before = agent.cluster.clone();
        // Its fourth endpoint is refused.
        agent.refuse_slot(5, 3, told);
        agent.put(5, &[1, 2, 3, 4]);
        agent.put(6, &[1, 2, 3, 4]);
        assert_eq!(quarantined(&agent.sync()), names_of(&[5]), "{told:?}");
        let expected = with(&agent.cluster, &[5], &before);
        agent.assert_holds(&expected, &[5], &format!("{told:?}"));
        assert_aside(&agent, &[5], true, &format!("{told:?}"));
        // Whatever else happens.
        agent.put(7, &[1]);
        agent.config.node_port_addresses = NodePortAddresses::Cidrs(vec![]);
        agent.touch_surroundings();
        agent.kernel.edit(|ruleset| {
            ruleset.tables.values_mut().for_each(|table| {
                table.chains.get_mut("services").expect("it is there").rules.clear();
            })
        });
        agent.reconciler.check_generation().ok();
        agent.sync();
        let expected = with(&agent.cluster, &[5], &before);
        agent.assert_holds(&expected, &[5], &format!("{told:?}, later"));
        // And when all is compared.
        agent.reconciler.mark_unknown();
        agent.put(8, &[1]);
        agent.sync();
        let expected = with(&agent.cluster, &[5], &before);
        agent.assert_holds(&expected, &[5], &format!("{told:?}, compared"));
        // When it is tried again, too.
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(300)).await;
            agent.reconciler.mark_unknown();
            agent.sync();
            agent.assert_holds(&expected, &[5], &format!("{told:?}, tried again"));
        }
        assert_comes_back(&mut agent, &format!("{told:?}")).await;
    }
}

/// Other settings may change what all Services have; those that are refused are none of them.
#[tokio::test(start_paused = true)]
async fn settings_change_while_a_service_is_set_aside() {
    let mut agent = Agent::new(20);
    agent.refuse(&[5], Told::Part);
    agent.sync();
    agent.config.node_name = "node-b".to_owned();
    agent.config.detect_local = DetectLocal::InterfaceNamePrefix("veth".to_owned());
    agent.touch_surroundings();
    let commits = agent.asked(Request::Commit);
    let report = agent.sync();
    assert_eq!(report.quarantined, []);
    assert_eq!(agent.asked(Request::Commit) - commits, 1);
    agent.assert_holds(&with(&agent.cluster, &[5], &Cluster::default()), &[5], "other settings");
    assert_comes_back(&mut agent, "other settings").await;
}

/// What it had is not known any more then, and the kernel's tables are full of it.
#[tokio::test(start_paused = true)]
async fn after_a_restart_a_refused_service_is_served_as_before_it() {
    let mut agent = Agent::new(8);
    agent.sync();
    let before = agent.cluster.clone();
    // Another port, and other chains.
    agent.cluster.services.update(&name(5), |service| {
        service.ports[0].port = 81.try_into().expect("a port");
    });
    agent.put_slice(5, &[1, 2]);
    agent.refuse_port(5, 81, Told::Part);
    agent.restart();
    assert_eq!(quarantined(&agent.sync()), names_of(&[5]));
    assert_eq!(agent.lost_of(&before, 5), Vec::<String>::new());
    // Nobody else needs the chains that it goes to.
    for number in 1..=8 {
        if number != 5 {
            agent.put(number, &[1]);
        }
    }
    let report = agent.sync();
    assert_eq!(report.quarantined, []);
    assert_eq!(agent.lost_of(&before, 5), Vec::<String>::new());
    // Somebody changes a rule, and all chains are compared.
    agent.kernel.edit(|ruleset| {
        ruleset.tables.values_mut().for_each(|table| {
            table.chains.get_mut("services").expect("it is there").rules.clear();
        })
    });
    agent.reconciler.check_generation().ok();
    let report = agent.sync();
    assert_eq!((report.quarantined, report.dumps), (vec![], 0));
    assert!(!agent.reconciler.has_drifted());
    assert_eq!(agent.lost_of(&before, 5), Vec::<String>::new());
    assert_comes_back(&mut agent, "restart").await;
}

/// As one without nft_dynset.
#[tokio::test(start_paused = true)]
async fn a_kernel_that_cannot_learn_serves_all_but_services_with_affinity() {
    let mut agent = Agent::new(2);
    agent.lack(|statement| matches!(statement, Statement::Update { .. }), Told::Part);
    assert_eq!(quarantined(&agent.sync()), names_of(&[1]));
    agent.assert_holds(&with(&agent.cluster, &[1], &Cluster::default()), &[1], "start");
    agent.put(3, &[1, 2]);
    agent.put(4, &[1, 2]);
    let commits = agent.asked(Request::Commit);
    assert_eq!(quarantined(&agent.sync()), names_of(&[3]));
    assert!(agent.asked(Request::Commit) - commits <= 4);
    agent.assert_holds(&with(&agent.cluster, &[1, 3], &Cluster::default()), &[1, 3], "change");
    assert_comes_back(&mut agent, "the module is loaded").await;
}

#[tokio::test(start_paused = true)]
async fn more_refusals_than_one_sync_takes_are_gone_on_with_by_the_next() {
    let offenders: Vec<u16> = (1..=300).collect();
    let mut agent = Agent::new(301);
    agent.refuse(&offenders, Told::Part);
    let mut report = SyncReport::default();
    let result = agent.reconciler.sync(&agent.cluster, &agent.config, &mut report);
    let Err(SyncError::ManyRefused(count)) = result else { panic!("{result:?}") };
    assert_eq!(count, report.quarantined.len());
    let rest = agent.sync().quarantined.len();
    assert_eq!(count + rest, offenders.len());
    let expected = with(&agent.cluster, &offenders, &Cluster::default());
    agent.assert_holds(&expected, &offenders, "the next");
}

/// Without a Service to blame, the error is told and all is tried again.
#[tokio::test(start_paused = true)]
async fn what_no_service_asks_for_is_a_failure() {
    for told in [Told::Part, Told::Operation, Told::Nothing] {
        let mut agent = Agent::new(2);
        agent.lack(|statement| matches!(statement, Statement::Masquerade), told);
        let mut report = SyncReport::default();
        let result = agent.reconciler.sync(&agent.cluster, &agent.config, &mut report);
        let is_told = matches!(result, Err(SyncError::Commit(CommitError::Refused { .. })));
        assert!(is_told, "{told:?}: {result:?}");
        assert_eq!(quarantined(&report), [], "{told:?}");
        assert_comes_back(&mut agent, "the module is loaded").await;
    }
}

/// Nor which operation it is: what a Service has of its own is found among the others'.
#[tokio::test(start_paused = true)]
async fn a_refused_rule_is_found_though_the_kernel_does_not_tell_which_it_is() {
    for told in [Told::Operation, Told::Nothing] {
        let mut agent = Agent::new(100);
        let ruleset = weir_rules::compile::compile(&agent.cluster, &agent.config);
        let chain = &ruleset.tables[&weir_rules::cluster::Family::Ipv4].chains["learn-default/web-51/tcp/80"];
        let learns = |it: &&Statement| matches!(it, Statement::Update { .. });
        let refused = chain.statements().find(learns).expect("it learns").clone();
        agent.lack(move |it| *it == refused, told);
        assert_eq!(quarantined(&agent.sync()), names_of(&[51]), "{told:?}");
        let expected = with(&agent.cluster, &[51], &Cluster::default());
        agent.assert_holds(&expected, &[51], &format!("{told:?}"));
        assert!(agent.asked(Request::Commit) <= 33, "{told:?}");
        assert_comes_back(&mut agent, &format!("{told:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_service_is_tried_when_it_changes_and_else_ever_more_seldom() {
    let mut agent = Agent::new(4);
    agent.refuse(&[2], Told::Part);
    assert_eq!(quarantined(&agent.sync()), names_of(&[2]));
    let dumps = agent.asked(Request::Dump);
    agent.put(2, &[4, 5, 6]);
    let commits = agent.asked(Request::Commit);
    assert_eq!(quarantined(&agent.sync()), [], "the reason is no news");
    assert!(agent.asked(Request::Commit) > commits, "it was tried");
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let due = agent.reconciler.due().expect("it is to be tried");
        let pause = due - tokio::time::Instant::now();
        pauses.push(pause.as_secs());
        tokio::time::advance(pause).await;
        agent.sync();
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(agent.asked(Request::Dump), dumps, "what the kernel has of it is known");
    agent.take_all();
    agent.put(2, &[1, 2]);
    assert_eq!(agent.sync().taken, names_of(&[2]));
    agent.assert_equal("taken");
}

/// What the kernel has of the one is known, and of the other not.
#[tokio::test(start_paused = true)]
async fn two_services_are_set_aside_of_which_one_gets_its_way() {
    let mut agent = Agent::new(6);
    agent.refuse(&[1], Told::Part);
    assert_eq!(quarantined(&agent.sync()), names_of(&[1]), "at first load");
    agent.refuse_slot(5, 2, Told::Part);
    agent.put(5, &[1, 2, 9]);
    assert_eq!(quarantined(&agent.sync()), names_of(&[5]), "later");
    // With a chain that no other has.
    agent.put(5, &[1, 2]);
    assert_eq!(agent.sync().taken, names_of(&[5]));
    agent.assert_holds(&with(&agent.cluster, &[1], &Cluster::default()), &[1], "later");
    assert_comes_back(&mut agent, "both").await;
}

/// It leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn a_service_that_goes_while_it_is_set_aside_is_gone() {
    for told in [Told::Part, Told::Nothing] {
        for is_known in [true, false] {
            let mut agent = Agent::new(6);
            agent.sync();
            agent.refuse_slot(5, 3, told);
            agent.put(5, &[1, 2, 3, 4]);
            if !is_known {
                agent.restart();
            }
            assert_eq!(quarantined(&agent.sync()), names_of(&[5]));
            agent.remove(5);
            agent.sync();
            agent.assert_equal(&format!("{told:?}, {is_known}"));
            assert_eq!(agent.reconciler.quarantined(), 0);
        }
    }
}

/// What it had cannot be made anew either.
#[tokio::test(start_paused = true)]
async fn all_is_flushed_while_a_service_is_set_aside_whose_old_state_is_refused_too() {
    let mut agent = Agent::new(6);
    agent.sync();
    agent.refuse_slot(5, 3, Told::Part);
    agent.put(5, &[1, 2, 3, 4]);
    assert_eq!(quarantined(&agent.sync()), names_of(&[5]));
    agent.refuse(&[5], Told::Part);
    agent.kernel.edit(|ruleset| ruleset.tables.clear());
    agent.sync();
    agent.assert_holds(&with(&agent.cluster, &[5], &Cluster::default()), &[5], "flushed");
    assert_comes_back(&mut agent, "flushed").await;
}
