//! Reports each claim that a Service loses to another, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_rules::cluster::claims::{Claim, ClaimKind};
use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName};

/// How many claims a message names.
const MAX_NAMED: usize = 3;

/// The lost claims that have been reported.
#[derive(Debug, Default)]
pub(super) struct LostClaims {
    /// The claims themselves are the cluster's for as long as they do not change.
    told: BTreeMap<NamespacedName, Arc<BTreeMap<Claim, ClaimKind>>>,
}

/// A report about one Service's claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClaimNotice {
    /// It has lost claims that it had not lost before.
    Lost { service: NamespacedName, text: String },
    /// It has all that it claims again.
    Regained { service: NamespacedName },
}

impl LostClaims {
    /// What is new of these Services, which are all whose claims may have passed to or from others.
    pub(super) fn update(&mut self, cluster: &Cluster, change_set: &ChangeSet) -> Vec<ClaimNotice> {
        let services = change_set.services.iter();
        services.filter_map(|service| self.update_service(cluster, service)).collect()
    }

    fn update_service(
        &mut self,
        cluster: &Cluster,
        service: &NamespacedName,
    ) -> Option<ClaimNotice> {
        let Some(lost) = cluster.services.lost(service).share() else {
            self.told.remove(service)?;
            let is_there = cluster.services.contains_key(service);
            return is_there.then(|| ClaimNotice::Regained { service: service.clone() });
        };
        let before = self.told.insert(service.clone(), Arc::clone(&lost)).unwrap_or_default();
        if Arc::ptr_eq(&before, &lost) {
            return None;
        }
        let mut new = lost.iter().filter(|(claim, _)| !before.contains_key(claim)).peekable();
        new.peek()?;
        let text = text(cluster, new);
        Some(ClaimNotice::Lost { service: service.clone(), text })
    }
}

/// Names the first of these claims, and who has them.
fn text<'a>(cluster: &Cluster, claims: impl Iterator<Item = (&'a Claim, &'a ClaimKind)>) -> String {
    let (mut named, mut more) = (Vec::new(), 0);
    for (claim, kind) in claims {
        let owner = cluster.services.owner(claim);
        match owner.filter(|_| named.len() < MAX_NAMED) {
            Some(owner) => named.push(format!("{}: {claim} is Service {owner}'s", kind.field())),
            None => more += 1,
        }
    }
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}; all else of the Service is served", named.join("; "))
}

#[cfg(test)]
#[path = "lost_claims_tests.rs"]
mod tests;
