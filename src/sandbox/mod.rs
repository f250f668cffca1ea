//! The one door for child processes: nothing else in the daemon starts one.
//!
//! Code that nobody reviewed runs as [`Confinement::Sandbox`]: bubblewrap with no network, an empty
//! environment, read-only mounts and a process-id namespace of its own. pnpm runs as [`Confinement::Install`]
//! (`install.rs`), programs that only tell their version as [`Confinement::Plain`]. Either way [`Child::end`] confirms that the
//! whole process tree is gone, and a daemon that is killed takes its children with it.
//!
//! Invariant: with `build.sandbox = "required"` a [`Confinement::Sandbox`] never falls back to a plain process.

mod argv;
mod cgroup;
mod confine;
mod handover;
mod install;
mod orphans;
mod pause;
mod process;
mod seccomp;
mod spawner;
mod usage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, SandboxMode};
use argv::Bwrap;
pub use argv::{Mounts, outside_usr};
use cgroup::Cgroups;
use confine::Bounds;
pub use confine::become_child;
pub use handover::{HANDOVER_COMMAND, hand_over_and_run, take_listener};
pub use install::{INSTALL_HOME, Installation, Npmrc, tree_of};
pub use orphans::end_orphans;
pub use process::{Child, Ended};
use seccomp::Filter;
use spawner::{Held, Keeper, Spawner};
pub use usage::Usage;

/// How long a program may take to tell its version, or the self-test to run.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last children may take to be gone when the door is closed.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(15);
/// How often whoever runs a build looks at what the kernel does not hold by itself.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// What is read of a probe's output.
const PROBE_OUTPUT_BYTES: u64 = 4096;

/// Processes and threads of one build: a Vite build has some 30, and a few per core.
pub const TASKS_MAX: u64 = 1024;
/// What a file of a build may be longer than all of its output, bytes: whoever counts the output sees that it is too much.
const FILE_BYTES_BEYOND: u64 = 1024 * 1024;
/// Bytes in the unit of the limits.
const MB: u64 = 1024 * 1024;

/// What keeps bubblewrap from working nearly always, and what to do.
const USER_NAMESPACES: &str = "it must be allowed to make user namespaces: on Ubuntu 24.04 and newer AppArmor needs a profile for it \
    (/etc/apparmor.d/bwrap with `userns,`; the package apparmor-profiles brings bwrap-userns-restrict), elsewhere see the sysctls \
    user.max_user_namespaces and kernel.unprivileged_userns_clone";

/// First descriptor that is not a standard stream.
const FIRST_DESCRIPTOR: i32 = 3;

/// Keeps what the daemon inherited from whoever started it from its children: through the descriptor of a directory
/// (`/proc/self/fd/9/../..`) a build would reach the whole machine. The descriptors stay open, so that those of a
/// socket activation can still be used. Only for the start of `main`, before there are threads.
pub fn keep_inherited_descriptors() {
    close_fds::set_fds_cloexec(FIRST_DESCRIPTOR, &[]);
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Working directory; inside of the sandbox the path is the same.
    pub cwd: PathBuf,
    /// The whole environment: nothing of the daemon's own is passed on.
    pub env: Vec<(OsString, OsString)>,
    /// How it is held.
    pub confinement: Confinement,
}

/// How a child is held.
#[derive(Debug, Clone)]
pub enum Confinement {
    /// Untrusted code.
    Sandbox(Mounts),
    /// The installer; where sandboxes are off, a plain process.
    Install(Installation),
    /// Trusted programs only: the whole machine, but no longer than the daemon lives.
    Plain,
}

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum SpawnError {
    #[error("the sandbox does not work here: {0}")]
    NoSandbox(String),
    #[error("cannot start {program}: {source}")]
    Start { program: PathBuf, source: std::io::Error },
    #[error("the daemon is shutting down")]
    Closed,
}

/// A program that builds need, and whether it is there.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Absolute path.
    pub path: PathBuf,
    /// What it says of its version.
    pub version: String,
}

/// What one untrusted child may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    memory_bytes: u64,
    file_bytes: u64,
}

/// The door. Closing it refuses new children, and asks whoever started those that run to end them.
#[derive(Debug)]
pub struct Door {
    mode: SandboxMode,
    bwrap: Result<Bwrap, String>,
    /// Or why there are none.
    cgroups: Result<Cgroups, String>,
    limits: Limits,
    /// Ends a child with the daemon where bubblewrap cannot.
    setpriv: Option<PathBuf>,
    spawner: Spawner,
    closed: CancellationToken,
    children: TaskTracker,
}

