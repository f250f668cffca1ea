//! A project's last events, and who follows them.
//!
//! An event is encoded once, and every listener is handed the same bytes. A listener has no queue of its own, only the number
//! of the event that it had last: so a thousand of them cost little, and one that reads slowly keeps nothing for itself. Whoever
//! is further behind than the last events reach is told so, once it reads again, and its stream ends.
//!
//! Invariant: a listener is handed every event of its audience after its number, in order, or learns that it cannot be.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use super::kinds::{Event, PreviewEvent};
use crate::domain::BuildId;

/// Events of a project that are kept, and their bytes: what a burst of log lines or a lost connection may be behind.
const EVENTS_MAX: usize = 2048;
const BYTES_MAX: usize = 512 * 1024;

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `GET /events/{id}`.
    Api,
    /// The preview's own origin.
    Preview,
}

/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An event, as it is sent.
    Event(Bytes),
    /// Nothing happened for as long as was asked.
    Silence,
    /// It read so slowly that events are gone: the end.
    Behind,
    /// The project was deleted: the end.
    Closed,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    api: Option<Bytes>,
    preview: Option<Bytes>,
    /// The build whose end `preview` tells.
    ended: Option<BuildId>,
}

impl Entry {
    fn of(&self, audience: Audience) -> Option<&Bytes> {
        match audience {
            Audience::Api => self.api.as_ref(),
            Audience::Preview => self.preview.as_ref(),
        }
    }

    fn bytes(&self) -> usize {
        [&self.api, &self.preview].into_iter().flatten().map(Bytes::len).sum()
    }
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything up to this number may be gone.
    floor: u64,
    listeners: usize,
    /// Since when nobody listens.
    idle_since: Instant,
    /// The last build that the preview's audience was told of.
    told: Option<BuildId>,
}

impl Ring {
    fn last(&self) -> u64 {
        self.entries.back().map_or(self.floor, |entry| entry.number)
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        // The newest stays, however large it is.
        while self.entries.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            let Some(gone) = self.entries.pop_front() else { return };
            self.bytes -= gone.bytes();
            self.floor = gone.number;
        }
    }
}

/// How far a channel has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reached {
    number: u64,
    closed: bool,
}

/// One project's.
#[derive(Debug)]
pub(super) struct Channel {
    life: u32,
    ring: Mutex<Ring>,
    reached: watch::Sender<Reached>,
}

impl Channel {
    /// Empty; nothing is known of events up to `floor`.
    pub(super) fn new(life: u32, floor: u64) -> Self {
        let ring = Ring { entries: VecDeque::new(), bytes: 0, floor, listeners: 0, idle_since: Instant::now(), told: None };
        Self { life, ring: Mutex::new(ring), reached: watch::Sender::new(Reached::default()) }
    }

    /// Encodes an event and keeps it. `number` gives the next one; it is called with the ring locked, so that numbers rise.
    pub(super) fn add(&self, event: &Event, number: impl FnOnce() -> u64) {
        let api = data(event);
        let narrow = narrowed(event);
        let number = {
            let mut ring = self.lock();
            let number = number();
            let frame = |name: &str, data: &str| Bytes::from(format!("id: {}\nevent: {name}\ndata: {data}\n\n", id(self.life, number)));
            // A status is told again for many reasons; the last build's end is told once.
            let news = narrow.filter(|(build, _)| build.is_none_or(|build| ring.told.replace(build) != Some(build)));
            let ended = news.as_ref().and_then(|(build, _)| *build);
            let preview = news.map(|(_, event)| frame(event.name(), &data(&event)));
            ring.push(Entry { number, api: Some(frame(event.name(), &api)), preview, ended });
            number
        };
        self.reached.send_modify(|reached| reached.number = number);
    }

