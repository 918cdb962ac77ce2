//! Chains that pick an endpoint. There is one for each method and number of endpoints, shared by all Services.
//! Only ports with session affinity have chains of their own, which lead to the shared ones.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use super::affinity::{EndpointList, ListId, client_key, client_map, ports};
use super::names;
use super::program::MARK_FOR_MASQUERADE;
use crate::cluster::{NamespacedName, Protocol, ServicePort};
use crate::endpoints::PortEndpoints;
use crate::nft::{Chain, Name, Rule, Selector, Statement, Verdict};

/// Where the slots of the list for policy Local begin. Those of the list for policy Cluster begin
/// at 0: each has half of the numbers, so that neither list can reach into the other.
pub(crate) const LOCAL_SLOTS: u32 = 1 << 31;

/// A chain: what the destination is, and how an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Balancer {
    pub(super) destination: DestinationKind,
    pub(super) choice: Choice,
    /// Whose clients stay with the endpoint that they have; `None` where all endpoints are new.
    pub(super) affinity: Option<AffinityId>,
}

/// A Service port with session affinity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AffinityId {
    /// `namespace/name/protocol/port`.
    pub(super) id: Name,
    protocol: Protocol,
    /// The map that holds its clients.
    pub(super) client_map: Name,
    /// The lists for policy Cluster and for policy Local, by the ports that their endpoints have.
    lists: [Box<[(NonZeroU16, ListId)]>; 2],
}

impl AffinityId {
    pub(super) fn new(
        service: &NamespacedName,
        port: &ServicePort,
        endpoints: &PortEndpoints,
    ) -> Self {
        let id = Name::new(format!("{service}/{}/{}", port.protocol, port.port));
        let lists = EndpointList::ALL.map(|list| {
            let ids = ports(endpoints, list).into_iter();
            ids.map(|port| (port, ListId::new(&id, list, port))).collect()
        });
        Self { client_map: client_map(&id), id, protocol: port.protocol, lists }
    }

    /// The endpoints of a list, by their ports.
    pub(super) fn lists(&self, list: EndpointList) -> &[(NonZeroU16, ListId)] {
        &self.lists[list as usize]
    }
}

impl fmt::Display for AffinityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What connections are made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DestinationKind {
    /// A virtual address and port.
    Address,
    /// A port of the node's own addresses.
    NodePort,
}

/// How an endpoint is chosen. Numbers of endpoints are not 0 but where it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Choice {
    /// From the list for policy Cluster.
    Cluster(u32),
    /// From the list for policy Local.
    Local(u32),
    /// As `Cluster`, for traffic from outside: the endpoint must answer by way of this node.
    External(u32),
    /// For traffic from outside under policy Local: it goes to local endpoints, of which there may
    /// be 0; that of Pods and of the node itself goes to all, as inside the cluster.
    ExternalLocal {
        /// How many there are for policy Local.
        local: u32,
        /// How many there are for policy Cluster.
        cluster: u32,
    },
}

impl Balancer {
    /// The chain's name: what it does, and with how many or for whom.
    pub(crate) fn name(&self) -> Name {
        let scope = match self.destination {
            DestinationKind::Address => "",
            DestinationKind::NodePort => "nodeport-",
        };
        if let Some(id) = &self.affinity {
            let side = match self.choice {
                Choice::Cluster(_) => "",
                Choice::Local(_) => "local-",
                Choice::External(_) => "external-",
                Choice::ExternalLocal { .. } => "external-local-",
            };
            return Name::new(format!("{side}{scope}affinity-{id}"));
        }
        Name::new(match self.choice {
            Choice::Cluster(n) => format!("{scope}lb-{n}"),
            Choice::Local(n) => format!("local-{scope}lb-{n}"),
            Choice::External(n) => format!("external-{scope}lb-{n}"),
            Choice::ExternalLocal { local, cluster } => {
                format!("external-local-{scope}lb-{local}-of-{cluster}")
            }
        })
    }

    /// The chain of this name, if Services share it.
    pub(crate) fn shared(name: &Name) -> Option<Self> {
        let strip = |side| Some((side, name.as_str().strip_prefix(side)?));
        let prefixes = ["external-local-", "external-", "local-", ""];
        let (prefix, rest) = prefixes.into_iter().find_map(strip)?;
        let (destination, rest) = match rest.strip_prefix("nodeport-") {
            Some(rest) => (DestinationKind::NodePort, rest),
            None => (DestinationKind::Address, rest),
        };
        let numbers = rest.strip_prefix("lb-")?;
        let number =
            |text: &str| text.parse().ok().filter(|number| (1..=LOCAL_SLOTS).contains(number));
        let choice = match prefix {
            "" => Choice::Cluster(number(numbers)?),
            "local-" => Choice::Local(number(numbers)?),
            "external-" => Choice::External(number(numbers)?),
            _ => {
                let (local, cluster) = numbers.split_once("-of-")?;
                let local = if local == "0" { 0 } else { number(local)? };
                Choice::ExternalLocal { local, cluster: number(cluster)? }
            }
        };
        let balancer = Self { destination, choice, affinity: None };
        (balancer.name() == *name).then_some(balancer)
    }

