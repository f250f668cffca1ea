//! Hostile builds: what each tries, what stops it, and that it would work without the sandbox.
//!
//! One project tries every way out in a single build and writes down what became of each; the same project, built by a daemon
//! without a sandbox, shows that the ways are real: a test of something that never worked could not fail. What
//! takes resources is tried one by one, within small limits, and without the sandbox only where that harms nobody.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{BUILD_MS, Daemon, Options, files_below, guard};

/// What the daemon has in its environment, and no build may see.
const SECRET: &str = "a-secret-that-no-build-may-see-6b1f";

/// Ways out of the sandbox, and what stops each: the error, or a word of the probe's.
const WAYS: &[(&str, &[&str])] = &[
    // mounts: not there at all
    ("read /etc/shadow", &["ENOENT"]),
    ("read another project", &["ENOENT"]),
    ("list projects", &["ENOENT"]),
    ("read the API token", &["ENOENT"]),
    ("read the database", &["ENOENT"]),
    ("read the source", &["ENOENT"]),
    ("read a file in the host /tmp", &["ENOENT"]),
    ("reach control groups", &["ENOENT"]),
    ("open a disk", &["ENOENT"]),
    ("connect to a path socket", &["ENOENT"]),
    // process-id namespace, empty environment
    ("read the daemon's environment", &["NOT_FOUND"]),
    ("read pid 1's environment", &["EMPTY"]),
    ("open the daemon's memory", &["ENOENT"]),
    ("find the daemon in /proc", &["NOT_FOUND"]),
    ("reach the daemon's root", &["ENOENT"]),
    ("signal the daemon", &["ESRCH"]),
    ("kill pid 1", &["SURVIVED"]),
    ("use an inherited descriptor", &["NOT_FOUND"]),
    // read-only mounts
    ("write into the store", &["EROFS"]),
    ("write into the layers", &["EROFS"]),
    ("write into a package", &["EROFS"]),
    ("write into the synced files", &["ENOENT"]),
    ("chmod a synced file", &["ENOENT"]),
    ("write into the runtime", &["EROFS"]),
    ("write into /usr", &["EROFS"]),
    ("write into /etc", &["EROFS"]),
    ("write into /", &["EROFS"]),
    ("write into /dev", &["EROFS"]),
    // no power over the kernel
    ("write to /proc/sys", &["EROFS", "EACCES"]),
    ("spare itself from the OOM killer", &["EROFS"]),
    ("read the kernel's log", &["ENOENT"]),
    // network namespace
    ("connect to a loopback service", &["ECONNREFUSED"]),
    ("connect to the daemon", &["ECONNREFUSED"]),
    ("connect to an abstract socket", &["ECONNREFUSED"]),
    ("connect to cloud metadata", &["ENETUNREACH"]),
    ("connect to the internet", &["ENETUNREACH"]),
    // limits
    ("raise its limits", &["LIMITED"]),
    ("many descriptors", &["LIMITED"]),
    ("a sparse terabyte", &["EFBIG", "SIGXFSZ"]),
    ("fill /tmp", &["ENOSPC"]),
    ("fill /dev/shm", &["ENOSPC"]),
];

/// Would reach beyond the daemon under test.
const NOT_WITHOUT: &[&str] = &["connect to cloud metadata", "connect to the internet", "kill pid 1", "fill /tmp", "fill /dev/shm"];

/// System calls that the filter answers: `EPERM`, where nothing else is said.
const CALLS: &[&str] = &[
    "unshare_user",
    "unshare_net",
    "unshare_mount",
    "clone_user",
    "clone_pid",
    "setns",
    "chroot",
    "pivot_root",
    "mount",
    "umount",
    "fsopen",
    "open_tree",
    "move_mount",
    "ptrace",
    "process_vm_readv",
    "pidfd_getfd",
    "kcmp",
    "keyctl",
    "add_key",
    "request_key",
    "io_uring",
    "bpf",
    "perf_event",
    "userfaultfd",
    "init_module",
    "finit_module",
    "kexec_load",
    "reboot",
    "swapon",
    "acct",
    "syslog",
    "settimeofday",
    "quotactl",
    "personality",
    "name_to_handle",
    "open_by_handle",
    "fanotify",
    "tiocsti",
    "tioclinux",
    "vsock",
    "packet_socket",
    "device",
    "fifo",
    "setuid_bit",
    "setgid_bit",
    "clone3_user",
];
/// Calls by another convention end the process.
#[cfg(target_arch = "x86_64")]
const OTHER_CONVENTIONS: &[&str] = &["i386", "x32"];
#[cfg(not(target_arch = "x86_64"))]
const OTHER_CONVENTIONS: &[&str] = &[];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile").join(name)
}

