//! What tests look at beside answers: metrics, files on disk, processes.

use std::path::PathBuf;

use serde_json::Value;

use super::{Daemon, eventually, files_below};

impl Daemon {
    /// The value of a metric, such as `previewd_projects` or `previewd_builds_total{…}`; 0 where it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.http.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// A synced file of a project.
    pub(crate) fn synced(&self, project: &str, path: &str) -> PathBuf {
        self.project(project).join("frontend").join(path)
    }

    /// `.file-hashes.json`
    pub(crate) fn manifest(&self, project: &str) -> Value {
        let text = std::fs::read(self.project(project).join(".file-hashes.json")).expect("a manifest");
        serde_json::from_slice(&text).expect("json")
    }

    /// `.build-status`
    pub(crate) fn status_file(&self, project: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.project(project).join(".build-status")).expect("a status file")).expect("json")
    }

    /// Names of the releases on disk, oldest first: whole ones, and halves if there were any.
    pub(crate) fn releases(&self, project: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.project(project).join("releases")).into_iter().flatten().map(|entry| entry.expect("entry"));
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = dirs.map(|entry| entry.file_name().into_string().expect("utf-8"));
        // Source maps lie beside their release.
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".maps")).collect();
        names.sort();
        names
    }

    /// The build that `dist` points to.
    pub(crate) fn dist(&self, project: &str) -> String {
        let target = std::fs::read_link(self.project(project).join("dist")).expect("dist");
        target.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
    }

    /// Files of a project that are still on their way somewhere.
    pub(crate) fn halves(&self, project: &str) -> Vec<String> {
        let half = |path: &String| path.split('/').any(|name| name.starts_with(".tmp-") || name == ".incoming" || name.ends_with(".tmp"));
        files_below(&self.project(project)).into_iter().filter(half).collect()
    }

    /// Until Vite runs for some project.
    pub(crate) async fn until_vite_runs(&self) {
        // What is on its way to become one has its name among the arguments too, and may not yet die with the daemon.
        let begun = |line: &String| line.split(' ').next().is_some_and(|program| program.ends_with("/node"));
        eventually("a worker", async || self.workers().iter().any(begun).then_some(())).await;
    }

    /// The processes that run Vite.
    pub(crate) fn workers(&self) -> Vec<String> {
        self.processes().into_iter().filter(|line| line.contains("worker.mjs")).collect()
    }

    /// Asks the daemon to stop, without waiting for it.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    }

    /// The build history, newest first.
    pub(crate) async fn builds(&self, project: &str) -> Vec<Value> {
        let page = self.http.get(&format!("/builds/{project}?limit=500")).await.json();
        page["builds"].as_array().expect("builds").clone()
    }

    /// Processes that have something below the data directory among their arguments, the daemon itself left out.
    pub(crate) fn processes(&self) -> Vec<String> {
        processes_with(&self.data().to_string_lossy(), self.pid())
    }
}

/// Command lines that contain `text`, but for that of process `except`.
pub(crate) fn processes_with(text: &str, except: u32) -> Vec<String> {
    let pids = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let lines = pids.filter(|pid| *pid != except).filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
}

/// A `vite.config.js` whose build takes at least so long.
pub(crate) fn slow_config(ms: u32) -> String {
    format!("export default {{ plugins: [{{ name: 'slow', buildStart: () => new Promise((done) => setTimeout(done, {ms})) }}] }};\n")
}
