//! The API server, as one task talks to it.

use std::sync::Arc;

use futures_util::AsyncBufRead;
use kube::Client;

use super::access::{Access, AccessError};
use super::rate::{Limiter, Limits};

type Request = http::Request<Vec<u8>>;

/// A client, and the way to another one with newer credentials. Clones keep to the limits together.
#[derive(Clone)]
pub struct Server {
    client: Client,
    access: Access,
    limiter: Arc<Limiter>,
    host: Arc<str>,
}

impl Server {
    /// Makes a client. Nothing is asked of the server.
    pub async fn new(access: Access, limits: Limits) -> Result<Self, AccessError> {
        let client = access.client().await?;
        let host = access.host().await.into();
        Ok(Self { client, access, limiter: Arc::new(Limiter::new(limits)), host })
    }

    /// Its host and port, as metrics tell them.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Makes another client: files and plugins may have other credentials by now.
    pub(super) async fn renew(&mut self) -> Result<(), AccessError> {
        self.client = self.access.client().await?;
        Ok(())
    }

    /// The text of the answer.
    pub(super) async fn text(&self, request: Request) -> kube::Result<String> {
        self.limiter.wait().await;
        self.client.request_text(request).await
    }

    /// The text of a further page. A list counts once, however many pages it has: they come one
    /// after the other in any case, and the node waits for the last.
    pub(super) async fn next_page(&self, request: Request) -> kube::Result<String> {
        self.client.request_text(request).await
    }

    /// The lines of the answer.
    pub(super) async fn stream(
        &self,
        request: Request,
    ) -> kube::Result<impl AsyncBufRead + Unpin + use<>> {
        self.limiter.wait().await;
        self.client.request_stream(request).await.map(Box::pin)
    }
}
