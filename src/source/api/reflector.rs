//! Lists and watches one collection, for good.

mod requests;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::backoff::random;
use super::client::ApiClient;
use super::collection::Collection;
use super::failure::WatchError;
use super::measure::Measure;
use super::recovery::{Recovery, SHORT_WATCH};
use super::uids::ListedUids;
use super::wire::{Received, Update};
use crate::error::chain;
use crate::source::Kind;

/// How many failures in a row it takes to speak of a watch that ends too early.
const SHORT_WATCHES: u32 = 3;
/// How long until weir asks again for an API that the server does not have.
const ABSENT_PAUSE: Duration = Duration::from_secs(600);

/// Lists a collection, watches it, and never gives up.
pub(super) struct Reflector {
    collection: Collection,
    server: ApiClient,
    updates: mpsc::Sender<Update>,
    measure: Measure,
    recovery: Recovery,
    /// Where to watch from; none before the first list and when that list is overtaken.
    version: Option<String>,
    /// Whether there has been a complete list.
    is_listed: bool,
    /// Whether the kind is taken as one without objects, because there is no list to be had.
    is_taken_as_none: bool,
    list_by: ListBy,
    /// Whether other credentials may help.
    is_outdated: bool,
    /// Why there were none when they were last asked for.
    no_renewal: Option<String>,
    /// How long the last watch was asked to last.
    asked: Duration,
    /// When the last list or watch last received something, if it did.
    last_progress: Option<Instant>,
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

impl Reflector {
    pub(super) fn new(
        collection: Collection,
        server: ApiClient,
        updates: mpsc::Sender<Update>,
        measure: Measure,
    ) -> Self {
        Self {
            collection,
            server,
            updates,
            measure,
            recovery: Recovery::default(),
            version: None,
            is_listed: false,
            is_taken_as_none: false,
            list_by: ListBy::Stream,
            is_outdated: false,
            no_renewal: None,
            asked: Duration::ZERO,
            last_progress: None,
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
            self.last_progress = None;
            let is_watch = self.version.is_some() || self.list_by == ListBy::Stream;
            let result = match (&self.version, self.list_by) {
                (None, ListBy::Stream) => self.watch(None).await,
                (None, _) => self.list().await,
                (Some(version), _) => {
                    let version = version.clone();
                    self.watch(Some(version)).await
                }
            };
            let lasted = start.elapsed();
            let result = match result {
                Ok(()) if is_watch && self.last_progress.is_none() && lasted < SHORT_WATCH => {
                    Err(WatchError::Short)
                }
                other => other,
            };
            let pause = match result {
                Ok(()) if is_watch => {
                    self.measure.ended();
                    self.watch_ended(lasted)
                }
                Ok(()) => Duration::ZERO,
                Err(WatchError::Unwanted) => return,
                Err(failure) => {
                    self.measure.failed(failure.reason());
                    self.recover(&failure, lasted).await
                }
            };
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    /// Handles the end of a watch that had started; returns how long to wait.
    fn watch_ended(&mut self, lasted: Duration) -> Duration {
        let silence =
            self.last_progress.map_or(lasted, |last_progress| last_progress.elapsed().min(lasted));
        if self.recovery.is_silent(silence) {
            info!(watch = self.collection.name(), "listing again, as the server says nothing");
            self.version = None;
        }
        self.failures = 0;
        self.recovery.after_watch(self.asked, lasted)
    }

    /// Handles a failure; returns how long to wait.
    async fn recover(&mut self, failure: &WatchError, lasted: Duration) -> Duration {
        let was_listing = self.version.is_none();
        if failure.ends_watch()
            && !was_listing
            && (self.last_progress.is_some() || lasted >= SHORT_WATCH)
        {
            match failure {
                WatchError::Broken(_) => self.note(failure),
                _ => self.complain_of(failure),
            }
            return self.watch_ended(lasted);
        }
        self.failures += 1;
        if failure.voids_version() && !was_listing {
            self.version = None;
            match failure.code() {
                // The normal end of a version.
                Some(410) => info!(watch = self.collection.name(), "listing again: {failure}"),
                _ => self.complain_of(failure),
            }
            return self.recovery.before_list();
        }
        if was_listing && self.is_absent(failure) {
            return self.take_as_none(failure).await;
        }
        if was_listing && self.choose_list(failure) {
            debug!(watch = self.collection.name(), %failure, "asking otherwise for a list");
            return Duration::ZERO;
        }
        if failure.is_for_credentials() {
            self.is_outdated = true;
            let why = self.no_renewal.take().map_or(String::new(), |why| format!("; {why}"));
            self.complain(&format!("{}{why}", chain(failure)));
        } else if failure.is_short() && !was_listing && self.failures < SHORT_WATCHES {
            // Nothing to speak of while the next watch lasts.
            self.note(failure);
        } else {
            self.complain_of(failure);
        }
        self.recovery.after_failure(failure)
    }

    /// Takes a kind that the server does not have, or does not let weir read, as one without objects;
    /// returns how long to wait.
    async fn take_as_none(&mut self, failure: &WatchError) -> Duration {
        self.measure.answered();
        if !std::mem::replace(&mut self.is_taken_as_none, true) {
            self.replace(Vec::new(), ListedUids::default()).await.ok();
        }
        match failure.code() {
            Some(403) => {
                self.complain(&format!("{failure}; taken as if there were none"));
                // A role may be bound a moment later.
                self.recovery.after_failure(failure)
            }
            _ => {
                self.complain("the server does not have them; there are none");
                ABSENT_PAUSE.mul_f64(0.5 + random())
            }
        }
    }

    /// Reads the credentials again. If there are none, the server judges the old ones.
    async fn renew(&mut self) {
        self.no_renewal = self.server.renew().await.err().map(|error| chain(&error));
    }

    /// How to list after this failure to list; whether that may be tried at once.
    fn choose_list(&mut self, failure: &WatchError) -> bool {
        let code = failure.code();
        let (next, at_once) = match (self.list_by, code) {
            // What has to do with the request's kind, not with who asks or when.
            (ListBy::Stream, Some(400 | 404 | 405 | 422 | 500 | 501)) => (ListBy::Pages, true),
            (ListBy::Stream, Some(_)) => (ListBy::Stream, false),
            (ListBy::Stream, None) => (ListBy::Pages, false),
            (ListBy::Pages, None) => (ListBy::Stream, false),
            (by, Some(410)) => (ListBy::Whole, by == ListBy::Pages),
            (by, _) => (by, false),
        };
        self.list_by = next;
        at_once
    }

    /// Whether the server has no such API, as older ones have no ServiceCIDRs; or, which comes to the
    /// same before the first list, does not let kube-proxy's role read them.
    fn is_absent(&self, failure: &WatchError) -> bool {
        self.collection.kind == Kind::ServiceCidr
            && match failure.code() {
                Some(404) => self.list_by != ListBy::Stream,
                Some(403) => !self.is_listed,
                _ => false,
            }
    }

    /// Handles a complete list.
    async fn listed(
        &mut self,
        objects: Vec<Received>,
        uids: ListedUids,
        version: String,
    ) -> Result<(), WatchError> {
        self.replace(objects, uids).await?;
        (self.is_listed, self.is_taken_as_none) = (true, false);
        self.on_progress();
        self.version = Some(version);
        Ok(())
    }

    /// Sends a complete list.
    async fn replace(
        &mut self,
        objects: Vec<Received>,
        uids: ListedUids,
    ) -> Result<(), WatchError> {
        self.server.uids().replace(self.collection.kind, uids);
        debug!(watch = self.collection.name(), objects = objects.len(), "listed");
        self.send(Update::Received(self.collection.kind, objects)).await
    }

    async fn send(&mut self, update: Update) -> Result<(), WatchError> {
        self.updates.send(update).await.map_err(|_| WatchError::Unwanted)
    }

    /// Records a successful answer.
    fn on_progress(&mut self) {
        self.last_progress = Some(Instant::now());
        self.failures = 0;
        self.recovery.on_progress();
        if self.complaint.take().is_some() {
            info!("watching {} works again", self.collection.name());
        }
    }

    /// Logs it at debug level.
    fn note(&self, failure: &WatchError) {
        debug!(watch = self.collection.name(), failure = chain(failure), "watching again");
    }

    fn complain_of(&mut self, failure: &WatchError) {
        self.complain(&chain(failure));
    }

    /// Logs what is wrong, once.
    fn complain(&mut self, text: &str) {
        if self.complaint.as_deref() != Some(text) {
            warn!("watching {}: {text}", self.collection.name());
            self.complaint = Some(text.to_owned());
        }
    }
}
