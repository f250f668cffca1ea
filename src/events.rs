//! What happens, as it happens: builds' log lines, and word that a project's status changed.
//!
//! Invariant: this is for watching only. Nothing relies on an event having arrived; whoever misses one
//! reads the state, which is the truth.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout_at};

use crate::domain::{BuildId, ProjectId};

/// Status changes kept for a listener that is slow; it reads the state anew when it fell behind.
const STATUS_BACKLOG: usize = 1024;

/// How serious a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What goes on.
    Info,
    /// May matter at run time.
    Warn,
    /// Why it failed.
    Error,
}

impl Level {
    /// The name, as in JSON and in log files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// When.
    pub time: Timestamp,
    /// How serious.
    pub level: Level,
    /// One line, without control characters.
    pub message: String,
}

impl std::fmt::Display for LogLine {
    /// As it stands in the file: `2026-11-20T15:04:05.678Z info  message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} {:<5} {}", self.time, self.level.as_str(), self.message)
    }
}

/// The log of a build that runs: all its lines, and a signal when there are more.
#[derive(Debug)]
pub struct LogFeed {
    lines: Mutex<Vec<LogLine>>,
    progress: watch::Sender<Progress>,
}

/// How far a log has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Lines so far.
    pub lines: usize,
    /// There will be no more.
    pub ended: bool,
}

impl LogFeed {
    fn new() -> Self {
        Self { lines: Mutex::default(), progress: watch::Sender::new(Progress::default()) }
    }

    /// Adds a line; its time to the millisecond, as the file has it, so that a log reads the same live and afterwards.
    pub fn push(&self, mut line: LogLine) {
        line.time = Timestamp::from_millisecond(line.time.as_millisecond()).unwrap_or(line.time);
        let lines = {
            let mut all = self.lock();
            all.push(line);
            all.len()
        };
        self.progress.send_modify(|progress| progress.lines = lines);
    }

    /// The lines from number `from` on.
    pub fn since(&self, from: usize) -> Vec<LogLine> {
        self.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// Tells of more lines and of the end.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LogLine>> {
        // A push cannot leave the list half-written, so a poisoned lock is still good.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that can be watched.
#[derive(Debug)]
pub struct Events {
    logs: DashMap<BuildId, Arc<LogFeed>>,
    status: broadcast::Sender<ProjectId>,
}

impl Default for Events {
    fn default() -> Self {
        Self { logs: DashMap::new(), status: broadcast::Sender::new(STATUS_BACKLOG) }
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
            feed.progress.send_modify(|progress| progress.ended = true);
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
