//! The API server, as one task talks to it.

use std::sync::Arc;

use futures_util::AsyncBufRead;
use kube::Client;
use tokio::sync::Mutex;

use super::access::{Access, AccessError};
use super::rate::{Limiter, Limits};

type Request = http::Request<Vec<u8>>;

/// A client, and the way to another one with newer credentials. Clones keep to the limits together,
/// and what one of them finds out about credentials is there for the others.
#[derive(Clone)]
pub struct Server {
    made: Made,
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    host: String,
    limiter: Limiter,
    newest: Mutex<Made>,
}

#[derive(Clone)]
struct Made {
    client: Client,
    /// How many were made before it.
    number: u64,
}

impl Server {
    /// Makes a client. Nothing is asked of the server.
    pub async fn new(access: Access, limits: Limits) -> Result<Self, AccessError> {
        let made = Made { client: access.client().await?, number: 0 };
        let host = access.host().await;
        let newest = Mutex::new(made.clone());
        let shared = Shared { access, host, limiter: Limiter::new(limits), newest };
        Ok(Self { made, shared: Arc::new(shared) })
    }

    /// Its host and port; empty if they are not known.
    pub fn host(&self) -> &str {
        &self.shared.host
    }

    /// Takes another client: files and plugins may have other credentials by now. They are only asked
    /// if no other clone has asked since this client was made, because a plugin may ask a server of
    /// its own, and all clones come here at the same time.
    pub(super) async fn renew(&mut self) -> Result<(), AccessError> {
        let mut newest = self.shared.newest.lock().await;
        if newest.number == self.made.number {
            let client = self.shared.access.client().await?;
            *newest = Made { client, number: newest.number + 1 };
        }
        self.made = newest.clone();
        Ok(())
    }

    /// Waits for the turn of a request; it then counts as made. That is no part of the time that its
    /// answer may take. The further pages of a list need no turn: they come one after the other in any
    /// case, and the node waits for the last.
    pub(super) async fn turn(&self) {
        self.shared.limiter.wait().await;
    }

    /// The text of the answer.
    pub(super) async fn text(&self, request: Request) -> kube::Result<String> {
        self.made.client.request_text(request).await
    }

    /// The lines of the answer.
    pub(super) async fn stream(
        &self,
        request: Request,
    ) -> kube::Result<impl AsyncBufRead + Unpin + use<>> {
        self.made.client.request_stream(request).await.map(Box::pin)
    }
}
