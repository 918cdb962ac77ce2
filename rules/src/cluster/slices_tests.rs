use super::*;
use crate::cluster::Family;

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

/// A slice that is known by its number of endpoints.
fn slice(service: &str, endpoints: u8) -> EndpointSlice {
    let endpoint = |number| crate::cluster::Endpoint::new([10, 244, 0, number].into());
    EndpointSlice {
        service: name(service),
        family: Family::Ipv4,
        ports: vec![],
        endpoints: (0..endpoints).map(endpoint).collect(),
    }
}

/// The slices of a Service, each by its number of endpoints.
fn of(slices: &Slices, service: &str) -> Vec<usize> {
    slices.of(&name(service)).iter().map(|slice| slice.endpoints.len()).collect()
}

#[test]
fn a_service_has_its_slices_in_the_order_of_their_names() {
    let slices = Slices::from([
        (name("c"), slice("web", 3)),
        (name("a"), slice("web", 1)),
        (name("d"), slice("dns", 4)),
        (name("b"), slice("web", 2)),
    ]);
    assert_eq!(of(&slices, "web"), [1, 2, 3]);
    assert_eq!(of(&slices, "dns"), [4]);
    assert_eq!(of(&slices, "none"), []);
    assert_eq!(slices.len(), 4);
}

#[test]
fn a_slice_that_comes_to_another_service_leaves_the_first() {
    let mut slices = Slices::from([(name("a"), slice("web", 1)), (name("b"), slice("web", 2))]);
    assert_eq!(slices.insert(name("a"), slice("dns", 3)), Some(slice("web", 1)));
    assert_eq!((of(&slices, "web"), of(&slices, "dns")), (vec![2], vec![3]));
    assert_eq!(slices.remove(&name("b")), Some(slice("web", 2)));
    assert_eq!(slices.remove(&name("b")), None);
    assert_eq!(of(&slices, "web"), []);
    assert_eq!(slices.services().collect::<Vec<_>>(), [&name("dns")]);
}

#[test]
fn a_slice_that_is_replaced_is_there_once() {
    let mut slices = Slices::from([(name("a"), slice("web", 1)), (name("b"), slice("web", 2))]);
    slices.insert(name("a"), slice("web", 5));
    assert_eq!(of(&slices, "web"), [5, 2]);
    assert_eq!(slices.get(&name("a")), Some(&slice("web", 5)));
    assert_eq!(slices.len(), 2);
}
