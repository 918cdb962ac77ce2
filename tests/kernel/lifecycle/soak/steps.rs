//! What may happen on a node.

use std::fmt::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use weir::source::api::{Received, Update};
use weir::source::convert::{NodeFuture, Object};
use weir::source::{Kind, ObjectKey};
use weir_rules::cluster::{Cluster, NamespacedName};
use weir_rules::nft::{Element, Ruleset};
use weir_rules::testing::random::{cluster, config, edit, one};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::{Action, Operation};

use super::faulty::{FAULTS, Refusal, Told};
use super::node::Node;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Some objects change.
    Updates,
    /// All objects of a kind are told again, and may have changed.
    Relist,
    Restart,
    Settings,
    /// Somebody else changes something of weir's, by netlink.
    Edit,
    /// Or by a program of nft's.
    Script,
    /// A client is learned.
    Learn,
    /// One of the next requests fails.
    Fault,
    /// What a Service is to have is refused from now on.
    Refuse,
    /// The kernel takes everything again.
    Relent,
    /// Time passes.
    Wait,
    /// All is done that is due, once.
    Sync,
    /// Nothing happens until all is done.
    Quiet,
}

/// What happens how often.
const WEIGHTS: [(u32, Step); 13] = [
    (30, Step::Updates),
    (10, Step::Relist),
    (3, Step::Restart),
    (7, Step::Settings),
    (8, Step::Edit),
    (8, Step::Script),
    (5, Step::Learn),
    (8, Step::Fault),
    (10, Step::Refuse),
    (2, Step::Relent),
    (2, Step::Wait),
    (40, Step::Sync),
    (5, Step::Quiet),
];

/// What somebody may do with nft; `SET` and `CHAIN` are any of weir's.
const SCRIPTS: [&str; 20] = [
    "flush set ip weir SET",
    "flush set ip6 weir SET",
    "flush map ip weir SET",
    "delete set ip weir SET",
    "flush chain ip weir CHAIN",
    "flush chain ip6 weir CHAIN",
    "delete chain ip weir CHAIN",
    "insert rule ip weir CHAIN counter drop",
    "add rule ip6 weir CHAIN tcp dport { 1, 2 } drop",
    "flush table ip weir",
    "delete table ip weir",
    "delete table ip6 weir",
    "flush ruleset",
    "add element ip weir cluster-ips { 203.0.113.1, 203.0.113.2 }",
    "add element ip weir services { 203.0.113.1 . tcp . 80 : drop }",
    "add element ip weir endpoints { 203.0.113.1 . tcp . 80 . 1 : 203.0.113.2 . 80 }",
    "add chain ip weir more { type filter hook input priority 5; policy accept; }",
    "add set ip weir more { type ipv4_addr; flags interval; }",
    "add table ip others; add chain ip others more; delete table ip others",
    "add table ip6 weir { flags dormant; }",
];

fn any_of<T>(strategy: impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
    strategy.new_tree(runner).expect("nothing is rejected").current()
}

impl Step {
    pub(super) fn any(runner: &mut TestRunner) -> Self {
        let total: u32 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
        let mut rest = any_of(0..total, runner);
        let is_it = |(weight, _): &&(u32, Step)| {
            let is_here = rest < *weight;
            rest = rest.saturating_sub(*weight);
            is_here
        };
        WEIGHTS.iter().find(is_it).expect("the weights make the total").1
    }

    /// Takes the step, and tells what it is.
    pub(super) async fn take(self, node: &mut Node, runner: &mut TestRunner, told: &mut String) {
        write!(told, "{self:?} ").expect("it is a string");
        let index = any_of(any::<Index>(), runner);
        match self {
            Step::Updates => {
                let to = any_of(cluster(), runner);
                for (what, index) in any_of(vec(any::<(u8, Index)>(), 1..10), runner) {
                    if let Some(update) = update(node.cluster(), &to, what, index) {
                        write!(told, "{update:?}").expect("it is a string");
                        node.update(update);
                    }
                }
            }
            Step::Relist => {
                let kinds = [Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr, Kind::Node];
                let update = all_of(&any_of(cluster(), runner), *index.get(&kinds));
                write!(told, "{update:?}").expect("it is a string");
                node.update(update);
            }
            Step::Restart => node.restart(),
            Step::Settings => {
                let config = any_of(config(), runner);
                write!(told, "{config:?}").expect("it is a string");
                node.set(config);
            }
            Step::Edit => {
                let (kind, object) = any_of(any::<(u8, Index)>(), runner);
                edit_kernel(node, kind, index, object, told);
            }
            Step::Script => {
                let object = any_of(any::<Index>(), runner);
                let script = script(node, index.get::<&str>(&SCRIPTS), object);
                let is_done = node.nft(&script);
                write!(told, "{script}: {is_done}").expect("it is a string");
            }
            Step::Learn => {
                if let Some(script) = learned(&dump(node), index) {
                    let is_done = node.nft(&script);
                    write!(told, "{script}: {is_done}").expect("it is a string");
                }
            }
            Step::Fault => {
                let (what, request, fault) = *index.get(&FAULTS);
                let mut plan = node.plan.borrow_mut();
                let n = plan.asked.get(&request).unwrap_or(&0) + any_of(1..4u32, runner);
                plan.fault = Some((request, n, fault));
                write!(told, "{request:?} {what}").expect("it is a string");
            }
            Step::Refuse => refuse(node, index, told),
            Step::Relent => node.plan.borrow_mut().refusals.clear(),
            Step::Wait => {
                let pause = std::time::Duration::from_secs(any_of(1..100u64, runner));
                tokio::time::advance(pause).await;
            }
            Step::Sync => drop(node.sync()),
            Step::Quiet => node.assert_quiet().await,
        }
    }
}

