//! Fragments: what one Service adds to the table of one address family, and how tables are assembled from them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::balancer::Balancer;
use super::{affinity, names};
use crate::compile::lists::lists_of;
use crate::nft::{Data, Element, Name, RawKey, Rule, Statement, Table};

/// A set or map that Services share. The order is that of [`Fragment::elements`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Map {
    Services,
    Endpoints,
    NoEndpointServices,
    NodePorts,
    NodePortEndpoints,
    NoEndpointNodePorts,
    FirewallIps,
    NodePortsInUse,
    AffinityServices,
    AffinityNodePorts,
    AffinityEndpoints,
    ClusterIps,
    HairpinConnections,
}

impl Map {
    /// All of them, by number.
    pub(crate) const ALL: [Self; 13] = [
        Map::Services,
        Map::Endpoints,
        Map::NoEndpointServices,
        Map::NodePorts,
        Map::NodePortEndpoints,
        Map::NoEndpointNodePorts,
        Map::FirewallIps,
        Map::NodePortsInUse,
        Map::AffinityServices,
        Map::AffinityNodePorts,
        Map::AffinityEndpoints,
        Map::ClusterIps,
        Map::HairpinConnections,
    ];
    /// Those that lead from a destination to what becomes of it.
    pub(crate) const WITH_VERDICTS: [Self; 8] = [
        Map::Services,
        Map::NoEndpointServices,
        Map::NodePorts,
        Map::NoEndpointNodePorts,
        Map::FirewallIps,
        Map::NodePortsInUse,
        Map::AffinityServices,
        Map::AffinityNodePorts,
    ];
    /// Those whose keys end with a slot.
    pub(crate) const WITH_SLOTS: [Self; 2] = [Map::Endpoints, Map::NodePortEndpoints];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Map::Services => names::SERVICES,
            Map::Endpoints => names::ENDPOINTS,
            Map::NoEndpointServices => names::NO_ENDPOINT_SERVICES,
            Map::NodePorts => names::NODEPORTS,
            Map::NodePortEndpoints => names::NODEPORT_ENDPOINTS,
            Map::NoEndpointNodePorts => names::NO_ENDPOINT_NODEPORTS,
            Map::FirewallIps => names::FIREWALL_IPS,
            Map::NodePortsInUse => names::NODEPORTS_IN_USE,
            Map::AffinityServices => names::AFFINITY_SERVICES,
            Map::AffinityNodePorts => names::AFFINITY_NODEPORTS,
            Map::AffinityEndpoints => names::AFFINITY_ENDPOINTS,
            Map::ClusterIps => names::CLUSTER_IPS,
            Map::HairpinConnections => names::HAIRPIN_CONNECTIONS,
        }
    }

    /// Whether its keys end with a slot.
    pub(crate) fn has_slots(self) -> bool {
        Self::WITH_SLOTS.contains(&self)
    }

    /// Whether it exists only where session affinity is used.
    pub(crate) fn learns(self) -> bool {
        matches!(self, Map::AffinityServices | Map::AffinityNodePorts | Map::AffinityEndpoints)
    }
}

/// An element of one of the maps.
pub(crate) type Entry = (Map, RawKey, Element);

/// What one Service adds to the table of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Elements that no other Service has, sorted by map and key.
    pub(crate) elements: Box<[Entry]>,
    /// Elements without data that other Services may have, too; each once.
    pub(crate) shared: Box<[(Map, RawKey)]>,
    /// Chains that other Services may go to, too; each once.
    pub(crate) balancers: Box<[Balancer]>,
    /// Sets and chains that no other Service has.
    pub(crate) own: Option<Box<Table>>,
    /// Whether clients stay with their endpoint, for which the table has chains that learn.
    pub(crate) learns: bool,
}

