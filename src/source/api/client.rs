//! One task's connection to the API server.

use std::io;
use std::sync::Arc;

use futures_util::{AsyncBufRead, TryStreamExt};
use http::header::RETRY_AFTER;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use kube::core::response::StatusDetails;
use tokio::sync::Mutex;

use super::client_source::{ClientSource, ClientSourceError};
use super::rate::Limiter;
use super::transport::Liveness;
use super::uids::Uids;
use crate::config::Limits;
use crate::text;

/// How much of an answer that is a refusal is read. A Status is shorter, and so is the page of a proxy.
const REFUSAL_LIMIT: usize = 64 << 10;
/// How much of its message is reported, in bytes.
const MESSAGE_LIMIT: usize = 1024;

type Request = http::Request<Vec<u8>>;

/// A client, and the way to another one with newer credentials. Clones keep to the limits together,
/// and share what they find out about credentials.
#[derive(Clone)]
pub struct ApiClient {
    made: Made,
    shared: Arc<ClientState>,
}

struct ClientState {
    access: ClientSource,
    host: String,
    liveness: Liveness,
    limiter: Limiter,
    newest: Mutex<Made>,
    uids: Uids,
}

#[derive(Clone)]
struct Made {
    client: Client,
    /// How many were made before it.
    number: u64,
}

impl ApiClient {
    /// Makes a client. Nothing is asked of the server.
    pub async fn new(access: ClientSource, limits: Limits) -> Result<Self, ClientSourceError> {
        Self::with_liveness(access, limits, Liveness::default()).await
    }

    /// The same, with these settings to detect dead connections.
    pub async fn with_liveness(
        access: ClientSource,
        limits: Limits,
        liveness: Liveness,
    ) -> Result<Self, ClientSourceError> {
        let made = Made { client: access.client_with(liveness).await?, number: 0 };
        let host = access.host().await;
        let newest = Mutex::new(made.clone());
        let (limiter, uids) = (Limiter::new(limits), Uids::default());
        let shared = ClientState { access, host, liveness, limiter, newest, uids };
        Ok(Self { made, shared: Arc::new(shared) })
    }

    /// Its host and port; empty if they are not known.
    pub fn host(&self) -> &str {
        &self.shared.host
    }

    /// Takes another client: files and plugins may have other credentials by now. They are only asked
    /// if no other clone has asked since this client was made, because a plugin may ask a server of
    /// its own, and all clones come here at the same time.
    pub(super) async fn renew(&mut self) -> Result<(), ClientSourceError> {
        let mut newest = self.shared.newest.lock().await;
        if newest.number == self.made.number {
            let client = self.shared.access.client_with(self.shared.liveness).await?;
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

    /// The uids of the objects that have been received.
    pub(super) fn uids(&self) -> &Uids {
        &self.shared.uids
    }

    /// The text of the answer.
    pub(super) async fn text(&self, request: Request) -> kube::Result<String> {
        let bytes = self.ask(request).await?.into_body().collect().await?.to_bytes();
        String::from_utf8(bytes.into()).map_err(kube::Error::FromUtf8)
    }

    /// The lines of the answer.
    pub(super) async fn stream(
        &self,
        request: Request,
    ) -> kube::Result<impl AsyncBufRead + Unpin + use<>> {
        let frames = self.ask(request).await?.into_body().into_data_stream();
        Ok(Box::pin(frames.map_err(io::Error::other).into_async_read()))
    }

    /// The answer, if it is no refusal.
    async fn ask(&self, request: Request) -> kube::Result<http::Response<Body>> {
        let answer = self.made.client.send(request.map(Body::from)).await?;
        let is_refusal = answer.status().is_client_error() || answer.status().is_server_error();
        if is_refusal { Err(refusal(answer).await?) } else { Ok(answer) }
    }
}

/// The message of a refusal: a Status, or the page of a proxy in front of the server.
async fn refusal(answer: http::Response<Body>) -> kube::Result<kube::Error> {
    let code = answer.status().as_u16();
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < REFUSAL_LIMIT
        && let Some(frame) = body.frame().await
    {
        bytes.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
    }
    let mut status: Status = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let page = String::from_utf8_lossy(&bytes);
        Status::failure(page.trim(), "no Status").with_code(code)
    });
    status.message = text::cut(&status.message, MESSAGE_LIMIT).into_owned();
    let details = status.details.get_or_insert_with(|| StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    });
    details.retry_after_seconds = details.retry_after_seconds.max(seconds);
    Ok(kube::Error::Api(Box::new(status)))
}
