//! Builds in control groups, where this machine has version 2 of them and we may make some; else what stands in for them
//! is tested by `hostile_builds` alone.
//!
//! The group is made and marked here as systemd does it for `Delegate=yes`. What its controllers hold, the kernel is
//! asked for; what they don't, health must say is watched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

use crate::harness::{Daemon, Options, eventually};

/// A delegated group; removed with everything in it.
struct Delegated(PathBuf);

impl Delegated {
    /// `None` where there are no control groups to make, told aloud.
    fn make() -> Option<Self> {
        let group = Self::make_unmarked()?;
        setxattr(&group.0, "trusted.delegate", b"1", XattrFlags::empty()).ok()?;
        Some(group)
    }

    /// One that is not.
    fn make_unmarked() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find(|dir| Path::new(dir).join("cgroup.controllers").exists())?;
        let dir = Path::new(mounted).join(format!("previewd-it-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&dir).ok()?;
        Some(Self(dir))
    }

    fn has(&self, controller: &str) -> bool {
        self.read("cgroup.controllers").split_whitespace().any(|name| name == controller)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    /// The groups of builds.
    fn jobs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.join("jobs")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while self.read("cgroup.events").contains("populated 1") && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        for dir in self.jobs().into_iter().chain([self.0.join("jobs"), self.0.join("daemon"), self.0.clone()]) {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

async fn sandbox_check(daemon: &Daemon) -> String {
    daemon.http.get("/health").await.json()["checks"]["sandbox"]["detail"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_build_has_a_group_of_its_own_and_leaves_none() {
    let Some(group) = Delegated::make() else {
        println!("no control groups can be made here");
        return;
    };
    // What an earlier daemon left.
    let left = group.0.join("jobs/77");
    std::fs::create_dir_all(&left).expect("mkdir");
    let mut orphan = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().expect("sleep");
    std::fs::write(left.join("cgroup.procs"), orphan.id().to_string()).expect("move");

    let options = Options::default().without_warm_workers().set("build.memory_mb", 512).set("build.timeout_s", 8).cgroup(&group.0);
    let daemon = options.start().await;
    assert!(!orphan.wait().expect("wait").success() && !left.exists(), "what was left is ended");
    assert_eq!(group.read("daemon/cgroup.procs").trim(), daemon.pid().to_string());
    let told = sandbox_check(&daemon).await;
    assert!(told.contains("cgroup: delegated"), "{told}");
    for (controller, file, instead) in
        [("memory", "memory.max", "memory: watched"), ("pids", "pids.max", "tasks: watched"), ("cpu", "cpu.weight", "cpu: nice")]
    {
        assert_eq!((told.contains(file), told.contains(instead)), (group.has(controller), !group.has(controller)), "{told}");
        println!("{controller}: {}", if group.has(controller) { "held by the kernel" } else { "not there, watched" });
    }

    daemon.push_fixture("hanging", "hanging-build");
    daemon.sync("hanging", json!({})).await;
    let job = eventually("a build's group", async || {
        let job = group.jobs().into_iter().next()?;
        (std::fs::read_to_string(job.join("cgroup.procs")).ok()?.lines().count() >= 3).then_some(job)
    })
    .await;
    if group.has("memory") {
        assert_eq!(std::fs::read_to_string(job.join("memory.max")).expect("read").trim(), (512 * 1024 * 1024).to_string());
    }
    if group.has("pids") {
        assert_eq!(std::fs::read_to_string(job.join("pids.max")).expect("read").trim(), "1024");
    }
    let bomb = daemon.build_fixture("memory-bomb", "memory-bomb").await;
    assert_eq!(bomb["build"]["outcome"], "out_of_memory", "{bomb:#}");
    let good = daemon.build_fixture("vanilla", "vanilla").await;
    assert_eq!(good["status"], "ready", "{good:#}");
    daemon.settled("hanging").await;
    assert!(group.jobs().is_empty(), "{:?}", group.jobs());
}

#[tokio::test]
async fn a_group_that_is_not_delegated_is_left_alone() {
    let Some(group) = Delegated::make_unmarked() else {
        println!("no control groups can be made here");
        return;
    };
    let daemon = Options::default().cgroup(&group.0).start().await;
    let told = sandbox_check(&daemon).await;
    assert!(told.contains("cgroup: not delegated; run under systemd with Delegate=yes"), "{told}");
    assert!(told.contains("memory: watched every 200ms") && told.contains("tasks: watched every 200ms"), "{told}");
    assert!(!group.0.join("daemon").exists() && !group.0.join("jobs").exists());
}
