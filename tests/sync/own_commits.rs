//! weir's own commits, whatever becomes of them, are never taken for foreign ones.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use weir::sync::SyncReport;
use weir_rules::cluster::Family;
use weir_rules::config::DetectLocal;
use weir_rules::nft::{Data, Element, Lifetime, RawKey, RawValue, Ruleset};
use weir_rules::testing::random::{edit, seeded};

use crate::agent::{Agent, name};
use crate::faulty::{FAULTS, Fault, Request, Told};

/// So many Services there are in these tests.
const SERVICES: u16 = 4;
/// So many endpoints of one are more elements than are listened to: it has three destinations.
const MANY: u16 = 340;

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A Service comes, or has so many endpoints from now on.
    Put(u16, u16),
    /// It goes.
    Remove(u16),
    /// Pods are told from others by interfaces of another name.
    Settings(bool),
    /// How long the clients of a Service are remembered, in seconds; not at all if `None`.
    Affinity(u16, Option<u32>),
    /// The kernel refuses a Service at a ClusterIP until it takes it again.
    Refuse(u16),
    /// It takes everything.
    Take,
    /// What has come is programmed.
    Sync,
    /// Time goes by.
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let service = || 1..=SERVICES;
    let count = select(vec![0, 1, 2, 3, 7, 255, MANY, MANY + 1]);
    prop_oneof![
        6 => (service(), count).prop_map(|(number, count)| Step::Put(number, count)),
        1 => service().prop_map(Step::Remove),
        1 => any::<bool>().prop_map(Step::Settings),
        1 => (service(), select(vec![None, Some(60), Some(10800)]))
            .prop_map(|(number, seconds)| Step::Affinity(number, seconds)),
        1 => service().prop_map(Step::Refuse),
        1 => Just(Step::Take),
        6 => Just(Step::Sync),
        2 => (1..90u8).prop_map(Step::Wait),
    ]
}

impl Step {
    fn take(&self, agent: &mut Agent) {
        match *self {
            Step::Put(number, count) => agent.put_many(number, count),
            Step::Remove(number) => agent.remove(number),
            Step::Settings(by_interface) => {
                let prefix = || DetectLocal::InterfaceNamePrefix("veth".to_owned());
                agent.config.detect_local =
                    if by_interface { prefix() } else { DetectLocal::default() };
                agent.touch_surroundings();
            }
            Step::Affinity(number, seconds) => {
                agent.cluster.services.update(&name(number), |service| {
                    service.session_affinity = seconds.and_then(NonZeroU32::new);
                });
                agent.enqueue(number);
            }
            Step::Refuse(number) => agent.refuse(&[number], Told::Part),
            Step::Take => agent.take_all(),
            Step::Sync | Step::Wait(_) => {}
        }
    }
}

/// What an agent has counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    repairs: usize,
    foreign_commits: usize,
    losses: usize,
}

impl Counted {
    fn add(&mut self, report: &SyncReport) {
        self.repairs += report.repairs();
        self.foreign_commits += report.foreign.commits.len();
        self.losses += usize::from(report.foreign.is_lossy);
    }
}

/// Does what is due, as `weir run` does. What is refused stays so.
fn turn(agent: &mut Agent, counted: &mut Counted) -> Result<(), TestCaseError> {
    let foreign = agent
        .reconciler
        .check_generation()
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    counted.foreign_commits += foreign.commits.len();
    counted.losses += usize::from(foreign.is_lossy);
    counted.add(&agent.sync());
    prop_assert!(!agent.reconciler.has_drifted());
    Ok(())
}

