//! What weir asks of an API server is what the manifests allow, no less and no more.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;
use weir::config::Limits;
use weir::source::api::{
    ApiClient, ClientSource, Event, EventScope, Recorder, Reflectors, Severity, Store,
};
use weir::source::{Kind, ObjectKey};
use weir::telemetry::metrics::Metrics;
use weir_apiserver::{ApiServer, Fault, Request, Resource, Verb};

use crate::render::{base, objects, only};

/// `group/resource verb`.
type Permission = (String, String, &'static str);

fn granted() -> BTreeSet<Permission> {
    let objects = objects(&base());
    let texts = |value: &serde_json::Value| -> Vec<String> {
        let items = value.as_array().expect("a list").iter();
        items.map(|item| item.as_str().expect("text").to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in only(&objects, "ClusterRole")["rules"].as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let verb = ["list", "watch", "create"]
                        .into_iter()
                        .find(|known| *known == verb)
                        .unwrap_or_else(|| panic!("{verb} is not for weir"));
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

/// What a server was asked for by a weir that could not do with watches alone, and that had something
/// to tell about an object of each kind.
async fn asked() -> BTreeSet<Permission> {
    let api = ApiServer::start();
    for resource in Resource::ALL {
        // The first watch begins with a list: only if that fails does weir list.
        api.fail_once(resource, Verb::Watch, Fault::InternalError);
    }
    let access = ClientSource::Master(api.url());
    let server = ApiClient::new(access, Limits::default()).await.expect("a client");
    let mut watches = Reflectors::start(&server, "node-a", Metrics::default().api());
    let mut state = Store::default();
    let all_are_known = async {
        while state.cluster().is_none() {
            for update in watches.next().await.expect("watches never end") {
                state.apply(update);
            }
        }
    };
    timeout(LIMIT, all_are_known).await.expect("all are known");
    let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];
    let recorder = Recorder::start(server, "node-a");
    for kind in kinds {
        recorder.record(about(kind));
    }
    timeout(LIMIT, api.wait_for_events(kinds.len())).await.expect("all are told");
    api.requests().into_iter().map(|request| permission(&request)).collect()
}

const LIMIT: Duration = Duration::from_secs(3600);

fn about(kind: Kind) -> Event {
    Event {
        about: ObjectKey::new(kind, "default", "web"),
        scope: EventScope::Cluster,
        severity: Severity::Warning,
        reason: "InvalidObject",
        action: "SyncProxyRules",
        note: "a note".to_owned(),
    }
}

/// What a request needs.
fn permission(request: &Request) -> Permission {
    let (group, plural) = (request.resource.group(), request.resource.plural());
    (group.to_owned(), plural.to_owned(), request.verb.word())
}

#[tokio::test(start_paused = true)]
async fn the_cluster_role_grants_what_weir_asks_for_and_nothing_else() {
    assert_eq!(asked().await, granted());
}
