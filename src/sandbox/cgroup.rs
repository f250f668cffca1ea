//! One control group (version 2) per build, below what systemd delegated to the daemon (`Delegate=yes`).
//!
//! 1. find our own group, and whether it is ours to divide  2. move into the leaf `daemon/` (who has processes cannot divide)
//! 3. end what an earlier daemon left in `jobs/`  4. enable the controllers that are there
//! 5. make `jobs/{n}` for each build, with its limits
//!
//! Invariant: a group that is not delegated is left as it is. What a controller does not hold is not claimed ([`Held`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::getxattr;
use rustix::process::geteuid;

/// What systemd marks a delegated group with; the second since version 251, readable for all.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// Where the daemon itself goes, and where builds do.
const DAEMON: &str = "daemon";
const JOBS: &str = "jobs";
/// All builds together get half of what the daemon and whatever it serves gets (100), when both want the processor.
const JOBS_WEIGHT: &str = "50";
/// How long groups that an earlier daemon left may take to be empty.
const LEFTOVER_DEADLINE: Duration = Duration::from_secs(5);

/// Which limits the kernel holds by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) memory: bool,
    pub(super) tasks: bool,
    pub(super) cpu: bool,
}

/// The part of the tree that is ours.
#[derive(Debug)]
pub(super) struct Cgroups {
    jobs: PathBuf,
    pub(super) held: Held,
    next: AtomicU64,
}

/// The group of one child.
#[derive(Debug)]
pub(super) struct Group {
    dir: PathBuf,
    memory: bool,
}

impl Cgroups {
    /// Steps 1 to 4; an error says why there are none, for a person. Blocking.
    pub(super) fn open() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
        let own = own_group(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?).ok_or("no cgroup2 file system here")?;
        if !is_delegated(&own) {
            return Err("not delegated; run under systemd with Delegate=yes".into());
        }
        Self::take_over(&own).map_err(|e| format!("{} cannot be divided: {e}", own.display()))
    }

    fn take_over(own: &Path) -> io::Result<Self> {
        let (daemon, jobs) = (own.join(DAEMON), own.join(JOBS));
        make(&daemon)?;
        fs::write(daemon.join("cgroup.procs"), "0")?;
        make(&jobs)?;
        for left in fs::read_dir(&jobs)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            end_leftover(&left.path())?;
        }
        let enabled = |name: &str| {
            let enable = |dir: &Path| fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
            fs::read_to_string(own.join("cgroup.controllers")).is_ok_and(|all| all.split_whitespace().any(|it| it == name))
                && enable(own)
                    .and_then(|()| enable(&jobs))
                    .inspect_err(|error| tracing::warn!(%error, name, "a cgroup controller is there, but cannot be used"))
                    .is_ok()
        };
        let held = Held { memory: enabled("memory"), tasks: enabled("pids"), cpu: enabled("cpu") };
        if held.cpu {
            fs::write(jobs.join("cpu.weight"), JOBS_WEIGHT)?;
        }
        Ok(Self { jobs, held, next: AtomicU64::new(0) })
    }

    /// Step 5. Blocking, but for moments only.
    pub(super) fn group(&self, memory_bytes: u64, tasks: u64) -> io::Result<Group> {
        let dir = self.jobs.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir)?;
        let group = Group { dir, memory: self.held.memory };
        if self.held.memory {
            group.write("memory.max", &memory_bytes.to_string())?;
            // All of a build or nothing: one without some of its processes would hang, or publish half of its output.
            group.write("memory.oom.group", "1")?;
            match group.write("memory.swap.max", "0") {
                // The kernel has no swap to account for.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                written => written?,
            }
        }
        if self.held.tasks {
            group.write("pids.max", &tasks.to_string())?;
        }
        Ok(group)
    }
}

impl Group {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.dir.join(file), value)
    }

    /// Kills everything in it, also what is being forked. (`cgroup.kill` is of Linux 5.14.)
    pub(super) fn kill(&self) {
        if let Err(error) = self.write("cgroup.kill", "1") {
            tracing::debug!(%error, "no cgroup.kill");
        }
    }

    /// Whether anything is left in it.
    pub(super) fn is_empty(&self) -> bool {
        match fs::read_to_string(self.dir.join("cgroup.events")) {
            Ok(events) => number(&events, "populated") == Some(0),
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether the kernel ended it for its memory; `None` where it does not hold that limit.
    pub(super) fn was_out_of_memory(&self) -> Option<bool> {
        let events = fs::read_to_string(self.dir.join("memory.events")).ok().filter(|_| self.memory)?;
        Some(["oom_kill", "oom_group_kill"].iter().any(|name| number(&events, name).is_some_and(|count| count > 0)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that is not empty yet goes with the next start.
        let _ = fs::remove_dir(&self.dir);
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn end_leftover(dir: &Path) -> io::Result<()> {
    let group = Group { dir: dir.to_owned(), memory: false };
    let deadline = Instant::now() + LEFTOVER_DEADLINE;
    group.kill();
    while !group.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::remove_dir(dir)
}

/// A line `name number` of a flat keyed file.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Our own group's folder: where cgroup2 is mounted, and what `/proc/self/cgroup` says of it.
fn own_group(mountinfo: &str, cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // `id parent major:minor root mountpoint options … - type source options`
    let mounted = mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4)).flatten()
    })?;
    Some(Path::new(mounted).join(path))
}

/// Whether the group is ours to divide. Root could divide any, so it has to be told; anybody else can only what was handed over.
fn is_delegated(own: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0_u8; 8];
        getxattr(own, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    };
    if DELEGATED.iter().any(|name| marked(name)) {
        return true;
    }
    let writable = |file: &str| rustix::fs::access(own.join(file), rustix::fs::Access::WRITE_OK).is_ok();
    !geteuid().is_root() && ["cgroup.procs", "cgroup.subtree_control", ""].iter().all(|file| writable(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_group_is_found_in_both_layouts() {
        let unified = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "31 24 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n35 24 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_group(unified, "0::/system.slice/previewd.service\n"), Some("/sys/fs/cgroup/system.slice/previewd.service".into()));
        assert_eq!(own_group(hybrid, "8:pids:/x\n0::/\n"), Some("/sys/fs/cgroup/unified/".into()));
        assert_eq!(own_group(hybrid, "8:pids:/x\n"), None);
        assert_eq!(own_group("", "0::/\n"), None);
    }

    #[test]
    fn counters_are_whole_words() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((number(events, "oom_kill"), number(events, "oom"), number(events, "kill")), (Some(2), Some(3), None));
    }
}