    /// The chains that this one hands packets on to.
    pub(super) fn successors(&self) -> Vec<Balancer> {
        match self.choice {
            Choice::Cluster(_) | Choice::Local(_) => {
                self.affinity.iter().map(|_| self.without_affinity()).collect()
            }
            Choice::External(n) => vec![self.with(Choice::Cluster(n))],
            Choice::ExternalLocal { local, cluster } => {
                let to_local = (local > 0).then(|| self.with(Choice::Local(local)));
                [self.with(Choice::Cluster(cluster))].into_iter().chain(to_local).collect()
            }
        }
    }

    fn with(&self, choice: Choice) -> Balancer {
        Balancer { choice, ..self.clone() }
    }

    fn without_affinity(&self) -> Balancer {
        Balancer { affinity: None, ..self.clone() }
    }

    /// The chain. `is_from_pod` matches traffic of local Pods, where that can be determined.
    pub(crate) fn chain(&self, is_from_pod: Option<&Statement>) -> Chain {
        let mark = || Statement::Verdict(Verdict::Jump(MARK_FOR_MASQUERADE.into()));
        let goto = |choice| Statement::Verdict(Verdict::Goto(self.with(choice).name()));
        let rules = match self.choice {
            Choice::Cluster(n) => match &self.affinity {
                Some(id) => self.sticky(id, EndpointList::Cluster),
                None => self.pick(n, 0),
            },
            Choice::Local(n) => match &self.affinity {
                Some(id) => self.sticky(id, EndpointList::Local),
                None => self.pick(n, LOCAL_SLOTS),
            },
            Choice::External(n) => {
                vec![Rule::new([mark()]), Rule::new([goto(Choice::Cluster(n))])]
            }
            Choice::ExternalLocal { local, cluster } => {
                let to_all = || goto(Choice::Cluster(cluster));
                let from_pod = is_from_pod.map(|it| Rule::new([it.clone(), to_all()]));
                let from_node = [
                    Rule::new([Statement::SourceIsLocal, mark()]),
                    Rule::new([Statement::SourceIsLocal, to_all()]),
                ];
                let to_local = (local > 0).then(|| Rule::new([goto(Choice::Local(local))]));
                from_pod.into_iter().chain(from_node).chain(to_local).collect()
            }
        };
        Chain { base: None, comment: self.comment(), rules }
    }

    /// The chain's job, for whoever lists the ruleset. Chains of a port have names that show it.
    /// It depends on the balancer alone: to give a chain another comment, its table is made anew.
    fn comment(&self) -> Option<String> {
        if self.affinity.is_some() {
            return None;
        }
        let others = |local| if local > 0 { "local ones" } else { "none" };
        Some(match self.choice {
            Choice::Cluster(1) => "translates to the only endpoint".to_owned(),
            Choice::Cluster(n) => format!("picks 1 of {n} endpoints"),
            Choice::Local(1) => "translates to the only local endpoint".to_owned(),
            Choice::Local(n) => format!("picks 1 of {n} local endpoints"),
            Choice::External(_) => "external traffic: marks for masquerade".to_owned(),
            Choice::ExternalLocal { local, .. } => {
                format!(
                    "policy Local: node and known Pods to all endpoints, others to {}",
                    others(local)
                )
            }
        })
    }

    /// To the endpoint that the client has, else to any.
    fn sticky(&self, id: &AffinityId, list: EndpointList) -> Vec<Rule> {
        let known = id.lists(list).iter().map(|&(port, list)| {
            let (key, map) = (client_key(list, false), id.client_map.clone());
            // nft wants the protocol before it takes a port.
            let protocol = Statement::ProtocolIs(id.protocol);
            Rule::new([protocol, Statement::DnatToPort { key, map, port }])
        });
        let any = Verdict::Goto(self.without_affinity().name());
        known.chain([Rule::new([Statement::Verdict(any)])]).collect()
    }

    /// To an endpoint of the list that begins at `first`, each as probable. A packet that is on its
    /// way through the ruleset while a transaction takes effect may come with the verdict from
    /// before it and draw a slot that has gone with it: such a one gets the first, which a list
    /// keeps for as long as it has any.
    fn pick(&self, count: u32, first: u32) -> Vec<Rule> {
        let fallback =
            || self.dnat(1, first).comment("fallback if the endpoint list shrank mid-flight");
        let fallback = (count > 1).then(fallback);
        [self.dnat(count, first)].into_iter().chain(fallback).collect()
    }

    /// A packet that gets here has matched a TCP, UDP or SCTP port, so that no match on the
    /// protocol is needed.
    fn dnat(&self, modulus: u32, offset: u32) -> Rule {
        let slot = Selector::Random { modulus, offset };
        let (key, map) = match self.destination {
            DestinationKind::Address => {
                (vec![Selector::Daddr, Selector::L4proto, Selector::Dport, slot], names::ENDPOINTS)
            }
            DestinationKind::NodePort => {
                (vec![Selector::L4proto, Selector::Dport, slot], names::NODEPORT_ENDPOINTS)
            }
        };
        Rule::new([Statement::Dnat { key, map: map.into() }])
    }
}

/// The name of a balancer's chain, which from now on exists, as do those behind it.
pub(crate) fn chain_for(balancer: Balancer, balancers: &mut BTreeMap<Balancer, Name>) -> Name {
    if let Some(name) = balancers.get(&balancer) {
        return name.clone();
    }
    for successor in balancer.successors() {
        chain_for(successor, balancers);
    }
    let name = balancer.name();
    balancers.insert(balancer, name.clone());
    name
}
