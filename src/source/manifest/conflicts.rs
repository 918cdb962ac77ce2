//! Finds claims that two Services of the same manifests make, so that `weir print` and `weir apply` can warn.

use std::collections::HashMap;

use weir_rules::cluster::claims::{Claim, ClaimKind};
use weir_rules::cluster::{Cluster, NamespacedName};

use super::assemble::AcceptedObjects;
use super::problem::{DocumentPosition, ManifestProblem, Reason};
use crate::source::{Kind, ObjectKey};

/// Where each Service is.
pub(super) struct Places(HashMap<NamespacedName, DocumentPosition>);

impl Places {
    pub(super) fn new(accepted: &AcceptedObjects) -> Self {
        let services = accepted.objects.iter().filter(|(key, _)| key.kind == Kind::Service);
        Self(services.map(|(key, kept)| (key.name.clone(), kept.place.clone())).collect())
    }

    /// One problem for each Service that claims what another has: the first such claim.
    pub(super) fn conflicts(&self, cluster: &Cluster) -> Vec<ManifestProblem> {
        let losers = cluster.services.losers();
        let problem = |(name, claim, kind): (&NamespacedName, Claim, ClaimKind)| {
            let owner = cluster.services.owner(&claim)?;
            let place = self.0.get(name)?;
            Some(ManifestProblem {
                file: place.file.clone(),
                document: Some(place.document),
                object: Some(ObjectKey::of(Kind::Service, name)),
                field: Some(field(cluster, name, claim, kind)),
                reason: Reason::Claimed {
                    claim,
                    owner: ObjectKey::of(Kind::Service, owner),
                    place: self.0.get(owner)?.clone(),
                },
            })
        };
        let first = losers.filter_map(|(name, lost)| {
            let (claim, kind) = lost.iter().next()?;
            Some((name, claim, kind))
        });
        first.filter_map(problem).collect()
    }
}

/// The field that makes a claim; of node ports, which one.
fn field(cluster: &Cluster, name: &NamespacedName, claim: Claim, kind: ClaimKind) -> String {
    let ports = cluster.services.get(name).map_or(&[][..], |service| &service.ports);
    let is_it = |protocol, number| {
        ports.iter().position(|it| it.protocol == protocol && it.node_port == Some(number))
    };
    match claim {
        Claim::NodePort { protocol, port }
            if kind == ClaimKind::NodePort
                && let Some(index) = is_it(protocol, port) =>
        {
            format!("spec.ports[{index}].nodePort")
        }
        _ => kind.field().to_owned(),
    }
}
