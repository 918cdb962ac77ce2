//! Decides which Service serves an address and port that several of them claim.
//!
//! Every virtual address is one key of one map, whichever field it comes from: no two Services can
//! have it. Who has it follows from what all Services ask for now, never from who came first, so that
//! it is the same on every node and after a restart. A Service loses only the claims that another has
//! a better right to.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::cluster::{Family, NamespacedName, Protocol, Service};

/// A key of the maps of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A port at a virtual address.
    Address {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: NonZeroU16,
    },
    /// A port at the node's own addresses, of both families.
    NodePort {
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: NonZeroU16,
    },
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Address { address, protocol, port } => {
                write!(f, "{address} {protocol} port {port}")
            }
            Claim::NodePort { protocol, port } => write!(f, "{protocol} node port {port}"),
        }
    }
}

/// What a claim is made as. The first has the best right: a ClusterIP and a node port are allocated
/// by the API server, a load balancer's address is written by a controller, and an external IP by
/// anybody who may edit a Service (CVE-2020-8554).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `spec.healthCheckNodePort`: its server never gets what is to a node port of the same number.
    HealthCheckNodePort,
}

impl ClaimKind {
    /// All of them, the best right first.
    pub const ALL: [Self; 5] = [
        ClaimKind::ClusterIp,
        ClaimKind::NodePort,
        ClaimKind::LoadBalancer,
        ClaimKind::ExternalIp,
        ClaimKind::HealthCheckNodePort,
    ];

    /// Its name as a metric's label: `cluster-ip`, `node-port`, `load-balancer`, `external-ip`
    /// or `health-check-node-port`.
    pub fn label(self) -> &'static str {
        match self {
            ClaimKind::ClusterIp => "cluster-ip",
            ClaimKind::NodePort => "node-port",
            ClaimKind::LoadBalancer => "load-balancer",
            ClaimKind::ExternalIp => "external-ip",
            ClaimKind::HealthCheckNodePort => "health-check-node-port",
        }
    }

    /// The field of a Service that makes such claims.
    pub fn field(self) -> &'static str {
        match self {
            ClaimKind::ClusterIp => "spec.clusterIPs",
            ClaimKind::NodePort => "spec.ports[].nodePort",
            ClaimKind::LoadBalancer => "status.loadBalancer.ingress",
            ClaimKind::ExternalIp => "spec.externalIPs",
            ClaimKind::HealthCheckNodePort => "spec.healthCheckNodePort",
        }
    }
}

/// All that a Service claims, sorted and each once: one that it makes in two ways is of the kind with
/// the better right. It claims nothing in a family of which it has no ClusterIP.
pub fn claims(service: &Service) -> Vec<(Claim, ClaimKind)> {
    let lists = [
        (&service.cluster_ips, ClaimKind::ClusterIp),
        (&service.load_balancer_ips, ClaimKind::LoadBalancer),
        (&service.external_ips, ClaimKind::ExternalIp),
    ];
    let served = Family::ALL.map(|family| service.serves(family));
    let is_served = |address: &&IpAddr| served[usize::from(address.is_ipv6())];
    if !served.contains(&true) {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for port in &service.ports {
        let protocol = port.protocol;
        for (addresses, kind) in lists {
            let claim = |&address: &IpAddr| Claim::Address { address, protocol, port: port.port };
            let addresses = addresses.iter().filter(is_served);
            claims.extend(addresses.map(claim).map(|claim| (claim, kind)));
        }
        if let Some(port) = port.node_port {
            claims.push((Claim::NodePort { protocol, port }, ClaimKind::NodePort));
        }
    }
    if let Some(port) = service.health_check_node_port {
        let claim = Claim::NodePort { protocol: Protocol::Tcp, port };
        claims.push((claim, ClaimKind::HealthCheckNodePort));
    }
    claims.sort_unstable();
    claims.dedup_by_key(|(claim, _)| *claim);
    claims
}

/// Who has each claim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    owners: HashMap<Claim, Contender>,
    /// Those that want what another has, best right first.
    others: HashMap<Claim, BTreeSet<Contender>>,
    /// What each Service wants and does not have.
    lost: BTreeMap<NamespacedName, Arc<BTreeMap<Claim, ClaimKind>>>,
    /// How many these are of each kind, in the order of [`ClaimKind::ALL`].
    lost_counts: [usize; ClaimKind::ALL.len()],
}

/// A Service that wants a claim. The least has the best right to it: by kind, then the older Service,
/// then by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Contender {
    kind: ClaimKind,
    /// `metadata.creationTimestamp`; the latest of all where there is none.
    created: u32,
    service: NamespacedName,
}

/// What has come of a change of one Service's claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// The other Services that may have gained or lost a claim.
    pub others: BTreeSet<NamespacedName>,
    /// The claims that have another owner than before, or none any more, with the owner before.
    pub released: BTreeMap<Claim, NamespacedName>,
}

impl Handover {
    /// A claim has another owner than this, or none any more. The first who had it counts.
    fn release(&mut self, claim: &Claim, owner: &NamespacedName) {
        self.released.entry(*claim).or_insert_with(|| owner.clone());
    }
}

