//! Watches a worker or a script while it runs: what it says, and what it takes.
//!
//! 1. send the job  2. read messages and log lines, looking at time, memory, output and log in between  3. say how it went
//!
//! Invariant: limits go before lines, so that a flood of lines does not keep a build from its limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStderr;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::job::{Done, Job, Limits, MB, Run, Script};
use super::lines::Lines;
use super::log::BuildLog;
use super::messages::{ConfigClaim, FailureClaim, LayerClaim, Message, parse};
use super::session::Session;
use crate::domain::build::truncate;
use crate::domain::{Failure, FailureKind};
use crate::events::Level;
use crate::release::{OutputLimits, UNLISTED};
use crate::sandbox::{Ended, TASKS_MAX, WATCH_INTERVAL};

/// Warnings that a build's record keeps, and the longest of them, in characters.
const WARNINGS_MAX: usize = 10;
const WARNING_CHARS_MAX: usize = 500;
/// What V8 prints when its heap is full.
const HEAP_EXHAUSTED: &str = "heap out of memory";
/// What the shell and bubblewrap call the end by SIGKILL: the kernel's answer to too much memory.
const KILLED_CODE: i32 = 128 + 9;

/// A worker that has built before takes up its next job within this time, or is not asked any more.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// What a build printed is in the pipe when it says that it is done: longer than this nobody waits for it.
const PRINTED_WITHIN: Duration = Duration::from_millis(500);
/// The last line that a build prints; its id follows.
const END_OF_PRINTED: &str = "previewd:end ";
/// Modules that one build may want from the next edition, and the longest path of one.
const WANTS_MAX: usize = 2_000;
const WANT_BYTES_MAX: usize = 1_024;
/// Longest text that says what a configuration means for packages.
const VARIANT_BYTES_MAX: usize = 16 * 1024;

#[derive(Serialize)]
struct JobLine<'a> {
    job: String,
    work: &'a Path,
    root: &'a Path,
    out_dir: &'a Path,
    cache_dir: &'a Path,
    mode: &'a str,
    editions: &'a [PathBuf],
    plain: Option<&'a str>,
    changed: &'a [String],
    source_maps: &'a str,
    env: &'a BTreeMap<String, String>,
}

/// Where things are for the worker.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) work: PathBuf,
    pub(super) out: PathBuf,
    /// Where Vite may keep what it likes.
    pub(super) cache: PathBuf,
}

/// What ended the watching.
pub(super) enum Verdict {
    Done,
    Failed(FailureClaim),
    Refused(String),
    /// It cannot build this any more; another can.
    Stale,
    /// It was told, and did nothing.
    Stuck,
    /// It ended without a word.
    Silent,
    TimedOut,
    OutOfMemory,
    TooManyTasks,
    LogFlood,
    OutputFlood(Failure),
    Cancelled,
}

pub(super) struct Watch<'a> {
    job: &'a Job,
    /// What runs, if it is not Vite.
    script: Option<&'a Script>,
    shown: Shown,
    log: &'a BuildLog,
    limits: Limits,
    /// What the sources may grow to, where a build may write into them.
    sources: Option<OutputLimits>,
    config: Option<ConfigClaim>,
    layer: LayerClaim,
    wants: Vec<String>,
    warnings: Vec<String>,
    heap_exhausted: bool,
    /// The worker took the job up.
    taken: bool,
    /// All that the build printed was read.
    printed_all: bool,
}

impl<'a> Watch<'a> {
    /// Of the worker.
    pub(super) fn vite(job: &'a Job, log: &'a BuildLog, limits: Limits, shown: Shown) -> Self {
        Self {
            job,
            script: None,
            shown,
            log,
            limits,
            sources: None,
            config: None,
            layer: LayerClaim::default(),
            wants: Vec::new(),
            warnings: Vec::new(),
            heap_exhausted: false,
            taken: false,
            printed_all: false,
        }
    }

    /// Also over the sources, which the build may write into.
    pub(super) fn over_sources(self, limits: OutputLimits) -> Self {
        Self { sources: Some(limits), ..self }
    }

