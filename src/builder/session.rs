//! A worker process that builds one project, again and again, and stands still in between.
//!
//! Invariant: between two jobs none of its processes runs: what is in its output does not change while it is looked through.

use std::path::PathBuf;
use std::time::Instant;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use super::lines::Lines;
use crate::sandbox::{Child, Ended, Usage};

/// Processes that a bundler keeps for its next job.
const SERVICES: &[&str] = &["esbuild"];

/// A running worker, with its pipes.
pub(super) struct Session {
    pub(super) child: Child,
    pub(super) stdin: ChildStdin,
    pub(super) out: Lines<ChildStdout>,
    pub(super) err: Lines<ChildStderr>,
    /// Folders for Vite's bundled configuration that were mounted when it was started.
    pub(super) vite_temp: Vec<PathBuf>,
    /// Since when.
    pub(super) born: Instant,
    /// What builds need is loaded.
    pub(super) warmed: bool,
    /// It stands still.
    paused: bool,
    /// Jobs behind it.
    pub(super) jobs: u32,
    /// Bytes that it took when it was last looked at.
    pub(super) bytes: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("child", &self.child).field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl Session {
    /// Takes over a child that was just started; `None` where its pipes are gone.
    pub(super) fn new(mut child: Child, vite_temp: Vec<PathBuf>) -> Option<Self> {
        let (stdin, stdout, stderr) = (child.take_stdin()?, child.take_stdout()?, child.take_stderr()?);
        Some(Self {
            child,
            stdin,
            out: Lines::new(stdout),
            err: Lines::new(stderr),
            vite_temp,
            born: Instant::now(),
            warmed: false,
            paused: false,
            jobs: 0,
            bytes: 0,
        })
    }

    /// Has it stand still; false where it does not, or where a build has left processes behind: the next one would make more of them.
    pub(super) async fn pause(&mut self, tasks_max: u64) -> bool {
        let stands_still = self.child.is_alive() && self.child.pause().await;
        let (others, Usage { bytes, .. }) = tokio::join!(self.child.others(SERVICES), self.child.usage(tasks_max));
        self.bytes = bytes;
        self.paused = stands_still && others == 0;
        self.paused
    }

    /// Whether it has built before, or was made ready to.
    pub(super) fn waited(&self) -> bool {
        self.jobs > 0 || self.warmed
    }

    /// Lets it go on, if it stands still.
    pub(super) async fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.child.resume().await;
        }
    }

    /// Ends it. What it printed and nobody has read is left in the pipe that is given back.
    pub(super) async fn end(self) -> (Ended, Lines<ChildStderr>) {
        let Self { child, stdin, err, .. } = self;
        let ended = child.end().await;
        drop(stdin);
        (ended, err)
    }
}
