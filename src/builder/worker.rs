//! Runs the Vite worker once for one build, and the scripts that come before it, within their limits.
//!
//! 1. start it in the sandbox  2. send the job  3. read messages and log lines, watching time, memory, log and output
//! 4. end its process tree and confirm that it is gone  5. say how it went
//!
//! Invariant: when [`Worker::run`] or [`Worker::run_script`] returns, nothing of the build runs any more.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::job::{Job, Limits, MB, Run, Script};
use super::log::BuildLog;
use super::watch::{Verdict, Watch, tally};
use crate::config::SandboxMode;
use crate::disk::{blocking, remove_tree};
use crate::domain::DataDir;
use crate::release::OutputLimits;
use crate::sandbox::{Confinement, Door, Mounts, Spec, Tool, outside_usr};

/// The worker's files, written out at start for the sandbox to read.
const SCRIPTS: &[(&str, &str)] = &[
    ("worker.mjs", include_str!("worker.mjs")),
    ("worker-diagnostics.mjs", include_str!("worker-diagnostics.mjs")),
    ("worker-writes.mjs", include_str!("worker-writes.mjs")),
];
/// Minimal account files: some packages look up the current user.
const ETC: &[(&str, &str)] = &[
    ("passwd", "root:x:0:0:root:/tmp:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n"),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];
/// Vite's cache, in the sandbox's private `/tmp`; elsewhere beside the output, where a start cleans up too.
const PRIVATE_CACHE: &str = "/tmp/vite";
const CACHE_EXTENSION: &str = "cache";
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

    pub(super) async fn run(&self, job: &Job, log: &BuildLog, cancel: &CancellationToken) -> anyhow::Result<Run> {
        let node = self.node()?;
        // Without a sandbox all builds see the same `/tmp`.
        let own = (self.door.mode() == SandboxMode::Off).then(|| job.out.with_extension(CACHE_EXTENSION));
        let cache = own.clone().unwrap_or_else(|| PRIVATE_CACHE.into());
        let mut watch = Watch::vite(job, log, self.limits, cache);
        if job.writable {
            watch = watch.over_sources(self.room_in(&job.work).await?);
        }
        let run = self.follow(self.spec(node, job), watch, cancel).await;
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
        let output = self.room_in(&job.work).await?;
        let mut spec = self.spec(node, job);
        spec.program = "/usr/bin/sh".into();
        spec.args = vec!["-c".into(), OsString::from(&script.command)];
        spec.env.retain(|(name, _)| name != "PATH");
        spec.env.push(("PATH".into(), job.search_path(&node.path)));
        let mounts = Mounts {
            read_only: [vec![self.data.layers(), self.data.shared_store()], outside_usr(&node.path).map(Path::to_owned).into_iter().collect()]
                .concat(),
            writable: vec![job.work.clone()],
            tmpfs: Vec::new(),
        };
        spec.confinement = Confinement::Sandbox(mounts);
        let watch = Watch::script(job, log, Limits { output, ..self.limits }, script);
        self.follow(spec, watch, cancel).await
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

    async fn follow(&self, spec: Spec, mut watch: Watch<'_>, cancel: &CancellationToken) -> anyhow::Result<Run> {
        let mut child = self.door.spawn(spec).await?;
        let (mut verdict, printed) = watch.follow(&mut child, cancel).await;
        let ended = child.end().await;
        anyhow::ensure!(ended.confirmed, "the build's processes could not be ended");
        if let Some(printed) = printed {
            watch.read_out(printed).await;
        }
        // Why a build fails that has no room for its output is that, whatever else it says.
        if matches!(verdict, Verdict::Failed(_) | Verdict::Silent)
            && let Some(failure) = watch.output_flood().await
        {
            verdict = Verdict::OutputFlood(failure);
        }
        Ok(watch.conclude(verdict, ended))
    }

    fn spec(&self, node: &Tool, job: &Job) -> Spec {
        let mut read_only = vec![self.data.layers(), self.data.shared_store(), self.data.runtime()];
        let mut writable = vec![job.out.clone()];
        if job.writable { &mut writable } else { &mut read_only }.push(job.work.clone());
        let mounts = Mounts { read_only, writable, tmpfs: job.vite_temp.iter().map(|path| (path.clone(), VITE_TEMP_BYTES)).collect() };
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
