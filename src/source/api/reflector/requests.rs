//! The requests of a reflector: a list, a watch, and their results.

use std::time::Duration;

use futures_util::AsyncBufRead;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ListBy, Reflector};
use crate::source::api::backoff::random;
use crate::source::api::failure::WatchError;
use crate::source::api::line_reader::Lines;
use crate::source::api::uids::ListedUids;
use crate::source::api::wire::{self, Received, Status, Update, WatchEvent};

/// How many objects a page of a list has, as client-go asks for.
const PAGE_SIZE: u32 = 500;
/// How long the head of an answer may take, and each event of a streamed list.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a page of a list may take.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// The shortest time that a watch is asked to last, in seconds, and half of the longest, as client-go
/// asks (`defaultMinWatchTimeout` of its tools/cache/reflector.go).
const WATCH_SECONDS: f64 = 300.0;
/// How long after that time a server may end it. One that does not, while the connection lives, is gone
/// behind something that keeps connections alive: no kernel reports that.
const GRACE: Duration = Duration::from_secs(30);

impl Reflector {
    /// Lists everything, page by page.
    pub(super) async fn list(&mut self) -> Result<(), WatchError> {
        let limit = (self.list_by != ListBy::Whole).then_some(PAGE_SIZE);
        let (mut objects, mut uids) = (Vec::new(), ListedUids::default());
        let mut token = None;
        self.server.turn().await;
        loop {
            let request = self.collection.list(limit, token)?;
            let answer = timeout(PAGE_LIMIT, self.server.text(request)).await;
            let text = self.measured(answer.map_err(|_| WatchError::Late(PAGE_LIMIT)))?;
            let page = wire::page(self.collection.kind, &text)?;
            for (object, uid) in page.objects.iter().zip(page.uids) {
                self.server.uids().list(&mut uids, object, uid);
            }
            objects.extend(page.objects);
            token = page.continue_token;
            if token.is_none() {
                let version = page.version.ok_or(WatchError::Incomplete)?;
                self.listed(objects, uids, version).await?;
                self.list_by = ListBy::Stream;
                return Ok(());
            }
        }
    }

    /// Watches from a version on; from none, all objects come first.
    pub(super) async fn watch(&mut self, from: Option<String>) -> Result<(), WatchError> {
        // Spread, so that the watches of many nodes do not end at the same time.
        let seconds = (WATCH_SECONDS * (1.0 + random())) as u32;
        self.asked = Duration::from_secs(seconds.into());
        let request = self.collection.watch(from.as_deref(), seconds)?;
        self.server.turn().await;
        let end = Instant::now() + self.asked + GRACE;
        let answer = timeout(ANSWER_LIMIT, self.server.stream(request)).await;
        let answer = answer.map_err(|_| WatchError::Late(ANSWER_LIMIT));
        let mut lines = Lines::new(self.measured(answer)?);
        if from.is_none() {
            self.initial_events(&mut lines).await?;
        }
        loop {
            let line = timeout_at(end, lines.next()).await;
            let Some(line) = line.map_err(|_| WatchError::Overdue(self.asked))?? else {
                return Ok(());
            };
            let (update, version) = match wire::event(self.collection.kind, line)? {
                WatchEvent::Applied { object, uid, version } => {
                    self.server.uids().apply(&object, uid);
                    (Some(Update::Applied(object)), version)
                }
                WatchEvent::Deleted { key, version } => {
                    self.server.uids().delete(&key);
                    (Some(Update::Deleted(key)), version)
                }
                WatchEvent::Bookmark { version, .. } => (None, version),
                WatchEvent::Error(status) => {
                    return Err(WatchError::Event { code: status.code, message: status.message });
                }
            };
            if let Some(update) = update {
                self.send(update).await?;
            }
            self.version = Some(version);
            self.on_progress();
        }
    }

    /// Counts a request by its answer.
    fn measured<T>(&self, answer: Result<kube::Result<T>, WatchError>) -> Result<T, WatchError> {
        let answer = answer.and_then(|answer| answer.map_err(WatchError::from));
        self.measure.requested(match &answer {
            Ok(_) => Some(200),
            Err(failure) => failure.code(),
        });
        answer
    }

    /// Reads the objects that a watch begins with.
    async fn initial_events(
        &mut self,
        lines: &mut Lines<impl AsyncBufRead + Unpin>,
    ) -> Result<(), WatchError> {
        let mut objects: Vec<Received> = Vec::new();
        let mut uids = ListedUids::default();
        loop {
            let line = timeout(ANSWER_LIMIT, lines.next()).await;
            let line = line.map_err(|_| WatchError::Late(ANSWER_LIMIT))??;
            match wire::event(self.collection.kind, line.ok_or(WatchError::Incomplete)?)? {
                WatchEvent::Applied { object, uid, .. } => {
                    self.server.uids().list(&mut uids, &object, uid);
                    objects.push(object);
                }
                WatchEvent::Deleted { key, .. } => objects.retain(|object| object.key != key),
                WatchEvent::Bookmark { version, ends_initial_events: true } => {
                    self.listed(objects, uids, version).await?;
                    return Ok(());
                }
                WatchEvent::Bookmark { .. } => {}
                WatchEvent::Error(Status { code, message }) => {
                    let (retry_after, is_too_large) = (None, false);
                    return Err(WatchError::Status { code, message, retry_after, is_too_large });
                }
            }
        }
    }
}
