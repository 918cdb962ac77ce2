//! One collection, listed and watched for good.

use std::time::Duration;

use futures_util::AsyncBufRead;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff::{Backoff, random};
use super::collection::Collection;
use super::failure::Failure;
use super::lines::Lines;
use super::measure::Measure;
use super::server::Server;
use super::wire::{self, Event, Listed, Update};
use crate::commands::chain;
use crate::source::Kind;

/// How many objects a page of a list has, as client-go asks for.
const PAGE_SIZE: u32 = 500;
/// How long the head of an answer may take, and each event of a streamed list.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a page of a list may take.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// How long a watch may be silent. A server sends a bookmark about once a minute, though it need
/// not; one that sends nothing may be gone without a word. To ask again costs little.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// How many silent watches in a row it takes to doubt the version that they start from: a server
/// that has been set back to an older state is silent until it gets there again.
const SILENT_WATCHES: u32 = 5;
/// How many failures in a row it takes to speak of a watch that ends too early.
const SHORT_WATCHES: u32 = 3;
/// A watch that has lasted this long was a good one.
const GOOD_WATCH: Duration = Duration::from_secs(10);
/// How long until weir asks again for an API that the server does not have.
const ABSENT_PAUSE: Duration = Duration::from_secs(600);

/// Lists a collection, watches it, and never gives up.
pub(super) struct Watch {
    collection: Collection,
    server: Server,
    updates: mpsc::Sender<Update>,
    measure: Measure,
    backoff: Backoff,
    /// Where to watch from; none before the first list and when that list is overtaken.
    version: Option<String>,
    /// Whether a complete list has been sent.
    is_listed: bool,
    list_by: ListBy,
    /// Whether other credentials may help.
    is_outdated: bool,
    /// Why there were none when they were last asked for.
    no_renewal: Option<String>,
    silent_watches: u32,
    /// How many times in a row nothing has lasted.
    failures: u32,
    /// What failed last and has been said.
    complaint: Option<String>,
}

/// How to ask for a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListBy {
    /// As the beginning of a watch, which costs a server least.
    Stream,
    /// In pages, because streaming has just failed; the server may not be able to.
    Pages,
    /// In one piece, because a list in pages was too slow: its later pages were gone.
    Whole,
}

impl Watch {
    pub(super) fn new(
        collection: Collection,
        server: Server,
        updates: mpsc::Sender<Update>,
        measure: Measure,
    ) -> Self {
        Self {
            collection,
            server,
            updates,
            measure,
            backoff: Backoff::default(),
            version: None,
            is_listed: false,
            list_by: ListBy::Stream,
            is_outdated: false,
            no_renewal: None,
            silent_watches: 0,
            failures: 0,
            complaint: None,
        }
    }

    /// Watches until nobody wants updates any more.
    pub(super) async fn run(mut self) {
        loop {
            if self.is_outdated {
                // Now and not when they were refused, which may be a long pause ago.
                self.is_outdated = false;
                self.renew().await;
            }
            let start = Instant::now();
            let is_watch = self.version.is_some() || self.list_by == ListBy::Stream;
            let result = match (&self.version, self.list_by) {
                (None, ListBy::Stream) => self.watch(None).await,
                (None, _) => self.list().await,
                (Some(version), _) => {
                    let version = version.clone();
                    self.watch(Some(version)).await
                }
            };
            if start.elapsed() >= GOOD_WATCH {
                self.backoff.reset();
                self.failures = 0;
            }
            match result {
                Ok(()) if is_watch => self.measure.ended(),
                Ok(()) => {}
                Err(Failure::Unwanted) => return,
                Err(failure) => {
                    self.measure.failed(failure.reason());
                    if let Some(pause) = self.recover(failure).await {
                        sleep(pause).await;
                    }
                }
            }
        }
    }

    /// Draws the conclusions from a failure; gives how long to wait.
    async fn recover(&mut self, failure: Failure) -> Option<Duration> {
        let was_listing = self.version.is_none();
        if failure.voids_version() {
            self.version = None;
        }
        self.failures += 1;
        if matches!(failure, Failure::Silent(_)) {
            self.silent_watches += 1;
            if self.silent_watches >= SILENT_WATCHES {
                self.version = None;
            }
        }
        if was_listing && self.is_absent(&failure) {
            self.measure.answered();
            // First told as good, then as what it is.
            self.replace(Vec::new()).await.ok();
            match failure.code() {
                Some(403) => self.complain(&format!("{failure}; taken as if there were none")),
                _ => self.complain("the server does not have them; there are none"),
            }
            return Some(ABSENT_PAUSE.mul_f64(0.5 + random()));
        }
        if was_listing {
            let at_once = self.choose_list(&failure);
            if at_once {
                debug!(watch = self.collection.name(), %failure, "no streamed list; asking for pages");
                return None;
            }
        }
        match failure.code() {
            // The normal end of a version.
            Some(410) if !was_listing => {
                info!(watch = self.collection.name(), "listing again: {failure}");
            }
            _ if failure.is_for_credentials() => {
                self.is_outdated = true;
                let why = self.no_renewal.take().map_or(String::new(), |why| format!("; {why}"));
                self.complain(&format!("{}{why}", chain(&failure)));
            }
            // Nothing to speak of while the next watch lasts.
            None if failure.ends_watch() && !was_listing && self.failures < SHORT_WATCHES => {
                debug!(watch = self.collection.name(), failure = chain(&failure), "watching again");
            }
            _ => self.complain_of(&failure),
        }
        Some(self.backoff.next())
    }

    /// Reads the credentials again. If there are none, the server says what it thinks of the old ones.
    async fn renew(&mut self) {
        self.no_renewal = self.server.renew().await.err().map(|error| chain(&error));
    }

