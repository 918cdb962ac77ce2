//! Services and what they claim: who gets it, who waits, and who keeps what it had.

use std::collections::BTreeMap;

use weir_rules::claims::{Claim, claims};
use weir_rules::cluster::{NamespacedName, Service};

use super::{News, State, service_key};
use crate::source::api::wire::Listed;
use crate::source::convert::Object;

impl State {
    /// Puts a Service in its place, unless another has what it claims: then it waits for that, and what
    /// it had before stays.
    pub(super) fn put_service(&mut self, name: NamespacedName, service: Service) {
        self.waiting.remove(&name);
        if self.cluster.services.get(&name) == Some(&service) {
            return;
        }
        if let Some(claim) = self.conflict(&name, &service) {
            self.waiting.insert(name, service, claim);
            return;
        }
        self.remove_service(&name);
        self.changes.services += 1;
        self.insert_service(name, service);
    }

    /// Inserts a Service of which nobody else has what it claims.
    fn insert_service(&mut self, name: NamespacedName, service: Service) {
        let name = self.cluster.slices.name_of(&name).unwrap_or(&name).clone();
        for (claim, _) in claims(&service) {
            self.owners.insert(claim, name.clone());
        }
        self.touched.service(&name);
        self.cluster.services.insert(name, service);
    }

    /// Removes a Service and what it claims; gives it if it was there.
    pub(super) fn remove_service(&mut self, name: &NamespacedName) -> Option<Service> {
        let service = self.cluster.services.remove(name)?;
        for (claim, _) in claims(&service) {
            self.owners.remove(&claim);
            self.waiting.let_go(&claim);
        }
        self.touched.service(name);
        Some(service)
    }

    /// The first of a Service's claims that another has.
    pub(super) fn conflict(&self, name: &NamespacedName, service: &Service) -> Option<Claim> {
        let is_anothers = |claim: &Claim| self.owners.get(claim).is_some_and(|owner| owner != name);
        claims(service).into_iter().map(|(claim, _)| claim).find(is_anothers)
    }

    /// Takes a Service out that is another in a new list, and gives it as it was. Two that have changed
    /// places in between would otherwise wait for each other for good.
    pub(super) fn let_go(&mut self, object: &Listed) -> Option<(NamespacedName, Service)> {
        let Ok(Object::Service(service, _)) = object.outcome.as_ref().map(|of| &of.object) else {
            return None;
        };
        let name = object.key.name.clone();
        self.cluster.services.get(&name).filter(|before| *before != service)?;
        let before = self.remove_service(&name)?;
        Some((name, before))
    }

    /// Gives those back what they had `before` a list that have to wait for what they claim in it. Who
    /// has come to have it in that list has to wait as well, and may have had something itself.
    ///
    /// No two had the same, so that what is given back to one stays its own, and this ends.
    pub(super) fn give_back(&mut self, mut before: BTreeMap<NamespacedName, Service>) {
        let has_to_wait = |name: &&NamespacedName| self.waiting.contains(name);
        let mut names: Vec<_> = before.keys().filter(has_to_wait).cloned().collect();
        while let Some(name) = names.pop() {
            let Some(service) = before.remove(&name) else { continue };
            for (claim, _) in claims(&service) {
                let Some(owner) = self.owners.get(&claim).cloned() else { continue };
                let Some(other) = self.remove_service(&owner) else { continue };
                self.waiting.insert(owner.clone(), other, claim);
                names.push(owner);
            }
            self.insert_service(name, service);
        }
    }

    /// Gives those that wait what has become free, and says of the others why they wait.
    pub(super) fn settle(&mut self, news: &mut Vec<News>) {
        // One that gets its new place may leave an old one to another, which is then woken.
        while let Some((name, service)) = self.waiting.next_woken() {
            self.put_service(name.clone(), service);
            if !self.waiting.contains(&name) {
                self.resolve(&service_key(&name), news);
            }
        }
        for (name, claim) in self.waiting.take_untold() {
            if let Some(owner) = self.owners.get(&claim) {
                let reason = format!("{claim} is already claimed by Service {owner}");
                self.refuse(service_key(&name), true, reason, news);
            }
        }
    }
}
