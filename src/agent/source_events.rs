//! Waits for changes of the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};
use weir_rules::config::Config;

use super::cluster_source::ClusterSource;
use super::manifests::Manifests;
use crate::error::CommandError;
use crate::source::api::{ApiClient, Reflectors, Store, Update};
use crate::source::manifest::{Directory, is_manifest};
use crate::telemetry::status::AgentStatus;
use crate::watch::{Watch, WatchTarget};

/// Notifies that there is something to read.
pub(super) enum SourceEvents {
    /// `None` when nothing can be watched any more; the directory is still read now and then.
    Directory(Option<Watch>),
    ApiClient(Reflectors),
}

impl SourceEvents {
    pub(super) fn of_directory(
        path: &Path,
        config: &Config,
    ) -> Result<(Self, ClusterSource), CommandError> {
        // Watched before it is first read, so that no change falls in between.
        let target = WatchTarget::Directory { path: PathBuf::from(path), is_wanted: is_manifest };
        let watch = Watch::new(target)?;
        info!(directory = %path.display(), node = config.node_name, "following manifests");
        let directory = Directory::new(PathBuf::from(path), config.node_name.as_str());
        Ok((
            Self::Directory(Some(watch)),
            ClusterSource::Manifests(Box::new(Manifests::new(directory, config.max_service_keys))),
        ))
    }

    pub(super) fn of_server(
        server: &ApiClient,
        config: &Config,
        observed: &AgentStatus,
    ) -> (Self, ClusterSource) {
        let watches = Reflectors::start(server, &config.node_name, observed.metrics().api());
        info!(node = config.node_name, server = server.host(), "following the API server");
        (
            Self::ApiClient(watches),
            ClusterSource::Api(Box::new(Store::new(config.max_service_keys))),
        )
    }

    /// Waits until there is something to read. Nothing is lost if the wait is given up.
    pub(super) async fn next(&mut self) -> Result<Vec<Update>, CommandError> {
        match self {
            SourceEvents::Directory(watch) => {
                if let Some(watched) = watch {
                    if watched.changed().await.is_some() {
                        return Ok(Vec::new());
                    }
                    warn!("the directory cannot be watched any more; it is read once a minute");
                    *watch = None;
                }
                std::future::pending().await
            }
            // Better an end that is seen than a process that does nothing.
            SourceEvents::ApiClient(watches) => Ok(watches.next().await?),
        }
    }

    /// How often everything is compared all the same, in case a notice was lost: a directory's may be.
    /// An API server's are watched for gaps, and the kernel counts its changes.
    pub(super) fn full_interval(&self) -> Duration {
        match self {
            SourceEvents::Directory(_) => Duration::from_secs(60),
            // `FullSyncPeriod` of kube-proxy's pkg/proxy/util/utils.go.
            SourceEvents::ApiClient(_) => Duration::from_secs(3600),
        }
    }
}