    /// How to list after this failure to list; whether that may be tried at once.
    fn choose_list(&mut self, failure: &Failure) -> bool {
        let code = failure.code();
        let (next, at_once) = match (self.list_by, code) {
            // What has to do with the request's kind, not with who asks or when.
            (ListBy::Stream, Some(400 | 404 | 405 | 422 | 500 | 501)) => (ListBy::Pages, true),
            (ListBy::Stream, Some(_)) => (ListBy::Stream, false),
            (ListBy::Stream, None) => (ListBy::Pages, false),
            (ListBy::Pages, None) => (ListBy::Stream, false),
            (_, Some(410)) => (ListBy::Whole, false),
            (by, _) => (by, false),
        };
        self.list_by = next;
        at_once
    }

    /// Whether the server has no such API, as older ones have no ServiceCIDRs; or, which comes to the
    /// same before the first list, does not let kube-proxy's role read them.
    fn is_absent(&self, failure: &Failure) -> bool {
        self.collection.kind == Kind::ServiceCidr
            && match failure.code() {
                Some(404) => self.list_by != ListBy::Stream,
                Some(403) => !self.is_listed,
                _ => false,
            }
    }

    /// Lists everything, page by page.
    async fn list(&mut self) -> Result<(), Failure> {
        let limit = (self.list_by != ListBy::Whole).then_some(PAGE_SIZE);
        let mut objects = Vec::new();
        let mut token = None;
        self.server.turn().await;
        loop {
            let request = self.collection.list(limit, token)?;
            let answer = timeout(PAGE_LIMIT, self.server.text(request)).await;
            let text = self.measured(answer.map_err(|_| Failure::Late(PAGE_LIMIT)))?;
            let page = wire::page(self.collection.kind, &text)?;
            objects.extend(page.objects);
            token = page.continue_token;
            if token.is_none() {
                let version = page.version.ok_or(Failure::Incomplete)?;
                self.replace(objects).await?;
                self.version = Some(version);
                self.list_by = ListBy::Stream;
                return Ok(());
            }
        }
    }

    /// Watches from a version on; from none, all objects come first.
    async fn watch(&mut self, from: Option<String>) -> Result<(), Failure> {
        // Spread, so that the watches of many nodes do not end at the same time.
        let seconds = (300.0 * (1.0 + random())) as u32;
        let request = self.collection.watch(from.as_deref(), seconds)?;
        self.server.turn().await;
        let answer = timeout(ANSWER_LIMIT, self.server.stream(request)).await;
        let answer = answer.map_err(|_| Failure::Late(ANSWER_LIMIT));
        let mut lines = Lines::new(self.measured(answer)?);
        if from.is_none() {
            self.initial_events(&mut lines).await?;
        }
        let start = Instant::now();
        loop {
            let line = timeout(SILENCE_LIMIT, lines.next()).await;
            let Some(line) = line.map_err(|_| Failure::Silent(SILENCE_LIMIT))?? else {
                let is_short = start.elapsed() < GOOD_WATCH;
                return if is_short { Err(Failure::Short) } else { Ok(()) };
            };
            let (update, version) = match wire::event(self.collection.kind, line)? {
                Event::Applied { object, version } => (Some(Update::Applied(object)), version),
                Event::Deleted { key, version } => (Some(Update::Deleted(key)), version),
                Event::Bookmark { version, .. } => (None, version),
                Event::Error(status) => {
                    // Whatever it is, the server does not go on from this version.
                    self.version = None;
                    return Err(Failure::Status { code: status.code, message: status.message });
                }
            };
            if let Some(update) = update {
                self.send(update).await?;
            }
            self.version = Some(version);
            self.heard();
        }
    }

    /// Counts a request by its answer.
    fn measured<T>(&self, answer: Result<kube::Result<T>, Failure>) -> Result<T, Failure> {
        let answer = answer.and_then(|answer| answer.map_err(Failure::from));
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
    ) -> Result<(), Failure> {
        let mut objects: Vec<Listed> = Vec::new();
        loop {
            let line = timeout(ANSWER_LIMIT, lines.next()).await;
            let line = line.map_err(|_| Failure::Late(ANSWER_LIMIT))??;
            match wire::event(self.collection.kind, line.ok_or(Failure::Incomplete)?)? {
                Event::Applied { object, .. } => objects.push(object),
                Event::Deleted { key, .. } => objects.retain(|object| object.key != key),
                Event::Bookmark { version, ends_initial_events: true } => {
                    self.replace(objects).await?;
                    self.version = Some(version);
                    return Ok(());
                }
                Event::Bookmark { .. } => {}
                Event::Error(status) => {
                    return Err(Failure::Status { code: status.code, message: status.message });
                }
            }
        }
    }

    /// Sends a complete list.
    async fn replace(&mut self, objects: Vec<Listed>) -> Result<(), Failure> {
        debug!(watch = self.collection.name(), objects = objects.len(), "listed");
        self.send(Update::Listed(self.collection.kind, objects)).await?;
        self.is_listed = true;
        self.heard();
        Ok(())
    }

    async fn send(&mut self, update: Update) -> Result<(), Failure> {
        self.updates.send(update).await.map_err(|_| Failure::Unwanted)
    }

    /// Takes note of a good answer.
    fn heard(&mut self) {
        self.silent_watches = 0;
        if self.complaint.take().is_some() {
            info!("watching {} works again", self.collection.name());
        }
    }

    fn complain_of(&mut self, failure: &Failure) {
        self.complain(&chain(failure));
    }

    /// Says what is wrong, once.
    fn complain(&mut self, text: &str) {
        if self.complaint.as_deref() != Some(text) {
            warn!("watching {}: {text}", self.collection.name());
            self.complaint = Some(text.to_owned());
        }
    }
}
