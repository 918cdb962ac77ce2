//! Services that wait for what others have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_rules::claims::Claim;
use weir_rules::cluster::{NamespacedName, Service};

/// Services that claim what others have. Each is found by the claim that keeps it from its place,
/// so that nobody asks all of them whenever something else changes.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Each with the first of its claims that another has.
    services: BTreeMap<NamespacedName, (Service, Claim)>,
    by_claim: HashMap<Claim, BTreeSet<NamespacedName>>,
    /// Those whose claim has been let go of since.
    woken: BTreeSet<NamespacedName>,
    /// Those that have begun to wait for a claim since somebody was last told so.
    untold: BTreeSet<NamespacedName>,
}

impl Waiting {
    /// A Service waits for a claim, instead of what it waited for before.
    pub(super) fn insert(&mut self, name: NamespacedName, service: Service, claim: Claim) {
        self.remove(&name);
        self.by_claim.entry(claim).or_default().insert(name.clone());
        self.untold.insert(name.clone());
        self.services.insert(name, (service, claim));
    }

    /// A Service waits no longer.
    pub(super) fn remove(&mut self, name: &NamespacedName) -> Option<Service> {
        let (service, claim) = self.services.remove(name)?;
        if let Some(names) = self.by_claim.get_mut(&claim) {
            names.remove(name);
            if names.is_empty() {
                self.by_claim.remove(&claim);
            }
        }
        self.woken.remove(name);
        self.untold.remove(name);
        Some(service)
    }

    /// Who had a claim has let go of it.
    pub(super) fn let_go(&mut self, claim: &Claim) {
        self.woken.extend(self.by_claim.get(claim).into_iter().flatten().cloned());
    }

    /// The first by name of those that may get their place now. It waits no longer.
    pub(super) fn next_woken(&mut self) -> Option<(NamespacedName, Service)> {
        let name = self.woken.pop_first()?;
        let service = self.remove(&name)?;
        Some((name, service))
    }

    /// Those that have begun to wait for a claim since this was last asked.
    pub(super) fn take_untold(&mut self) -> Vec<(NamespacedName, Claim)> {
        let names = std::mem::take(&mut self.untold).into_iter();
        let claim = |name: &NamespacedName| Some(self.services.get(name)?.1);
        names.filter_map(|name| claim(&name).map(|claim| (name, claim))).collect()
    }

    /// Whether a Service waits.
    pub(super) fn contains(&self, name: &NamespacedName) -> bool {
        self.services.contains_key(name)
    }

    /// All that wait, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &NamespacedName> {
        self.services.keys()
    }
}
