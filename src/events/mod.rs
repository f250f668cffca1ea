//! What happens, as it happens: builds' log lines, word that a project's status changed, and each project's events for
//! whoever follows it.
//!
//! `kinds` has what is told, `channel` keeps a project's last events and hands them to its listeners, `log` is the log of
//! a build that runs, `notes` what browsers reported of a build.
//!
//! Invariant: this is for watching only. Nothing relies on an event having arrived; whoever misses one
//! reads the state, which is the truth. A project that nobody follows costs nothing here.

mod channel;
mod kinds;
mod log;
mod notes;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

use dashmap::DashMap;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::domain::{BuildId, ProjectId};
use channel::Channel;
pub use channel::{Audience, Listener, Next};
pub use kinds::StyleSwap;
pub use kinds::{BuildLine, ConsoleLevel, ConsoleRecord, ConsoleSource, Event, PreviewEvent, PreviewFailure, PreviewFixed, PublishReason, Published};
pub use log::{Level, LogFeed, LogLine, Progress};
pub use notes::Notes;

/// Status changes kept for a listener that is slow; it reads the state anew when it fell behind.
const STATUS_BACKLOG: usize = 1024;
/// A project that nobody follows any more keeps its last events so long: who lost the connection comes back within seconds.
const IDLE_KEPT: Duration = Duration::from_mins(2);
/// Between two looks for projects that nobody follows any more.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// All that can be watched.
#[derive(Debug)]
pub struct Events {
    logs: DashMap<BuildId, Arc<LogFeed>>,
    status: broadcast::Sender<ProjectId>,
    /// Projects that somebody follows, or did a moment ago.
    channels: DashMap<ProjectId, Arc<Channel>>,
    /// This run of the daemon: ids of an earlier one are known by it.
    life: u32,
    /// The last event's number, of all projects together: so a project whose events were let go never gives a number twice.
    last: AtomicU64,
    swept: Mutex<Clock>,
    /// Streams that are open, of all projects.
    listeners: Arc<AtomicUsize>,
    stopping: AtomicBool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            logs: DashMap::new(),
            status: broadcast::Sender::new(STATUS_BACKLOG),
            channels: DashMap::new(),
            life: rand::random(),
            last: AtomicU64::new(0),
            swept: Mutex::new(Clock::now()),
            listeners: Arc::default(),
            stopping: AtomicBool::new(false),
        }
    }
}

impl Events {
    /// The log of a build that begins: the first who asks for it, the build or a follower, makes it.
    pub fn open_log(&self, build: BuildId) -> Arc<LogFeed> {
        self.logs.entry(build).or_insert_with(|| Arc::new(LogFeed::new())).clone()
    }

    /// Ends the log of a build: its followers get the rest, newcomers read the file.
    pub fn close_log(&self, build: BuildId) {
        if let Some((_, feed)) = self.logs.remove(&build) {
            feed.end();
        }
    }

    /// The log of a build that runs.
    pub fn log(&self, build: BuildId) -> Option<Arc<LogFeed>> {
        self.logs.get(&build).map(|feed| feed.clone())
    }

    /// Says that a project's status is no longer what it was.
    pub fn status_changed(&self, project: &ProjectId) {
        // Nobody listening is the usual case.
        let _ = self.status.send(project.clone());
    }

    /// Hears of every status change from now on.
    pub fn statuses(&self) -> StatusChanges {
        StatusChanges(self.status.subscribe())
    }

    /// Whether somebody follows a project: what costs something to find out need not be found out for nobody.
    pub fn is_followed(&self, project: &ProjectId) -> bool {
        self.channels.contains_key(project)
    }

    /// Tells all who follow `project`. What the event says is in the state already, as far as the state has it: who
    /// comes after the event finds it there.
    pub fn publish(&self, project: &ProjectId, event: &Event) {
        let Some(channel) = self.channels.get(project).map(|channel| channel.clone()) else { return };
        channel.add(event, || self.last.fetch_add(1, Ordering::SeqCst) + 1);
    }

    /// Follows `project` from now on, or from after the event `last_id` where that is still known. Where it is not
    /// ([`Listener::is_fresh`]), the caller reads the state after this call and tells it first.
    pub fn follow(&self, project: &ProjectId, audience: Audience, last_id: Option<&str>) -> Listener {
        self.sweep();
        // The entry stays locked until the listener is counted, so that no sweep comes in between.
        let entry = self.channels.entry(project.clone());
        let channel = entry.or_insert_with(|| Arc::new(Channel::new(self.life, self.last.load(Ordering::SeqCst))));
        let listener = Channel::follow(&channel, audience, last_id, self.listeners.clone());
        drop(channel);
        // After it is in the list: a stop that does not see it there is seen here.
        if self.stopping.load(Ordering::SeqCst) {
            listener.close();
        }
        listener
    }

    /// Ends the streams of all who follow a project that was deleted.
    pub fn end(&self, project: &ProjectId) {
        if let Some((_, channel)) = self.channels.remove(project) {
            channel.close();
        }
    }

    /// How many streams are open.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Ends every stream, and those that are opened from now on: the daemon stops.
    pub fn end_all(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for channel in &self.channels {
            channel.close();
        }
    }

    /// Lets go of what nobody came back to.
    fn sweep(&self) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_EVERY {
                return;
            }
            *swept = Clock::now();
        }
        self.channels.retain(|_, channel| !channel.is_idle_for(IDLE_KEPT));
    }
}

/// Word of status changes.
#[derive(Debug)]
pub struct StatusChanges(broadcast::Receiver<ProjectId>);

impl StatusChanges {
    /// Waits until the status of `project` may have changed, at most until `deadline`. False where there was no word of it.
    pub async fn next_of(&mut self, project: &ProjectId, deadline: Instant) -> bool {
        loop {
            match timeout_at(deadline, self.0.recv()).await {
                Err(_) | Ok(Err(RecvError::Closed)) => return false,
                Ok(Ok(changed)) if changed != *project => {}
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => return true,
            }
        }
    }
}
