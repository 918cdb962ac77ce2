//! Session affinity: a client keeps the endpoint that it was first given.
//!
//! A connection's first packet is looked at twice. Before translation it is looked up which endpoint
//! its source has in the list at hand, and that is taken; where there is none, one is chosen as for
//! any Service. After translation, on its way out, source and endpoint are put into the map, or live
//! there as long again. So the cost does not depend on the number of endpoints. It is found by the
//! original destination which list that is, since the packet has the endpoint's by then.
//!
//! Only an endpoint of the list is learned. So nothing can bring one back once it has gone, such as a
//! packet that was in between when the list changed.
//!
//! All Services share a constant number of maps, in which the name of the list is part of each key
//! ([`ListId`]). A source counts by one of [`BUCKETS`] values of its hash, so that no number of
//! sources takes more of a map than these for one list.

use std::num::{NonZeroU16, NonZeroU32};

use sha2::{Digest, Sha256};

use super::balancer::AffinityId;
use super::fragment::{Entry, Map};
use super::names;
use super::program::{
    NODE_PORT, PRIORITY_FILTER, VIRTUAL_ADDRESS, add_base, add_chain, jump, verdict_map,
};
use crate::cluster::{NamespacedName, Protocol, Service, ServicePort};
use crate::endpoints::{PortEndpoint, PortEndpoints};
use crate::nft::{
    Chain, ChainKind, CtField, Data, Element, Hook, Name, RawKey, Rule, Selector, Set, SetData,
    SetSpec, Statement, Table, slot_selector,
};

/// How many sources a list distinguishes. Those whose hashes are alike have one endpoint. With
/// about 128 bytes each, a flood of sources costs a list 32 MiB.
pub(super) const BUCKETS: u32 = 1 << 18;

/// How many maps there are for what is learned of clients. In one map for all, each rule that the
/// kernel binds to it would cost it a walk over all others and over all that was learned, and so
/// would reading it where an endpoint goes.
const CLIENT_MAPS: u8 = 16;

/// How many sources a map holds: those of four lists that are flooded. Where there is no room, new
/// ones get any endpoint, every time. A multiple of 65,536, because the kernel takes the lower 16
/// bits for how many will come and has room for so many at once (`nelem_hint` of
/// include/linux/rhashtable-types.h).
const MAX_CLIENTS: u32 = 1 << 20;

/// Begins the hashes of sources. Any number but 0, of which nft says nothing.
const SEED: u32 = 0x7765_6972;

const LEARN_CHAIN: &str = "learn-affinity";

/// The two lists of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointList {
    /// That for policy Cluster.
    Cluster,
    /// That for policy Local.
    Local,
}

impl EndpointList {
    /// Both.
    pub(super) const ALL: [EndpointList; 2] = [EndpointList::Cluster, EndpointList::Local];

    fn of(self, endpoints: &PortEndpoints) -> &[PortEndpoint] {
        match self {
            EndpointList::Cluster => &endpoints.cluster,
            EndpointList::Local => &endpoints.local,
        }
    }
}

/// The endpoints of a list that have one port, in few bytes: 96 bits of a SHA-256 of their names. So
/// nobody can name a Service so that it gets the clients of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListId([u32; 3]);

impl ListId {
    pub(super) fn new(id: &Name, list: EndpointList, port: NonZeroU16) -> Self {
        let list = match list {
            EndpointList::Cluster => "cluster",
            EndpointList::Local => "local",
        };
        let digest: [u8; 32] = Sha256::digest(format!("{id}/{list}/{port}")).into();
        let (words, _) = digest.as_chunks();
        Self([0, 1, 2].map(|i| u32::from_be_bytes(words[i])))
    }

    fn selectors(self) -> impl Iterator<Item = Selector> {
        self.0.into_iter().map(Selector::constant)
    }

    /// The key of one of the endpoints.
    fn member(self, endpoint: &PortEndpoint) -> RawKey {
        self.0.iter().fold(RawKey::new(), |key, &word| key.slot(word)).address(endpoint.address)
    }
}

