//! The cluster under test, its size and its changes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The port of every Service.
pub(crate) const PORT: u16 = 80;
/// The port of every endpoint.
pub(crate) const TARGET_PORT: u16 = 8080;
/// Where ClusterIPs come from.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/12";
/// Where all endpoints are, first ones and new ones.
pub(crate) const ENDPOINT_CIDR: &str = "10.128.0.0/10";
/// Services that are not changed while weir runs: the first two hold chains of one endpoint more and
/// one less, so that a change of a count makes no chain; the others are for the kernel alone.
pub(crate) const RESERVED: u32 = 66;

const FIRST_CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 16);
const FIRST_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
const FIRST_NEW_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 160, 0, 0);

/// A number of Services, and of endpoints of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) services: u32,
    pub(crate) endpoints: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", thousands(self.services), self.endpoints)
    }
}

fn thousands(number: u32) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

impl Shape {
    /// The ClusterIP of a Service.
    pub(crate) fn cluster_ip(service: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_CLUSTER_IP.to_bits() + service)
    }

    /// The endpoints that a Service has at first.
    pub(crate) fn endpoints_of(self, service: u32) -> Vec<Ipv4Addr> {
        // Disjoint, also for the first with its one more.
        let first = FIRST_ENDPOINT.to_bits() + service * (self.endpoints + 1);
        let count = match service {
            0 => self.endpoints + 1,
            1 => self.endpoints - 1,
            _ => self.endpoints,
        };
        (first..first + count).map(Ipv4Addr::from_bits).collect()
    }

    /// The Services that may be changed, in an order that jumps about.
    pub(crate) fn changeable(self) -> impl Iterator<Item = u32> {
        let count = self.services - RESERVED;
        // Prime, and no divisor of any count here, so that each comes once before any comes again.
        (0..u64::MAX).map(move |turn| RESERVED + (turn * 7_919 % u64::from(count)) as u32)
    }

    /// All objects at first: the Node, the ServiceCIDR, Services and EndpointSlices.
    pub(crate) fn objects(self, node: &str) -> impl Iterator<Item = Value> {
        let services = (0..self.services)
            .flat_map(move |number| [service(number), slice(number, &self.endpoints_of(number))]);
        [node_object(node), service_cidr()].into_iter().chain(services)
    }
}

/// The endpoints that there are by now. One that is new has never been there before.
#[derive(Debug)]
pub(crate) struct Endpoints {
    shape: Shape,
    /// Of Services that have changed.
    changed: BTreeMap<u32, Vec<Ipv4Addr>>,
    newest: Ipv4Addr,
}

impl Endpoints {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, changed: BTreeMap::new(), newest: FIRST_NEW_ENDPOINT }
    }

    /// A new endpoint, of no Service yet.
    pub(crate) fn next(&mut self) -> Ipv4Addr {
        self.newest = Ipv4Addr::from_bits(self.newest.to_bits() + 1);
        self.newest
    }

    /// The last that was new.
    pub(crate) fn newest(&self) -> Ipv4Addr {
        self.newest
    }

    /// Puts a new endpoint into the place of one of the Service; gives all that it has now.
    pub(crate) fn replace(&mut self, service: u32) -> Vec<Ipv4Addr> {
        let new = self.next();
        let endpoints = self.of(service);
        let place = service as usize % endpoints.len();
        endpoints[place] = new;
        endpoints.clone()
    }

    /// Gives the Service one endpoint more; gives all that it has now.
    pub(crate) fn add(&mut self, service: u32) -> Vec<Ipv4Addr> {
        let new = self.next();
        let endpoints = self.of(service);
        endpoints.push(new);
        endpoints.clone()
    }

    /// Takes the last endpoint from the Service; gives all that it has now.
    pub(crate) fn remove(&mut self, service: u32) -> Vec<Ipv4Addr> {
        let endpoints = self.of(service);
        endpoints.pop();
        endpoints.clone()
    }

    fn of(&mut self, service: u32) -> &mut Vec<Ipv4Addr> {
        let shape = self.shape;
        self.changed.entry(service).or_insert_with(|| shape.endpoints_of(service))
    }

    /// The how manieth new one it was; none of those that are there at first.
    pub(crate) fn number(address: Ipv4Addr) -> Option<u32> {
        address.to_bits().checked_sub(FIRST_NEW_ENDPOINT.to_bits())
    }
}