impl Door {
    /// Finds bubblewrap, and tries the real thing once: each kind of mount, filter, control group and limits. `etc` is what
    /// is shown as `/etc`; folders for the trial are made beside it.
    pub async fn open(config: &config::Build, etc: PathBuf) -> std::io::Result<Self> {
        let spawner = Spawner::start()?;
        let mut door = Self {
            mode: config.sandbox,
            bwrap: Err("not looked for: build.sandbox is off".into()),
            cgroups: Err("not asked for: build.sandbox is off".into()),
            limits: Limits { memory_bytes: u64::from(config.memory_mb) * MB, file_bytes: u64::from(config.output_mb) * MB + FILE_BYTES_BEYOND },
            setpriv: which(Path::new("setpriv")),
            spawner,
            closed: CancellationToken::new(),
            children: TaskTracker::new(),
        };
        if config.sandbox == SandboxMode::Required {
            door.cgroups = tokio::task::spawn_blocking(Cgroups::open).await.map_err(std::io::Error::other)?;
            let runtime = etc.parent().unwrap_or(&etc).to_owned();
            door.bwrap = door.find_bwrap(&config.bwrap, etc).await;
            if let Err(why) = door.self_test(&runtime).await {
                tracing::error!(%why, "the sandbox does not work: builds will be refused");
                door.bwrap = Err(why);
            }
        }
        Ok(door)
    }

    async fn find_bwrap(&self, program: &Path, etc: PathBuf) -> Result<Bwrap, String> {
        let hint = "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap), or set build.sandbox = \"off\" on a development machine";
        let tool = self.find_tool(program, "--version").await.map_err(|e| format!("{e}; {hint}"))?;
        Ok(Bwrap::new(tool.path, &tool.version, etc, Filter::new()?))
    }

    async fn self_test(&self, runtime: &Path) -> Result<(), String> {
        self.bwrap.as_ref().map_err(Clone::clone)?;
        let (out, tmpfs) = (runtime.join("trial"), runtime.join("trial-tmp"));
        for folder in [&out, &tmpfs] {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let spec = Spec {
            program: "/usr/bin/touch".into(),
            args: vec![out.join("written").into(), tmpfs.join("written").into()],
            cwd: runtime.to_owned(),
            env: Vec::new(),
            confinement: Confinement::Sandbox(Mounts {
                read_only: vec![runtime.to_owned()],
                writable: vec![out.clone()],
                tmpfs: vec![(tmpfs.clone(), MB)],
                ..Mounts::default()
            }),
        };
        let (ended, _, stderr) = self.output(spec).await?;
        if ended.code == Some(0) && ended.confirmed && out.join("written").exists() && !tmpfs.join("written").exists() {
            return Ok(());
        }
        Err(format!("bubblewrap cannot make a sandbox here ({}); {USER_NAMESPACES}", stderr.trim()))
    }

    /// How builds are held, for statuses.
    pub fn mode(&self) -> SandboxMode {
        self.mode
    }

    /// `Ok` where builds may run; else why not, and what to do.
    pub fn verdict(&self) -> Result<String, &str> {
        match (self.mode, &self.bwrap) {
            (SandboxMode::Off, _) => Ok("off: builds run without protection".into()),
            (SandboxMode::Required, Ok(bwrap)) => Ok(format!("{bwrap}; {}", self.holds())),
            (SandboxMode::Required, Err(why)) => Err(why),
        }
    }

    /// Which limit is held by what.
    fn holds(&self) -> String {
        let held = self.cgroups.as_ref().map(|groups| groups.held).unwrap_or_default();
        let by = |is: bool, what: &str, instead: &str| format!("{}, ", if is { what } else { instead });
        let cgroup = match &self.cgroups {
            Ok(_) if held.memory && held.tasks && held.cpu => "delegated".to_owned(),
            Ok(_) => "delegated, but without some controllers; ends are confirmed by it".to_owned(),
            Err(why) => why.clone(),
        };
        format!(
            "user: {}, memory: {}tasks: {}cpu: {}output: watched every {WATCH_INTERVAL:?} and RLIMIT_FSIZE, cgroup: {cgroup}",
            if rustix::process::geteuid().is_root() {
                "root without capabilities; run the daemon as a user of its own"
            } else {
                "the daemon's, mapped"
            },
            by(held.memory, "memory.max", &format!("watched every {WATCH_INTERVAL:?}")),
            by(held.tasks, "pids.max", &format!("watched every {WATCH_INTERVAL:?}")),
            by(held.cpu, "cpu.weight", "nice"),
        )
    }

    /// Looks `program` up in `PATH` and asks for its version.
    pub async fn find_tool(&self, program: &Path, version_flag: &str) -> Result<Tool, String> {
        let path = which(program).ok_or_else(|| format!("{} is not found in PATH", program.display()))?;
        let spec = Spec {
            program: path.clone(),
            args: vec![version_flag.into()],
            cwd: "/".into(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default()), ("HOME".into(), "/nonexistent".into())],
            confinement: Confinement::Plain,
        };
        let (ended, stdout, stderr) = self.output(spec).await?;
        match ended.code {
            Some(0) => Ok(Tool { path, version: stdout.trim().trim_start_matches('v').to_owned() }),
            _ => Err(format!("{} {version_flag} fails: {}", path.display(), stderr.trim())),
        }
    }

