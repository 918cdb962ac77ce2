//! Applies updates from the API server to the cluster.

mod notice;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName, Service};

pub use notice::{Notice, Problem};

use super::change_counters::ChangeCounters;
use super::interner::Interner;
use super::wire::{Received, Update};
use crate::source::convert::{Advisory, NodeFuture, Object};
use crate::source::{Kind, ObjectKey};

/// The kinds of which a complete list must have come before anything is known.
const NEEDED: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr, Kind::Node];

/// The last good state of the cluster.
///
/// An object that turns bad keeps its last good version for as long as it exists.
///
/// What an update of one object costs does not depend on how many Services and EndpointSlices there
/// are.
#[derive(Debug, Default)]
pub struct Store {
    cluster: Cluster,
    cidrs: BTreeMap<String, Vec<IpNet>>,
    names: Interner,
    /// The name of the Node that stands.
    node_name: Option<String>,
    /// Whether that Node is to stay.
    node_future: Option<NodeFuture>,
    changes: ChangeCounters,
    listed: BTreeSet<Kind>,
    /// What is wrong with which object.
    problems: BTreeMap<ObjectKey, String>,
    remarks: BTreeMap<ObjectKey, Vec<Advisory>>,
    change_set: ChangeSet,
}

impl Store {
    /// Nothing is known yet. Each Service has so many keys at most.
    pub fn new(max_service_keys: usize) -> Self {
        let mut state = Self::default();
        state.cluster.services.limit(max_service_keys);
        state
    }

    /// Applies an update.
    pub fn apply(&mut self, update: Update) -> Vec<Notice> {
        let mut notices = Vec::new();
        let was_complete = self.is_complete();
        match update {
            Update::Received(kind, objects) => {
                self.listed.insert(kind);
                let keys: BTreeSet<ObjectKey> =
                    objects.iter().map(|object| object.key.clone()).collect();
                for key in self.known(kind).into_iter().filter(|key| !keys.contains(key)) {
                    self.delete(&key, &mut notices);
                }
                for object in objects {
                    self.upsert(object, &mut notices);
                }
            }
            Update::Applied(object) => self.upsert(object, &mut notices),
            Update::Deleted(key) => self.delete(&key, &mut notices),
        }
        if !was_complete && self.is_complete() {
            self.cluster.compact();
            self.change_set = ChangeSet::all(&self.cluster);
        }
        notices
    }