    /// Of a script.
    pub(super) fn script(job: &'a Job, log: &'a BuildLog, limits: Limits, script: &'a Script) -> Self {
        Self { script: Some(script), ..Self::vite(job, log, limits, Shown::default()) }
    }

    /// Steps 1 and 2.
    pub(super) async fn follow(&mut self, session: &mut Session, cancel: &CancellationToken) -> Verdict {
        if self.script.is_none() {
            // A worker that died already is noticed below.
            let _ = session.stdin.write_all(self.job_line().as_bytes()).await;
        }
        let verdict = self.until_verdict(session, cancel).await;
        if matches!(verdict, Verdict::Done | Verdict::Failed(_)) && self.script.is_none() {
            let rest = async {
                while !self.printed_all
                    && let Some(line) = session.err.next().await
                {
                    self.take_err(&line);
                }
            };
            let _ = timeout(PRINTED_WITHIN, rest).await;
        }
        verdict
    }

    /// The rest of what was printed, once nothing can print any more: the pipe holds little, and has an end.
    pub(super) async fn read_out(&mut self, mut printed: Lines<ChildStderr>) {
        while let Some(line) = printed.next().await {
            self.take_err(&line);
        }
    }

    async fn until_verdict(&mut self, session: &mut Session, cancel: &CancellationToken) -> Verdict {
        let Session { child, out, err, .. } = session;
        let deadline = sleep_until(Instant::now() + self.limits.time);
        let taken_by = sleep_until(Instant::now() + TAKEN_WITHIN);
        tokio::pin!(deadline, taken_by);
        let waits_for_start = session.jobs > 0;
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut out_open, mut err_open) = (true, true);
        // `biased`: limits go before a flood of lines.
        while out_open || err_open {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Verdict::Cancelled,
                () = &mut deadline => return Verdict::TimedOut,
                () = &mut taken_by, if waits_for_start && !self.taken => return Verdict::Stuck,
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
        let Shown { work, out, cache } = &self.shown;
        let root = work.join(&self.job.app);
        let source_maps = if self.job.public_maps { "linked" } else { "hidden" };
        let line = JobLine {
            job: self.job.build.to_string(),
            work,
            root: &root,
            out_dir: out,
            cache_dir: cache,
            mode: "production",
            editions: &self.job.editions,
            plain: self.job.plain.as_deref(),
            changed: &self.job.changed,
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
            Some(Message::Took {}) => self.taken = true,
            Some(Message::Stale {}) => return Some(Verdict::Stale),
            Some(Message::Layer(claim)) if claim.variant.as_ref().is_none_or(|variant| variant.len() <= VARIANT_BYTES_MAX) => self.layer = claim,
            Some(Message::Layer(_) | Message::Ready { .. } | Message::Refused { .. } | Message::Warmed {}) => {}
            Some(Message::Wants { files }) => {
                let room = WANTS_MAX.saturating_sub(self.wants.len());
                self.wants.extend(files.into_iter().filter(|file| file.len() <= WANT_BYTES_MAX).take(room));
            }
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
        if line.strip_prefix(END_OF_PRINTED).is_some_and(|build| build == self.job.build.to_string()) {
            self.printed_all = true;
            return;
        }
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

    /// Step 3; `ended` is how the process ended, if it did.
    pub(super) fn conclude(self, verdict: Verdict, ended: Option<Ended>) -> Run {
        let ended = ended.unwrap_or(Ended { code: None, confirmed: true, out_of_memory: None });
        let code = ended.code;
        let failed = |kind, message: String| Run::Failed { failure: Failure::new(kind, message), claim: None };
        match verdict {
            Verdict::Done => Run::Done(Box::new(Done {
                spa: self.config.as_ref().is_some_and(|config| config.spa),
                warnings: self.warnings,
                layer: self.layer,
                wants: self.wants,
                wish: None,
            })),
            Verdict::Stale | Verdict::Stuck => Run::Useless,
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
            Verdict::Silent if self.script.is_some() && code == Some(0) => Run::Done(Box::default()),
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