    async fn output(&self, spec: Spec) -> Result<(Ended, String, String), String> {
        let mut child = self.spawn(spec).await.map_err(|e| e.to_string())?;
        drop(child.take_stdin());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let out = child.take_stdout();
        let err = child.take_stderr();
        let read = async {
            if let (Some(out), Some(err)) = (out, err) {
                let (mut out, mut err) = (out.take(PROBE_OUTPUT_BYTES), err.take(PROBE_OUTPUT_BYTES));
                let _ = tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr));
            }
        };
        let timed_out = tokio::time::timeout(PROBE_TIMEOUT, read).await.is_err();
        let ended = child.end().await;
        if timed_out { Err("no answer in time".into()) } else { Ok((ended, stdout, stderr)) }
    }

    /// Starts a child with its three standard streams piped.
    pub async fn spawn(&self, spec: Spec) -> Result<Child, SpawnError> {
        // Taken before the look at `closed`: a child that is not refused is waited for.
        let counted = self.children.token();
        if self.closed.is_cancelled() {
            return Err(SpawnError::Closed);
        }
        let keeper = match (&spec.confinement, self.mode, &self.bwrap) {
            (Confinement::Sandbox(mounts), SandboxMode::Required, Ok(bwrap)) => Keeper::Sandbox(Box::new(self.hold(bwrap.clone(), mounts.clone())?)),
            (Confinement::Install(sees), SandboxMode::Required, Ok(bwrap)) => Keeper::Install(Box::new((bwrap.clone(), sees.clone()))),
            (Confinement::Sandbox(_) | Confinement::Install(_), SandboxMode::Required, Err(why)) => return Err(SpawnError::NoSandbox(why.clone())),
            (Confinement::Plain, _, Ok(bwrap)) => Keeper::Namespace(bwrap.clone()),
            (Confinement::Plain, _, Err(_)) | (Confinement::Sandbox(_) | Confinement::Install(_), SandboxMode::Off, _) => {
                Keeper::Signal(self.setpriv.clone())
            }
        };
        Ok(self.spawner.spawn(spec, keeper).await?.counted(counted))
    }

    fn hold(&self, bwrap: Bwrap, mounts: Mounts) -> Result<Held, SpawnError> {
        let Limits { memory_bytes, file_bytes } = self.limits;
        let group = self.cgroups.as_ref().ok().map(|groups| groups.group(memory_bytes, TASKS_MAX));
        let group = group.transpose().map_err(|source| SpawnError::Start { program: "a control group".into(), source })?;
        let bounds = Bounds { cgroup: group.as_ref().map(|group| group.dir().to_owned()), file_bytes };
        Ok(Held { bwrap, mounts, bounds, group })
    }

    /// Ends when the door is closed: what goes on without a build's own token has to stop then.
    pub async fn closing(&self) {
        self.closed.cancelled().await;
    }

    /// From now on nothing is started; waits until the children that run are gone.
    pub async fn close(&self) {
        self.closed.cancel();
        self.children.close();
        if tokio::time::timeout(CLOSE_DEADLINE, self.children.wait()).await.is_err() {
            tracing::error!("children could not be ended in time; they die with the daemon");
        }
    }
}

/// The absolute path of a program: as given, or looked up in `PATH`.
fn which(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())?;
    // Not canonicalised: what a program is called decides what some of them do.
    std::path::absolute(found).ok()
}
