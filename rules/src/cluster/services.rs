//! The Services of a cluster, and the winner of each contested claim.

use std::collections::{BTreeMap, btree_map};
use std::ops::Index;

use crate::cluster::claims::{Claim, ClaimKind, Claims, Handover, Lost};
use crate::cluster::compact::compact;
use crate::cluster::{NamespacedName, Service};

/// Services by identity. The owner of each claim is updated incrementally.
#[derive(Debug, Clone)]
pub struct Services {
    by_name: BTreeMap<NamespacedName, Service>,
    claims: Claims,
    /// How many keys each has at most.
    max_keys: usize,
}

impl Default for Services {
    /// Without a limit.
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), claims: Claims::default(), max_keys: usize::MAX }
    }
}

impl Services {
    /// Inserts a Service, and returns its effect on the claims of others.
    pub fn insert(&mut self, name: NamespacedName, mut service: Service) -> Handover {
        service.limit_keys(self.max_keys);
        let before = self.by_name.get(&name);
        let handover = self.claims.replace(&name, before, Some(&service));
        self.by_name.insert(name, service);
        handover
    }

    /// From now on each Service has so many keys at most ([`limits`](crate::cluster::limits)), also those that are
    /// there.
    pub fn limit(&mut self, max_keys: usize) {
        self.max_keys = max_keys;
        let too_large = self.by_name.iter().filter(|(_, service)| service.keys() > max_keys);
        for (name, service) in too_large.map(|(n, of)| (n.clone(), of.clone())).collect::<Vec<_>>()
        {
            self.insert(name, service);
        }
    }

    /// How many keys each Service has at most.
    pub fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Retains the Services for which `is_to_stay` returns true.
    pub fn retain(&mut self, mut is_to_stay: impl FnMut(&NamespacedName, &Service) -> bool) {
        let gone = self.by_name.iter().filter(|(name, service)| !is_to_stay(name, service));
        for name in gone.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.remove(&name);
        }
    }

    /// Changes a Service in place, if there is one of this identity.
    pub fn update(&mut self, name: &NamespacedName, change: impl FnOnce(&mut Service)) {
        if let Some(mut service) = self.by_name.get(name).cloned() {
            change(&mut service);
            self.insert(name.clone(), service);
        }
    }

    /// Removes a Service; returns it and the effect on the claims of others.
    pub fn remove(&mut self, name: &NamespacedName) -> Option<(Service, Handover)> {
        let service = self.by_name.remove(name)?;
        let handover = self.claims.replace(name, Some(&service), None);
        Some((service, handover))
    }

    /// What a Service claims and another has.
    pub fn lost(&self, name: &NamespacedName) -> Lost<'_> {
        self.claims.lost(name)
    }

    /// All Services that claim what another has, with these claims.
    pub fn losers(&self) -> impl Iterator<Item = (&NamespacedName, Lost<'_>)> {
        self.claims.losers()
    }

    /// How many claims are lost of each kind, in the order of
    /// [`ClaimKind::ALL`](crate::cluster::claims::ClaimKind::ALL).
    pub fn lost_counts(&self) -> [usize; ClaimKind::ALL.len()] {
        self.claims.lost_counts()
    }

    /// The Service that has a claim.
    pub fn owner(&self, claim: &Claim) -> Option<&NamespacedName> {
        self.claims.owner(claim)
    }

    /// Takes no more memory than is needed for so many, once many have been put in.
    pub fn compact(&mut self) {
        compact(&mut self.by_name);
    }

    /// The Service of this identity.
    pub fn get(&self, name: &NamespacedName) -> Option<&Service> {
        self.by_name.get(name)
    }

    /// The same with the identity as it is kept.
    pub fn get_key_value(&self, name: &NamespacedName) -> Option<(&NamespacedName, &Service)> {
        self.by_name.get_key_value(name)
    }

    /// Whether there is a Service of this identity.
    pub fn contains_key(&self, name: &NamespacedName) -> bool {
        self.by_name.contains_key(name)
    }

    /// All Services with their identities, in the order of these.
    pub fn iter(&self) -> btree_map::Iter<'_, NamespacedName, Service> {
        self.by_name.iter()
    }

    /// The identities of all Services, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, NamespacedName, Service> {
        self.by_name.keys()
    }

    /// All Services, in the order of their identities.
    pub fn values(&self) -> btree_map::Values<'_, NamespacedName, Service> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Who has which claim follows from the Services.
impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Eq for Services {}

impl FromIterator<(NamespacedName, Service)> for Services {
    fn from_iter<I: IntoIterator<Item = (NamespacedName, Service)>>(services: I) -> Self {
        let mut all = Self::default();
        all.extend(services);
        all
    }
}

impl Extend<(NamespacedName, Service)> for Services {
    fn extend<I: IntoIterator<Item = (NamespacedName, Service)>>(&mut self, services: I) {
        for (name, service) in services {
            self.insert(name, service);
        }
    }
}

impl<const N: usize> From<[(NamespacedName, Service); N]> for Services {
    fn from(services: [(NamespacedName, Service); N]) -> Self {
        services.into_iter().collect()
    }
}

impl Index<&NamespacedName> for Services {
    type Output = Service;

    /// # Panics
    /// If there is no Service of this identity.
    fn index(&self, name: &NamespacedName) -> &Service {
        &self.by_name[name]
    }
}

impl IntoIterator for Services {
    type Item = (NamespacedName, Service);
    type IntoIter = btree_map::IntoIter<NamespacedName, Service>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_name.into_iter()
    }
}

impl<'a> IntoIterator for &'a Services {
    type Item = (&'a NamespacedName, &'a Service);
    type IntoIter = btree_map::Iter<'a, NamespacedName, Service>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
