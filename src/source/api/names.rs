//! What many objects have alike, kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use weir_rules::cluster::{EndpointSlice, Hints, Service};

/// With fewer than this nothing is thrown away.
const FEW: usize = 1024;

/// Names of nodes and ports, and hints.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Shared<str>,
    hints: Shared<Hints>,
}

impl Names {
    /// Gives a slice these instead of its own.
    pub(super) fn share(&mut self, slice: &mut EndpointSlice) {
        slice.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        for endpoint in &mut slice.endpoints {
            endpoint.node.iter_mut().for_each(|node| self.names.share(node));
            endpoint.hints.iter_mut().for_each(|hints| self.hints.share(hints));
        }
        self.names.tidy();
        self.hints.tidy();
    }

    /// The same for a Service.
    pub(super) fn share_ports(&mut self, service: &mut Service) {
        service.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        self.names.tidy();
    }
}

#[derive(Debug)]
struct Shared<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// How many were in use when those that are not were thrown away last.
    in_use: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { all: HashSet::default(), in_use: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn share(&mut self, one: &mut Arc<T>) {
        match self.all.get(&**one) {
            Some(known) => *one = Arc::clone(known),
            None => drop(self.all.insert(Arc::clone(one))),
        }
    }

    /// Throws away what nobody has any more, now and then.
    fn tidy(&mut self) {
        if self.all.len() > 2 * self.in_use.max(FEW) {
            self.all.retain(|one| Arc::strong_count(one) > 1);
            self.in_use = self.all.len();
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
            hints: Hints::new([].into(), ["zone-a".into()].into()),
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
        let first = one.endpoints[0].hints.as_ref().unwrap();
        assert!(all.clone().all(|it| Arc::ptr_eq(it.hints.as_ref().unwrap(), first)));
    }

    #[test]
    fn names_that_nobody_has_any_more_are_thrown_away() {
        let mut names = Names::default();
        let mut kept = slice("kept");
        names.share(&mut kept);
        for number in 0..10 * FEW {
            names.share(&mut slice(&format!("node-{number}")));
            assert!(names.names.all.len() <= 2 * FEW + 1);
        }
        names.share(&mut kept);
        assert!(Arc::strong_count(kept.endpoints[0].node.as_ref().unwrap()) > 2, "it is in use");
    }
}
