//! Chains that choose an endpoint. There is one for each way to choose and each number of
//! endpoints, shared by all Services.

use super::names;
use super::program::MARK_FOR_MASQUERADE;
use crate::nft::{Chain, Name, Rule, Selector, Statement, Verdict};

/// A way to choose among a number of endpoints, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Balancer {
    /// At a virtual address, from inside the cluster.
    Cluster(u32),
    /// At a virtual address, from outside: the endpoint must answer by way of this node.
    External(u32),
    /// At a node port.
    NodePort(u32),
}

impl Balancer {
    /// The chain's name: what it does, and with how many.
    pub(super) fn name(self) -> Name {
        Name::new(match self {
            Balancer::Cluster(n) => format!("lb-{n}"),
            Balancer::External(n) => format!("external-lb-{n}"),
            Balancer::NodePort(n) => format!("nodeport-lb-{n}"),
        })
    }

    /// The chain that this one hands packets on to, if any.
    pub(super) fn successor(self) -> Option<Balancer> {
        match self {
            Balancer::External(n) => Some(Balancer::Cluster(n)),
            Balancer::Cluster(_) | Balancer::NodePort(_) => None,
        }
    }

    /// The chain.
    pub(super) fn chain(self) -> Chain {
        let mark = || Rule::new([Statement::Verdict(Verdict::Jump(MARK_FOR_MASQUERADE.into()))]);
        let rules = match self {
            Balancer::Cluster(n) => vec![dnat(
                vec![Selector::Daddr, Selector::L4proto, Selector::Dport, random(n)],
                names::ENDPOINTS,
            )],
            Balancer::External(n) => {
                let cluster = Balancer::Cluster(n).name();
                vec![mark(), Rule::new([Statement::Verdict(Verdict::Goto(cluster))])]
            }
            Balancer::NodePort(n) => vec![
                mark(),
                dnat(
                    vec![Selector::L4proto, Selector::Dport, random(n)],
                    names::NODEPORT_ENDPOINTS,
                ),
            ],
        };
        Chain { base: None, comment: None, rules }
    }
}

fn random(modulus: u32) -> Selector {
    Selector::Random { modulus, offset: 0 }
}

/// A packet that gets to a balancer has matched a TCP, UDP or SCTP port, so that no match on the
/// protocol is needed here.
fn dnat(key: Vec<Selector>, map: &str) -> Rule {
    Rule::new([Statement::Dnat { key, map: map.into() }])
}
