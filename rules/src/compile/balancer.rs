//! Chains that choose an endpoint. There is one for each way to choose and each number of
//! endpoints, shared by all Services.

use super::names;
use super::program::MARK_FOR_MASQUERADE;
use crate::nft::{Chain, Name, Rule, Selector, Statement, Verdict};

/// Where the slots of the list for policy Local begin. Those of the list for policy Cluster begin
/// at 0.
pub(super) const LOCAL_SLOTS: u32 = 65536;

/// A chain: what the destination is, and how an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Balancer {
    pub(super) destination: Destination,
    pub(super) choice: Choice,
}

/// What connections are made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    /// A virtual address and port.
    Address,
    /// A port of the node's own addresses.
    NodePort,
}

/// How an endpoint is chosen. Numbers of endpoints are not 0 but where it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The chain's name: what it does, and with how many.
    pub(super) fn name(self) -> Name {
        let scope = match self.destination {
            Destination::Address => "",
            Destination::NodePort => "nodeport-",
        };
        Name::new(match self.choice {
            Choice::Cluster(n) => format!("{scope}lb-{n}"),
            Choice::Local(n) => format!("local-{scope}lb-{n}"),
            Choice::External(n) => format!("external-{scope}lb-{n}"),
            Choice::ExternalLocal { local, cluster } => {
                format!("external-local-{scope}lb-{local}-of-{cluster}")
            }
        })
    }

    /// The chains that this one hands packets on to.
    pub(super) fn successors(self) -> impl Iterator<Item = Balancer> {
        let successors = match self.choice {
            Choice::Cluster(_) | Choice::Local(_) => [None, None],
            Choice::External(n) => [Some(Choice::Cluster(n)), None],
            Choice::ExternalLocal { local, cluster } => {
                [Some(Choice::Cluster(cluster)), (local > 0).then_some(Choice::Local(local))]
            }
        };
        let destination = self.destination;
        successors.into_iter().flatten().map(move |choice| Balancer { destination, choice })
    }

    /// The chain. `is_from_pod` matches traffic of local Pods, where that can be told.
    pub(super) fn chain(self, is_from_pod: Option<&Statement>) -> Chain {
        let mark = || Statement::Verdict(Verdict::Jump(MARK_FOR_MASQUERADE.into()));
        let goto = |choice| {
            let next = Balancer { choice, ..self };
            Statement::Verdict(Verdict::Goto(next.name()))
        };
        let rules = match self.choice {
            Choice::Cluster(n) => vec![self.dnat(n, 0)],
            Choice::Local(n) => vec![self.dnat(n, LOCAL_SLOTS)],
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
        Chain { base: None, comment: None, rules }
    }

    /// A packet that gets here has matched a TCP, UDP or SCTP port, so that no match on the
    /// protocol is needed.
    fn dnat(self, modulus: u32, offset: u32) -> Rule {
        let slot = Selector::Random { modulus, offset };
        let (key, map) = match self.destination {
            Destination::Address => {
                (vec![Selector::Daddr, Selector::L4proto, Selector::Dport, slot], names::ENDPOINTS)
            }
            Destination::NodePort => {
                (vec![Selector::L4proto, Selector::Dport, slot], names::NODEPORT_ENDPOINTS)
            }
        };
        Rule::new([Statement::Dnat { key, map: map.into() }])
    }
}
