//! Watches a worker or a script while it runs: what it says, and what it takes.
//!
//! 1. send the job  2. read messages and log lines, looking at time, memory, output and log in between  3. say how it went
//!
//! Invariant: limits go before lines, so that a flood of lines does not keep a build from its limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::job::{Job, Limits, MB, Run, Script};
use super::lines::Lines;
use super::log::BuildLog;
use super::messages::{ConfigClaim, FailureClaim, Message, parse};
use crate::domain::build::truncate;
use crate::domain::{Failure, FailureKind};
use crate::events::Level;
use crate::release::{OutputLimits, UNLISTED};
use crate::sandbox::{Child, Ended, TASKS_MAX, WATCH_INTERVAL};

/// Warnings that a build's record keeps, and the longest of them, in characters.
const WARNINGS_MAX: usize = 10;
const WARNING_CHARS_MAX: usize = 500;
/// What V8 prints when its heap is full.
const HEAP_EXHAUSTED: &str = "heap out of memory";
/// What the shell and bubblewrap call the end by SIGKILL: the kernel's answer to too much memory.
const KILLED_CODE: i32 = 128 + 9;

#[derive(Serialize)]
struct JobLine<'a> {
    job: String,
    root: &'a Path,
    out_dir: &'a Path,
    cache_dir: &'a Path,
    mode: &'a str,
    source_maps: &'a str,
    env: &'a BTreeMap<String, String>,
}

/// What ended the watching.
pub(super) enum Verdict {
    Done,
    Failed(FailureClaim),
    Refused(String),
    /// It ended without a word.
    Silent,
    TimedOut,
    OutOfMemory,
    TooManyTasks,
    LogFlood,
    OutputFlood(Failure),
    Cancelled,
}

/// A child's standard error, line by line.
pub(super) type Printed = Lines<ChildStderr>;

pub(super) struct Watch<'a> {
    job: &'a Job,
    /// What runs, if it is not Vite.
    script: Option<&'a Script>,
    /// Where Vite may keep what it likes.
    cache: PathBuf,
    log: &'a BuildLog,
    limits: Limits,
    /// What the sources may grow to, where a build may write into them.
    sources: Option<OutputLimits>,
    config: Option<ConfigClaim>,
    warnings: Vec<String>,
    heap_exhausted: bool,
}

impl<'a> Watch<'a> {
    /// Of the worker; `cache` is where Vite may keep what it likes.
    pub(super) fn vite(job: &'a Job, log: &'a BuildLog, limits: Limits, cache: PathBuf) -> Self {
        Self { job, script: None, cache, log, limits, sources: None, config: None, warnings: Vec::new(), heap_exhausted: false }
    }

    /// Also over the sources, which the build may write into.
    pub(super) fn over_sources(self, limits: OutputLimits) -> Self {
        Self { sources: Some(limits), ..self }
    }

    /// Of a script.
    pub(super) fn script(job: &'a Job, log: &'a BuildLog, limits: Limits, script: &'a Script) -> Self {
        Self { script: Some(script), ..Self::vite(job, log, limits, PathBuf::new()) }
    }