fn push(daemon: &Daemon, project: &str, name: &str) {
    let from = fixture(name);
    for file in files_below(&from).iter().filter(|file| !file.ends_with(".c")) {
        daemon.put(project, file, std::fs::read(from.join(file)).expect("read"));
    }
}

/// What a build could reach on this machine, were it not held.
struct Bait {
    dir: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    abstract_name: String,
    _path_socket: UnixListener,
    _abstract_socket: UnixListener,
    calls: Vec<u8>,
}

impl Bait {
    fn lay() -> Self {
        let dir = guard::temp_dir();
        let abstract_name = dir.path().to_string_lossy().replace('/', "-");
        let program = dir.path().join("calls");
        // Static: it runs wherever it is copied to.
        let compiled = Command::new("gcc").args(["-O1", "-w", "-o"]).arg(&program).arg(fixture("probe/calls.c")).status().expect("gcc");
        assert!(compiled.success());
        std::fs::write(dir.path().join("canary"), "x").expect("write");
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").expect("bind"),
            udp: UdpSocket::bind("127.0.0.2:0").expect("bind"),
            _path_socket: UnixListener::bind(dir.path().join("socket")).expect("bind"),
            _abstract_socket: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).expect("name")).expect("bind"),
            calls: std::fs::read(&program).expect("read"),
            abstract_name,
            dir,
        }
    }

    /// Starts a daemon that has something to hide, and lets a project look for it: what became of each way.
    async fn probed_by(&self, options: Options, off: bool) -> BTreeMap<String, String> {
        let daemon = options.env("PREVIEWD_TEST_SECRET", SECRET).inherit(self.dir.path()).start().await;
        daemon.put("victim", "index.html", "<h1>mine</h1>");
        assert_eq!(daemon.sync_and_wait("victim").await["status"], "ready");
        push(&daemon, "probe", "probe");
        daemon.put("probe", "calls", &self.calls);
        let disk = std::fs::read_to_string("/proc/partitions").expect("partitions");
        let disk = disk.lines().skip(2).find_map(|line| line.split_whitespace().nth(3)).unwrap_or("null");
        let port: u16 = daemon.http.address.rsplit(':').next().and_then(|port| port.trim().parse().ok()).expect("port");
        let calls: Vec<&str> = CALLS.iter().chain(OTHER_CONVENTIONS).copied().collect();
        let targets = json!({
            "off": off, "data": daemon.data(), "daemon": daemon.pid(), "daemon_port": port, "secret": SECRET,
            "inherited": self.dir.path(), "canary": self.dir.path().join("canary"), "socket": self.dir.path().join("socket"),
            "abstract": self.abstract_name, "port": self.tcp.local_addr().expect("address").port(),
            "udp_port": self.udp.local_addr().expect("address").port(), "disk": format!("/dev/{disk}"), "calls": calls,
        });
        daemon.put("probe", "targets.json", targets.to_string());
        let answer = daemon.sync_and_wait("probe").await;
        assert_eq!(answer["status"], "ready", "{answer:#}\n{}", daemon.build_log("probe").await);
        serde_json::from_value(daemon.preview("probe", "/attacks.json").await.json()).expect("results")
    }

    /// Whether a datagram of the probe has come.
    fn was_reached(&self) -> bool {
        self.udp.set_nonblocking(true).expect("nonblocking");
        self.udp.recv(&mut [0; 8]).is_ok()
    }
}

