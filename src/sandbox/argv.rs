//! The argument list of bubblewrap. Pure; tried line by line against real attacks.
//!
//! Invariant: a child sees `/usr`, the mounts it was given, and nothing else of the machine.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::Spec;
use super::seccomp::Filter;

/// Bytes of the private `/tmp`.
const TMP_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of the private `/dev/shm`.
const SHM_BYTES: u64 = 64 * 1024 * 1024;
/// First version that knows `--size` and `--disable-userns`.
const FULL_FEATURES: (u32, u32) = (0, 8);

/// What of the machine a sandboxed child sees besides `/usr`; each at its own path.
/// Only directories that the daemon made belong here: a symlink would be followed.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    /// Readable.
    pub read_only: Vec<PathBuf>,
    /// Readable and writable.
    pub writable: Vec<PathBuf>,
    /// Readable, at another path than their own: what is built there is the same wherever it lies.
    pub shown_as: Vec<(PathBuf, PathBuf)>,
    /// Readable and writable, at another path than their own; may lie inside of one of those.
    pub writable_as: Vec<(PathBuf, PathBuf)>,
    /// Empty, private, of so many bytes; where one lies inside a read-only mount, its directory must exist there.
    pub tmpfs: Vec<(PathBuf, u64)>,
}

/// A bubblewrap that was found.
#[derive(Debug, Clone)]
pub(super) struct Bwrap {
    program: PathBuf,
    version: (u32, u32),
    /// Our own minimal `/etc`.
    etc: PathBuf,
    /// Whether it knows `--size` and `--disable-userns`.
    full: bool,
    /// What untrusted code may not ask of the kernel.
    filter: Filter,
}

