//! The thread that starts every child.
//!
//! `--die-with-parent` follows the thread that forked, so children are forked by one that lives as
//! long as the daemon; a pooled thread that idles out would take its builds with it. It also makes
//! the moment between clearing close-on-exec and the fork a moment in which nothing else forks.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::argv::{Bwrap, Mounts};
use super::cgroup::Group;
use super::confine::{Bounds, OURSELVES};
use super::install::{Inherited, Installation};
use super::process::{Child, JOB_VARIABLE};
use super::{SpawnError, Spec};

/// How a child is really held, as the door decided. Whoever forks asks nothing else, so an untrusted child cannot be
/// started with a trusted one's arguments.
#[derive(Debug)]
pub(super) enum Keeper {
    /// bubblewrap, showing these mounts and nothing else, within bounds, and in a control group if there are such.
    Sandbox(Box<Held>),
    /// bubblewrap, showing an install its own.
    Install(Box<(Bwrap, Installation)>),
    /// bubblewrap, for a process-id namespace alone.
    Namespace(Bwrap),
    /// `setpriv`, if there is one: a signal to its first process.
    Signal(Option<PathBuf>),
}

/// How an untrusted child is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bwrap: Bwrap,
    pub(super) mounts: Mounts,
    pub(super) bounds: Bounds,
    pub(super) group: Option<Group>,
}

struct Request {
    spec: Spec,
    keeper: Keeper,
    answer: oneshot::Sender<Result<Child, SpawnError>>,
}

/// The handle to the thread.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts it; it ends with the last handle. Must be called inside of the runtime that will drive the children.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, requests) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            let _entered = runtime.enter();
            for Request { spec, keeper, answer } in requests {
                // A caller that went away leaves the child to be killed on drop.
                let _ = answer.send(start(&spec, keeper));
            }
        })?;
        Ok(Self(sender))
    }

    pub(super) async fn spawn(&self, spec: Spec, keeper: Keeper) -> Result<Child, SpawnError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { spec, keeper, answer }).map_err(|_| SpawnError::Closed)?;
        answered.await.map_err(|_| SpawnError::Closed)?
    }
}

fn start(spec: &Spec, keeper: Keeper) -> Result<Child, SpawnError> {
    let program = match &keeper {
        Keeper::Sandbox(_) => Path::new(OURSELVES),
        Keeper::Install(install) => install.0.program(),
        Keeper::Namespace(bwrap) => bwrap.program(),
        Keeper::Signal(Some(setpriv)) => setpriv,
        Keeper::Signal(None) => &spec.program,
    }
    .to_owned();
    let mut command = Command::new(&program);
    let failed = |source| SpawnError::Start { program: program.clone(), source };
    // bubblewrap's own environment is readable from inside (`/proc/1/environ`): in a sandbox it stays empty.
    command.env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match keeper {
        Keeper::Sandbox(held) => {
            let Held { bwrap, mounts, bounds, group } = *held;
            let (status, told) = status_pipe().map_err(failed)?;
            let filter = bwrap.filter().open().and_then(inherited).map_err(failed)?;
            command.args(bounds.args()).arg(bwrap.program());
            command.args(bwrap.args(spec, &mounts, told.as_raw_fd(), filter.as_raw_fd())).current_dir("/");
            command.spawn().map_err(failed).map(|child| Child::namespaced(child, status, group))
        }
        Keeper::Install(install) => {
            let (bwrap, sees) = *install;
            let (status, told) = status_pipe().map_err(failed)?;
            let filter = bwrap.filter().open().and_then(inherited).map_err(failed)?;
            let ours = File::open(OURSELVES).map(OwnedFd::from).and_then(inherited).map_err(failed)?;
            let npmrc = sees.npmrc.as_ref().map(|npmrc| npmrc.open().and_then(inherited)).transpose().map_err(failed)?;
            let numbers = Inherited {
                status: told.as_raw_fd(),
                filter: filter.as_raw_fd(),
                program: ours.as_raw_fd(),
                npmrc: npmrc.as_ref().map(AsRawFd::as_raw_fd),
            };
            let channel = sees.channel.try_clone().map_err(failed)?;
            command.args(bwrap.install_args(spec, &sees, numbers)).current_dir("/").stdin(OwnedFd::from(channel));
            command.spawn().map_err(failed).map(|child| Child::namespaced(child, status, None))
        }
        Keeper::Namespace(_) => {
            let (status, told) = status_pipe().map_err(failed)?;
            command.args(Bwrap::trusted_args(spec, told.as_raw_fd())).envs(spec.env.iter().cloned()).current_dir("/");
            command.spawn().map_err(failed).map(|child| Child::namespaced(child, status, None))
        }
        Keeper::Signal(setpriv) => {
            // The mark by which descendants that left the process group are found.
            let job = format!("{:032x}", rand::random::<u128>());
            if setpriv.is_some() {
                command.args(["--pdeathsig", "KILL", "--"]).arg(&spec.program);
            }
            command.args(&spec.args).envs(spec.env.iter().cloned()).env(JOB_VARIABLE, &job);
            command.current_dir(&spec.cwd).process_group(0);
            command.spawn().map_err(failed).map(|child| Child::plain(child, job))
        }
    }
}

/// A pipe whose writing end a child inherits.
fn status_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read, inherited(write)?))
}

/// A descriptor that the next child inherits.
fn inherited(descriptor: OwnedFd) -> std::io::Result<OwnedFd> {
    fcntl_setfd(&descriptor, FdFlags::empty())?;
    Ok(descriptor)
}
