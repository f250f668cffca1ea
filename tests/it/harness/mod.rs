//! A daemon under test: started as a process on a free port with a data directory of its own.
//!
//! pnpm's store is filled once per test run and hard-linked into each data directory, so that a test does not wait for
//! the network; everything else of a daemon is its own.

pub(crate) mod azurite;
pub(crate) mod browser;
pub(crate) mod compare;
pub(crate) mod faults;
pub(crate) mod guard;
pub(crate) mod http;
pub(crate) mod nginx;
pub(crate) mod probe;
pub(crate) mod product;
pub(crate) mod raw;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod sse;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use http::{Answer, Http};

/// A start takes well under a second; a machine that is busy with other tests takes longer.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for a build in a test.
pub(crate) const BUILD_MS: u64 = 60_000;

/// How a daemon under test is configured.
#[derive(Default, Clone)]
pub(crate) struct Options {
    env: Vec<(String, String)>,
    cold_store: bool,
    inherited: Option<PathBuf>,
    listener: Option<Arc<TcpListener>>,
    user: Option<u32>,
    cgroup: Option<PathBuf>,
}

impl Options {
    /// Runs it as this user, who gets its directory. Needs root.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Sets a configuration key, as `PREVIEWD__SECTION__KEY`.
    #[expect(clippy::needless_pass_by_value, reason = "so that numbers and texts read the same where it is called")]
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.env.push((format!("PREVIEWD__{}", key.replace('.', "__").to_uppercase()), value.to_string()));
        self
    }

    /// Sets a variable as it is.
    #[expect(clippy::needless_pass_by_value, reason = "as above")]
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Every build has a worker of its own, which is gone when it has ended.
    pub(crate) fn without_warm_workers(self) -> Self {
        self.set("pool.memory_mb", 0)
    }

    /// Starts with an empty pnpm store.
    pub(crate) fn cold_store(mut self) -> Self {
        self.cold_store = true;
        self
    }

    /// Starts it from a shell that has descriptor 9 open on a directory.
    pub(crate) fn inherit(mut self, dir: impl Into<PathBuf>) -> Self {
        self.inherited = Some(dir.into());
        self
    }

    /// Starts it in a control group, as systemd does.
    pub(crate) fn cgroup(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(dir.into());
        self
    }

    /// Hands it a listener, as systemd's socket activation does.
    pub(crate) fn listener(mut self, listener: &Arc<TcpListener>) -> Self {
        self.listener = Some(listener.clone());
        self
    }

    pub(crate) async fn start(self) -> Daemon {
        let dir = guard::temp_dir();
        self.start_in(Arc::new(dir)).await
    }

    /// Starts on a data directory that an earlier daemon left.
    pub(crate) async fn start_in(self, dir: Arc<TempDir>) -> Daemon {
        if !self.cold_store && !dir.path().join("data/shared-store").exists() {
            let seed = SEED.get_or_init(make_seed).await;
            std::fs::create_dir_all(dir.path().join("data")).expect("data dir");
            let copied = Command::new("cp").arg("-al").arg(seed.path().join("data/shared-store")).arg(dir.path().join("data")).status();
            assert!(copied.expect("cp").success());
        }
        Daemon::spawn(dir, self)
    }
}