    /// Follows from now on, or from after `last_id` where what came since is still here.
    pub(super) fn follow(channel: &Arc<Self>, audience: Audience, last_id: Option<&str>, count: Arc<AtomicUsize>) -> Listener {
        count.fetch_add(1, Ordering::Relaxed);
        let reached = channel.reached.subscribe();
        let mut ring = channel.lock();
        ring.listeners += 1;
        let (last, floor) = (ring.last(), ring.floor);
        drop(ring);
        let known = last_id.and_then(|text| number_of(channel.life, text)).filter(|number| (floor..=last).contains(number));
        Listener { channel: channel.clone(), audience, reached, had: known.unwrap_or(last), fresh: known.is_none(), told: None, count }
    }

    /// Ends every stream.
    pub(super) fn close(&self) {
        self.reached.send_modify(|reached| reached.closed = true);
    }

    /// Whether nobody has listened for `time`.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let ring = self.lock();
        ring.listeners == 0 && ring.idle_since.elapsed() >= time
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here can be left half-done.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of an event is told on the preview's own origin, and of which build's end it tells.
fn narrowed(event: &Event) -> Option<(Option<BuildId>, PreviewEvent)> {
    match event {
        Event::Published(published) => Some((None, PreviewEvent::Published(published.clone()))),
        Event::Status(status) => {
            let record = status.last_build.as_ref()?;
            Some((Some(record.build_id), PreviewEvent::of_last_build(record)?))
        }
        Event::Log(_) | Event::Render(_) | Event::Console(_) => None,
    }
}

fn data(event: &impl Serialize) -> String {
    // JSON has no line breaks, which would end a field.
    serde_json::to_string(event).unwrap_or_default()
}

/// An event's id: which run of the daemon, and its number in that.
fn id(life: u32, number: u64) -> String {
    format!("{life:08x}-{number}")
}

/// The number of an event of this run; an id of another one, or of nobody, has none.
fn number_of(life: u32, text: &str) -> Option<u64> {
    let (of, number) = text.trim().split_once('-')?;
    (u32::from_str_radix(of, 16) == Ok(life)).then(|| number.parse().ok())?
}

/// One who follows a project.
#[derive(Debug)]
pub struct Listener {
    channel: Arc<Channel>,
    audience: Audience,
    reached: watch::Receiver<Reached>,
    /// The number of the event that it had last.
    had: u64,
    fresh: bool,
    /// The build whose end it was told of when it came.
    told: Option<BuildId>,
    /// Streams that are open, of all projects.
    count: Arc<AtomicUsize>,
}

impl Listener {
    /// It did not say what it had last, or what it said is no longer known: it has to be told how things stand, first.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Ends the streams of all who follow this project.
    pub(super) fn close(&self) {
        self.channel.close();
    }

    /// It was told first how this build ended: that is not told again.
    pub fn knows_of(&mut self, build: BuildId) {
        self.told = Some(build);
    }

    /// How things stand, in the form of an event. It has the id of the last event before it: who comes back with it
    /// gets what came since.
    pub fn state(&self, name: &str, of: &impl Serialize) -> Bytes {
        Bytes::from(format!("id: {}\nevent: {name}\ndata: {}\n\n", id(self.channel.life, self.had), data(of)))
    }

    /// What comes next, within `patience`.
    pub async fn next(&mut self, patience: Duration) -> Next {
        loop {
            // Marked as seen before the look, so that what comes after the look is heard.
            let closed = self.reached.borrow_and_update().closed;
            if let Some(next) = self.take() {
                return next;
            }
            if closed {
                return Next::Closed;
            }
            match timeout(patience, self.reached.changed()).await {
                Err(_) => return Next::Silence,
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Next::Closed,
            }
        }
    }

    /// The first event after what it had, if there is one.
    fn take(&mut self) -> Option<Next> {
        let ring = self.channel.lock();
        if self.had < ring.floor {
            return Some(Next::Behind);
        }
        let from = ring.entries.partition_point(|entry| entry.number <= self.had);
        for entry in ring.entries.range(from..) {
            self.had = entry.number;
            let known = entry.ended.is_some() && entry.ended == self.told && self.audience == Audience::Preview;
            if let Some(frame) = entry.of(self.audience).filter(|_| !known) {
                return Some(Next::Event(frame.clone()));
            }
        }
        None
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut ring = self.channel.lock();
        ring.listeners -= 1;
        ring.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests;
