//! Connections to the API server, with detection of ones that died silently.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// How the kernel detects a dead connection: one whose other side, or the network to it, has vanished
/// silently. A server may have nothing to send for minutes, so silence alone proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// For how long nothing may come until the kernel asks the other side (TCP_KEEPIDLE).
    pub idle: Duration,
    /// How often it then asks (TCP_KEEPINTVL).
    pub interval: Duration,
    /// For how long the other side may leave unanswered what it was asked, and unacknowledged what was
    /// sent (TCP_USER_TIMEOUT, which takes the place of TCP_KEEPCNT).
    pub limit: Duration,
}

impl Default for Liveness {
    /// Dead after 35 to 40 s. client-go's HTTP/2 connections are after 45 s: it pings after 30 s and waits
    /// 15 s (`http2ReadIdleTimeout` and `http2PingTimeout` of apimachinery's pkg/util/net/http.go).
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(5),
            limit: Duration::from_secs(35),
        }
    }
}

/// Makes a client whose connections are watched over so. It is kube's own but for the connector, which
/// kube does not let others set.
pub(super) fn client(config: Config, liveness: Liveness) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // kube says why it has none.
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(liveness.idle));
    connector.set_keepalive_interval(Some(liveness.interval));
    connector.set_tcp_user_timeout(Some(liveness.limit));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let connections: legacy::Client<_, Body> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Whether the kernel has given a connection up because nothing came from the other side.
pub(super) fn is_dead(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| cause(error)).any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

/// What an error is made of. For one of I/O that is the inner error itself, which its `source` skips.
pub(super) fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as _),
        None => error.source(),
    }
}