impl Options {
    /// The daemon's program, with the descriptors that it is to inherit.
    fn command(&self) -> Command {
        let shell = |script: &str| {
            let mut shell = guard::command("sh");
            shell.args(["-c", script]);
            shell
        };
        let mut command = match (&self.inherited, &self.listener) {
            _ if self.cgroup.is_some() => {
                let mut command = shell(r#"echo $$ >"$0/cgroup.procs"; exec "$@""#);
                command.arg(self.cgroup.as_deref().unwrap_or(Path::new(""))).arg(env!("CARGO_BIN_EXE_previewd"));
                command
            }
            (None, None) if self.user.is_some() => {
                let mut command = shell(r#"exec setpriv --reuid "$0" --regid "$0" --clear-groups -- "$@""#);
                command.arg(self.user.unwrap_or_default().to_string()).arg(env!("CARGO_BIN_EXE_previewd"));
                command
            }
            (None, None) => guard::command(env!("CARGO_BIN_EXE_previewd")),
            (Some(dir), _) => {
                let mut command = shell(r#"exec 9<"$0"; exec "$@""#);
                command.arg(dir).arg(env!("CARGO_BIN_EXE_previewd"));
                command
            }
            (None, Some(_)) => {
                // The process id stays the same from here to the daemon.
                let mut command = shell(r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@""#);
                command.arg(env!("CARGO_BIN_EXE_previewd"));
                command
            }
        };
        command.stdin(match &self.listener {
            Some(listener) => OwnedFd::from(listener.try_clone().expect("dup")).into(),
            None => Stdio::null(),
        });
        command
    }
}

/// Numbers the files that are written aside.
static PUTS: AtomicU64 = AtomicU64::new(0);

static SEED: OnceCell<TempDir> = OnceCell::const_new();

/// A data directory whose store holds what the fixtures need most.
async fn make_seed() -> TempDir {
    let dir = Arc::new(guard::temp_dir());
    let daemon = Daemon::spawn(dir.clone(), Options::default());
    daemon.push_fixture("seed", "vanilla");
    let answer = daemon.sync_and_wait("seed").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    drop(daemon);
    Arc::into_inner(dir).expect("the only owner")
}

/// A running daemon; killed and removed when dropped.
pub(crate) struct Daemon {
    process: Child,
    pub(crate) dir: Arc<TempDir>,
    options: Options,
    pub(crate) http: Http,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// One with the defaults.
    pub(crate) async fn start() -> Self {
        Options::default().start().await
    }

    fn spawn(dir: Arc<TempDir>, options: Options) -> Self {
        if let Some(id) = options.user {
            std::os::unix::fs::chown(dir.path(), Some(id), Some(id)).expect("chown");
        }
        let mut command = options.command();
        command.arg("serve").env("PREVIEWD__SERVER__LISTEN", "127.0.0.1:0").env("PREVIEWD__SERVER__DATA_DIR", dir.path().join("data"));
        command.envs(options.env.iter().cloned()).stderr(Stdio::piped());
        let mut process = guard::spawn(command);
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, started) = std::sync::mpsc::channel();
        let (stderr, copy) = (process.stderr.take().expect("stderr"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let listens = line.contains(" listens ");
                copy.lock().expect("log").push_str(&(line + "\n"));
                if listens {
                    let _ = sender.send(());
                }
            }
        });
        if started.recv_timeout(START_DEADLINE).is_err() {
            let _ = process.kill();
            panic!("the daemon did not start:\n{}", log.lock().expect("log"));
        }
        let data = dir.path().join("data");
        let address = std::fs::read_to_string(data.join("listen")).expect("listen file");
        let token = std::fs::read_to_string(data.join("token")).unwrap_or_default();
        Self { process, dir, options, http: Http::new(&address, &token), log }
    }

    /// `kill -9`, then a start on the same data directory.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.kill();
        Self::spawn(self.dir.clone(), self.options.clone())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// A graceful stop, then a start on the same data directory.
    pub(crate) fn restart(self) -> Self {
        let options = self.options.clone();
        let (code, dir) = self.stop();
        assert_eq!(code, Some(0));
        Self::spawn(dir, options)
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(mut self) -> (Option<i32>, Arc<TempDir>) {
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        (self.process.wait().expect("wait").code(), self.dir.clone())
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What the daemon logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// `projects/{id}/…` in the data directory.
    pub(crate) fn project(&self, project: &str) -> PathBuf {
        self.data().join("projects").join(project)
    }

    // The directory source: what a chat backend does to its storage.

    fn source(&self, project: &str, path: &str) -> PathBuf {
        self.data().join("source").join(project).join("frontend").join(path)
    }

    /// Writes a file of the source, whole, by rename.
    pub(crate) fn put(&self, project: &str, path: &str, content: impl AsRef<[u8]>) {
        let target = self.source(project, path);
        std::fs::create_dir_all(target.parent().expect("parent")).expect("mkdir");
        // Several tests may write at once.
        let aside = self.dir.path().join(format!("put-aside-{}", PUTS.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&aside, content).expect("write");
        std::fs::rename(aside, target).expect("rename");
    }

    pub(crate) fn remove(&self, project: &str, path: &str) {
        std::fs::remove_file(self.source(project, path)).expect("remove");
    }

    /// Reads a file of the source, changes it, writes it back.
    pub(crate) fn edit(&self, project: &str, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.source(project, path)).expect("read");
        assert!(text.contains(from), "{path} does not contain {from:?}");
        self.put(project, path, text.replace(from, to));
    }

    /// Copies a fixture into the source.
    pub(crate) fn push_fixture(&self, project: &str, fixture: &str) {
        let from = fixture_dir(fixture);
        for file in files_below(&from) {
            self.put(project, &file, std::fs::read(from.join(&file)).expect("read"));
        }
    }

    // The API, one method for each call.

    /// `POST /sync-project/{project}`
    pub(crate) async fn sync(&self, project: &str, body: Value) -> Answer {
        self.http.post(&format!("/sync-project/{project}"), &body).await
    }

    /// A full reconcile that waits for its build: the answer's body.
    pub(crate) async fn sync_and_wait(&self, project: &str) -> Value {
        self.sync(project, json!({ "wait_ms": BUILD_MS })).await.json()
    }

    /// A sync of certain paths that waits for its build: the answer's body.
    pub(crate) async fn sync_paths(&self, project: &str, paths: &[&str]) -> Value {
        self.sync(project, json!({ "changed_files": paths, "wait_ms": BUILD_MS })).await.json()
    }

    /// Pushes a fixture and builds it: the answer's body.
    pub(crate) async fn build_fixture(&self, project: &str, fixture: &str) -> Value {
        self.push_fixture(project, fixture);
        self.sync_and_wait(project).await
    }

    /// `GET /status/{project}`
    pub(crate) async fn status(&self, project: &str) -> Value {
        self.http.get(&format!("/status/{project}")).await.json()
    }

    /// Polls the status until `accept` says so.
    pub(crate) async fn status_until(&self, project: &str, accept: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the status of {project}"), async || {
            let answer = self.http.get(&format!("/status/{project}")).await;
            let status = (answer.status == 200).then(|| answer.json())?;
            accept(&status).then_some(status)
        })
        .await
    }

    /// Until the newest revision is live or has failed.
    pub(crate) async fn settled(&self, project: &str) -> Value {
        self.status_until(project, |status| ["ready", "error"].contains(&status["state"].as_str().unwrap_or_default())).await
    }

    /// `GET /logs/{project}` as text
    pub(crate) async fn build_log(&self, project: &str) -> String {
        self.http.get(&format!("/logs/{project}")).await.text()
    }

    /// A file of the live preview, in host mode.
    pub(crate) async fn preview(&self, project: &str, path: &str) -> Answer {
        self.http.preview(project, path, &[]).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// Asks again and again until there is an answer; fails after a minute.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(BUILD_MS);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The directory of a fixture.
pub(crate) fn fixture_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sites").join(name)
}

/// Every file below a directory, relative, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let walk = ignore::WalkBuilder::new(dir).standard_filters(false).sort_by_file_path(Path::cmp).build();
    let files = walk.map(|entry| entry.expect("entry")).filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    files.map(|entry| entry.path().strip_prefix(dir).expect("below").to_str().expect("utf-8").to_owned()).collect()
}
