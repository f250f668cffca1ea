//! Runs the Vite worker once for one build, and the scripts that come before it, within their limits.
//!
//! 1. start it in the sandbox  2. send the job  3. read messages and log lines, watching time, memory, log and output
//! 4. end its process tree and confirm that it is gone  5. say how it went
//!
//! Invariant: when [`Worker::run`] or [`Worker::run_script`] returns, nothing of the build runs any more.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::generate::search_path;
use super::log::BuildLog;
use super::messages::{ConfigClaim, FailureClaim, MESSAGE_BYTES_MAX, Message, parse};
use crate::config::SandboxMode;
use crate::disk::{blocking, remove_tree};
use crate::domain::build::truncate;
use crate::domain::{BuildId, DataDir, Failure, FailureKind};
use crate::events::Level;
use crate::release::OutputLimits;
use crate::sandbox::{Child, Confinement, Door, Mounts, Spec, Tool, outside_usr};

/// The worker's files, written out at start for the sandbox to read.
const SCRIPTS: &[(&str, &str)] = &[("worker.mjs", include_str!("worker.mjs")), ("worker-diagnostics.mjs", include_str!("worker-diagnostics.mjs"))];
/// Minimal account files: some packages look up the current user.
const ETC: &[(&str, &str)] = &[
    ("passwd", "root:x:0:0:root:/tmp:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n"),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];
/// Vite's cache, in the sandbox's private `/tmp`; elsewhere beside the output, where a start cleans up too.
const PRIVATE_CACHE: &str = "/tmp/vite";
const CACHE_EXTENSION: &str = "cache";
/// How often memory, output and log are looked at while a build runs.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
const MB: u64 = 1024 * 1024;
/// Bytes of the tmpfs for Vite's bundled configuration.
const VITE_TEMP_BYTES: u64 = 16 * MB;
/// Warnings that a build's record keeps, and the longest of them, in characters.
const WARNINGS_MAX: usize = 10;
const WARNING_CHARS_MAX: usize = 500;
/// What V8 prints when its heap is full.
const HEAP_EXHAUSTED: &str = "heap out of memory";
/// What the shell and bubblewrap call the end by SIGKILL: the kernel's answer to too much memory.
const KILLED_CODE: i32 = 128 + 9;

/// Limits of one build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    pub(super) memory_mb: u32,
    pub(super) output: OutputLimits,
}

/// What is to be built.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) build: BuildId,
    /// The project's sources.
    pub(super) work: PathBuf,
    /// The app's folder in them.
    pub(super) app: String,
    /// An empty folder.
    pub(super) out: PathBuf,
    /// Folders where Vite writes its bundled configuration.
    pub(super) vite_temp: Vec<PathBuf>,
}

/// A script of the app's `package.json` that the project wants to have run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) command: String,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Run {
    Done { spa: bool, warnings: Vec<String> },
    Failed { failure: Failure, claim: Option<Box<FailureClaim>> },
    Cancelled,
}

/// Starts workers.
#[derive(Debug)]
pub(super) struct Worker {
    door: Arc<Door>,
    data: Arc<DataDir>,
    node: Result<Tool, String>,
    limits: Limits,
}

#[derive(Serialize)]
struct JobLine<'a> {
    job: String,
    root: &'a Path,
    out_dir: &'a Path,
    cache_dir: &'a Path,
    mode: &'a str,
}

impl Worker {
    pub(super) fn new(door: Arc<Door>, data: Arc<DataDir>, node: Result<Tool, String>, limits: Limits) -> Self {
        Self { door, data, node, limits }
    }

    /// Why no worker could run here, if so: nothing that trying again would change.
    pub(super) fn missing(&self) -> Option<String> {
        let node = self.node.as_ref().err().map(|why| format!("Node.js is needed for builds: {why}"));
        node.or_else(|| self.door.verdict().err().map(|why| format!("builds are refused: {why}")))
    }

    pub(super) async fn run(&self, job: &Job, log: &BuildLog, cancel: &CancellationToken) -> anyhow::Result<Run> {
        let node = self.node()?;
        // Without a sandbox all builds see the same `/tmp`.
        let own = (self.door.mode() == SandboxMode::Off).then(|| job.out.with_extension(CACHE_EXTENSION));
        let cache = own.clone().unwrap_or_else(|| PRIVATE_CACHE.into());
        let run = self.follow(self.spec(node, job), Watch { cache, ..Watch::new(job, log, self.limits) }, cancel).await;
        if let Some(cache) = own
            && let Err(error) = blocking(move || remove_tree(&cache)).await
        {
            tracing::warn!(build = %job.build, %error, "a build's cache could not be removed");
        }
        run
    }