    /// Steps 1 and 2. Also what was printed and not read yet: [`Self::read_out`] takes it once the child is gone.
    pub(super) async fn follow(&mut self, child: &mut Child, cancel: &CancellationToken) -> (Verdict, Option<Printed>) {
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.take_stdin(), child.take_stdout(), child.take_stderr()) else {
            return (Verdict::Silent, None);
        };
        if self.script.is_none() {
            // A worker that died already is noticed below.
            let _ = stdin.write_all(self.job_line().as_bytes()).await;
        }
        let mut printed = Lines::new(stderr);
        let verdict = self.until_verdict(child, Lines::new(stdout), &mut printed, cancel).await;
        // Standard input stays open until here: some tools take its end for theirs.
        drop(stdin);
        (verdict, Some(printed))
    }

    /// The rest of what was printed, once nothing can print any more: the pipe holds little, and has an end.
    pub(super) async fn read_out(&mut self, mut printed: Printed) {
        while let Some(line) = printed.next().await {
            self.take_err(&line);
        }
    }

    async fn until_verdict(&mut self, child: &mut Child, mut out: Lines<ChildStdout>, err: &mut Printed, cancel: &CancellationToken) -> Verdict {
        let deadline = sleep_until(Instant::now() + self.limits.time);
        tokio::pin!(deadline);
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut out_open, mut err_open) = (true, true);
        // `biased`: limits go before a flood of lines.
        while out_open || err_open {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Verdict::Cancelled,
                () = &mut deadline => return Verdict::TimedOut,
                _ = watch.tick() => {
                    let usage = child.usage(TASKS_MAX).await;
                    if usage.tasks > TASKS_MAX {
                        return Verdict::TooManyTasks;
                    }
                    if usage.bytes > u64::from(self.limits.memory_mb) * MB {
                        return Verdict::OutOfMemory;
                    }
                    self.log.count_dropped(out.take_dropped() + err.take_dropped());
                    if self.log.is_flooded() {
                        return Verdict::LogFlood;
                    }
                    if let Some(failure) = self.output_flood().await {
                        return Verdict::OutputFlood(failure);
                    }
                }
                line = out.next(), if out_open => match line {
                    Some(line) => if let Some(verdict) = self.take_out(&line) { return verdict },
                    None => out_open = false,
                },
                line = err.next(), if err_open => match line {
                    Some(line) => self.take_err(&line),
                    None => err_open = false,
                },
            }
        }
        Verdict::Silent
    }

    fn job_line(&self) -> String {
        let root = self.job.work.join(&self.job.app);
        let source_maps = if self.job.public_maps { "linked" } else { "hidden" };
        let line = JobLine {
            job: self.job.build.to_string(),
            root: &root,
            out_dir: &self.job.out,
            cache_dir: &self.cache,
            mode: "production",
            source_maps,
            env: &self.job.env,
        };
        // Paths below a data directory that is not UTF-8 cannot be told to Node either.
        serde_json::to_string(&line).map(|line| line + "\n").unwrap_or_default()
    }

    fn take_out(&mut self, line: &str) -> Option<Verdict> {
        // A script has nothing to claim.
        match parse(line).filter(|_| self.script.is_none()) {
            // Where the build may write, what it could not is another fault, and its own to report.
            Some(Message::Refused { path }) if !self.job.writable => return Some(Verdict::Refused(truncate(path, WARNING_CHARS_MAX))),
            Some(Message::Ready { .. } | Message::Refused { .. }) => {}
            // Once: a build has one, whoever says another.
            Some(Message::Config(_)) if self.config.is_some() => {}
            Some(Message::Config(config)) => {
                self.log.info(format!(
                    "vite {} ({}) builds {}",
                    config.vite,
                    config.bundler,
                    if self.job.app.is_empty() { "." } else { &self.job.app }
                ));
                self.config = Some(config);
            }
            Some(Message::Log { level, message }) => {
                self.log.add(level, &message);
                if level == Level::Warn && self.warnings.len() < WARNINGS_MAX {
                    self.warnings.push(truncate(message, WARNING_CHARS_MAX));
                }
            }
            Some(Message::Done { modules, .. }) => {
                self.log.info(format!("{modules} modules bundled"));
                return Some(Verdict::Done);
            }
            Some(Message::Failure(claim)) => return Some(Verdict::Failed(claim)),
            None => self.log.info(line),
        }
        None
    }

    fn take_err(&mut self, line: &str) {
        self.heap_exhausted |= line.contains(HEAP_EXHAUSTED);
        self.log.add(Level::Info, line);
    }

    /// Counts the output while it is written: the scan at the end would come after the disk is full.
    pub(super) async fn output_flood(&self) -> Option<Failure> {
        let folder = if self.script.is_some() { &self.job.work } else { &self.job.out };
        let mut folders = vec![(folder.clone(), self.limits.output)];
        folders.extend(self.sources.map(|limits| (self.job.work.clone(), limits)));
        let flood =
            move || folders.iter().find_map(|(folder, limits)| tally(folder, |entries, bytes, depth| limits.exceeded(entries, bytes, depth)).err());
        tokio::task::spawn_blocking(flood).await.ok()?.map(|what| Failure::new(FailureKind::Output, what))
    }

    fn out_of_memory(&self) -> Run {
        let message = format!("the build needed more than {} MB, the limit build.memory_mb", self.limits.memory_mb);
        Run::Failed { failure: Failure::new(FailureKind::Memory, message), claim: None }
    }

    pub(super) fn conclude(self, verdict: Verdict, ended: Ended) -> Run {
        let code = ended.code;
        let failed = |kind, message: String| Run::Failed { failure: Failure::new(kind, message), claim: None };
        match verdict {
            Verdict::Done => Run::Done { spa: self.config.as_ref().is_some_and(|config| config.spa), warnings: self.warnings },
            Verdict::Refused(path) => Run::Refused(path),
            Verdict::Cancelled => Run::Cancelled,
            Verdict::TimedOut => {
                let seconds = self.limits.time.as_secs();
                failed(FailureKind::Timeout, format!("the build took longer than {seconds} s, the limit build.timeout_s"))
            }
            // Also of one that saw a child of its own die of it, and reports that.
            Verdict::Failed(_) | Verdict::Silent if ended.out_of_memory == Some(true) => self.out_of_memory(),
            Verdict::Failed(claim) => Run::Failed { failure: claim.clone().into_failure(&self.job.app), claim: Some(Box::new(claim)) },
            Verdict::OutOfMemory => self.out_of_memory(),
            Verdict::TooManyTasks => {
                failed(FailureKind::Compile, format!("the build had more than {TASKS_MAX} processes and threads at once and was stopped"))
            }
            Verdict::LogFlood => failed(FailureKind::Output, "the build wrote far more than build.log_kb to its log and was stopped".into()),
            Verdict::OutputFlood(failure) => Run::Failed { failure, claim: None },
            Verdict::Silent if self.heap_exhausted || (code == Some(KILLED_CODE) && ended.out_of_memory.is_none()) => self.out_of_memory(),
            Verdict::Silent if self.script.is_some() && code == Some(0) => Run::Done { spa: false, warnings: Vec::new() },
            Verdict::Silent => {
                let how = code.map_or("was killed".to_owned(), |code| format!("ended with exit code {code}"));
                if let Some(script) = self.script {
                    return failed(FailureKind::Config, format!("the script \"{}\" of package.json {how}; the log has what it printed", script.name));
                }
                let kind = if self.config.is_none() { FailureKind::Config } else { FailureKind::Compile };
                failed(kind, format!("the build {how} without saying why; its log may tell"))
            }
        }
    }
}

/// Entries and bytes below `folder`, or what `exceeded` says of them; it is not looked at beyond that. Blocking.
pub(super) fn tally(folder: &Path, exceeded: impl Fn(u64, u64, usize) -> Option<String>) -> Result<(u64, u64), String> {
    let (mut entries, mut bytes) = (0, 0);
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let found = match std::fs::read_dir(&folder) {
            // What cannot be counted could be filled without an end.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Err(UNLISTED.into()),
            found => found.into_iter().flatten().flatten(),
        };
        for entry in found {
            let Ok(metadata) = entry.metadata() else { continue };
            entries += 1;
            if metadata.is_dir() {
                folders.push((entry.path(), depth + 1));
            } else {
                bytes += metadata.len();
            }
            if let Some(what) = exceeded(entries, bytes, depth) {
                return Err(what);
            }
        }
    }
    Ok((entries, bytes))
}
