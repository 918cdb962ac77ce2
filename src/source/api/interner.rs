//! Interns strings and endpoint locations.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use weir_rules::cluster::{EndpointPlace, EndpointSlice, Service};

/// With fewer than this nothing is thrown away.
const FEW: usize = 1024;

/// Names of ports, and places of endpoints.
#[derive(Debug, Default)]
pub(super) struct Interner {
    ports: Pool<str>,
    places: Pool<EndpointPlace>,
}

impl Interner {
    /// Replaces a slice's strings and locations by interned ones.
    pub(super) fn intern(&mut self, slice: &mut EndpointSlice) {
        slice.ports.iter_mut().for_each(|port| self.ports.intern(&mut port.name));
        for endpoint in &mut slice.endpoints {
            endpoint.place.iter_mut().for_each(|place| self.places.intern(place));
        }
        self.ports.sweep();
        self.places.sweep();
    }

    /// The same for a Service.
    pub(super) fn intern_ports(&mut self, service: &mut Service) {
        service.ports.iter_mut().for_each(|port| self.ports.intern(&mut port.name));
        self.ports.sweep();
    }
}

#[derive(Debug)]
struct Pool<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// How many were in use when those that are not were thrown away last.
    in_use: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { all: HashSet::default(), in_use: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    fn intern(&mut self, one: &mut Arc<T>) {
        match self.all.get(&**one) {
            Some(known) => *one = Arc::clone(known),
            None => drop(self.all.insert(Arc::clone(one))),
        }
    }

    /// Throws away what nobody has any more, now and then.
    fn sweep(&mut self) {
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
            place: EndpointPlace::new(Some(node), [].into(), ["zone-a".into()].into()),
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
        let mut names = Interner::default();
        let (mut one, mut other) = (slice("node-a"), slice("node-a"));
        names.intern(&mut one);
        names.intern(&mut other);
        assert_eq!(one, slice("node-a"), "they say what they said");
        let all = [&one, &other].map(|slice| &slice.endpoints).into_iter().flatten();
        let first = one.endpoints[0].place.as_ref().unwrap();
        assert!(all.clone().all(|it| Arc::ptr_eq(it.place.as_ref().unwrap(), first)));
    }

    #[test]
    fn names_that_nobody_has_any_more_are_thrown_away() {
        let mut names = Interner::default();
        let mut kept = slice("kept");
        names.intern(&mut kept);
        for number in 0..10 * FEW {
            names.intern(&mut slice(&format!("node-{number}")));
            assert!(names.places.all.len() <= 2 * FEW + 1);
        }
        names.intern(&mut kept);
        assert!(Arc::strong_count(kept.endpoints[0].place.as_ref().unwrap()) > 2, "it is in use");
    }
}