fn dump(node: &Node) -> Ruleset {
    node.other.dump().expect("it can be read").ruleset
}

/// One transaction of somebody else's, if the kernel takes it.
fn edit_kernel(node: &Node, kind: u8, family: Index, object: Index, told: &mut String) {
    let before = dump(node);
    let mut after = before.clone();
    edit(&mut after, kind, family, object);
    let transaction = diff(&before, &after);
    let lines: Vec<_> = transaction.lines().take(3).collect();
    let is_done = node.other.commit(transaction, None).is_ok();
    write!(told, "{lines:?}: {is_done}").expect("it is a string");
}

fn script(node: &Node, pattern: &str, object: Index) -> String {
    let tables = dump(node).tables;
    let names = |is_set: bool| -> Vec<String> {
        let of = tables.values().flat_map(|table| {
            let (sets, chains) = (table.sets.keys(), table.chains.keys());
            let sets = sets.filter(move |_| is_set);
            sets.chain(chains.filter(move |_| !is_set)).map(|name| format!("\"{name}\""))
        });
        of.collect()
    };
    let mut script = pattern.to_owned();
    for (word, is_set) in [("SET", true), ("CHAIN", false)] {
        let names = names(is_set);
        if script.contains(word) && !names.is_empty() {
            script = script.replace(word, object.get::<String>(&names));
        }
    }
    script
}

/// What a packet would put into one of the maps that are filled by packets.
fn learned(ruleset: &Ruleset, index: Index) -> Option<String> {
    let table = ruleset.tables.get(&weir_rules::cluster::Family::Ipv4)?;
    let maps = table.sets.iter().filter(|(_, set)| set.spec.dynamic.is_some());
    let maps: Vec<_> = maps.map(|(name, _)| name).collect();
    let map = *(!maps.is_empty()).then(|| index.get(&maps))?;
    let (member, _) = table
        .sets
        .get(weir_rules::compile::names::AFFINITY_ENDPOINTS)?
        .elements
        .first_key_value()?;
    let (list, address) = member.as_bytes().split_at_checked(12)?;
    let list: Vec<String> =
        list.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word).to_string()).collect();
    let [a, b, c, d] = *address else { return None };
    let client = index.index(200);
    let element = format!("{client} . {} timeout 1h : {a}.{b}.{c}.{d}", list.join(" . "));
    Some(format!("add element ip weir \"{map}\" {{ {element} }}"))
}

/// Refuses whatever would lead to one of the Services, which elements have for a comment.
fn refuse(node: &Node, index: Index, told: &mut String) {
    let Some(name) = one(node.cluster().services.keys(), index) else { return };
    let kinds = [Told::Part, Told::Operation, Told::Nothing];
    let refusal = *index.get(&kinds);
    write!(told, "{name} {refusal:?}").expect("it is a string");
    let name = name.to_string();
    let is_it = move |element: &Element| {
        let comment = element.comment.as_deref().unwrap_or_default();
        comment.split(':').next() == Some(&name)
    };
    let find = move |operation: &Operation| match &operation.action {
        Action::AddElements { elements, .. } => elements.values().position(&is_it),
        _ => None,
    };
    let refusal = Refusal { find: Box::new(find), errno: libc::EINVAL, told: refusal };
    node.plan.borrow_mut().refusals.push(refusal);
}

fn key(kind: Kind, name: &NamespacedName) -> ObjectKey {
    ObjectKey::of(kind, name)
}

fn listed(kind: Kind, name: &NamespacedName, object: Object) -> Received {
    Received { key: key(kind, name), outcome: Ok(object.into()) }
}

/// A complete list of a kind.
fn all_of(cluster: &Cluster, kind: Kind) -> Update {
    let own = NamespacedName::new("", weir_rules::testing::random::NODE);
    let objects = match kind {
        Kind::Service => {
            let object = |of: &weir_rules::cluster::Service| Object::Service(of.clone(), None);
            cluster.services.iter().map(|(name, of)| listed(kind, name, object(of))).collect()
        }
        Kind::EndpointSlice => {
            let object = |of: &weir_rules::cluster::EndpointSlice| Object::Slice(of.clone(), None);
            cluster.slices.iter().map(|(name, of)| listed(kind, name, object(of))).collect()
        }
        Kind::Node => {
            let node = cluster.node.iter().cloned();
            node.map(|node| listed(kind, &own, Object::Node(node, NodeFuture::Stays))).collect()
        }
        Kind::ServiceCidr => {
            vec![listed(kind, &own, Object::ServiceCidr(cluster.service_cidrs.clone()))]
        }
        Kind::Pod => Vec::new(),
    };
    Update::Received(kind, objects)
}

/// One object becomes as it is in another cluster, or makes no sense any more.
fn update(from: &Cluster, to: &Cluster, what: u8, index: Index) -> Option<Update> {
    let of = |kind, name: &NamespacedName, object: Option<Object>| match object {
        Some(object) => Update::Applied(listed(kind, name, object)),
        None => Update::Deleted(key(kind, name)),
    };
    match what % 9 {
        0..4 => {
            let name = one(from.services.keys().chain(to.services.keys()), index)?;
            let object = to.services.get(&name).map(|it| Object::Service(it.clone(), None));
            Some(of(Kind::Service, &name, object))
        }
        4..8 => {
            let name = one(from.slices.keys().chain(to.slices.keys()), index)?;
            let object = to.slices.get(&name).map(|it| Object::Slice(it.clone(), None));
            Some(of(Kind::EndpointSlice, &name, object))
        }
        _ => {
            let name = one(from.services.keys(), index)?;
            let outcome = Err("it makes no sense".to_owned());
            Some(Update::Applied(Received { key: key(Kind::Service, &name), outcome }))
        }
    }
}
