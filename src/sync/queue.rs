//! The queue of changes that are not programmed yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use tokio::time::Instant;
use weir_rules::cluster::claims::Claim;
use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName, Service};
use weir_rules::reconcile::mirror::{Batch, Mirror};

/// Services in the order in which they are programmed.
///
/// However much waits, what comes now does not wait behind it: of each batch one half is for Services that
/// have changed since the last, small ones first, and one for those that have waited longer, in the order
/// in which they came. So nobody who changes much, or often, holds up the others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    environment: bool,
    /// Those that have changed since the last batch.
    new: BTreeSet<NamespacedName>,
    /// Those that were not in the batches since they changed.
    backlog: VecDeque<NamespacedName>,
    /// Both, with when each has changed last.
    queued: HashMap<NamespacedName, Instant>,
    /// Claims that Services give up, with who has each in the kernel.
    released: BTreeMap<Claim, NamespacedName>,
    /// Those of which a part is programmed.
    begun: HashSet<NamespacedName>,
}

impl Queue {
    /// Adds what has changed. A Service that waits already keeps its place.
    pub(super) fn add(&mut self, change_set: ChangeSet) {
        let ChangeSet { services, environment, released } = change_set;
        self.environment |= environment;
        let now = Instant::now();
        for service in services {
            if self.queued.insert(service.clone(), now).is_none() {
                self.new.insert(service);
            }
        }
        for (claim, owner) in released {
            // One that does not wait has given up what it had, or is left as it is.
            let first = self.released.entry(claim).or_insert_with(|| owner.clone());
            if !self.queued.contains_key(first) {
                *first = owner;
            }
        }
    }

    /// Whether all is programmed.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && !self.environment
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
    pub(super) fn environment(&self) -> bool {
        self.environment
    }

    /// Whether the kernel has a part of what a Service is to have, and the rest as it was.
    pub(super) fn is_begun(&self, service: &NamespacedName) -> bool {
        self.begun.contains(service)
    }

    /// Of these a part is programmed.
    pub(super) fn begin(&mut self, services: Vec<NamespacedName>) {
        self.begun.extend(services);
    }

    /// Of no other Service is a part programmed.
    pub(super) fn only_begun(&mut self, services: &HashSet<NamespacedName>) {
        self.begun.retain(|service| services.contains(service));
    }

    /// Takes everything, to be programmed in one batch.
    pub(super) fn take(&mut self) -> ChangeSet {
        let begun = std::mem::take(&mut self.begun);
        let Self { environment, queued, released, .. } =
            std::mem::replace(self, Self { begun, ..Self::default() });
        ChangeSet { services: queued.into_keys().collect(), environment, released }
    }

    /// Services are not to be programmed for now.
    pub(super) fn remove(&mut self, services: &HashSet<NamespacedName>) {
        if services.iter().any(|service| self.contains(service)) {
            self.new.retain(|service| !services.contains(service));
            self.backlog.retain(|service| !services.contains(service));
            self.queued.retain(|service, _| !services.contains(service));
        }
    }

    /// These are programmed, and so is the environment.
    pub(super) fn finish(&mut self, services: &[NamespacedName]) {
        self.environment = false;
        let finished: HashSet<_> = services.iter().cloned().collect();
        self.remove(&finished);
        self.begun.retain(|service| !finished.contains(service));
        self.released.retain(|_, owner| !finished.contains(owner));
        // What was left out of its first batch waits in line.
        self.backlog.extend(std::mem::take(&mut self.new));
    }

    /// The next Services, of about so many elements, and at least one: none behind one that gets what it
    /// gives up, but for those that exchange what they have.
    pub(super) fn next_batch(
        &self,
        cluster: &Cluster,
        mirror: &Mirror,
        max_elements: usize,
    ) -> Batch {
        let weigh = |service: &NamespacedName| {
            estimated_elements(cluster, service).max(mirror.estimated_elements(service))
        };
        let mut new: Vec<_> = self.new.iter().map(|service| (weigh(service), service)).collect();
        new.sort_unstable();
        let half = if self.backlog.is_empty() { max_elements } else { max_elements / 2 };
        let mut batch = Order::new(self.releasers(cluster));
        let (mut total, mut new) = (0, new.into_iter().peekable());
        while let Some((elements, service)) = new.next_if(|(elements, _)| total + elements <= half)
        {
            total += elements;
            batch.push(service);
        }
        let rest = self.backlog.iter().map(|service| (weigh(service), service)).chain(new);
        for (elements, service) in rest {
            batch.push(service);
            total += elements;
            if total >= max_elements {
                break;
            }
        }
        Batch {
            services: batch.services,
            contested: batch.contested,
            environment: self.environment,
            max_elements,
        }
    }

    /// Those that wait and give something up, by the Service that gets it.
    fn releasers<'a>(
        &'a self,
        cluster: &'a Cluster,
    ) -> HashMap<&'a NamespacedName, BTreeSet<&'a NamespacedName>> {
        let mut releasers: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (claim, owner) in self.released.iter().filter(|(_, owner)| self.contains(owner)) {
            if let Some(gains) = cluster.services.owner(claim).filter(|gains| *gains != owner) {
                releasers.entry(gains).or_default().insert(owner);
            }
        }
        releasers
    }
}

/// The order of a batch that is put together.
struct Order<'a> {
    /// The Services that give something up, by the Service that gets it.
    releasers: HashMap<&'a NamespacedName, BTreeSet<&'a NamespacedName>>,
    services: Vec<NamespacedName>,
    seen: HashSet<NamespacedName>,
    placed: HashSet<NamespacedName>,
    contested: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
}

impl<'a> Order<'a> {
    fn new(releasers: HashMap<&'a NamespacedName, BTreeSet<&'a NamespacedName>>) -> Self {
        Self {
            releasers,
            services: Vec::new(),
            seen: HashSet::new(),
            placed: HashSet::new(),
            contested: BTreeMap::new(),
        }
    }

    /// Adds a Service behind those that give up what it gets.
    fn push(&mut self, service: &NamespacedName) {
        let mut waiting = vec![(service.clone(), false)];
        while let Some((service, is_ready)) = waiting.pop() {
            let before = self.releasers.get(&service).into_iter().flatten().copied();
            if is_ready {
                // Where two exchange what they have, each is behind the other.
                let behind = before.filter(|owner| !self.placed.contains(*owner)).cloned();
                let behind: BTreeSet<_> = behind.collect();
                if !behind.is_empty() {
                    self.contested.insert(service.clone(), behind);
                }
                self.placed.insert(service.clone());
                self.services.push(service);
            } else if self.seen.insert(service.clone()) {
                let before: Vec<_> = before.map(|service| (service.clone(), false)).collect();
                waiting.push((service, true));
                waiting.extend(before);
            }
        }
    }
}

/// About how many elements a Service has: of each of its keys the verdict, and each endpoint.
pub(super) fn estimated_elements(cluster: &Cluster, service: &NamespacedName) -> usize {
    let slices = cluster.slices.of(service).into_iter();
    let endpoints = slices.map(|slice| slice.endpoints.len()).sum::<usize>();
    let keys = cluster.services.get(service).map_or(0, Service::keys);
    // Most Services have slices of one family for addresses of one, or as much of each.
    keys * (1 + endpoints) + 1
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
