//! Queues Events and limits how many an object gets, however often it turns bad.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::{Event, EventScope, Occurrence};
use crate::source::ObjectKey;
use crate::source::api::backoff::random;
use crate::source::api::rate::Bucket;

/// For how long an Event that has been sent is not sent again, and how often the one with other words is
/// sent that comes after [`BURST`] of an object and reason (`finishTime` of client-go's
/// tools/events/event_broadcaster.go).
const REPEAT: Duration = Duration::from_secs(6 * 60);
/// How many Events of an object and reason, each with other words, may come in a row.
const BURST: u32 = 3;
/// How many Events of the cluster's objects may come in a row, whatever they are about
/// (`defaultSpamBurst` of client-go's tools/record/events_cache.go, there for one object) ...
const CLUSTER_BURST: u32 = 25;
/// ... and how often more do.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(10);
/// Over how long the Events are spread that all nodes of a cluster send: 5,000 nodes make 333 a second of
/// them.
const SPREAD: Duration = Duration::from_secs(15);
/// How many objects and reasons are known. What more there is, is only in the log.
const MAX_SUBJECTS: usize = 1024;
/// The shortest time from one look for subjects that can be forgotten to the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often an object is logged that the queue has no room to track.
const OVERFLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How many Events may wait.
const MAX_WAITING: usize = 256;

/// Events that wait, and what is known of those that have been sent.
#[derive(Debug)]
pub(super) struct EventQueue {
    subjects: HashMap<EventSubject, Told>,
    waiting: VecDeque<Waiting>,
    cluster: Bucket,
    hashes: RandomState,
    /// When it was last looked for subjects that can be forgotten.
    swept: Option<Instant>,
    /// When a subject over the limit was last logged.
    overflowed: Option<Instant>,
}

/// What Events of one kind are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct EventSubject {
    about: ObjectKey,
    reason: &'static str,
}

/// What has been said of a subject.
#[derive(Debug)]
struct Told {
    bucket: Bucket,
    /// The hash of each note, with the time at which it was to be sent; at most as many as may come in
    /// a row.
    notes: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    occurrence: Occurrence,
    due: Instant,
    /// How many others of the subject it has taken the place of.
    similar: u64,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        let cluster = Bucket::new(CLUSTER_INTERVAL, CLUSTER_BURST);
        Self {
            subjects: HashMap::new(),
            waiting: VecDeque::new(),
            cluster,
            hashes: RandomState::new(),
            swept: None,
            overflowed: None,
        }
    }

    /// Queues an Event until it is due, if there is room; returns whether it is one of its own. It is not
    /// if it has been sent already, takes the place of one that waits and is like it, or is one of too many
    /// that nothing is known of.
    pub(super) fn offer(&mut self, event: Event, occurrence: Occurrence, now: Instant) -> bool {
        let subject = EventSubject { about: event.about.clone(), reason: event.reason };
        let note = self.hashes.hash_one(&event.note);
        if !self.make_room(&subject, now) {
            let may_tell = self.overflowed.is_none_or(|last| last + OVERFLOW_INTERVAL <= now);
            self.overflowed = if may_tell { Some(now) } else { self.overflowed };
            return may_tell;
        }
        let told = self
            .subjects
            .entry(subject.clone())
            .or_insert_with(|| Told { bucket: Bucket::new(REPEAT, BURST), notes: VecDeque::new() });
        told.notes.retain(|(_, due)| *due + REPEAT > now);
        if told.notes.iter().any(|(told, _)| *told == note) {
            return false;
        }
        let is_like = |other: &&mut Waiting| {
            other.event.about == subject.about && other.event.reason == subject.reason
        };
        if !told.bucket.is_ready(now)
            && let Some(last) = self.waiting.iter_mut().rev().find(is_like)
        {
            told.notes.pop_back();
            told.notes.push_back((note, last.due));
            (last.event, last.occurrence, last.similar) = (event, occurrence, last.similar + 1);
            return false;
        }
        let is_full = self.waiting.len() >= MAX_WAITING;
        let mut due = told.bucket.take(now);
        if event.scope == EventScope::Cluster && !is_full {
            due = due.max(self.cluster.take(now)) + SPREAD.mul_f64(random());
        }
        if told.notes.len() >= BURST as usize {
            told.notes.pop_front();
        }
        told.notes.push_back((note, due));
        if is_full {
            // In the log it is.
            return true;
        }
        self.waiting.push_back(Waiting { event, occurrence, due, similar: 0 });
        true
    }

    /// When the next event is to be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    /// An event that is to be sent now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Event, Occurrence)> {
        let due = self.next().filter(|due| *due <= now)?;
        let place = self.waiting.iter().position(|waiting| waiting.due == due)?;
        let Waiting { mut event, occurrence, similar, .. } = self.waiting.remove(place)?;
        if similar > 0 {
            event.note = format!("({similar} others like it are in weir's log) {}", event.note);
        }
        Some((event, occurrence))
    }

    /// An Event could not be sent: it may be queued again.
    pub(super) fn failed(&mut self, event: &Event) {
        let subject = EventSubject { about: event.about.clone(), reason: event.reason };
        if let Some(told) = self.subjects.get_mut(&subject) {
            told.notes.clear();
        }
    }

    /// Whether something may be known of this subject, too.
    fn make_room(&mut self, subject: &EventSubject, now: Instant) -> bool {
        let is_full = self.subjects.len() >= MAX_SUBJECTS;
        let may_sweep = self.swept.is_none_or(|swept| swept + SWEEP_INTERVAL <= now);
        if is_full && may_sweep && !self.subjects.contains_key(subject) {
            self.swept = Some(now);
            self.subjects.retain(|_, told| !told.bucket.is_full(now));
        }
        self.subjects.len() < MAX_SUBJECTS || self.subjects.contains_key(subject)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
