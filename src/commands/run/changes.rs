//! Notice of changes of the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::info;
use weir_rules::config::Config;

use super::directory::Watch;
use super::manifests::Manifests;
use super::reader::Reader;
use crate::commands::Failure;
use crate::observe::Observed;
use crate::source::api::{Server, Update, Watches};
use crate::source::manifest::Directory;

/// Tells that there is something to read.
pub(super) enum Changes {
    Directory { watch: Watch, notices: mpsc::UnboundedReceiver<()> },
    Server(Watches),
}

impl Changes {
    pub(super) fn of_directory(path: &Path, config: &Config) -> Result<(Self, Reader), Failure> {
        // Watched before it is first read, so that no change falls in between.
        let (watch, notices) = Watch::new(path)?;
        info!(directory = %path.display(), node = config.node_name, "following manifests");
        let directory = Directory::new(PathBuf::from(path), config.node_name.as_str());
        Ok((
            Self::Directory { watch, notices },
            Reader::Manifests(Box::new(Manifests::new(directory))),
        ))
    }

    pub(super) fn of_server(
        server: &Server,
        config: &Config,
        observed: &Observed,
    ) -> (Self, Reader) {
        let watches = Watches::start(server, &config.node_name, observed.metrics().api());
        info!(node = config.node_name, server = server.host(), "following the API server");
        (Self::Server(watches), Reader::Api(Box::default()))
    }

    /// Waits until there is something to read. Nothing is lost if the wait is given up.
    pub(super) async fn next(&mut self) -> Result<Vec<Update>, Failure> {
        match self {
            Changes::Directory { notices, .. } => {
                if notices.recv().await.is_none() {
                    // Nothing more will come; the directory is still read now and then.
                    std::future::pending::<()>().await;
                }
                // One write makes several notifications; all that are here are answered at once.
                while notices.try_recv().is_ok() {}
                Ok(Vec::new())
            }
            // Better an end that is seen than a process that does nothing.
            Changes::Server(watches) => Ok(watches.next().await?),
        }
    }

    /// How often everything is compared all the same, in case a notice was lost: a directory's may be.
    /// An API server's are watched for gaps, and the kernel counts its changes.
    pub(super) fn full_interval(&self) -> Duration {
        match self {
            Changes::Directory { .. } => Duration::from_secs(60),
            // `FullSyncPeriod` of kube-proxy's pkg/proxy/util/utils.go.
            Changes::Server(_) => Duration::from_secs(3600),
        }
    }

    /// Follows the directory that is there now, if it is another one; says whether it is.
    pub(super) fn renew(&mut self) -> bool {
        match self {
            Changes::Directory { watch, .. } => watch.renew(),
            Changes::Server(_) => false,
        }
    }
}
