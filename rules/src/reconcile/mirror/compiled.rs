//! Caches the compiled fragment of a Service that takes several batches.

use super::owners::destination;
use crate::cluster::{ChangeSet, NamespacedName};
use crate::compile::Fragment;
use crate::nft::Data;

/// What a Service that takes several batches is to add, so that it is compiled once and not for each.
///
/// It is good for as long as nothing has changed that it follows from: the Service, its EndpointSlices,
/// which of its claims belong to others, and the node's environment. Each change of these is a
/// [`ChangeSet`], and a changed environment is detected when a batch is planned.
#[derive(Debug, Default)]
pub struct Compiled(Option<(NamespacedName, [Fragment; 2])>);

impl Compiled {
    /// Drops what has changed, which is then compiled again.
    pub fn invalidate(&mut self, change_set: &ChangeSet) {
        let is_touched =
            |(name, _): &mut _| change_set.environment || change_set.services.contains(name);
        self.0.take_if(is_touched);
    }

    /// Everything is compiled anew.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// What a Service is to add, and whether it had to be compiled for that.
    pub(super) fn take(
        &mut self,
        name: &NamespacedName,
        compile: impl Fn() -> [Fragment; 2],
    ) -> ([Fragment; 2], bool) {
        match self.0.take_if(|(of, _)| of == name) {
            Some((_, fragments)) => {
                debug_assert!(fragments.iter().zip(&compile()).all(|(a, b)| serves_the_same(a, b)));
                (fragments, false)
            }
            None => (compile(), true),
        }
    }

    pub(super) fn put(&mut self, name: &NamespacedName, fragments: [Fragment; 2]) {
        self.0 = Some((name.clone(), fragments));
    }
}

/// Whether two fragments are alike but for the slots of endpoints.
fn serves_the_same(one: &Fragment, other: &Fragment) -> bool {
    let without_slots = |fragment: &Fragment| {
        let mut elements = fragment.elements.to_vec();
        for (map, key, _) in &mut elements {
            if let Some(destination) = destination(*map, key).filter(|_| map.has_slots()) {
                *key = destination;
            }
        }
        let endpoint = |data: &Data| match data {
            Data::Values(values) => values.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        elements.sort_by_cached_key(|(map, key, element)| (*map, *key, endpoint(&element.data)));
        Fragment { elements: elements.into(), ..fragment.clone() }
    };
    without_slots(one) == without_slots(other)
}
