//! Log lines, and the log of a build that runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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
    pub(super) fn new() -> Self {
        Self { lines: Mutex::default(), progress: watch::Sender::new(Progress::default()) }
    }

    /// Adds a line. Its number, from 0.
    pub fn push(&self, line: LogLine) -> usize {
        let lines = {
            let mut all = self.lock();
            all.push(line);
            all.len()
        };
        self.progress.send_modify(|progress| progress.lines = lines);
        lines - 1
    }

    /// There will be no more.
    pub(super) fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
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