impl Claims {
    /// Replaces what a Service claims, at a cost of n log n in its claims before and after.
    pub(crate) fn replace(
        &mut self,
        name: &NamespacedName,
        before: Option<&Service>,
        after: Option<&Service>,
    ) -> Handover {
        let wishes = |service: Option<&Service>| -> Vec<(Claim, Contender)> {
            let created = service.and_then(|service| service.created).unwrap_or(u32::MAX);
            let contender = |kind| Contender { kind, created, service: name.clone() };
            let claims = service.map(claims).unwrap_or_default().into_iter();
            claims.map(|(claim, kind)| (claim, contender(kind))).collect()
        };
        let (before, after) = (wishes(before), wishes(after));
        let mut handover = Handover::default();
        for wish in difference(&before, &after) {
            self.withdraw(wish, &mut handover);
        }
        for wish in difference(&after, &before) {
            self.want(wish, &mut handover);
        }
        handover.others.remove(name);
        handover.released.retain(|claim, before| self.owner(claim) != Some(before));
        handover
    }

    fn want(&mut self, (claim, contender): &(Claim, Contender), handover: &mut Handover) {
        let loser = match self.owners.entry(*claim) {
            Entry::Vacant(entry) => {
                entry.insert(contender.clone());
                return;
            }
            Entry::Occupied(mut owner) if contender < owner.get() => {
                let before = owner.insert(contender.clone());
                handover.others.insert(before.service.clone());
                handover.release(claim, &before.service);
                before
            }
            Entry::Occupied(_) => contender.clone(),
        };
        let lost = self.lost.entry(loser.service.clone()).or_default();
        if Arc::make_mut(lost).insert(*claim, loser.kind).is_none() {
            self.lost_counts[loser.kind as usize] += 1;
        }
        self.others.entry(*claim).or_default().insert(loser);
    }

    fn withdraw(&mut self, (claim, contender): &(Claim, Contender), handover: &mut Handover) {
        let is_owner = self.owners.get(claim) == Some(contender);
        let Some(others) = self.others.get_mut(claim) else {
            if is_owner {
                self.owners.remove(claim);
                handover.release(claim, &contender.service);
            }
            return;
        };
        let settled = if is_owner {
            handover.release(claim, &contender.service);
            others.pop_first()
        } else {
            others.take(contender)
        };
        if others.is_empty() {
            self.others.remove(claim);
        }
        // Who gets the claim, or asks for it no longer, has not lost it any more.
        let Some(settled) = settled else { return };
        if let Some(lost) = self.lost.get_mut(&settled.service) {
            if let Some(kind) = Arc::make_mut(lost).remove(claim) {
                self.lost_counts[kind as usize] -= 1;
            }
            if lost.is_empty() {
                self.lost.remove(&settled.service);
            }
        }
        if is_owner {
            handover.others.insert(settled.service.clone());
            self.owners.insert(*claim, settled);
        }
    }

    /// The Service that has a claim.
    pub(crate) fn owner(&self, claim: &Claim) -> Option<&NamespacedName> {
        self.owners.get(claim).map(|owner| &owner.service)
    }

    /// What a Service wants and another has.
    pub(crate) fn lost(&self, name: &NamespacedName) -> Lost<'_> {
        Lost(self.lost.get(name))
    }

    /// How many claims of each kind Services want that another has, in the order of [`ClaimKind::ALL`].
    pub(crate) fn lost_counts(&self) -> [usize; ClaimKind::ALL.len()] {
        self.lost_counts
    }

    /// All Services that have lost a claim, with what they have lost.
    pub(crate) fn losers(&self) -> impl Iterator<Item = (&NamespacedName, Lost<'_>)> {
        self.lost.iter().map(|(name, lost)| (name, Lost(Some(lost))))
    }
}

/// The claims of a Service that another has; nearly always none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lost<'a>(Option<&'a Arc<BTreeMap<Claim, ClaimKind>>>);

impl<'a> Lost<'a> {
    /// Whether a claim is another's.
    pub fn contains(self, claim: &Claim) -> bool {
        self.0.is_some_and(|lost| lost.contains_key(claim))
    }

    /// Whether the Service has all that it claims.
    pub fn is_empty(self) -> bool {
        self.0.is_none_or(|lost| lost.is_empty())
    }

    /// The claims, sorted.
    pub fn iter(self) -> impl Iterator<Item = (Claim, ClaimKind)> + 'a {
        self.0.into_iter().flat_map(|lost| lost.iter()).map(|(claim, kind)| (*claim, *kind))
    }

    /// The claims, as they are kept for as long as they do not change; `None` where there are none.
    pub fn share(self) -> Option<Arc<BTreeMap<Claim, ClaimKind>>> {
        self.0.cloned()
    }
}

/// What is in the first of two sorted lists only.
fn difference<'a, T: Ord>(one: &'a [T], other: &'a [T]) -> impl Iterator<Item = &'a T> {
    let mut other = other.iter().peekable();
    one.iter().filter(move |item| {
        while other.next_if(|next| next < item).is_some() {}
        other.peek() != Some(item)
    })
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
