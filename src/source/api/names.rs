//! Names that many endpoints have, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use weir_rules::cluster::EndpointSlice;

/// With fewer names than this nothing is thrown away.
const FEW: usize = 1024;

/// Names of nodes and zones.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashSet<Arc<str>>,
    /// How many were in use when those that are not were thrown away last.
    in_use: usize,
}

impl Names {
    /// Gives a slice these names instead of its own.
    pub(super) fn share(&mut self, slice: &mut EndpointSlice) {
        for endpoint in &mut slice.endpoints {
            let hints = endpoint.node_hints.iter_mut().chain(&mut endpoint.zone_hints);
            endpoint.node.iter_mut().chain(hints).for_each(|name| self.intern(name));
        }
        if self.names.len() > 2 * self.in_use.max(FEW) {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.in_use = self.names.len();
        }
    }

    fn intern(&mut self, name: &mut Arc<str>) {
        match self.names.get(&**name) {
            Some(known) => *name = Arc::clone(known),
            None => drop(self.names.insert(Arc::clone(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_rules::cluster::{Endpoint, Family, NamespacedName};

    use super::*;

    fn slice(node: &str) -> EndpointSlice {
        let endpoint = Endpoint {
            node: Some(node.into()),
            zone_hints: ["zone-a".into()].into(),
            ..Endpoint::new([10, 244, 0, 2].into())
        };
        EndpointSlice {
            service: NamespacedName::new("default", "web"),
            family: Family::Ipv4,
            ports: Vec::new(),
            endpoints: vec![endpoint.clone(), endpoint],
        }
    }

    #[test]
    fn equal_names_are_kept_once() {
        let mut names = Names::default();
        let (mut one, mut other) = (slice("node-a"), slice("node-a"));
        names.share(&mut one);
        names.share(&mut other);
        assert_eq!(one, slice("node-a"), "they say what they said");
        let all = [&one, &other].map(|slice| &slice.endpoints).into_iter().flatten();
        let first = one.endpoints[0].node.as_ref().unwrap();
        assert!(all.clone().all(|it| Arc::ptr_eq(it.node.as_ref().unwrap(), first)));
        assert!(
            all.clone().all(|it| Arc::ptr_eq(&it.zone_hints[0], &one.endpoints[0].zone_hints[0]))
        );
    }

    #[test]
    fn names_that_nobody_has_any_more_are_thrown_away() {
        let mut names = Names::default();
        let mut kept = slice("kept");
        names.share(&mut kept);
        for number in 0..10 * FEW {
            names.share(&mut slice(&format!("node-{number}")));
            assert!(names.names.len() <= 2 * FEW + 1);
        }
        names.share(&mut kept);
        assert!(Arc::strong_count(kept.endpoints[0].node.as_ref().unwrap()) > 2, "it is in use");
    }
}