/// Lives without anybody else, and asserts that weir never thinks otherwise.
async fn live(steps: &[Step], generation: u32) -> Result<(), TestCaseError> {
    let mut agent = Agent::new(SERVICES);
    agent.kernel.set_generation(generation);
    let mut counted = Counted::default();
    turn(&mut agent, &mut counted)?;
    for step in steps {
        step.take(&mut agent);
        match step {
            Step::Sync => turn(&mut agent, &mut counted)?,
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    tokio::time::advance(Duration::from_secs(1)).await;
                    turn(&mut agent, &mut counted)?;
                }
            }
            _ => {}
        }
    }
    agent.take_all();
    (1..=SERVICES).for_each(|number| agent.enqueue(number));
    turn(&mut agent, &mut counted)?;
    prop_assert_eq!(counted, Counted::default());
    prop_assert_eq!(agent.asked(Request::Dump), 1);
    agent.assert_equal("at the end");
    Ok(())
}

fn run(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(test)
}

proptest! {
    #![proptest_config(seeded(150))]

    #[test]
    fn who_is_alone_repairs_nothing_and_reads_all_once(
        steps in prop::collection::vec(step(), 1..40),
        generation in select(vec![1, 1000, u32::MAX - 7]),
    ) {
        run(live(&steps, generation))?;
    }
}

/// What happens while requests fail: changes that go in one commit, or in two, the second of which is
/// listened to or not.
const CHANGES: [fn(&mut Agent); 6] = [
    |agent| agent.put(2, &[1, 4, 3]),
    |agent| agent.put_many(1, MANY),
    |agent| {
        agent.put(3, &[1, 2, 3, 4, 5]);
        agent.put_many(2, MANY + 1);
    },
    |agent| {
        agent.remove(3);
        agent.put_many(1, 2);
    },
    |agent| {
        agent.config.detect_local = DetectLocal::InterfaceNamePrefix("veth".to_owned());
        agent.touch_surroundings();
    },
    |agent| {
        agent.put(3, &[5]);
        agent.put_many(2, 1);
    },
];

