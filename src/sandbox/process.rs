//! A running child, and how it ends: whole, and confirmed.
//!
//! Invariant: when [`Child::end`] has returned, no process of the child's tree is left that could
//! still write to its output.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::cgroup::Group;
use super::pause::{count_besides, pause_tree, resume_tree};
use super::usage::{Usage, tree_usage, written_bytes};

/// Marks every process of a plain child's tree in its environment.
pub(super) const JOB_VARIABLE: &str = "PREVIEWD_JOB";
/// How long a killed tree may take to be gone before it is reported as stuck.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at the process table.
const CONFIRM_POLL: Duration = Duration::from_millis(5);
/// How long bubblewrap may take to tell its child's process id.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` where a signal (ours, mostly) ended it.
    pub code: Option<i32>,
    /// Whether the whole tree is known to be gone; false only where the kernel did not let it go in time.
    pub confirmed: bool,
    /// Whether the kernel ended it for its memory; `None` where no cgroup could tell.
    pub out_of_memory: Option<bool>,
}

#[derive(Debug)]
enum Tree {
    /// A process-id namespace: when its first process is gone, so are all others.
    Namespace { status: Option<OwnedFd>, init: Init },
    /// A process group, and a mark in the environment for those that left it.
    Marked { job: String },
}

/// The first process of a namespace.
#[derive(Debug)]
enum Init {
    /// bubblewrap has not been asked yet, or ended before it started anything.
    None,
    Process(Arc<OwnedFd>),
    /// bubblewrap did not tell in time: there may be one.
    Unknown,
}

/// A child that was started. Dropping it kills it without confirmation: always [`end`](Self::end) it.
#[derive(Debug)]
pub struct Child {
    inner: tokio::process::Child,
    tree: Tree,
    /// Its control group, where there are such.
    group: Option<Group>,
    /// Only held.
    _counted: Option<TaskTrackerToken>,
}

impl Child {
    /// In a process-id namespace.
    pub(super) fn namespaced(inner: tokio::process::Child, status: OwnedFd, group: Option<Group>) -> Self {
        Self { inner, tree: Tree::Namespace { status: Some(status), init: Init::None }, group, _counted: None }
    }

    pub(super) fn plain(inner: tokio::process::Child, job: String) -> Self {
        Self { inner, tree: Tree::Marked { job }, group: None, _counted: None }
    }

    /// Holds `token` until the child is gone.
    pub(super) fn counted(self, token: TaskTrackerToken) -> Self {
        Self { _counted: Some(token), ..self }
    }