/// The ports that the endpoints of a list have, in order.
pub(super) fn ports(endpoints: &PortEndpoints, list: EndpointList) -> Vec<NonZeroU16> {
    let mut ports: Vec<_> = list.of(endpoints).iter().map(|endpoint| endpoint.port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The map that holds the clients of a Service port. `id` names the port.
pub(super) fn client_map(id: &Name) -> Name {
    let digest: [u8; 32] = Sha256::digest(id.as_str()).into();
    client_map_name(digest[0] % CLIENT_MAPS)
}

fn client_map_name(number: u8) -> Name {
    Name::new(format!("{}{number}", names::AFFINITY_CLIENTS))
}

/// The key of a source in the map of clients.
pub(super) fn client_key(list: ListId, original: bool) -> Vec<Selector> {
    let source = Selector::SourceHash { original, modulus: BUCKETS, seed: SEED };
    [source].into_iter().chain(list.selectors()).collect()
}

/// The session affinity of a Service port.
pub(super) struct Affinity<'a> {
    pub(super) id: AffinityId,
    timeout: NonZeroU32,
    endpoints: &'a PortEndpoints,
}

impl<'a> Affinity<'a> {
    /// The affinity of a port, if its Service asks for it and there is an endpoint.
    pub(super) fn new(
        name: &NamespacedName,
        service: &Service,
        port: &ServicePort,
        endpoints: &'a PortEndpoints,
    ) -> Option<Self> {
        let timeout = service.session_affinity?;
        let is_any = EndpointList::ALL.iter().any(|list| !list.of(endpoints).is_empty());
        is_any.then(|| Self { id: AffinityId::new(name, port, endpoints), timeout, endpoints })
    }

    /// The chain that learns.
    pub(super) fn chain(&self) -> Name {
        Name::new(format!("learn-{}", self.id))
    }

    /// What may be learned.
    pub(super) fn members(&self) -> Vec<Entry> {
        let mut members = Vec::new();
        for list in EndpointList::ALL {
            let lists = self.id.lists(list);
            for endpoint in list.of(self.endpoints) {
                let Ok(index) = lists.binary_search_by_key(&endpoint.port, |&(port, _)| port)
                else {
                    unreachable!("there is a list for each port of an endpoint")
                };
                let key = lists[index].1.member(endpoint);
                members.push((Map::AffinityEndpoints, key, Element::new(Data::Nothing)));
            }
        }
        members
    }

    /// Puts the chain that learns into the table.
    pub(super) fn move_into(self, table: &mut Table) {
        let lists = EndpointList::ALL.iter().flat_map(|&list| self.id.lists(list));
        let rules = lists.map(|&(port, list)| self.learn(list, port)).collect();
        table.chains.insert(self.chain(), Chain { rules, ..Chain::default() });
    }

    fn learn(&self, list: ListId, port: NonZeroU16) -> Rule {
        let member = list.selectors().chain([Selector::Daddr]).collect();
        Rule::new([
            Statement::DestinationPortIs(port),
            Statement::InSet {
                key: member,
                set: Name::from(names::AFFINITY_ENDPOINTS),
                negated: false,
            },
            Statement::Update {
                map: self.id.client_map.clone(),
                key: client_key(list, true),
                timeout: self.timeout.get(),
                data: vec![Selector::Daddr],
            },
        ])
    }
}

/// What all Services with affinity share. It is not there where no Service asks for it, so that
/// packets do not pay for it.
pub(crate) fn learning() -> Table {
    let mut table = Table::default();
    let verdicts = |key: &[Selector], comment: &str| {
        Set::new(SetSpec::new(key.to_vec(), SetData::Verdict).comment(comment))
    };
    let list = [slot_selector(); 3];
    let members = SetSpec::new([&list[..], &[Selector::Daddr]].concat(), SetData::Nothing)
        .comment("endpoints that may be learned, by list");
    let sets = [
        (
            names::AFFINITY_SERVICES,
            verdicts(&VIRTUAL_ADDRESS, "original destinations with session affinity"),
        ),
        (
            names::AFFINITY_NODEPORTS,
            verdicts(&NODE_PORT, "original node ports with session affinity"),
        ),
        (names::AFFINITY_ENDPOINTS, Set::new(members)),
    ];
    table.sets.extend(sets.map(|(name, set)| (Name::from(name), set)));
    let clients = SetSpec::new(
        [&[slot_selector()], &list[..]].concat(),
        SetData::Values(vec![Selector::Daddr]),
    );
    let clients = clients.dynamic(MAX_CLIENTS).comment("learned endpoint of each client, by list");
    for number in 0..CLIENT_MAPS {
        table.sets.insert(client_map_name(number), Set::new(clients.clone()));
    }

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
    add_chain(&mut table, LEARN_CHAIN, "learns the endpoint of each client", rules);

    // Packets to endpoints on the node's own network do not leave. `ct status dnat` would miss
    // endpoints that have the very address and port that was asked for.
    for (name, hook) in
        [("affinity-input", Hook::Input), ("affinity-postrouting", Hook::Postrouting)]
    {
        let rules = vec![Rule::new([Statement::CtStateNew, jump(LEARN_CHAIN)])];
        add_base(
            &mut table,
            name,
            ChainKind::Filter,
            hook,
            PRIORITY_FILTER,
            "session affinity: learns from new connections",
            rules,
        );
    }
    table
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
