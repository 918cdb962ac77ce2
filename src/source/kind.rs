//! The kinds of objects that weir reads, and object identities.

use std::fmt;

use weir_rules::cluster::NamespacedName;

/// A kind of object that a proxy reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1.Service`.
    Service,
    /// `discovery.k8s.io/v1.EndpointSlice`.
    EndpointSlice,
    /// `v1.Node`.
    Node,
    /// `v1.Pod`.
    Pod,
    /// `networking.k8s.io/v1.ServiceCIDR`.
    ServiceCidr,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] =
        [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::Pod, Kind::ServiceCidr];

    /// `kind`, as objects state it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::ServiceCidr => "ServiceCIDR",
        }
    }

    /// `apiVersion`, as objects state it.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Service | Kind::Node | Kind::Pod => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::ServiceCidr => "networking.k8s.io/v1",
        }
    }

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(self) -> bool {
        match self {
            Kind::Service | Kind::EndpointSlice | Kind::Pod => true,
            Kind::Node | Kind::ServiceCidr => false,
        }
    }
}

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name; the namespace is empty for kinds without.
    pub name: NamespacedName,
}

impl ObjectKey {
    /// The object of a kind with this namespace, or none, and name.
    pub fn new(kind: Kind, namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self { kind, name: NamespacedName::new(namespace, name) }
    }

    /// An object of a kind whose objects live in namespaces.
    pub fn of(kind: Kind, name: &NamespacedName) -> Self {
        Self { kind, name: name.clone() }
    }

    /// Its namespace; empty for kinds without.
    pub fn namespace(&self) -> &str {
        self.name.namespace()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.name()
    }
}

impl fmt::Display for ObjectKey {
    /// `Service default/web`, `Node node-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        f.write_str(" ")?;
        if !self.namespace().is_empty() {
            write!(f, "{}/", self.namespace())?;
        }
        f.write_str(self.name())
    }
}