impl Bwrap {
    pub(super) fn new(program: PathBuf, version: &str, etc: PathBuf, filter: Filter) -> Self {
        let numbers = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        let mut parts = numbers.split('.').map(|part| part.parse().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Self { program, version, etc, full: version >= FULL_FEATURES, filter }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Everything after the program's name. `status_fd` is where bubblewrap tells its child's process id, `filter_fd` where
    /// it reads the system-call filter.
    pub(super) fn args(&self, spec: &Spec, mounts: &Mounts, status_fd: RawFd, filter_fd: RawFd) -> Vec<OsString> {
        let mut argv = Argv::default();
        self.isolate(&mut argv);
        argv.bind("--ro-bind", &self.etc, Path::new("/etc"));
        argv.add(["--proc", "/proc", "--dev", "/dev"]);
        self.tmpfs(&mut argv, Path::new("/tmp"), TMP_BYTES);
        self.tmpfs(&mut argv, Path::new("/dev/shm"), SHM_BYTES);
        if let Some(home) = outside_usr(&spec.program) {
            argv.bind("--ro-bind", home, home);
        }
        for path in &mounts.read_only {
            argv.bind("--ro-bind", path, path);
        }
        for (from, to) in &mounts.shown_as {
            argv.bind("--ro-bind", from, to);
        }
        for (path, bytes) in &mounts.tmpfs {
            self.tmpfs(&mut argv, path, *bytes);
        }
        for (from, to) in &mounts.writable_as {
            argv.bind("--bind", from, to);
        }
        for path in &mounts.writable {
            argv.bind("--bind", path, path);
        }
        // /proc too: where the daemon is root, so is the child in the eyes of /proc/sys, which asks for no capability
        // (`core_pattern` names a program that the host runs). bubblewrap covers it only where the folder itself can be written.
        argv.add(["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]);
        for (name, value) in &spec.env {
            argv.add(["--setenv".into(), name.clone(), value.clone()]);
        }
        argv.add(["--seccomp".to_owned(), filter_fd.to_string()]);
        argv.add(["--json-status-fd".to_owned(), status_fd.to_string()]);
        argv.add(["--chdir".into(), spec.cwd.clone().into_os_string()]);
        argv.add(["--".into(), spec.program.clone().into_os_string()]);
        argv.add(spec.args.iter().cloned());
        argv.0
    }

    /// The same for a trusted program: it sees the whole machine, and dies with the daemon, with all that it started.
    pub(super) fn trusted_args(spec: &Spec, status_fd: RawFd) -> Vec<OsString> {
        let mut argv = Argv::default();
        argv.add(["--unshare-pid", "--die-with-parent", "--new-session"]);
        argv.add(["--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"]);
        argv.add(["--json-status-fd".to_owned(), status_fd.to_string()]);
        argv.add(["--chdir".into(), spec.cwd.clone().into_os_string()]);
        argv.add(["--".into(), spec.program.clone().into_os_string()]);
        argv.add(spec.args.iter().cloned());
        argv.0
    }

    /// Namespaces of its own, no capabilities, the system read-only: what every sandbox begins with.
    pub(super) fn isolate(&self, argv: &mut Argv) {
        argv.add(["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        if self.full {
            argv.add(["--disable-userns"]);
        }
        argv.add(["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]);
        argv.add(["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]);
        argv.add(["--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"]);
    }

    pub(super) fn etc(&self) -> &Path {
        &self.etc
    }

    pub(super) fn tmpfs(&self, argv: &mut Argv, path: &Path, bytes: u64) {
        if self.full {
            argv.add(["--size".to_owned(), bytes.to_string()]);
        }
        argv.add(["--tmpfs".as_ref(), path.as_os_str()]);
    }
}

impl std::fmt::Display for Bwrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.version;
        write!(f, "bubblewrap {major}.{minor}")?;
        if self.full { Ok(()) } else { write!(f, " (older than 0.8: the private /tmp and /dev/shm have no size of their own)") }
    }
}

/// An argument list that grows.
#[derive(Default)]
pub(super) struct Argv(Vec<OsString>);

impl Argv {
    pub(super) fn into_args(self) -> Vec<OsString> {
        self.0
    }

    pub(super) fn add<T: Into<OsString>>(&mut self, args: impl IntoIterator<Item = T>) {
        self.0.extend(args.into_iter().map(Into::into));
    }

    pub(super) fn bind(&mut self, kind: &str, from: &Path, to: &Path) {
        self.add([kind.as_ref(), from.as_os_str(), to.as_os_str()]);
    }
}

/// A Node.js that a version manager installed lies outside `/usr`: its own tree (`…/bin/node` → `…`) is mounted too.
pub fn outside_usr(program: &Path) -> Option<&Path> {
    if program.starts_with("/usr") || program.starts_with("/bin") {
        return None;
    }
    program.parent().and_then(Path::parent).filter(|tree| tree.components().count() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Confinement;

    fn args(version: &str, program: &str) -> Vec<String> {
        let spec = Spec {
            program: program.into(),
            args: vec!["worker.mjs".into()],
            cwd: "/work".into(),
            env: vec![("HOME".into(), "/tmp".into())],
            confinement: Confinement::Plain,
        };
        let mounts = Mounts { read_only: vec!["/work".into()], writable: vec!["/out".into()], ..Mounts::default() };
        let bwrap = Bwrap::new("/usr/bin/bwrap".into(), version, "/etc-of-ours".into(), Filter::new().expect("a filter"));
        bwrap.args(&spec, &mounts, 9, 10).into_iter().map(|arg| arg.into_string().expect("utf-8")).collect()
    }

    #[test]
    fn only_what_was_given_is_mounted() {
        let args = args("bubblewrap 0.8.0", "/usr/bin/node");
        let binds: Vec<_> = args.windows(2).filter(|w| w[0].ends_with("bind")).map(|w| w[1].as_str()).collect();
        assert_eq!(binds, ["/usr", "/etc-of-ours", "/work", "/out"]);
        assert!(args.contains(&"--unshare-net".to_owned()) && args.contains(&"--size".to_owned()));
        assert_eq!(args[args.len() - 3..], ["--", "/usr/bin/node", "worker.mjs"]);
    }

    #[test]
    fn an_old_bubblewrap_gets_no_options_that_it_lacks() {
        let args = args("bubblewrap 0.6.1", "/usr/bin/node");
        assert!(!args.contains(&"--size".to_owned()) && !args.contains(&"--disable-userns".to_owned()));
    }

    #[test]
    fn a_node_of_a_version_manager_is_mounted() {
        let args = args("bubblewrap 0.11.0", "/root/.nvm/versions/node/v22/bin/node");
        assert!(args.windows(2).any(|w| w == ["--ro-bind", "/root/.nvm/versions/node/v22"]));
    }
}
