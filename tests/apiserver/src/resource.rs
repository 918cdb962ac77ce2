//! The kinds of objects that the server has.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `v1` Service.
    Services,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlices,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidrs,
    /// `v1` Node.
    Nodes,
}

impl Resource {
    /// All kinds.
    pub const ALL: [Resource; 4] =
        [Resource::Services, Resource::EndpointSlices, Resource::ServiceCidrs, Resource::Nodes];

    /// `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Resource::Services => "Service",
            Resource::EndpointSlices => "EndpointSlice",
            Resource::ServiceCidrs => "ServiceCIDR",
            Resource::Nodes => "Node",
        }
    }

    /// `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Resource::Services | Resource::Nodes => "v1",
            Resource::EndpointSlices => "discovery.k8s.io/v1",
            Resource::ServiceCidrs => "networking.k8s.io/v1",
        }
    }

    /// Its name in paths and messages.
    pub fn plural(self) -> &'static str {
        match self {
            Resource::Services => "services",
            Resource::EndpointSlices => "endpointslices",
            Resource::ServiceCidrs => "servicecidrs",
            Resource::Nodes => "nodes",
        }
    }

    /// The path of the collection.
    pub fn path(self) -> String {
        match self.api_version() {
            "v1" => format!("/api/v1/{}", self.plural()),
            group => format!("/apis/{group}/{}", self.plural()),
        }
    }

    /// The fields that a field selector can name, beside `metadata.name` and `metadata.namespace`.
    pub(crate) fn selectable_fields(self) -> &'static [&'static str] {
        match self {
            Resource::Services => &["spec.clusterIP", "spec.type"],
            Resource::Nodes => &["spec.unschedulable"],
            Resource::EndpointSlices | Resource::ServiceCidrs => &[],
        }
    }

    /// What else a bookmark's object holds: the zero values of what is never left out.
    pub(crate) fn empty_fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Resource::Services => &[("spec", "{}"), ("status", r#"{"loadBalancer":{}}"#)],
            Resource::EndpointSlices => {
                &[("addressType", r#""""#), ("endpoints", "null"), ("ports", "null")]
            }
            Resource::ServiceCidrs => &[("spec", "{}"), ("status", "{}")],
            Resource::Nodes => &[("spec", "{}"), ("status", "{}")],
        }
    }

    pub(crate) fn of_path(path: &str) -> Option<Self> {
        Resource::ALL.into_iter().find(|resource| resource.path() == path)
    }

    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Resource::ALL.into_iter().find(|resource| resource.kind() == kind)
    }
}
