//! A node on which everything happens.

use std::cell::RefCell;
use std::io::Write;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weir::kernel::{Kernel, Monitor};
use weir::source::Kind;
use weir::source::api::{State, Update};
use weir::sync::{Engine, Live, Synced};
use weir_rules::align::align;
use weir_rules::cluster::{Cluster, Family, Touched};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::diff::diff;
use weir_rules::learned::adopt;
use weir_rules::nft::{Ruleset, Table};
use weir_rules::testing::NODE;
use weir_rules::transaction::{Tally, Transaction};
use weir_testbed::{Netns, tool};

use super::faulty::{Faulty, Plan};

/// So many syncs may fail in a row before quiet is reached.
const MOST_SYNCS: u32 = 24;

pub(super) struct Node {
    ns: Netns,
    /// Somebody else's.
    pub(super) other: Kernel,
    engine: Engine<Faulty<Live>>,
    pub(super) plan: Rc<RefCell<Plan>>,
    pub(super) state: State,
    pub(super) config: Config,
}

fn engine(ns: &Netns, plan: &Rc<RefCell<Plan>>) -> Engine<Faulty<Live>> {
    let live = ns.run(|| {
        let kernel = Kernel::open().expect("nf_tables can be used");
        let monitor = Monitor::open(kernel.port()).expect("it can be heard");
        Live::new(kernel, monitor)
    });
    Engine::new(Faulty::new(live, plan))
}

impl Node {
    /// With a cluster in which there is nothing.
    pub(super) fn new() -> Self {
        let ns = Netns::new("soak");
        let plan = Rc::default();
        let mut state = State::default();
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr, Kind::Node] {
            state.apply(Update::Listed(kind, Vec::new()));
        }
        let other = ns.run(|| Kernel::open().expect("nf_tables can be used"));
        Self { other, engine: engine(&ns, &plan), plan, state, config: Config::new(NODE), ns }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.state.cluster().expect("all has been listed")
    }

    pub(super) fn update(&mut self, update: Update) {
        self.state.apply(update);
        self.engine.touch(self.state.take_touched());
    }

    /// Begins anew with nothing but what the cluster is.
    pub(super) fn restart(&mut self) {
        self.engine = engine(&self.ns, &self.plan);
        self.engine.touch(Touched::all(self.cluster()));
    }

    pub(super) fn set(&mut self, config: Config) {
        self.config = config;
        self.engine.touch(Touched { surroundings: true, ..Touched::default() });
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
        self.engine.hear();
        let mut synced = Synced::default();
        let cluster = self.state.cluster().expect("all has been listed");
        let result = self.engine.sync(cluster, &self.config, &mut synced);
        assert!(!result.as_ref().is_err_and(|error| error.is_final()), "{result:?}");
        self.engine.look();
        result.is_ok() && self.engine.due().is_none()
    }

    /// Nothing fails any more: what is programmed becomes what a compile from scratch gives, the
    /// engine knows it, and has nothing left to do.
    pub(super) async fn assert_quiet(&mut self) {
        self.plan.borrow_mut().fault = None;
        self.plan.borrow_mut().refusals.clear();
        let mut syncs = 1;
        self.engine.look();
        while !self.sync() {
            assert!(syncs < MOST_SYNCS, "{syncs} syncs do not bring it to rest");
            syncs += 1;
            let pause = self.engine.due().map(|due| due.saturating_duration_since(Instant::now()));
            tokio::time::advance(pause.unwrap_or(Duration::from_secs(1))).await;
        }
        let observed = self.other.dump().expect("it can be read").ruleset;
        let difference = self.difference(&observed);
        let lines: Vec<_> = difference.lines().take(20).collect();
        assert!(difference.is_empty(), "it is not what should be there: {lines:#?}");
        assert_eq!(self.engine.objects(), tallies(&observed), "what the engine knows is there");
        assert_eq!(self.engine.set_aside(), 0);
    }

    fn difference(&self, observed: &Ruleset) -> Transaction {
        let desired = compile(self.cluster(), &self.config);
        diff(observed, &adopt(observed, align(observed, &desired)))
    }
}

/// How many things each table holds, but for what was learned.
fn tallies(ruleset: &Ruleset) -> [Tally; 2] {
    Family::ALL.map(|family| ruleset.tables.get(&family).map_or_else(Tally::default, tally))
}

fn tally(table: &Table) -> Tally {
    let known = table.sets.values().filter(|set| set.spec.dynamic.is_none());
    Tally {
        tables: 0,
        sets: table.sets.len(),
        chains: table.chains.len(),
        rules: table.chains.values().map(|chain| chain.rules.len()).sum(),
        elements: known.map(|set| set.elements.len()).sum(),
    }
}
