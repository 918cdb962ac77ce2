//! A node on which everything happens.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weir::kernel::{Kernel, Monitor};
use weir::source::Kind;
use weir::source::api::{Store, Update};
use weir::sync::{MonitoredKernel, Reconciler, SyncError, SyncReport};
use weir_rules::cluster::{ChangeSet, Cluster, Family, NamespacedName};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::nft::{Ruleset, Table};
use weir_rules::testing::random::NODE;
use weir_rules::transaction::carry_over::carry_over;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_rules::transaction::{Sign, Tally, Transaction};
use weir_testbed::{Netns, tool};

use super::faulty::{Faulty, Plan};

/// So many syncs may fail in a row before quiet is reached.
const MAX_SYNCS: u32 = 24;

pub(super) struct Node {
    ns: Netns,
    /// Somebody else's.
    pub(super) other: Kernel,
    reconciler: Reconciler<Faulty<MonitoredKernel>>,
    pub(super) plan: Rc<RefCell<Plan>>,
    pub(super) state: Store,
    pub(super) config: Config,
    /// The Services that are set aside.
    aside: BTreeSet<NamespacedName>,
    pub(super) met: Met,
}

/// What was met with, by which it shows whether lives are eventful.
#[derive(Debug, Default)]
pub(super) struct Met {
    syncs: usize,
    failures: usize,
    transactions: usize,
    repairs: usize,
    dumps: u64,
    reads: u64,
    quarantined: usize,
}

impl Met {
    pub(super) fn add(&mut self, other: &Met) {
        self.syncs += other.syncs;
        self.failures += other.failures;
        self.transactions += other.transactions;
        self.repairs += other.repairs;
        self.dumps += other.dumps;
        self.reads += other.reads;
        self.quarantined += other.quarantined;
    }
}

fn reconciler(ns: &Netns, plan: &Rc<RefCell<Plan>>) -> Reconciler<Faulty<MonitoredKernel>> {
    let live = ns.run(|| {
        let kernel = Kernel::open().expect("nf_tables can be used");
        let monitor = Monitor::open(kernel.ports()).expect("it can be heard");
        MonitoredKernel::new(kernel, monitor)
    });
    Reconciler::new(Faulty::new(live, plan))
}