/// Lives through all changes; where one cannot be programmed, the next comes before that is tried again. Gives how many repairs there were.
async fn change_all(agent: &mut Agent) -> usize {
    let mut repairs = 0;
    for change in CHANGES {
        change(agent);
        for _ in 0..3 {
            agent.reconciler.check_generation().ok();
            let mut report = SyncReport::default();
            let result = agent.reconciler.sync(&agent.cluster, &agent.config, &mut report);
            repairs += report.repairs();
            tokio::time::advance(Duration::from_secs(1)).await;
            if result.is_err() {
                break;
            }
        }
    }
    for _ in 0..4 {
        agent.reconciler.check_generation().ok();
        let mut report = SyncReport::default();
        agent.reconciler.sync(&agent.cluster, &agent.config, &mut report).ok();
        repairs += report.repairs();
        // A Service that was taken for refused is tried again.
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    repairs
}

/// Losses among them: what may have been missed is looked for, and found to be nothing.
#[tokio::test(start_paused = true)]
async fn whatever_fails_of_weirs_own_commits_is_no_repair() {
    let mut agent = Agent::new(SERVICES);
    agent.sync();
    let first = agent.plan.borrow().asked.clone();
    assert_eq!(change_all(&mut agent).await, 0);
    let asked = agent.plan.borrow().asked.clone();
    // Of those that come to the same, one.
    let same = [
        "busy",
        "no memory",
        "no memory for it",
        "undecodable",
        "unsteady",
        "interrupted",
        "in use",
    ];
    for (what, request, fault) in FAULTS.into_iter().filter(|(what, ..)| !same.contains(what)) {
        for n in first.get(&request).map_or(1, |n| n + 1)..=asked[&request] {
            let mut agent = Agent::new(SERVICES);
            agent.sync();
            agent.plan.borrow_mut().fault = Some((request, n, fault));
            let context = format!("{request:?} {n} of {}: {what}", asked[&request]);
            assert_eq!(change_all(&mut agent).await, 0, "{context}");
            agent.assert_equal(&context);
        }
    }
}

/// It compares all again and again, finds nothing but what is to be programmed, and holds nothing back.
#[tokio::test(start_paused = true)]
async fn who_cannot_listen_any_more_repairs_nothing_but_what_others_do() {
    let mut agent = Agent::new(SERVICES);
    agent.sync();
    agent.plan.borrow_mut().cannot_resume = true;
    assert_eq!(change_all(&mut agent).await, 0);
    assert!(agent.asked(Request::Dump) > 1);
    agent.assert_equal("not heard of");
    agent.kernel.edit(|ruleset| ruleset.tables.clear());
    agent.put_many(1, 7);
    let report = agent.sync();
    assert!(report.repairs() > 0 && report.pause.is_none(), "{report:?}");
    agent.assert_equal("put right");
}

/// A client is learned behind the transaction that takes its endpoint away, by a packet that was on its way.
#[tokio::test(start_paused = true)]
async fn what_packets_have_learned_is_nobodys_commit() {
    let mut agent = Agent::new(SERVICES);
    agent.sync();
    let learn = |ruleset: &mut Ruleset| {
        let table = ruleset.tables.get_mut(&Family::Ipv4).expect("it is there");
        let maps = table.sets.values_mut().filter(|set| set.spec.dynamic.is_some());
        let endpoint = RawValue::new().address([10, 9, 9, 9].into()).port(80.try_into().unwrap());
        let lifetime = Lifetime { timeout: 10_800_000, expires: 9_000_000 };
        let client = RawKey::new().address([10, 244, 0, 9].into());
        for map in maps {
            map.elements.insert(client, Element::new(Data::Learned(endpoint, lifetime)));
        }
    };
    agent.kernel.learn(learn);
    agent.reconciler.mark_unknown();
    let report = agent.sync();
    assert_eq!((report.commits.len(), report.repairs()), (1, 0));
    agent.assert_equal("forgotten");
}

/// Makes the next commit of others one that is told, not told, or told by half.
fn any_fault(kind: u8) -> Option<Fault> {
    [None, Some(Fault::Lossy), Some(Fault::Deaf)][usize::from(kind % 3)]
}

/// What somebody else does ([`edit`]), and how it is told.
type Edit = (u8, [prop::sample::Index; 2], u8);

/// Lives with others who change weir's tables, of whom each is answered, and before each of whom something was
/// missed that was nothing.
async fn live_with_others(steps: &[(Step, Option<Edit>)]) -> Result<(), TestCaseError> {
    let mut agent = Agent::new(SERVICES);
    agent.settle().await;
    for (step, other) in steps {
        step.take(&mut agent);
        agent.take_all();
        let Some((kind, [family, object], fault)) = other else { continue };
        let phantom = agent.asked(Request::ForeignChanges) + 1;
        agent.plan.borrow_mut().fault = Some((Request::ForeignChanges, phantom, Fault::Lossy));
        let mut counted = Counted::default();
        turn(&mut agent, &mut counted)?;
        prop_assert_eq!(counted.repairs, 0, "a phantom");
        let next = agent.asked(Request::ForeignChanges) + 1;
        agent.plan.borrow_mut().fault =
            any_fault(*fault).map(|fault| (Request::ForeignChanges, next, fault));
        agent.kernel.edit(|ruleset| edit(ruleset, *kind, *family, *object));
        let differs = !agent.difference().is_empty();
        // What is told is repaired at once; of what is not told, the second look learns.
        let mut report = SyncReport::default();
        for _ in 0..2 {
            agent
                .reconciler
                .check_generation()
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            let now = tokio::time::Instant::now();
            if agent.reconciler.due().is_some_and(|due| due <= now) {
                let result = agent.reconciler.sync(&agent.cluster, &agent.config, &mut report);
                prop_assert!(result.is_ok(), "{:?}", result);
            }
        }
        prop_assert_eq!(report.repairs() > 0, differs, "{:?}", other);
        agent.assert_equal(&format!("{other:?}"));
        // Then it is not in a row with the next.
        tokio::time::advance(Duration::from_secs(91)).await;
    }
    Ok(())
}

proptest! {
    #![proptest_config(seeded(100))]

    #[test]
    fn what_others_do_is_repaired_at_once_and_nothing_else_is(
        steps in prop::collection::vec(
            (step(), prop::option::of(any::<Edit>())),
            1..24,
        ),
    ) {
        run(live_with_others(&steps))?;
    }
}
