//! A reconciler with a cluster and a kernel that can fail.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weir::sync::{MonitoredKernel, Reconciler, SyncReport};
use weir_rules::cluster::{
    ChangeSet, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort, TrafficPolicy,
};
use weir_rules::compile::{compile, names};
use weir_rules::config::Config;
use weir_rules::nft::{RawKey, Rule, Ruleset, Statement};
use weir_rules::transaction::carry_over::carry_over;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_rules::transaction::{Action, Operation, Sign, Tally, Transaction};

use crate::faulty::{Faulty, Plan, Refusal, Request, Told};
use crate::memory::Memory;
use crate::monitor::Monitor;

/// A kernel that can fail, and is listened to.
type Listened = MonitoredKernel<Faulty<Memory>, Monitor>;

fn reconciler(kernel: &Memory, plan: &Rc<RefCell<Plan>>) -> Reconciler<Listened> {
    Reconciler::new(MonitoredKernel::new(
        Faulty::new(kernel.clone(), plan),
        Monitor::new(kernel, plan),
    ))
}

/// What is programmed, by whom, and what may fail.
pub(crate) struct Agent {
    pub(crate) reconciler: Reconciler<Listened>,
    pub(crate) kernel: Memory,
    pub(crate) plan: Rc<RefCell<Plan>>,
    pub(crate) cluster: Cluster,
    pub(crate) config: Config,
}

/// The name of the Service of a number.
pub(crate) fn name(number: u16) -> NamespacedName {
    NamespacedName::new("default", format!("web-{number}"))
}

/// Its ClusterIP.
pub(crate) fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [10, 96, high, low].into()
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("it is none")
}

/// A Service with a node port, an external address and, if its number is odd, session affinity.
fn service(number: u16) -> Service {
    let [high, low] = number.to_be_bytes();
    Service {
        cluster_ips: vec![address(number)],
        external_ips: vec![[192, 0, high, low].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: port(80),
            node_port: Some(port(30000 + number)),
        }],
        external_traffic_policy: TrafficPolicy::Local,
        session_affinity: NonZeroU32::new(10800).filter(|_| number % 2 == 1),
        ..Service::default()
    }
}

fn slice(number: u16, endpoints: &[u8]) -> EndpointSlice {
    let [high, low] = number.to_be_bytes();
    let address = |last: &u8| IpAddr::from([10, high, low, *last]);
    EndpointSlice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: endpoints.iter().map(address).map(Endpoint::new).collect(),
    }
}

impl Agent {
    /// With so many Services, of which nothing is programmed.
    pub(crate) fn new(services: u16) -> Self {
        let plan = Rc::default();
        let kernel = Memory::default();
        let mut agent = Self {
            reconciler: reconciler(&kernel, &plan),
            kernel,
            plan,
            cluster: Cluster::default(),
            config: Config::new("node-a"),
        };
        (1..=services).for_each(|number| agent.put(number, &[1, 2, 3]));
        agent.reconciler.enqueue(ChangeSet::all(&agent.cluster));
        agent
    }

    /// Begins anew, as after a restart.
    pub(crate) fn restart(&mut self) {
        self.reconciler = reconciler(&self.kernel, &self.plan);
        self.reconciler.enqueue(ChangeSet::all(&self.cluster));
    }

    /// A Service has these endpoints.
    pub(crate) fn put(&mut self, number: u16, endpoints: &[u8]) {
        self.cluster.services.insert(name(number), service(number));
        self.cluster.slices.insert(name(number), slice(number, endpoints));
        self.enqueue(number);
    }

    /// A Service has so many endpoints, which no other has.
    pub(crate) fn put_many(&mut self, number: u16, endpoints: u16) {
        let address = |index: u16| {
            let ([_, low], [high, last]) = (number.to_be_bytes(), index.to_be_bytes());
            Endpoint::new(IpAddr::from([11, low, high, last]))
        };
        let mut slice = slice(number, &[]);
        slice.endpoints.extend((0..endpoints).map(address));
        self.cluster.services.insert(name(number), service(number));
        self.cluster.slices.insert(name(number), slice);
        self.enqueue(number);
    }

