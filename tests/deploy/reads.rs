//! What weir asks an API server for is what the manifests allow, no less and no more.

use std::collections::BTreeSet;
use std::time::Duration;

use weir::source::api::{Access, State, Watches};
use weir_apiserver::{ApiServer, Fault, Resource, Verb};

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
                    let verb = ["list", "watch", "create", "patch"]
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

/// What a server was asked for by a weir that could not do with watches alone.
async fn asked() -> BTreeSet<Permission> {
    let server = ApiServer::start();
    for resource in Resource::ALL {
        // The first watch begins with a list: only if that fails does weir list.
        server.fail_once(resource, Verb::Watch, Fault::InternalError);
    }
    let access = Access::Master(server.url());
    let client = access.client().await.expect("a client");
    let mut watches = Watches::start(&client, &access, "node-a");
    let mut state = State::default();
    let all_are_known = async {
        while state.cluster().is_none() {
            for update in watches.next().await.expect("watches never end") {
                state.apply(update);
            }
        }
    };
    let limit = Duration::from_secs(3600);
    tokio::time::timeout(limit, all_are_known).await.expect("all are known");
    let requests = server.requests().into_iter();
    requests
        .map(|request| {
            let version = request.resource.api_version();
            let group = version.split_once('/').map_or("", |(group, _)| group);
            let verb = match request.verb {
                Verb::List => "list",
                Verb::Watch => "watch",
            };
            (group.to_owned(), request.resource.plural().to_owned(), verb)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_cluster_role_grants_what_weir_asks_for_and_no_other_reading() {
    let reading = |permission: &Permission| ["list", "watch"].contains(&permission.2);
    let granted: BTreeSet<Permission> = granted().into_iter().filter(reading).collect();
    assert_eq!(asked().await, granted);
}
