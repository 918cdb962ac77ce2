//! What has changed in the cluster and is not programmed yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use tokio::time::Instant;
use weir_rules::cluster::claims::{Claim, claims};
use weir_rules::cluster::{Cluster, NamespacedName, Service, Touched};
use weir_rules::reconcile::mirror::Desired;

/// Services in the order in which they are programmed.
///
/// However much waits, what comes now does not wait behind it: of each batch one half is for Services that
/// have changed since the last, small ones first, and one for those that have waited longer, in the order
/// in which they came. So nobody who changes much, or often, holds up the others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    surroundings: bool,
    /// Those that have changed since the last batch.
    new: BTreeSet<NamespacedName>,
    /// Those that were not in the batches since they changed.
    backlog: VecDeque<NamespacedName>,
    /// Both, with when each has changed last.
    queued: HashMap<NamespacedName, Instant>,
    /// Claims that Services give up, with who has each in the kernel.
    released: BTreeMap<Claim, NamespacedName>,
}

impl Queue {
    /// Adds what has changed. A Service that waits already keeps its place.
    pub(super) fn add(&mut self, touched: Touched) {
        let Touched { services, surroundings, released } = touched;
        self.surroundings |= surroundings;
        let now = Instant::now();
        for service in services {
            if self.queued.insert(service.clone(), now).is_none() {
                self.new.insert(service);
            }
        }
        for (claim, owner) in released {
            self.released.entry(claim).or_insert(owner);
        }
    }

    /// Whether all is programmed.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && !self.surroundings
    }

    /// Whether a Service waits.
    pub(super) fn contains(&self, service: &NamespacedName) -> bool {
        self.queued.contains_key(service)
    }

    /// Since when the Service waits that has waited longest, without another change of its own.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queued.values().min().copied()
    }

    /// Whether the Node, networks or settings have changed.
    pub(super) fn surroundings(&self) -> bool {
        self.surroundings
    }

    /// Takes all of it out, to be programmed in one piece.
    pub(super) fn take(&mut self) -> Touched {
        let Self { surroundings, queued, released, .. } = std::mem::take(self);
        Touched { services: queued.into_keys().collect(), surroundings, released }
    }

    /// Services are not to be programmed for now.
    pub(super) fn remove(&mut self, services: &HashSet<NamespacedName>) {
        if services.iter().any(|service| self.contains(service)) {
            self.new.retain(|service| !services.contains(service));
            self.backlog.retain(|service| !services.contains(service));
            self.queued.retain(|service, _| !services.contains(service));
        }
    }

    /// These are programmed, and so are the surroundings.
    pub(super) fn finish(&mut self, services: &[NamespacedName]) {
        self.surroundings = false;
        let finished: HashSet<_> = services.iter().cloned().collect();
        self.remove(&finished);
        self.released.retain(|_, owner| !finished.contains(owner));
        // What was left out of its first batch waits in line.
        self.backlog.extend(std::mem::take(&mut self.new));
    }

    /// The next Services, of about so many elements, and at least one: none behind one that gets what it
    /// gives up.
    pub(super) fn next_batch(
        &self,
        cluster: &Cluster,
        desired: &Desired,
        max_elements: usize,
    ) -> Vec<NamespacedName> {
        let weigh =
            |service: &NamespacedName| weight(cluster, service).max(desired.weight(service));
        let mut new: Vec<_> = self.new.iter().map(|service| (weigh(service), service)).collect();
        new.sort_unstable();
        let half = if self.backlog.is_empty() { max_elements } else { max_elements / 2 };
        let mut batch = Batch { queue: self, cluster, services: Vec::new(), seen: HashSet::new() };
        let (mut total, mut new) = (0, new.into_iter().peekable());
        while let Some((weight, service)) = new.next_if(|(weight, _)| total + weight <= half) {
            total += weight;
            batch.push(service);
        }
        let rest = self.backlog.iter().map(|service| (weigh(service), service)).chain(new);
        for (weight, service) in rest {
            batch.push(service);
            total += weight;
            if total >= max_elements {
                break;
            }
        }
        batch.services
    }
}

/// A batch that is put together.
struct Batch<'a> {
    queue: &'a Queue,
    cluster: &'a Cluster,
    services: Vec<NamespacedName>,
    seen: HashSet<NamespacedName>,
}

impl Batch<'_> {
    /// Adds a Service behind those that give up what it gets.
    fn push(&mut self, service: &NamespacedName) {
        // Where two exchange what they have, each is behind the other, and both are in one batch.
        let mut waiting = vec![(service.clone(), false)];
        while let Some((service, is_ready)) = waiting.pop() {
            if is_ready {
                self.services.push(service);
                continue;
            }
            if !self.seen.insert(service.clone()) {
                continue;
            }
            let before = self.releasers(&service);
            waiting.push((service, true));
            waiting.extend(before.into_iter().map(|service| (service, false)));
        }
    }

    fn releasers(&self, service: &NamespacedName) -> BTreeSet<NamespacedName> {
        let released = &self.queue.released;
        let gains = self.cluster.services.get(service).filter(|_| !released.is_empty());
        let owners =
            gains.into_iter().flat_map(claims).filter_map(|(claim, _)| released.get(&claim));
        owners.filter(|owner| *owner != service && self.queue.contains(owner)).cloned().collect()
    }
}

/// About how many elements a Service has: of each of its keys the verdict, and each endpoint.
pub(super) fn weight(cluster: &Cluster, service: &NamespacedName) -> usize {
    let slices = cluster.slices.of(service).into_iter();
    let endpoints = slices.map(|slice| slice.endpoints.len()).sum::<usize>();
    let keys = cluster.services.get(service).map_or(0, Service::keys);
    // Most Services have slices of one family for addresses of one, or as much of each.
    keys * (1 + endpoints) + 1
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
