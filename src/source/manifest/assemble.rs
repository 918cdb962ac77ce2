//! Merges the objects of all files into one cluster, one for each identity.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_rules::cluster::{Cluster, Service};

use super::decode::{DecodedObject, DecodedObjects};
use super::derive;
use super::problem::{DocumentPosition, ManifestProblem, Reason};
use crate::source::convert::{Converted, Object};
use crate::source::{Kind, ObjectKey};

/// What a file holds.
#[derive(Debug)]
pub(super) struct File {
    /// The file, as it was named.
    pub(super) name: Arc<str>,
    /// Its objects and problems.
    pub(super) content: DecodedObjects,
}

/// The objects that stand: at most one of each identity.
#[derive(Debug, Clone, Default)]
pub(super) struct AcceptedObjects {
    pub(super) objects: BTreeMap<ObjectKey, AcceptedObject>,
}

/// An object that stands.
#[derive(Debug, Clone)]
pub(super) struct AcceptedObject {
    pub(super) place: DocumentPosition,
    pub(super) value: Arc<Converted>,
}

/// Settles what stands. What stood before goes on to stand where its successor is bad, and wins over
/// another object of its identity.
///
/// `all_listed` is false when there may be files that were not found: nothing that stood before is
/// gone then.
pub(super) fn assemble(
    files: &[Arc<File>],
    all_listed: bool,
    before: &AcceptedObjects,
) -> (AcceptedObjects, Vec<ManifestProblem>) {
    let mut assembly = Assembly::default();
    let mut places: BTreeMap<&ObjectKey, Vec<(usize, &DecodedObject)>> = BTreeMap::new();
    for (rank, file) in files.iter().enumerate() {
        let problems = file.content.problems.iter();
        assembly.problems.extend(problems.map(|problem| (rank, problem.clone())));
        for entry in &file.content.entries {
            places.entry(&entry.key).or_default().push((rank, entry));
        }
    }

    for (key, places) in &places {
        let last = before.objects.get(*key);
        let stays = |(rank, _): &(usize, &DecodedObject)| {
            last.is_some_and(|last| last.place.file == files[*rank].name)
        };
        let chosen = places.iter().position(stays).unwrap_or(0);
        let (rank, entry) = places[chosen];
        let place = DocumentPosition { file: files[rank].name.clone(), document: entry.document };
        for (index, (rank, other)) in places.iter().enumerate() {
            if index != chosen {
                assembly.refuse_duplicate(&files[*rank].name, *rank, other, &place);
            }
        }
        match &entry.outcome {
            Err(problem) => {
                assembly.problems.push((rank, (**problem).clone()));
                assembly.keep(key, last);
            }
            Ok(value) => {
                assembly.accept(key, AcceptedObject { place, value: value.clone() });
            }
        }
    }

    // What is gone from a file stays as long as something in that file cannot be read.
    let unclear: HashSet<&str> = files
        .iter()
        .filter(|file| !file.content.problems.is_empty())
        .map(|file| &*file.name)
        .collect();
    for (key, kept) in &before.objects {
        let unclear = !all_listed || unclear.contains(&*kept.place.file);
        if unclear && !places.contains_key(key) {
            assembly.accept(key, kept.clone());
        }
    }

    assembly.problems.sort_by_key(|(rank, problem)| (*rank, problem.document));
    let problems = assembly.problems.into_iter().map(|(_, problem)| problem).collect();
    (assembly.accepted, problems)
}

#[derive(Default)]
struct Assembly {
    accepted: AcceptedObjects,
    /// The problems, each with the rank of its file.
    problems: Vec<(usize, ManifestProblem)>,
}

impl Assembly {
    fn accept(&mut self, key: &ObjectKey, kept: AcceptedObject) {
        self.accepted.objects.insert(key.clone(), kept);
    }

    fn keep(&mut self, key: &ObjectKey, last: Option<&AcceptedObject>) {
        if let Some(last) = last {
            self.accept(key, last.clone());
        }
    }

    fn refuse_duplicate(
        &mut self,
        file: &Arc<str>,
        rank: usize,
        entry: &DecodedObject,
        place: &DocumentPosition,
    ) {
        let problem = match &entry.outcome {
            Err(problem) => (**problem).clone(),
            Ok(_) => ManifestProblem {
                file: file.clone(),
                document: Some(entry.document),
                object: Some(entry.key.clone()),
                field: None,
                reason: Reason::Duplicate(place.clone()),
            },
        };
        self.problems.push((rank, problem));
    }
}

impl AcceptedObjects {
    /// The cluster that these objects are, in which each Service has so many keys at most.
    pub(super) fn into_cluster(self, max_service_keys: usize) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.services.limit(max_service_keys);
        let mut pods = Vec::new();
        let mut selections = Vec::new();
        for (key, kept) in self.objects {
            let ObjectKey { kind, name } = key;
            debug_assert!(kind != Kind::Node || cluster.node.is_none());
            match Arc::unwrap_or_clone(kept.value).object {
                Object::Service(service, selection) => {
                    if let Some(selection) = selection {
                        selections.push((name.clone(), selection, families(&service)));
                    }
                    cluster.services.insert(name, service);
                }
                Object::Slice(slice, _) => {
                    cluster.slices.insert(name, slice);
                }
                Object::Node(node, _) => cluster.node = Some(node),
                Object::Pod(pod) => pods.push((name.namespace().to_owned(), pod)),
                Object::ServiceCidr(cidrs) => cluster.service_cidrs.extend(cidrs),
                Object::Nothing => {}
            }
        }
        derive::slices(&selections, &pods, &mut cluster.slices);
        cluster
    }
}

fn families(service: &Service) -> Vec<weir_rules::cluster::Family> {
    service.cluster_ips.iter().map(|ip| weir_rules::cluster::Family::of(*ip)).collect()
}
