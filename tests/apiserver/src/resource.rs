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
    /// `events.k8s.io/v1` Event: only created, by whom the server serves.
    Events,
}

impl Resource {
    /// All kinds that can be listed.
    pub const ALL: [Resource; 4] =
        [Resource::Services, Resource::EndpointSlices, Resource::ServiceCidrs, Resource::Nodes];

    /// `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Resource::Services => "Service",
            Resource::EndpointSlices => "EndpointSlice",
            Resource::ServiceCidrs => "ServiceCIDR",
            Resource::Nodes => "Node",
            Resource::Events => "Event",
        }
    }

    /// `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Resource::Services | Resource::Nodes => "v1",
            Resource::EndpointSlices => "discovery.k8s.io/v1",
            Resource::ServiceCidrs => "networking.k8s.io/v1",
            Resource::Events => "events.k8s.io/v1",
        }
    }

    /// The group of its API; the core group has no name.
    pub fn group(self) -> &'static str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Its name in paths and messages.
    pub fn plural(self) -> &'static str {
        match self {
            Resource::Services => "services",
            Resource::EndpointSlices => "endpointslices",
            Resource::ServiceCidrs => "servicecidrs",
            Resource::Nodes => "nodes",
            Resource::Events => "events",
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
            _ => &[],
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
            Resource::Events => &[],
        }
    }

    /// The kind that a path is about, and its namespace, if it has one.
    pub(crate) fn of_path(text: &str) -> Option<(Self, Option<&str>)> {
        let mut namespace = None;
        let mut path = text.to_owned();
        if let Some((group, rest)) = text.split_once("/namespaces/") {
            let (name, plural) = rest.split_once('/')?;
            namespace = Some(name);
            path = format!("{group}/{plural}");
        }
        let mut all = Resource::ALL.into_iter().chain([Resource::Events]);
        Some((all.find(|resource| resource.path() == path)?, namespace))
    }

    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Resource::ALL.into_iter().find(|resource| resource.kind() == kind)
    }
}
