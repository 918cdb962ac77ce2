//! The API server's address and the credentials for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::time::timeout;

use super::transport::{self, Liveness};

/// How long a plugin may take to give credentials.
const PLUGIN_LIMIT: Duration = Duration::from_secs(60);

/// Where the server's address and the credentials come from.
#[derive(Debug, Clone)]
pub enum ClientSource {
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The server to use instead of the file's.
        master: Option<String>,
    },
    /// A server that asks for no credentials.
    Master(String),
    /// What every Pod has: its service account and the server's address in the environment.
    InCluster,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientSourceError {
    /// The kubeconfig cannot be used.
    #[error("--kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The server's address makes no sense.
    #[error("--master {0} is not a URL such as https://192.0.2.1:6443")]
    Master(String),
    /// There are no in-cluster credentials.
    #[error(
        "there is no kubeconfig (--kubeconfig, or clientConnection.kubeconfig of --config), no \
         --master, and no Pod's in-cluster credentials"
    )]
    InCluster(#[source] Box<InClusterError>),
    /// The plugin of a kubeconfig does not end.
    #[error("the credential plugin has not ended within {} s", PLUGIN_LIMIT.as_secs())]
    Late,
    /// The credentials cannot be used.
    #[error("the credentials cannot be used")]
    Credentials(#[source] Box<kube::Error>),
}

impl ClientSource {
    /// As kube-proxy's `--kubeconfig` and `--master` say. An empty value is none.
    pub fn new(kubeconfig: Option<PathBuf>, master: Option<String>) -> Self {
        let master = master.filter(|master| !master.is_empty());
        match (kubeconfig.filter(|path| !path.as_os_str().is_empty()), master) {
            (Some(path), master) => ClientSource::Kubeconfig { path, master },
            (None, Some(master)) => ClientSource::Master(master),
            (None, None) => ClientSource::InCluster,
        }
    }

    /// Makes a client, with files and credentials as they are now. Nothing is asked of the server.
    pub async fn client(&self) -> Result<Client, ClientSourceError> {
        self.client_with(Liveness::default()).await
    }

    /// The same, with these settings to detect dead connections.
    pub(super) async fn client_with(
        &self,
        liveness: Liveness,
    ) -> Result<Client, ClientSourceError> {
        let mut config = self.config().await?;
        settle_token(&mut config.auth_info);
        // A plugin may have to be run, and take its time, which is not the agent's.
        let made = tokio::task::spawn_blocking(move || transport::client(config, liveness));
        let made = timeout(PLUGIN_LIMIT, made).await.map_err(|_| ClientSourceError::Late)?;
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        made.map_err(|error| ClientSourceError::Credentials(Box::new(error)))
    }

    /// The server's host and port, as metrics show them; empty if they are not known.
    pub(super) async fn host(&self) -> String {
        let url = self.config().await.map(|config| config.cluster_url);
        url.ok().and_then(|url| Some(url.authority()?.to_string())).unwrap_or_default()
    }

    async fn config(&self) -> Result<Config, ClientSourceError> {
        Ok(match self {
            ClientSource::Kubeconfig { path, master } => {
                let mut config = kubeconfig(path).await?;
                if let Some(master) = master {
                    config.cluster_url = url(master)?.cluster_url;
                }
                config
            }
            ClientSource::Master(master) => url(master)?,
            ClientSource::InCluster => Config::incluster()
                .map_err(|error| ClientSourceError::InCluster(Box::new(error)))?,
        })
    }
}

async fn kubeconfig(path: &Path) -> Result<Config, ClientSourceError> {
    let failed =
        |source| ClientSourceError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)
}

/// Makes of `token` and `tokenFile` what client-go does (`cachingTokenSource` of its
/// transport/token_source.go): the file comes first, and white space around a token is none of it.
///
/// kube's client reads the file about once a minute, and chokes on white space. So a file with any is
/// read here; a new token in it is found when the server refuses the old one.
fn settle_token(auth: &mut AuthInfo) {
    let Some(Ok(text)) = auth.token_file.as_ref().map(fs::read_to_string) else { return };
    let token = text.trim();
    auth.token = (token != text).then(|| token.to_owned().into());
}

/// The settings for a server of which only the address is known.
fn url(master: &str) -> Result<Config, ClientSourceError> {
    let bad = || ClientSourceError::Master(master.to_owned());
    let uri = master.parse().map_err(|_| bad())?;
    let config = Config::new(uri);
    let has_both = config.cluster_url.scheme().is_some() && config.cluster_url.host().is_some();
    if has_both { Ok(config) } else { Err(bad()) }
}