    /// Runs a script in the app's folder. The sources are writable for it; what it writes counts like output.
    pub(super) async fn run_script(&self, job: &Job, script: &Script, log: &BuildLog, cancel: &CancellationToken) -> anyhow::Result<Run> {
        let node = self.node()?;
        let (work, limits) = (job.work.clone(), self.limits);
        let before = tokio::task::spawn_blocking(move || tally(&work, |_, _, _| None)).await?.unwrap_or_default();
        let output = OutputLimits { files: limits.output.files + before.0, bytes: limits.output.bytes + before.1 };
        let mut spec = self.spec(node, job);
        spec.program = "/usr/bin/sh".into();
        spec.args = vec!["-c".into(), OsString::from(&script.command)];
        spec.env.retain(|(name, _)| name != "PATH");
        spec.env.push(("PATH".into(), search_path(job, &node.path)));
        let mounts = Mounts {
            read_only: [vec![self.data.layers(), self.data.shared_store()], outside_usr(&node.path).map(Path::to_owned).into_iter().collect()]
                .concat(),
            writable: vec![job.work.clone()],
            tmpfs: Vec::new(),
        };
        spec.confinement = Confinement::Sandbox(mounts);
        let watch = Watch { script: Some(script), ..Watch::new(job, log, Limits { output, ..limits }) };
        self.follow(spec, watch, cancel).await
    }

    fn node(&self) -> anyhow::Result<&Tool> {
        self.node.as_ref().map_err(|why| anyhow::anyhow!("Node.js is needed for builds: {why}"))
    }

    async fn follow(&self, spec: Spec, mut watch: Watch<'_>, cancel: &CancellationToken) -> anyhow::Result<Run> {
        let mut child = self.door.spawn(spec).await?;
        let verdict = watch.follow(&mut child, cancel).await;
        let ended = child.end().await;
        anyhow::ensure!(ended.confirmed, "the build's processes could not be ended");
        Ok(watch.conclude(verdict, ended.code))
    }

    fn spec(&self, node: &Tool, job: &Job) -> Spec {
        let mounts = Mounts {
            read_only: vec![job.work.clone(), self.data.layers(), self.data.shared_store(), self.data.runtime()],
            writable: vec![job.out.clone()],
            tmpfs: job.vite_temp.iter().map(|path| (path.clone(), VITE_TEMP_BYTES)).collect(),
        };
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("NODE_ENV", "production"), ("NO_COLOR", "1"), ("CI", "1")];
        Spec {
            program: node.path.clone(),
            args: vec![OsString::from(format!("--max-old-space-size={}", self.limits.memory_mb)), self.data.runtime().join("worker.mjs").into()],
            cwd: job.work.join(&job.app),
            env: env.map(|(name, value)| (name.into(), value.into())).to_vec(),
            confinement: Confinement::Sandbox(mounts),
        }
    }
}

/// Writes out what the sandbox shows of ours: the worker's scripts, and an `/etc`. Blocking, at start only.
pub fn write_runtime(data: &DataDir) -> std::io::Result<()> {
    let folders = [(data.runtime(), SCRIPTS), (data.sandbox_etc(), ETC)];
    for (folder, files) in folders {
        std::fs::create_dir_all(&folder)?;
        for (name, text) in files {
            std::fs::write(folder.join(name), text)?;
        }
    }
    Ok(())
}

/// What ended the watching.
enum Verdict {
    Done,
    Failed(FailureClaim),
    /// It ended without a word.
    Silent,
    TimedOut,
    OutOfMemory,
    LogFlood,
    OutputFlood(Failure),
    Cancelled,
}

struct Watch<'a> {
    job: &'a Job,
    /// What runs, if it is not Vite.
    script: Option<&'a Script>,
    /// Where Vite may keep what it likes.
    cache: PathBuf,
    log: &'a BuildLog,
    limits: Limits,
    config: Option<ConfigClaim>,
    warnings: Vec<String>,
    heap_exhausted: bool,
}

impl<'a> Watch<'a> {
    fn new(job: &'a Job, log: &'a BuildLog, limits: Limits) -> Self {
        Self { job, script: None, cache: PathBuf::new(), log, limits, config: None, warnings: Vec::new(), heap_exhausted: false }
    }