    /// A Service goes.
    pub(crate) fn remove(&mut self, number: u16) {
        self.cluster.services.remove(&name(number));
        self.enqueue(number);
    }

    /// Something about a Service has changed.
    pub(crate) fn enqueue(&mut self, number: u16) {
        self.reconciler.enqueue(ChangeSet::services([name(number)]));
    }

    /// The settings or the Node have changed.
    pub(crate) fn touch_surroundings(&mut self) {
        self.reconciler.enqueue(ChangeSet { environment: true, ..ChangeSet::default() });
    }

    /// Makes the kernel equal, in one attempt.
    pub(crate) fn sync(&mut self) -> SyncReport {
        let mut report = SyncReport::default();
        let result = self.reconciler.sync(&self.cluster, &self.config, &mut report);
        result.unwrap_or_else(|error| panic!("{error:?}; set aside: {:?}", report.quarantined));
        report
    }

    /// Looks and syncs until there is nothing left to do, for which time may have to pass. Gives how
    /// many syncs it took.
    ///
    /// # Panics
    /// If that takes more than 16.
    pub(crate) async fn settle(&mut self) -> u32 {
        for count in 1..=16 {
            self.reconciler.check_generation().ok();
            let mut report = SyncReport::default();
            let result = self.reconciler.sync(&self.cluster, &self.config, &mut report);
            self.reconciler.check_generation().ok();
            match (result, self.reconciler.due()) {
                (Ok(()), None) => return count,
                (Ok(()), Some(due)) => {
                    tokio::time::advance(due.saturating_duration_since(Instant::now())).await;
                }
                (Err(_), _) => tokio::time::advance(Duration::from_secs(1)).await,
            }
        }
        panic!("it does not come to rest");
    }

    /// How often this has been asked for.
    pub(crate) fn asked(&self, request: Request) -> u32 {
        self.plan.borrow().asked.get(&request).copied().unwrap_or_default()
    }

    /// What is programmed otherwise than it should be.
    pub(crate) fn difference(&self) -> Transaction {
        let observed = self.kernel.ruleset();
        let desired = compile(&self.cluster, &self.config);
        diff(&observed, &carry_over(&observed, assign_slots(&observed, &desired)))
    }

    /// The kernel holds what a compile from scratch gives, and the engine knows it.
    ///
    /// # Panics
    /// If not, with `context`.
    pub(crate) fn assert_equal(&self, context: &str) {
        let difference: Vec<_> = self.difference().lines().take(9).collect();
        assert!(difference.is_empty(), "{context}: {difference:#?}");
        assert_eq!(self.reconciler.objects(), tallies(&self.kernel.ruleset()), "{context}");
    }
}

/// How many things each table holds.
fn tallies(ruleset: &Ruleset) -> [Tally; 2] {
    Family::ALL.map(|family| ruleset.tables.get(&family).map(Tally::of).unwrap_or_default())
}

impl Agent {
    /// The kernel refuses whatever would add an element with the ClusterIP of one of these Services
    /// to the map of Services.
    pub(crate) fn refuse(&mut self, numbers: &[u16], told: Told) {
        let key = |number: &u16| {
            RawKey::new().address(address(*number)).protocol(Protocol::Tcp).port(port(80))
        };
        self.refuse_element(names::SERVICES, numbers.iter().map(key).collect(), told);
    }

    /// The same for the elements of the map of endpoints that lead to one of this address.
    pub(crate) fn refuse_element(&mut self, set: &'static str, keys: Vec<RawKey>, told: Told) {
        let find = move |operation: &Operation| match &operation.action {
            Action::AddElements { set: name, elements, .. } if name.as_str() == set => {
                elements.keys().position(|key| keys.contains(key))
            }
            _ => None,
        };
        let refusal = Refusal { find: Box::new(find), errno: libc::EINVAL, told };
        self.plan.borrow_mut().refusals.push(refusal);
    }