    /// The child's standard input, once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.inner.stdin.take()
    }

    /// The child's standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// The child's standard error, once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.inner.stderr.take()
    }

    /// What the tree takes, counted up to a few more than `tasks_max` tasks; nothing once it has ended.
    pub async fn usage(&self, tasks_max: u64) -> Usage {
        let Some(root) = self.inner.id() else { return Usage::default() };
        tokio::task::spawn_blocking(move || tree_usage(root, tasks_max)).await.unwrap_or_default()
    }

    /// Bytes that the tree's processes that are left have written; 0 once it has ended.
    pub async fn written_bytes(&self) -> u64 {
        let Some(root) = self.inner.id() else { return 0 };
        tokio::task::spawn_blocking(move || written_bytes(root)).await.unwrap_or(0)
    }

    /// Stops every process of the tree where it is, until [`Self::resume`]; false where one of them could not be stopped in time. What
    /// stands still writes nothing and takes no processor.
    pub async fn pause(&self) -> bool {
        let Some((root, own)) = self.root() else { return false };
        tokio::task::spawn_blocking(move || pause_tree(root, own)).await.unwrap_or(false)
    }

    /// Lets a paused tree go on.
    pub async fn resume(&self) {
        let Some((root, own)) = self.root() else { return };
        let _ = tokio::task::spawn_blocking(move || resume_tree(root, own)).await;
    }

    /// How many processes the tree has, besides the program itself and those that are called one of `known`.
    pub async fn others(&self, known: &'static [&'static str]) -> usize {
        let Some((root, own)) = self.root() else { return 0 };
        // In a namespace, its first process and the program; else the program.
        let expected = if own { 1 } else { 2 };
        let all = tokio::task::spawn_blocking(move || count_besides(root, own, known)).await.unwrap_or(usize::MAX);
        all.saturating_sub(expected)
    }

    /// The process that we started, and whether it belongs to the tree: bubblewrap has to go on waiting for its child's end.
    fn root(&self) -> Option<(u32, bool)> {
        Some((self.inner.id()?, matches!(self.tree, Tree::Marked { .. })))
    }

    /// Whether its first process still runs. An error means that it was waited for already.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.inner.try_wait(), Ok(None))
    }

    /// Waits until the child's first process has ended by itself; the tree may still live.
    pub async fn exited(&mut self) {
        self.find_init().await;
        // An error means that it was waited for already: ended.
        let _ = self.inner.wait().await;
    }

    /// Ends the whole tree, if it has not ended by itself, and waits until it is gone.
    pub async fn end(mut self) -> Ended {
        self.find_init().await;
        // A code from before we killed anything is the child's own.
        let begun = Instant::now();
        let own = self.inner.try_wait().ok().flatten().and_then(|status| status.code());
        let out_of_memory = self.group.as_ref().and_then(Group::was_out_of_memory);
        self.kill();
        let waited = timeout(CONFIRM_DEADLINE, self.inner.wait()).await;
        let code = own.or_else(|| waited.as_ref().ok()?.as_ref().ok()?.code());
        let confirmed = waited.is_ok() && self.confirm_gone().await;
        if !confirmed {
            tracing::error!("a killed process tree is still there after {CONFIRM_DEADLINE:?}");
        }
        tracing::debug!(took_us = begun.elapsed().as_micros(), confirmed, "a process tree is gone");
        Ended { code, confirmed, out_of_memory }
    }

    fn kill(&mut self) {
        match &self.tree {
            Tree::Namespace { init: Init::Process(init), .. } => {
                // bubblewrap itself ends by itself once its child has, and reports it.
                if pidfd_send_signal(init, Signal::KILL).is_err() {
                    let _ = self.inner.start_kill();
                }
            }
            Tree::Namespace { .. } => drop(self.inner.start_kill()),
            Tree::Marked { .. } => {
                if let Some(pid) = self.inner.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                let _ = self.inner.start_kill();
            }
        }
        // bubblewrap itself is in it too. Where the first process ends by our signal, it still reports that.
        if let Some(group) = self.group.as_ref().filter(|_| !matches!(self.tree, Tree::Namespace { init: Init::Process(_), .. })) {
            group.kill();
        }
    }

    async fn confirm_gone(&self) -> bool {
        let gone = match &self.tree {
            Tree::Namespace { init: Init::Process(init), .. } => is_gone(init.clone()).await,
            Tree::Namespace { init: Init::None, .. } => true,
            Tree::Namespace { init: Init::Unknown, .. } => self.group.is_some(),
            Tree::Marked { job } => kill_marked(job).await,
        };
        match &self.group {
            Some(group) => is_empty(group).await && gone,
            None => gone,
        }
    }

    /// Takes a handle to the namespace's first process as soon as bubblewrap tells its id.
    async fn find_init(&mut self) {
        let Tree::Namespace { status, init } = &mut self.tree else { return };
        let Some(status) = status.take() else { return };
        *init = match timeout(STATUS_DEADLINE, read_child_pid(status)).await {
            // An error here means that it has ended.
            Ok(Ok(pid)) => pidfd_open(pid, PidfdFlags::empty()).map_or(Init::None, |init| Init::Process(Arc::new(init))),
            Ok(Err(_)) => Init::None,
            Err(_) => Init::Unknown,
        };
    }
}

async fn read_child_pid(status: OwnedFd) -> io::Result<Pid> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(rename = "child-pid")]
        child_pid: i32,
    }
    let mut line = String::new();
    BufReader::new(pipe::Receiver::from_owned_fd(status)?).read_line(&mut line).await?;
    let line: Line = serde_json::from_str(&line)?;
    Pid::from_raw(line.child_pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits until a control group is empty; what is left in it after the first process's end is killed.
async fn is_empty(group: &Group) -> bool {
    let deadline = Instant::now() + CONFIRM_DEADLINE;
    while !group.is_empty() {
        if Instant::now() > deadline {
            return false;
        }
        group.kill();
        sleep(CONFIRM_POLL).await;
    }
    true
}

/// Waits until a process is gone: its handle can be read then.
async fn is_gone(process: Arc<OwnedFd>) -> bool {
    let wait = move || {
        let deadline = Timespec { tv_sec: CONFIRM_DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&*process, PollFlags::IN)], Some(&deadline)).is_ok_and(|ready| ready > 0)
    };
    tokio::task::spawn_blocking(wait).await.unwrap_or(false)
}

/// Kills whatever carries the mark until nothing does.
async fn kill_marked(job: &str) -> bool {
    let deadline = Instant::now() + CONFIRM_DEADLINE;
    let mark = format!("{JOB_VARIABLE}={job}").into_bytes();
    loop {
        let mark = mark.clone();
        let left = tokio::task::spawn_blocking(move || marked(&mark)).await.unwrap_or_default();
        if left.is_empty() {
            return true;
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(CONFIRM_POLL).await;
    }
}

fn marked(mark: &[u8]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    })
    .filter_map(Pid::from_raw)
    .collect()
}
