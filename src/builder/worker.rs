//! Runs workers: the Vite worker for builds, the bundler for layers, and the scripts that come before a build, each within its limits.
//!
//! 1. start it in the sandbox  2. send the job  3. read messages and log lines, watching time, memory, log and output
//! 4. have its process tree stand still, or end it and confirm that it is gone  5. say how it went
//!
//! Invariant: when [`Worker::build`], [`Worker::bundle`] or [`Worker::run_script`] returns, nothing of it runs any more.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::job::{Job, Limits, MB, Run, Script};
use super::log::BuildLog;
use super::messages::{Message, parse};
use super::place::Slot;
use super::session::Session;
use super::watch::{Shown, Verdict, Watch, tally};
use crate::config::SandboxMode;
use crate::domain::DataDir;
use crate::release::OutputLimits;
use crate::sandbox::{Confinement, Door, Mounts, Spec, TASKS_MAX, Tool, WATCH_INTERVAL, outside_usr};

/// The worker's files, written out at start for the sandbox to read.
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    ("worker.mjs", include_str!("worker.mjs")),
    ("worker-diagnostics.mjs", include_str!("worker-diagnostics.mjs")),
    ("worker-layer.mjs", include_str!("worker-layer.mjs")),
    ("worker-reads.mjs", include_str!("worker-reads.mjs")),
    ("worker-vite.mjs", include_str!("worker-vite.mjs")),
    ("worker-writes.mjs", include_str!("worker-writes.mjs")),
    ("bundler.mjs", include_str!("bundler.mjs")),
    ("bundler-names.mjs", include_str!("bundler-names.mjs")),
];
/// Minimal account files: some packages look up the current user.
const ETC: &[(&str, &str)] = &[
    ("passwd", "root:x:0:0:root:/tmp:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n"),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];
/// Vite's cache, in the sandbox's private `/tmp`.
const PRIVATE_CACHE: &str = "/tmp/vite";
/// Where workers see their slot.
const PROJECT: &str = "/project";
/// How long a worker may take to load what builds need.
const WARM_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of the tmpfs for Vite's bundled configuration.
const VITE_TEMP_BYTES: u64 = 16 * MB;

/// Starts workers.
#[derive(Debug)]
pub(super) struct Worker {
    door: Arc<Door>,
    data: Arc<DataDir>,
    node: Result<Tool, String>,
    limits: Limits,
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

    /// Without a sandbox nothing keeps a build from its sources, so it gets copies.
    pub(super) fn needs_copies(&self) -> bool {
        self.door.mode() == SandboxMode::Off
    }

    /// Steps 1: a worker for the builds made in `slot`.
    pub(super) async fn start(&self, slot: &Slot, vite_temp: Vec<PathBuf>, writable: bool) -> anyhow::Result<Session> {
        let shown = |path: PathBuf| (path.clone(), self.shown(slot, &path));
        let mut mounts = Mounts {
            read_only: vec![self.data.layers(), self.data.shared_store(), self.data.runtime()],
            shown_as: vec![shown(slot.dir().to_owned())],
            writable_as: vec![shown(slot.writable())],
            tmpfs: vite_temp.iter().map(|path| (self.shown(slot, path), VITE_TEMP_BYTES)).collect(),
            ..Mounts::default()
        };
        if writable {
            mounts.writable_as.push(shown(slot.work()));
        }
        let args = vec![OsString::from(format!("--max-old-space-size={}", self.limits.memory_mb)), self.data.runtime().join("worker.mjs").into()];
        let child = self.door.spawn(Self::spec(&self.node()?.path, args, &self.shown(slot, slot.dir()), mounts)).await?;
        Session::new(child, vite_temp).context("a worker's pipes are gone")
    }