impl Node {
    /// With a cluster in which there is nothing.
    pub(super) fn new() -> Self {
        let ns = Netns::new("soak");
        let plan = Rc::default();
        let mut state = Store::default();
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr, Kind::Node] {
            state.apply(Update::Received(kind, Vec::new()));
        }
        let other = ns.run(|| Kernel::open().expect("nf_tables can be used"));
        let reconciler = reconciler(&ns, &plan);
        let (config, aside) = (Config::new(NODE), BTreeSet::new());
        Self { other, reconciler, plan, state, config, ns, aside, met: Met::default() }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.state.cluster().expect("all has been listed")
    }

    pub(super) fn update(&mut self, update: Update) {
        self.state.apply(update);
        self.reconciler.enqueue(self.state.take_changes());
    }

    /// Begins anew with nothing but what the cluster is.
    pub(super) fn restart(&mut self) {
        self.reconciler = reconciler(&self.ns, &self.plan);
        self.aside.clear();
        self.reconciler.enqueue(ChangeSet::all(self.cluster()));
    }

    pub(super) fn set(&mut self, config: Config) {
        self.config = config;
        self.reconciler.enqueue(ChangeSet { environment: true, ..ChangeSet::default() });
    }

    /// Lets nft run a program, whatever becomes of it; says whether it was done.
    pub(super) fn nft(&self, script: &str) -> bool {
        let mut command = tool("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.ns.run(|| command.spawn().expect("nft can be started"));
        let mut stdin = child.stdin.take().expect("is piped");
        stdin.write_all(script.as_bytes()).expect("nft reads");
        drop(stdin);
        child.wait().expect("it ends").success()
    }

    /// Does what is due; gives whether it went well, with nothing left to do.
    pub(super) fn sync(&mut self) -> bool {
        self.reconciler.take_notifications();
        let mut synced = SyncReport::default();
        let cluster = self.state.cluster().expect("all has been listed");
        let result = self.reconciler.sync(cluster, &self.config, &mut synced);
        // Nobody does anything meanwhile.
        let is_lost = |error: &SyncError| error.is_final() || matches!(error, SyncError::Unsteady);
        assert!(!result.as_ref().is_err_and(is_lost), "{result:?}");
        self.met.add(&Met {
            syncs: 1,
            failures: result.is_err().into(),
            transactions: synced.commits.len(),
            repairs: synced.repairs(),
            dumps: synced.dumps,
            reads: synced.reads,
            quarantined: synced.quarantined.len(),
        });
        self.aside.extend(synced.quarantined.into_iter().map(|it| it.service));
        self.aside.retain(|service| !synced.taken.contains(service));
        self.look();
        if result.is_ok() && !self.reconciler.has_drifted() {
            assert_eq!(
                self.reconciler.quarantined(),
                self.aside.len(),
                "what is told of those set aside"
            );
            self.assert_others_are_served();
        }
        result.is_ok() && self.reconciler.due().is_none()
    }

    /// What nobody has told of is noticed at the second look.
    fn look(&mut self) {
        for _ in 0..2 {
            self.reconciler.check_generation().ok();
        }
    }

    /// Nothing is missing for Services that are not set aside.
    fn assert_others_are_served(&self) {
        let mut cluster = self.cluster().clone();
        // Nor is somebody served where one of these has what that one claims, too.
        let mut apart = self.aside.clone();
        loop {
            let owned_apart = |(claim, _)| {
                cluster.services.owner(&claim).is_some_and(|owner| apart.contains(owner))
            };
            let losers = cluster.services.losers().filter(|(_, lost)| lost.iter().any(owned_apart));
            let losers: Vec<_> = losers.map(|(name, _)| name.clone()).collect();
            let before = apart.len();
            apart.extend(losers);
            if apart.len() == before {
                break;
            }
        }
        cluster.services.retain(|service, _| !apart.contains(service));
        let observed = self.other.dump().expect("it can be read").ruleset;
        let difference = self.difference(&observed, &cluster);
        let missing = difference.lines().filter(|(sign, _)| *sign == Sign::Added);
        let missing: Vec<_> = missing.take(20).map(|(_, line)| line).collect();
        assert!(missing.is_empty(), "without {:?}, these are missing: {missing:#?}", self.aside);
    }

    /// Nothing fails any more: what is programmed becomes what a compile from scratch gives, the
    /// engine knows it, and has nothing left to do.
    pub(super) async fn assert_quiet(&mut self) {
        self.plan.borrow_mut().fault = None;
        self.plan.borrow_mut().refusals.clear();
        let mut syncs = 1;
        self.look();
        while !self.sync() {
            assert!(syncs < MAX_SYNCS, "{syncs} syncs do not bring it to rest");
            syncs += 1;
            let pause =
                self.reconciler.due().map(|due| due.saturating_duration_since(Instant::now()));
            tokio::time::advance(pause.unwrap_or(Duration::from_secs(1))).await;
        }
        let observed = self.other.dump().expect("it can be read").ruleset;
        let difference = self.difference(&observed, self.cluster());
        let lines: Vec<_> = difference.lines().take(20).collect();
        assert!(difference.is_empty(), "it is not what should be there: {lines:#?}");
        assert_eq!(self.reconciler.objects(), tallies(&observed), "what the engine knows is there");
        assert_eq!(self.reconciler.quarantined(), 0);
    }

    /// What would have to change for this cluster.
    fn difference(&self, observed: &Ruleset, cluster: &Cluster) -> Transaction {
        let desired = compile(cluster, &self.config);
        diff(observed, &carry_over(observed, assign_slots(observed, &desired)))
    }
}

/// How many things each table holds, but for what was learned.
fn tallies(ruleset: &Ruleset) -> [Tally; 2] {
    Family::ALL.map(|family| ruleset.tables.get(&family).map_or_else(Tally::default, tally))
}

fn tally(table: &Table) -> Tally {
    let known = table.sets.values().filter(|set| set.spec.dynamic.is_none());
    Tally { elements: known.map(|set| set.elements.len()).sum(), ..Tally::of(table) }
}