/// A Service, as kubectl and the API server make them.
pub(crate) fn service(number: u32) -> Value {
    let (name, address) = (format!("svc-{number}"), Shape::cluster_ip(number));
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name},
                     "managedFields": managed_fields("f:spec")},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                 "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                 "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
                 "selector": {"app": name},
                 "ports": [{"name": "http", "protocol": "TCP", "port": PORT,
                            "targetPort": TARGET_PORT}]},
        "status": {"loadBalancer": {}},
    })
}

/// The slice of a Service, as the controller of EndpointSlices makes them.
pub(crate) fn slice(number: u32, endpoints: &[Ipv4Addr]) -> Value {
    let (name, service) = (format!("svc-{number}-a"), format!("svc-{number}"));
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "namespace": "default", "generateName": format!("{service}-"),
                     "labels": {"app": service, "kubernetes.io/service-name": service,
                        "endpointslice.kubernetes.io/managed-by":
                            "endpointslice-controller.k8s.io"},
                     "managedFields": managed_fields("f:endpoints")},
        "addressType": "IPv4",
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
    })
}

fn endpoint(address: &Ipv4Addr) -> Value {
    let number = address.to_bits();
    json!({
        "addresses": [address],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "nodeName": format!("node-{}", number % 100),
        "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("pod-{number}"),
                      "uid": format!("00000000-0000-4000-8000-{number:012x}")},
    })
}

fn managed_fields(field: &str) -> Value {
    json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-11-21T09:32:32Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, field: {}}}])
}

fn node_object(name: &str) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}, "spec": {},
           "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}})
}

fn service_cidr() -> Value {
    json!({"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
           "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [SERVICE_CIDR]}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_endpoint_is_in_two_services_and_all_are_in_the_network_that_is_routed() {
        for shape in [(1000, 10), (44_000, 3), (5000, 50)] {
            let shape = Shape { services: shape.0, endpoints: shape.1 };
            let all: Vec<_> = (0..shape.services).flat_map(|s| shape.endpoints_of(s)).collect();
            assert_eq!(all.len() as u32, shape.services * shape.endpoints, "{shape}");
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{shape}");
            assert!(all.iter().all(|of| of.octets()[0] == 10 && of.octets()[1] >> 6 == 2));
            assert!(all.iter().all(|of| *of < FIRST_NEW_ENDPOINT), "{shape}");
        }
    }

    #[test]
    fn each_change_is_of_one_endpoint() {
        let shape = Shape { services: 1000, endpoints: 10 };
        let mut endpoints = Endpoints::new(shape);
        let first = shape.endpoints_of(70);
        let replaced = endpoints.replace(70);
        assert_eq!(replaced.iter().filter(|address| !first.contains(address)).count(), 1);
        assert!(replaced.len() == 10 && replaced.contains(&endpoints.newest()));
        let more = endpoints.add(70);
        assert_eq!((&more[..10], more[10]), (&replaced[..], endpoints.newest()));
        assert_eq!(endpoints.remove(70), replaced);
        assert_eq!(Endpoints::number(endpoints.newest()), Some(2));
        assert_eq!(Endpoints::number(first[0]), None);
    }

    #[test]
    fn each_service_is_changed_once_before_any_is_changed_again() {
        for services in [1000, 5000, 10_000, 44_000] {
            let shape = Shape { services, endpoints: 10 };
            let count = (services - RESERVED) as usize;
            let changed: BTreeSet<u32> = shape.changeable().take(count).collect();
            assert_eq!(changed.len(), count);
            assert_eq!((changed.first(), changed.last()), (Some(&RESERVED), Some(&(services - 1))));
        }
    }
}