    async fn follow(&mut self, child: &mut Child, cancel: &CancellationToken) -> Verdict {
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.take_stdin(), child.take_stdout(), child.take_stderr()) else {
            return Verdict::Silent;
        };
        if self.script.is_none() {
            // A worker that died already is noticed below.
            let _ = stdin.write_all(self.job_line().as_bytes()).await;
        }
        let (mut out, mut err) = (Lines::new(stdout), Lines::new(stderr));
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
                    if child.memory_bytes().await > u64::from(self.limits.memory_mb) * MB {
                        return Verdict::OutOfMemory;
                    }
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
        let line = JobLine { job: self.job.build.to_string(), root: &root, out_dir: &self.job.out, cache_dir: &self.cache, mode: "production" };
        // Paths below a data directory that is not UTF-8 cannot be told to Node either.
        serde_json::to_string(&line).map(|line| line + "\n").unwrap_or_default()
    }

    fn take_out(&mut self, line: &str) -> Option<Verdict> {
        // A script has nothing to claim.
        match parse(line).filter(|_| self.script.is_none()) {
            Some(Message::Ready {}) => {}
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
            Some(Message::Done { modules }) => {
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
    async fn output_flood(&self) -> Option<Failure> {
        let folder = if self.script.is_some() { &self.job.work } else { &self.job.out };
        let (folder, limits) = (folder.clone(), self.limits.output);
        let flood =
            tokio::task::spawn_blocking(move || tally(&folder, |entries, bytes, depth| limits.exceeded(entries, bytes, depth)).err()).await.ok()?;
        flood.map(|what| Failure::new(FailureKind::Output, what))
    }

    fn out_of_memory(&self) -> Run {
        let message = format!("the build needed more than {} MB, the limit build.memory_mb", self.limits.memory_mb);
        Run::Failed { failure: Failure::new(FailureKind::Memory, message), claim: None }
    }

    fn conclude(self, verdict: Verdict, code: Option<i32>) -> Run {
        let failed = |kind, message: String| Run::Failed { failure: Failure::new(kind, message), claim: None };
        match verdict {
            Verdict::Done => Run::Done { spa: self.config.as_ref().is_some_and(|config| config.spa), warnings: self.warnings },
            Verdict::Failed(claim) => Run::Failed { failure: claim.clone().into_failure(&self.job.app), claim: Some(Box::new(claim)) },
            Verdict::Cancelled => Run::Cancelled,
            Verdict::TimedOut => {
                let seconds = self.limits.time.as_secs();
                failed(FailureKind::Timeout, format!("the build took longer than {seconds} s, the limit build.timeout_s"))
            }
            Verdict::OutOfMemory => self.out_of_memory(),
            Verdict::LogFlood => failed(FailureKind::Output, "the build wrote far more than build.log_kb to its log and was stopped".into()),
            Verdict::OutputFlood(failure) => Run::Failed { failure, claim: None },
            Verdict::Silent if self.heap_exhausted || code == Some(KILLED_CODE) => self.out_of_memory(),
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
fn tally(folder: &Path, exceeded: impl Fn(u64, u64, usize) -> Option<String>) -> Result<(u64, u64), String> {
    let (mut entries, mut bytes) = (0, 0);
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
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

/// Lines of a pipe, none longer than [`MESSAGE_BYTES_MAX`]; the rest of a longer one is dropped.
struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(pipe: R) -> Self {
        Self { reader: BufReader::new(pipe), buffer: Vec::new() }
    }

    /// Safe to drop half-way: what was read so far stays in the buffer.
    async fn next(&mut self) -> Option<String> {
        loop {
            let room = (MESSAGE_BYTES_MAX + 1).saturating_sub(self.buffer.len());
            // Over-long: read on in small pieces that are dropped until the line ends.
            let overflow = room == 0;
            if overflow {
                self.buffer.truncate(MESSAGE_BYTES_MAX);
            }
            let read = (&mut self.reader).take(room.max(1) as u64).read_until(b'\n', &mut self.buffer).await.unwrap_or(0);
            let complete = self.buffer.last() == Some(&b'\n');
            if read == 0 && self.buffer.is_empty() {
                return None;
            }
            if complete || read == 0 {
                let line = std::mem::take(&mut self.buffer);
                return Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let long = "x".repeat(MESSAGE_BYTES_MAX * 3);
        let text = format!("one\n{long}\r\n\ntwo");
        let mut lines = Lines::new(text.as_bytes());
        assert_eq!(lines.next().await.as_deref(), Some("one"));
        let cut = lines.next().await.expect("the long one");
        assert!(cut.len() <= MESSAGE_BYTES_MAX + 1 && cut.starts_with("xxx"));
        assert_eq!(lines.next().await.as_deref(), Some(""));
        assert_eq!(lines.next().await.as_deref(), Some("two"));
        assert_eq!(lines.next().await, None);
    }
}