#[tokio::test]
async fn every_way_out_is_closed_and_would_be_open_without_the_sandbox() {
    let bait = Bait::lay();
    let inside = bait.probed_by(Options::default(), false).await;
    assert!(!bait.was_reached(), "a datagram left the sandbox");
    let open = bait.probed_by(Options::default().set("build.sandbox", "off"), true).await;
    assert!(bait.was_reached(), "the way is real");
    let mut wrong = Vec::new();
    for (way, stopped_by) in WAYS {
        if !stopped_by.contains(&inside[*way].as_str()) {
            wrong.push(format!("{way}: {}, not stopped by {stopped_by:?}", inside[*way]));
        }
    }
    let calls = CALLS.iter().map(|call| (call, if *call == "clone3_user" { "ENOSYS" } else { "EPERM" }));
    for (call, expected) in calls.chain(OTHER_CONVENTIONS.iter().map(|call| (call, "SIGSYS"))) {
        let result = &inside[&format!("call {call}")];
        if result != expected {
            wrong.push(format!("the call {call}: {result}, not stopped by {expected}"));
        }
    }
    // Who is not root meets other walls outside.
    let root = rustix::process::geteuid().is_root();
    let mut real = 0;
    for (way, result) in &inside {
        let without = open.get(way);
        assert_eq!(without.is_none(), NOT_WITHOUT.contains(&way.as_str()), "{way}");
        match without {
            Some(without) if without != result => real += 1,
            // A datagram is sent into the void just as well: whether it came was looked at above. Inherited descriptors the
            // daemon closes by itself, with or without a sandbox.
            Some(without) if root && !["send a datagram", "use an inherited descriptor"].contains(&way.as_str()) => {
                wrong.push(format!("{way}: {without} with and without the sandbox, which proves nothing"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} attacks tried and stopped, {real} of them shown to work without the sandbox", inside.len());
    assert!(inside.len() >= WAYS.len() + CALLS.len());
}

/// How a build that takes too much, or lies, ends: attack; outcome; kind of failure; a part of its message.
const ENDS: &[(&str, &str, &str, &str)] = &[
    ("fork-bomb", "failed", "compile", "more than 1024 processes and threads"),
    ("many-small", "out_of_memory", "memory", "more than 512 MB, the limit build.memory_mb"),
    ("child-memory", "out_of_memory", "memory", "more than 512 MB, the limit build.memory_mb"),
    ("stop-itself", "timed_out", "timeout", "longer than 8 s"),
    ("endless-line", "failed", "output", "build.log_kb"),
    ("endless-message", "failed", "output", "build.log_kb"),
    ("one-large-file", "failed", "output", "more than 8 MB, the limit build.output_mb"),
    ("many-large-files", "failed", "output", "more than 8 MB, the limit build.output_mb"),
    ("long-name", "failed", "output", "name is too long"),
    ("control-name", "failed", "output", "not plain text"),
    ("socket-file", "failed", "output", "not a regular file: s.sock"),
    ("unlisted-folder", "failed", "output", "a folder that cannot be looked into"),
    ("forged-success", "failed", "output", "the build wrote no files"),
    ("forged-failure", "failed", "compile", "forged mmm"),
];

fn small() -> Options {
    Options::default()
        .set("build.output_mb", 8)
        .set("build.log_kb", 64)
        .set("build.memory_mb", 512)
        .set("build.timeout_s", 8)
        .set("build.concurrency", 4)
}

async fn attacked(daemon: &Daemon, attack: &str) -> Value {
    push(daemon, attack, "resources");
    daemon.put(attack, "attack.txt", attack);
    daemon.sync(attack, json!({ "wait_ms": BUILD_MS })).await.json()
}

#[tokio::test]
async fn what_takes_too_much_is_ended_and_told_by_its_name() {
    let daemon = small().start().await;
    let check = async |&(attack, outcome, kind, message): &(&str, &str, &str, &str)| {
        let answer = attacked(&daemon, attack).await;
        let failure = &answer["build"]["failure"];
        assert_eq!((&answer["build"]["outcome"], &failure["kind"]), (&json!(outcome), &json!(kind)), "{attack}: {answer:#}");
        assert!(failure["message"].as_str().is_some_and(|text| text.contains(message)), "{attack}: {answer:#}");
        assert!(answer.to_string().len() < 16 * 1024, "{attack}: claims are cut");
    };
    join_all(ENDS.iter().map(check)).await;
    let daemonized = attacked(&daemon, "daemonized").await;
    assert_eq!(daemonized["status"], "ready", "{daemonized:#}");
    assert!(!runs("sleep 86413"), "nothing of it goes on");
    let open = attacked(&daemon, "unreadable-file").await;
    assert_eq!(open["status"], "ready", "{open:#}");
    assert_eq!(daemon.preview("unreadable-file", "/page.html").await.status, 200, "modes are ours");
    assert_eq!(daemon.preview("daemonized", "/late.html").await.status, 404, "nobody was there to write it");
    assert!(!daemon.project("daemonized").join("dist/late.txt").is_symlink());
    assert_eq!(daemon.http.get("/health").await.json()["checks"]["sandbox"]["ok"], true);
    println!("{} hostile builds ended as they should", ENDS.len() + 2);
}

/// A process whose arguments end like this.
fn runs(arguments: &str) -> bool {
    let pids = std::fs::read_dir("/proc").expect("proc").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())).any(|pid| {
        let mut line = String::new();
        let read = std::fs::File::open(format!("/proc/{pid}/cmdline")).and_then(|mut file| file.read_to_string(&mut line));
        read.is_ok() && line.replace('\0', " ").trim_end().ends_with(arguments)
    })
}

#[tokio::test]
async fn an_old_bubblewrap_gets_only_what_it_knows() {
    let dir = guard::temp_dir();
    let old = dir.path().join("bwrap");
    let script = "#!/bin/sh
        [ \"$1\" = --version ] && { echo bubblewrap 0.6.1; exit; }
        for argument; do case $argument in
            --) break;;
            --size|--disable-userns|--assert-userns-disabled|--add-seccomp-fd|--perms|--bind-fd|--ro-bind-fd|--overlay*|--level-prefix)
                echo \"bwrap: Unknown option $argument\" >&2; exit 1;;
        esac; done
        exec /usr/bin/bwrap \"$@\"\n";
    std::fs::write(&old, script).expect("write");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let daemon = Options::default().set("build.bwrap", old.display()).start().await;
    let health = daemon.http.get("/health").await.json();
    let told = health["checks"]["sandbox"]["detail"].as_str().expect("text").to_owned();
    assert!(told.contains("bubblewrap 0.6 (older than 0.8"), "{told}");
    daemon.push_fixture("demo", "vanilla");
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!((&answer["status"], &answer["build"]["mode"]), (&json!("ready"), &json!("plain")), "{answer:#}");
    // The filter stands in for the option that it lacks.
    let bait = Bait::lay();
    let inside = bait.probed_by(Options::default().set("build.bwrap", old.display()), true).await;
    for call in ["unshare_user", "clone_user", "mount"] {
        assert_eq!(inside[&format!("call {call}")], "EPERM", "{call}");
    }
}

#[tokio::test]
async fn where_the_sandbox_does_not_work_builds_are_refused_and_health_says_what_to_do() {
    let dir = guard::temp_dir();
    let broken = dir.path().join("bwrap");
    let script =
        "#!/bin/sh\n[ \"$1\" = --version ] && { echo bubblewrap 0.9.0; exit; }\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n";
    std::fs::write(&broken, script).expect("write");
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let daemon = Options::default().set("build.bwrap", broken.display()).start().await;
    let health = daemon.http.get("/health").await;
    let check = &health.json()["checks"]["sandbox"];
    let told = check["detail"].as_str().expect("text");
    assert!(health.status == 503 && check["ok"] == false && told.contains("Permission denied") && told.contains("AppArmor"), "{told}");
    daemon.push_fixture("demo", "vanilla");
    let answer = daemon.sync_and_wait("demo").await;
    assert!(answer["build"]["failure"]["message"].as_str().is_some_and(|text| text.contains("builds are refused")), "{answer:#}");
    daemon.push_fixture("static", "static-html");
    assert_eq!(daemon.sync_and_wait("static").await["status"], "ready", "what runs no code needs no sandbox");
}

/// Prints what the sandbox costs, how long the end of a large tree takes, and how far output gets before it is stopped.
#[tokio::test]
async fn figures_of_the_sandbox_hold() {
    let held = Options::default().set("build.concurrency", 1).set("log.level", "info,previewd::sandbox=debug").start().await;
    let plain = Options::default().set("build.concurrency", 1).set("build.sandbox", "off").start().await;
    let mut times: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    for daemon in [&held, &plain] {
        assert_eq!(daemon.build_fixture("demo", "vanilla").await["status"], "ready");
    }
    for round in 0..7 {
        for (daemon, times) in [&held, &plain].into_iter().zip(&mut times) {
            daemon.put("demo", "round.txt", round.to_string());
            let answer = daemon.sync_and_wait("demo").await;
            times.push(answer["build"]["timings_ms"]["build"].as_u64().expect("a time"));
        }
    }
    let [held_ms, plain_ms] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("a build of one module: {held_ms} ms in the sandbox, {plain_ms} ms without");
    // Generous: other tests run at the same time.
    assert!(held_ms < plain_ms * 2 + 200, "{held_ms} ms against {plain_ms} ms");

    push(&held, "crowd", "resources");
    held.put("crowd", "attack.txt", "crowd");
    let answer = held.sync_and_wait("crowd").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    let log = held.log();
    let took =
        log.lines().filter_map(|line| line.split_once("a process tree is gone")?.1.split("took_us=").nth(1)?.split(' ').next()?.parse::<u64>().ok());
    println!("the end of a tree of 500 processes is confirmed {} ms after it was asked for", took.max().expect("told") / 1000);
    assert!(!runs("sleep 86414"));
}