    /// The cluster, once there has been a complete list of each kind.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.is_complete().then_some(&self.cluster)
    }

    /// What of the cluster may be another than when this was last asked: all of it when it has just
    /// become complete, and nothing before.
    pub fn take_changes(&mut self) -> ChangeSet {
        if self.is_complete() { std::mem::take(&mut self.change_set) } else { ChangeSet::default() }
    }

    /// Whether the Node is to stay; `None` while there is none.
    pub fn node_future(&self) -> Option<NodeFuture> {
        self.node_future
    }

    /// What has changed.
    pub fn changes(&self) -> &ChangeCounters {
        &self.changes
    }

    /// The same, to take from.
    pub fn changes_mut(&mut self) -> &mut ChangeCounters {
        &mut self.changes
    }

    fn is_complete(&self) -> bool {
        NEEDED.iter().all(|kind| self.listed.contains(kind))
    }

    /// The identities of all objects of a kind that something is known of.
    fn known(&self, kind: Kind) -> Vec<ObjectKey> {
        let named = |name: &NamespacedName| ObjectKey::of(kind, name);
        let mut keys: Vec<ObjectKey> = match kind {
            Kind::Service => self.cluster.services.keys().map(named).collect(),
            Kind::EndpointSlice => self.cluster.slices.keys().map(named).collect(),
            Kind::ServiceCidr => self.cidrs.keys().map(|name| cluster_wide(kind, name)).collect(),
            Kind::Node => self.node_name.iter().map(|name| cluster_wide(kind, name)).collect(),
            Kind::Pod => Vec::new(),
        };
        keys.extend(self.problems.keys().filter(|key| key.kind == kind).cloned());
        keys.extend(self.remarks.keys().filter(|key| key.kind == kind).cloned());
        keys
    }

    fn upsert(&mut self, object: Received, notices: &mut Vec<Notice>) {
        let Received { key, outcome } = object;
        let converted = match outcome {
            Ok(converted) => converted,
            Err(reason) => return self.refuse(&key, &reason, notices),
        };
        self.advise(&key, converted.remarks, notices);
        if converted.left_out.first().is_some() {
            self.report(&key, format!("{}; all else of it is used", converted.left_out), notices);
        } else {
            self.resolve(&key, notices);
        }
        let name = key.name.clone();
        match converted.object {
            Object::Service(service, _) => self.put_service(name, service),
            Object::Slice(mut slice, trigger) => {
                if self.cluster.slices.get(&name) != Some(&slice) {
                    self.changes.slice_put(&slice, trigger);
                    self.change_set.service(&slice.service);
                    self.names.intern(&mut slice);
                    if let Some((known, _)) = self.cluster.services.get_key_value(&slice.service) {
                        slice.service = known.clone();
                    }
                    if let Some(before) = self.cluster.slices.insert(name, slice) {
                        self.change_set.service(&before.service);
                    }
                }
            }
            Object::Node(node, future) => {
                self.node_future = Some(future);
                if self.cluster.node.as_ref() != Some(&node) {
                    self.cluster.node = Some(node);
                    self.change_set.environment = true;
                }
                self.node_name = Some(key.name().to_owned());
            }
            Object::ServiceCidr(cidrs) => {
                if self.cidrs.get(key.name()) != Some(&cidrs) {
                    self.cidrs.insert(key.name().to_owned(), cidrs);
                    self.join_cidrs();
                }
            }
            Object::Pod(_) => {}
            Object::Nothing => self.remove(&key),
        }
    }

    fn put_service(&mut self, name: NamespacedName, mut service: Service) {
        self.names.intern_ports(&mut service);
        service.limit_keys(self.cluster.services.max_keys());
        if self.cluster.services.get(&name) == Some(&service) {
            return;
        }
        let name = self.cluster.slices.name_of(&name).unwrap_or(&name).clone();
        self.changes.services += 1;
        self.change_set.service(&name);
        self.change_set.handover(self.cluster.services.insert(name, service));
    }

    fn delete(&mut self, key: &ObjectKey, notices: &mut Vec<Notice>) {
        self.remove(key);
        self.resolve(key, notices);
        self.remarks.remove(key);
    }

    /// Takes an object out of the cluster.
    fn remove(&mut self, key: &ObjectKey) {
        let name = key.name.clone();
        match key.kind {
            Kind::Service => {
                if let Some((_, handover)) = self.cluster.services.remove(&name) {
                    self.changes.services += 1;
                    self.change_set.service(&name);
                    self.change_set.handover(handover);
                }
            }
            Kind::EndpointSlice => {
                if let Some(slice) = self.cluster.slices.remove(&name) {
                    self.changes.slice_gone(&slice);
                    self.change_set.service(&slice.service);
                }
            }
            Kind::Node => {
                self.node_name = None;
                self.node_future = None;
                self.change_set.environment |= self.cluster.node.take().is_some();
            }
            Kind::ServiceCidr => {
                if self.cidrs.remove(key.name()).is_some() {
                    self.join_cidrs();
                }
            }
            Kind::Pod => {}
        }
    }

    fn join_cidrs(&mut self) {
        self.cluster.service_cidrs = self.cidrs.values().flatten().copied().collect();
        self.change_set.environment = true;
    }

    /// An object is invalid and cannot be used at all.
    fn refuse(&mut self, key: &ObjectKey, reason: &str, notices: &mut Vec<Notice>) {
        let outcome = if self.is_live(key) { "its last good state is kept" } else { "left out" };
        self.report(key, format!("{reason}; {outcome}"), notices);
    }

    /// Reports what is wrong with an object, once.
    fn report(&mut self, key: &ObjectKey, text: String, notices: &mut Vec<Notice>) {
        if self.problems.get(key) != Some(&text) {
            notices.push(Notice::Problem(Problem { key: key.clone(), text: text.clone() }));
            self.problems.insert(key.clone(), text);
        }
    }

    fn is_live(&self, key: &ObjectKey) -> bool {
        let name = key.name.clone();
        match key.kind {
            Kind::Service => self.cluster.services.contains_key(&name),
            Kind::EndpointSlice => self.cluster.slices.contains_key(&name),
            Kind::Node => self.cluster.node.is_some(),
            Kind::ServiceCidr => self.cidrs.contains_key(key.name()),
            Kind::Pod => false,
        }
    }

    /// Records that nothing is wrong with an object any more.
    fn resolve(&mut self, key: &ObjectKey, notices: &mut Vec<Notice>) {
        if let Some(reason) = self.problems.remove(key) {
            notices.push(Notice::Resolved(format!("{key}: {reason}")));
        }
    }

    fn advise(&mut self, key: &ObjectKey, remarks: Vec<Advisory>, notices: &mut Vec<Notice>) {
        let before = self.remarks.remove(key).unwrap_or_default();
        let new = remarks.iter().filter(|advise| !before.contains(advise));
        notices.extend(new.map(|advise| Notice::Advisory(key.clone(), *advise)));
        if !remarks.is_empty() {
            self.remarks.insert(key.clone(), remarks);
        }
    }
}

fn cluster_wide(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "", name)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "touched_tests.rs"]
mod touched_tests;
