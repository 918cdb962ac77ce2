//! Counts changes of Services and EndpointSlices, for metrics.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use weir_rules::cluster::{EndpointSlice, Family, NamespacedName};

/// How many trigger times are kept for a Service and family, for as long as nothing can be programmed.
const MAX_TRIGGERS: usize = 100;

/// What has changed in the cluster.
#[derive(Debug, Default)]
pub struct ChangeCounters {
    /// How many Services have come, changed or gone since the start.
    pub services: u64,
    /// How many EndpointSlices have.
    pub slices: u64,
    triggers: BTreeMap<(NamespacedName, Family), Vec<Timestamp>>,
}

impl ChangeCounters {
    /// A slice is new or another one; its latest change was then.
    pub(super) fn slice_put(&mut self, slice: &EndpointSlice, trigger: Option<Timestamp>) {
        self.slices += 1;
        let Some(trigger) = trigger else { return };
        let times = self.triggers.entry((slice.service.clone(), slice.family)).or_default();
        if times.len() < MAX_TRIGGERS {
            times.push(trigger);
        }
    }

    /// A slice is gone. When that happened its annotation does not say, and that of the Service's
    /// other slices may say when theirs were last written before (`EndpointsChangeTracker` of
    /// pkg/proxy/endpointschangetracker.go).
    pub(super) fn slice_gone(&mut self, slice: &EndpointSlice) {
        self.slices += 1;
        self.triggers.remove(&(slice.service.clone(), slice.family));
    }

    /// The times of changes that have come since this was last asked, by family.
    pub fn take_triggers(&mut self) -> impl Iterator<Item = (Family, Timestamp)> + use<> {
        let triggers = std::mem::take(&mut self.triggers).into_iter();
        triggers.flat_map(|((_, family), times)| times.into_iter().map(move |time| (family, time)))
    }
}