    /// Has a worker load what builds in `root`, a folder of a layer, will need; false where it does not get there.
    pub(super) async fn warm(&self, session: &mut Session, slot: &Slot, root: &Path) -> bool {
        let line =
            serde_json::json!({ "job": "warm", "warm": true, "root": root, "work": self.shown(slot, &slot.work()), "cache_dir": self.cache(slot) });
        let warmed = async {
            session.stdin.write_all(format!("{line}\n").as_bytes()).await.ok()?;
            loop {
                match parse(&session.out.next().await?) {
                    Some(Message::Warmed {}) => return Some(()),
                    Some(Message::Failure(_)) => return None,
                    _ => {}
                }
            }
        };
        let warmed = matches!(timeout(WARM_WITHIN, warmed).await, Ok(Some(())));
        session.warmed = warmed;
        warmed && session.pause(TASKS_MAX).await
    }

    /// Steps 2 to 5, in a worker that was just started or stands still. It is given back where it can build again.
    pub(super) async fn build(
        &self,
        mut session: Session,
        job: &Job,
        slot: &Slot,
        log: &BuildLog,
        cancel: &CancellationToken,
    ) -> anyhow::Result<(Run, Option<Session>)> {
        let waited = session.waited();
        session.resume().await;
        let shown = Shown { work: self.shown(slot, &job.work), out: self.shown(slot, &job.out), cache: self.cache(slot) };
        let mut watch = Watch::vite(job, log, self.limits, shown);
        if job.writable {
            watch = watch.over_sources(self.room_in(&job.work).await?);
        }
        let verdict = watch.follow(&mut session, cancel).await;
        session.jobs += 1;
        let lives = matches!(verdict, Verdict::Done | Verdict::Failed(_));
        if lives && !job.writable && session.pause(TASKS_MAX).await {
            let verdict = self.or_flood(verdict, &watch).await;
            return Ok((watch.conclude(verdict, None), Some(session)));
        }
        // One that has waited may have died meanwhile, or hold too much of builds before: a new one tells.
        let spent = waited && matches!(verdict, Verdict::Silent | Verdict::OutOfMemory);
        let run = self.conclude(session, watch, verdict).await?;
        Ok((if spent { Run::Useless } else { run }, None))
    }

    /// Runs a script in the app's folder. The sources are writable for it; what it writes counts like output.
    pub(super) async fn run_script(
        &self,
        job: &Job,
        slot: &Slot,
        script: &Script,
        log: &BuildLog,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Run> {
        let node = self.node()?;
        let output = self.room_in(&job.work).await?;
        let work = self.shown(slot, &job.work);
        let mounts = Mounts {
            read_only: [vec![self.data.layers(), self.data.shared_store()], outside_usr(&node.path).map(Path::to_owned).into_iter().collect()]
                .concat(),
            writable_as: vec![(job.work.clone(), work.clone())],
            ..Mounts::default()
        };
        let args = vec!["-c".into(), OsString::from(&script.command)];
        let mut spec = Self::spec(Path::new("/usr/bin/sh"), args, &work.join(&job.app), mounts);
        spec.env.retain(|(name, _)| name != "PATH");
        spec.env.push(("PATH".into(), job.search_path(&work, &node.path)));
        let mut watch = Watch::script(job, log, Limits { output, ..self.limits }, script);
        let mut session = Session::new(self.door.spawn(spec).await?, Vec::new()).context("a script's pipes are gone")?;
        let verdict = watch.follow(&mut session, cancel).await;
        self.conclude(session, watch, verdict).await
    }

    /// What a folder may grow to: as it is, and an output more.
    async fn room_in(&self, folder: &Path) -> anyhow::Result<OutputLimits> {
        let (folder, output) = (folder.to_owned(), self.limits.output);
        let (files, bytes) = tokio::task::spawn_blocking(move || tally(&folder, |_, _, _| None)).await?.unwrap_or_default();
        Ok(OutputLimits { files: output.files + files, bytes: output.bytes + bytes })
    }

    fn node(&self) -> anyhow::Result<&Tool> {
        self.node.as_ref().map_err(|why| anyhow::anyhow!("Node.js is needed for builds: {why}"))
    }

    /// Steps 4 and 5.
    async fn conclude(&self, session: Session, mut watch: Watch<'_>, verdict: Verdict) -> anyhow::Result<Run> {
        let (ended, printed) = session.end().await;
        anyhow::ensure!(ended.confirmed, "the build's processes could not be ended");
        watch.read_out(printed).await;
        let verdict = self.or_flood(verdict, &watch).await;
        Ok(watch.conclude(verdict, Some(ended)))
    }

    /// Why a build fails that has no room for its output is that, whatever else it says.
    async fn or_flood(&self, verdict: Verdict, watch: &Watch<'_>) -> Verdict {
        match verdict {
            Verdict::Failed(_) | Verdict::Silent => watch.output_flood().await.map_or(verdict, Verdict::OutputFlood),
            other => other,
        }
    }

    /// Where the bundler may keep what it likes; `beside` its output where there is no private `/tmp`.
    pub(super) fn bundler_cache(&self, beside: &Path) -> PathBuf {
        if self.door.mode() == SandboxMode::Off { beside.to_owned() } else { PRIVATE_CACHE.into() }
    }

    /// A path of `slot` as its worker sees it: the same for all, since tools make names and hashes of paths.
    fn shown(&self, slot: &Slot, path: &Path) -> PathBuf {
        match path.strip_prefix(slot.dir()) {
            Ok(within) if self.door.mode() != SandboxMode::Off => Path::new(PROJECT).join(within),
            _ => path.to_owned(),
        }
    }

    fn cache(&self, slot: &Slot) -> PathBuf {
        // Without a sandbox all builds see the same `/tmp`.
        if self.door.mode() == SandboxMode::Off { slot.cache() } else { PRIVATE_CACHE.into() }
    }

    fn spec(program: &Path, args: Vec<OsString>, cwd: &Path, mounts: Mounts) -> Spec {
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("NODE_ENV", "production"), ("NO_COLOR", "1"), ("CI", "1")];
        Spec {
            program: program.to_owned(),
            args,
            cwd: cwd.to_owned(),
            env: env.map(|(name, value)| (name.into(), value.into())).to_vec(),
            confinement: Confinement::Sandbox(mounts),
        }
    }

