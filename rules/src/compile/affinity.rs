//! Session affinity: a client stays with the endpoint that it has.
//!
//! A connection's first packet is looked at twice. Before translation its source is looked up in
//! the map of the Service port, and the endpoint found is taken; where none is found, one is chosen
//! as for any Service. After translation, on its way out, client and endpoint are put into that
//! map, or live there as long again. So the cost does not depend on the number of endpoints. It is
//! found by the original destination which map that is, since the packet has the endpoint's by then.
//!
//! Only an endpoint of the Service's list is learned. So nothing can bring one back once it has
//! gone, such as a packet that was in between when the list changed.

use std::num::NonZeroU32;

use super::balancer::AffinityId;
use super::names;
use super::program::{
    ENDPOINT, NODE_PORT, PRIORITY_FILTER, VIRTUAL_ADDRESS, add_base, add_chain, jump, verdict_map,
};
use crate::cluster::{NamespacedName, Protocol, Service, ServicePort};
use crate::endpoints::{PortEndpoint, PortEndpoints};
use crate::nft::{
    Chain, ChainKind, CtField, Data, Element, Elements, Hook, Name, RawKey, Rule, Selector, Set,
    SetData, SetSpec, Statement, Table,
};

/// How many clients a list of a Service port remembers at a time: with about 128 bytes each, a
/// flood of sources costs 32 MiB. Where there is no room, new clients get any endpoint, every time.
pub(super) const MAX_CLIENTS: u32 = 1 << 18;

const LEARN_CHAIN: &str = "learn-affinity";

/// The session affinity of a Service port.
pub(super) struct Affinity {
    pub(super) id: AffinityId,
    timeout: NonZeroU32,
    /// Endpoints of the lists for policy Cluster and for policy Local.
    members: [Elements; 2],
}

impl Affinity {
    /// The affinity of a port, if its Service asks for it and there is an endpoint.
    pub(super) fn new(
        name: &NamespacedName,
        service: &Service,
        port: &ServicePort,
        endpoints: &PortEndpoints,
    ) -> Option<Self> {
        let timeout = service.session_affinity?;
        let id = AffinityId::new(name, port);
        let members = [members(&endpoints.cluster), members(&endpoints.local)];
        let is_any = members.iter().any(|list| !list.is_empty());
        is_any.then_some(Self { id, timeout, members })
    }

    /// The chain that learns.
    pub(super) fn chain(&self) -> Name {
        Name::new(format!("learn-{}", self.id))
    }

    /// Puts maps, lists and the chain that learns into the table.
    pub(super) fn move_into(self, table: &mut Table) {
        let chain = self.chain();
        let Self { id, timeout, members } = self;
        let lists = [
            (id.map(), Name::new(format!("endpoints-{id}"))),
            (id.local_map(), Name::new(format!("local-endpoints-{id}"))),
        ];
        let mut rules = Vec::new();
        for ((map, list), elements) in lists.into_iter().zip(members) {
            if elements.is_empty() {
                continue;
            }
            table.sets.insert(map.clone(), Set::new(map_spec()));
            table.sets.insert(list.clone(), Set { elements, ..Set::new(list_spec()) });
            rules.push(Rule::new([
                Statement::InSet { key: ENDPOINT.into(), set: list, negated: false },
                Statement::Update {
                    map,
                    key: vec![Selector::CtOriginal(CtField::Saddr)],
                    timeout: timeout.get(),
                    data: ENDPOINT.into(),
                },
            ]));
        }
        table.chains.insert(chain, Chain { rules, ..Chain::default() });
    }
}

/// What defines a map from clients to endpoints.
pub(super) fn map_spec() -> SetSpec {
    SetSpec::new(vec![Selector::Saddr], SetData::Values(ENDPOINT.into())).dynamic(MAX_CLIENTS)
}

/// What defines a list of what may be learned.
pub(super) fn list_spec() -> SetSpec {
    SetSpec::new(ENDPOINT.into(), SetData::Nothing)
}

fn members(list: &[PortEndpoint]) -> Elements {
    let key = |endpoint: &PortEndpoint| RawKey::new().address(endpoint.address).port(endpoint.port);
    list.iter().map(|endpoint| (key(endpoint), Element::new(Data::Nothing))).collect()
}

/// What all Services with affinity share. It is not there where no Service asks for it, so that
/// packets do not pay for it.
pub(crate) fn learning() -> Table {
    let mut table = Table::default();
    let map = |key: &[Selector], comment: &str| {
        Set::new(SetSpec::new(key.to_vec(), SetData::Verdict).comment(comment))
    };
    let sets = [
        (
            names::AFFINITY_SERVICES,
            map(&VIRTUAL_ADDRESS, "original destinations whose clients stay"),
        ),
        (names::AFFINITY_NODEPORTS, map(&NODE_PORT, "original node ports whose clients stay")),
    ];
    table.sets.extend(sets.map(|(name, set)| (Name::from(name), set)));

    let original = [
        Selector::CtOriginal(CtField::Daddr),
        Selector::L4proto,
        Selector::CtOriginal(CtField::ProtoDst),
    ];
    let dispatch =
        [(names::AFFINITY_SERVICES, &original[..]), (names::AFFINITY_NODEPORTS, &original[1..])];
    let mut rules = Vec::new();
    for (map, key) in dispatch {
        // nft 1.0.6 takes `ct original proto-dst` only where the rule has named the protocol.
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            rules.push(Rule::new([Statement::ProtocolIs(protocol), verdict_map(key, map)]));
        }
    }
    add_chain(&mut table, LEARN_CHAIN, "learns which endpoint a client has", rules);

    // Packets to endpoints on the node's own network do not leave. `ct status dnat` would miss
    // endpoints that have the very address and port that was asked for.
    for (name, hook) in
        [("affinity-input", Hook::Input), ("affinity-postrouting", Hook::Postrouting)]
    {
        let rules = vec![Rule::new([Statement::CtStateNew, jump(LEARN_CHAIN)])];
        add_base(&mut table, name, ChainKind::Filter, hook, PRIORITY_FILTER, rules);
    }
    table
}