impl Fragment {
    /// Whether the Service is not served in this family.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What clients may stay with: the elements of [`Map::AffinityEndpoints`].
    pub(crate) fn members(&self) -> impl Iterator<Item = &Entry> {
        let first = self.elements.partition_point(|entry| entry.0 < Map::AffinityEndpoints);
        self.elements[first..].iter().take_while(|entry| entry.0 == Map::AffinityEndpoints)
    }

    /// The rules of its own chains that are about clients that stay with their endpoint.
    fn learning_rules(&self) -> impl Iterator<Item = &Rule> {
        let chains = self.own.iter().flat_map(|own| own.chains.values());
        let learns = |rule: &&Rule| {
            rule.statements.iter().any(|statement| matches!(statement, Statement::Update { .. }))
        };
        chains.flat_map(|chain| &chain.rules).filter(learns)
    }

    /// The maps that hold the clients that stay with their endpoint; one may come more than once.
    pub(crate) fn client_maps(&self) -> impl Iterator<Item = &Name> {
        let statements = self.learning_rules().flat_map(|rule| &rule.statements);
        statements.filter_map(|statement| match statement {
            Statement::Update { map, .. } => Some(map),
            _ => None,
        })
    }

    /// The lists by whose names its clients are in these maps.
    pub(crate) fn client_lists(&self) -> impl Iterator<Item = RawKey> {
        self.learning_rules().flat_map(lists_of)
    }

    /// Calls `each` with every element that the two do not have alike: with the one and the other.
    pub(crate) fn differences<'a>(
        &'a self,
        other: &'a Fragment,
        mut each: impl FnMut(Map, &'a RawKey, Option<&'a Element>, Option<&'a Element>),
    ) {
        let (mut left, mut right) =
            (self.elements.iter().peekable(), other.elements.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => (a.0, &a.1).cmp(&(b.0, &b.1)),
            };
            let one = left.next_if(|_| order.is_le());
            let two = right.next_if(|_| order.is_ge());
            let Some((map, key, _)) = one.or(two) else { break };
            let (one, two) = (one.map(|entry| &entry.2), two.map(|entry| &entry.2));
            if one != two {
                each(*map, key, one, two);
            }
        }
    }
}

/// A table to which fragments are added.
pub(crate) struct TableBuilder {
    table: Table,
    balancers: BTreeSet<Balancer>,
    learns: bool,
}

impl TableBuilder {
    /// Begins with the table as it is without any Service.
    pub(crate) fn new(base: Table) -> Self {
        Self { table: base, balancers: BTreeSet::new(), learns: false }
    }

    /// Adds a Service.
    pub(crate) fn add(&mut self, fragment: &Fragment) {
        if fragment.learns && !self.learns {
            self.learns = true;
            let Table { sets, chains, .. } = affinity::learning();
            self.table.sets.extend(sets);
            self.table.chains.extend(chains);
        }
        for (map, key, element) in &fragment.elements {
            insert(&mut self.table, *map, *key, element.clone());
        }
        for (map, key) in &fragment.shared {
            insert(&mut self.table, *map, *key, Element::new(Data::Nothing));
        }
        for balancer in &fragment.balancers {
            if !self.balancers.contains(balancer) {
                self.balancers.insert(balancer.clone());
            }
        }
        if let Some(own) = &fragment.own {
            let Table { sets, chains, .. } = own.as_ref().clone();
            self.table.sets.extend(sets);
            self.table.chains.extend(chains);
        }
    }

    /// The table. `is_from_pod` matches traffic of local Pods, where that can be determined.
    pub(crate) fn finish(mut self, is_from_pod: Option<&Statement>) -> Table {
        for balancer in self.balancers {
            self.table.chains.insert(balancer.name(), balancer.chain(is_from_pod));
        }
        self.table
    }
}

/// Puts an element into a table that declares its map.
fn insert(table: &mut Table, map: Map, key: RawKey, element: Element) {
    let set = table.sets.get_mut(map.name()).expect("the skeleton declares every map");
    set.elements.insert(key, element);
}