    /// Bundles an edition of a layer from `input`, a job of the bundler, into `into`. Its last line, or why there is none.
    pub(super) async fn bundle(&self, input: &str, cwd: &Path, into: &Path) -> anyhow::Result<Result<String, String>> {
        let read_only = vec![self.data.layers(), self.data.shared_store(), self.data.runtime()];
        let mounts = Mounts { read_only, writable: vec![into.to_owned()], ..Mounts::default() };
        let args = vec![OsString::from(format!("--max-old-space-size={}", self.limits.memory_mb)), self.data.runtime().join("bundler.mjs").into()];
        let mut session = Session::new(self.door.spawn(Self::spec(&self.node()?.path, args, cwd, mounts)).await?, Vec::new()).context("no pipes")?;
        let said = self.listen(&mut session, input, into).await;
        let (ended, _) = session.end().await;
        anyhow::ensure!(ended.confirmed, "the bundler's processes could not be ended");
        Ok(said)
    }

    /// Hands `input` over, and reads what is said until the end, within the limits of a build.
    async fn listen(&self, session: &mut Session, input: &str, into: &Path) -> Result<String, String> {
        let deadline = Instant::now() + self.limits.time;
        session.stdin.write_all(format!("{input}\n").as_bytes()).await.map_err(|e| e.to_string())?;
        let mut look = interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                line = session.out.next() => match line {
                    Some(line) if line.starts_with('{') => return Ok(line),
                    Some(_) => {}
                    None => return Err("it ended without a word".into()),
                },
                () = self.door.closing() => return Err("the daemon stops".into()),
                // What it prints has to go somewhere.
                Some(_) = session.err.next() => {}
                _ = look.tick() => {
                    let usage = session.child.usage(TASKS_MAX).await;
                    let (into, limits) = (into.to_owned(), self.limits.output);
                    let flood = tokio::task::spawn_blocking(move || tally(&into, |entries, bytes, depth| limits.exceeded(entries, bytes, depth)).err());
                    if let Ok(Some(what)) = flood.await {
                        return Err(what);
                    }
                    if usage.bytes > u64::from(self.limits.memory_mb) * MB || usage.tasks > TASKS_MAX {
                        return Err("it took more than a build may take".into());
                    }
                    if Instant::now() > deadline {
                        return Err("it took longer than a build may take".into());
                    }
                }
            }
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
