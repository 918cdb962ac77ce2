//! Shared by the one-shot commands: reads manifests and compiles the target ruleset.

use weir_rules::cluster::{Cluster, Service};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::facts::excess::excess;
use weir_rules::facts::stale_flows::ServedDestinations;
use weir_rules::nft::Ruleset;

use crate::cli::ManifestArgs;
use crate::config::closed_node_ports;
use crate::error::{CommandError, chain, say};
use crate::source::manifest::{Loaded, load};

/// What the manifests ask for.
#[derive(Default)]
pub(super) struct Target {
    /// What should be programmed.
    pub(super) ruleset: Ruleset,
    /// Whose UDP flows may go on.
    pub(super) serving: ServedDestinations,
}

impl Target {
    /// What a cluster asks for.
    pub(super) fn new(cluster: &Cluster, config: &Config) -> Self {
        Self {
            ruleset: compile(cluster, config),
            serving: ServedDestinations::new(cluster, config),
        }
    }
}

/// What the manifests ask for. Anything bad in them is a failure; so is nothing at all, which is what a
/// pipe yields when the program before it has failed.
pub(super) fn desired(args: &ManifestArgs) -> Result<Target, CommandError> {
    let config = args.node.config()?;
    let Loaded { cluster, problems, notes, is_blank } =
        load(&args.inputs(), &config.node_name, config.max_service_keys);
    if !problems.is_empty() {
        return Err(CommandError(problems.iter().map(|problem| chain(problem)).collect()));
    }
    if is_blank {
        let empty = "there is nothing in the input: no document, not even an empty List";
        return Err(CommandError(notes.into_iter().chain([empty.to_owned()]).collect()));
    }
    let has_node_ports = cluster.services.values().any(Service::has_node_port);
    let closed = closed_node_ports(has_node_ports, cluster.node.as_ref(), &config);
    let remarks = [nothing_to_serve(&cluster), closed];
    let excesses = cluster.services.iter().filter_map(|(name, service)| {
        let excess = excess(service, &cluster.slices.of(name), &config)?;
        Some(format!("Service {name}: {excess}"))
    });
    let excesses: Vec<_> = excesses.collect();
    for note in notes.iter().chain(remarks.iter().flatten()).chain(&excesses) {
        say(&format!("note: {note}"));
    }
    Ok(Target::new(&cluster, &config))
}

/// A word on input that asks for nothing, which may be another program's failure.
fn nothing_to_serve(cluster: &Cluster) -> Option<String> {
    cluster
        .services
        .is_empty()
        .then(|| "there is no Service with a ClusterIP in the input".to_owned())
}