    /// The kernel cannot do what rules with this statement ask for.
    pub(crate) fn lack(&mut self, lacks: impl Fn(&Statement) -> bool + 'static, told: Told) {
        let find = move |operation: &Operation| match &operation.action {
            Action::ReplaceRules { new, .. } => {
                let is_it = |rule: &Rule| rule.statements.iter().any(&lacks);
                new.iter().position(is_it).map(|index| index + 1)
            }
            _ => None,
        };
        let refusal = Refusal { find: Box::new(find), errno: libc::ENOENT, told };
        self.plan.borrow_mut().refusals.push(refusal);
    }

    /// From now on somebody else does this right before each commit of weir's, until [`Self::rest`].
    pub(crate) fn meddle(&mut self, mut what: impl FnMut(&Memory) + 'static) {
        let kernel = self.kernel.clone();
        self.plan.borrow_mut().before_commit = Some(Box::new(move || what(&kernel)));
    }

    /// Nobody else does anything from now on.
    pub(crate) fn rest(&mut self) {
        self.plan.borrow_mut().before_commit = None;
    }

    /// The kernel takes everything from now on.
    pub(crate) fn take_all(&mut self) {
        self.plan.borrow_mut().refusals.clear();
    }

    /// The kernel holds what a compile of another cluster gives. Of these Services it may have
    /// chains and sets of their own besides, to which nothing leads.
    ///
    /// # Panics
    /// If not, with `context`.
    pub(crate) fn assert_holds(&self, cluster: &Cluster, quarantine: &[u16], context: &str) {
        let observed = self.kernel.ruleset();
        let desired = compile(cluster, &self.config);
        let difference = diff(&observed, &carry_over(&observed, assign_slots(&observed, &desired)));
        let is_left_over = |(sign, line): &(Sign, String)| {
            let is_own = |number: &u16| line.contains(&format!("default/web-{number}/"));
            *sign == Sign::Removed && !line.contains("element ") && quarantine.iter().any(is_own)
        };
        let difference = difference.lines().filter(|line| !is_left_over(line));
        let difference: Vec<_> = difference.take(9).collect();
        assert!(difference.is_empty(), "{context}: {difference:#?}");
    }
}

impl Agent {
    /// Refuses any endpoint in this slot at a Service's ClusterIP.
    pub(crate) fn refuse_slot(&mut self, number: u16, slot: u32, told: Told) {
        let destination = RawKey::new().address(address(number)).protocol(Protocol::Tcp);
        let key = destination.port(port(80)).slot(slot);
        self.refuse_element(names::ENDPOINTS, vec![key], told);
    }

    /// Refuses another port at a Service's ClusterIP.
    pub(crate) fn refuse_port(&mut self, number: u16, other: u16, told: Told) {
        let destination = RawKey::new().address(address(number)).protocol(Protocol::Tcp);
        self.refuse_element(names::SERVICES, vec![destination.port(port(other))], told);
    }

    /// Other endpoints of a Service that stays as it is.
    pub(crate) fn put_slice(&mut self, number: u16, endpoints: &[u8]) {
        self.cluster.slices.insert(name(number), slice(number, endpoints));
        self.enqueue(number);
    }

    /// What the kernel lacks of what it had for a Service in another cluster.
    pub(crate) fn lost_of(&self, before: &Cluster, number: u16) -> Vec<String> {
        let mut only = Cluster { services: Default::default(), ..before.clone() };
        let service = before.services[&name(number)].clone();
        only.services.insert(name(number), service);
        let observed = self.kernel.ruleset();
        let desired = compile(&only, &self.config);
        let needed = diff(&observed, &carry_over(&observed, assign_slots(&observed, &desired)));
        let added = needed.lines().filter(|(sign, _)| *sign == Sign::Added);
        added.map(|(_, line)| line).collect()
    }
}
