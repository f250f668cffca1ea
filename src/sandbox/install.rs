//! The sandbox of installs: pnpm sees the system, its own program, the folder that it fills, the store, and certificates.
//!
//! It runs no code of a project, but it reads what strangers published, and a mistake in that reading must not reach further
//! than the store: no sources, no state, no home, no other layer, no network but one listener that the daemon serves
//! ([`super::handover`]). The system-call filter of builds holds for it too.
//!
//! Invariant: the registry's token is in this sandbox alone, in a file that is in memory only.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::Spec;
use super::argv::{Argv, Bwrap};
use super::handover::HANDOVER_COMMAND;

/// An installer's home: it is gone with the sandbox.
pub const INSTALL_HOME: &str = "/tmp/home";
/// Bytes of the private `/tmp`; pnpm unpacks into the store, so hardly anything is there.
const TMP_BYTES: u64 = 256 * 1024 * 1024;
/// Where systems keep the certificates that they trust. Not their parent folders: private keys are beside them.
const CERTIFICATES: [&str; 4] = ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates/extracted"];
/// Of our own `/etc`.
const ACCOUNT_FILES: [&str; 3] = ["passwd", "group", "hosts"];

/// What an install may see and write, each at its own path, and how it gets its network.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Readable besides the system: programs, certificates.
    pub read_only: Vec<PathBuf>,
    /// Readable and writable.
    pub writable: Vec<PathBuf>,
    /// `.npmrc` of its home, if there is one. It may hold a token.
    pub npmrc: Option<Npmrc>,
    /// Its standard input, over which it hands its listener out ([`super::take_listener`] has the other end).
    pub channel: Arc<UnixStream>,
}

/// A text that no log shows.
#[derive(Clone)]
pub struct Npmrc(pub String);

impl std::fmt::Debug for Npmrc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Npmrc")
    }
}

impl Npmrc {
    /// A descriptor to hand to bubblewrap, which reads it to its end.
    pub(super) fn open(&self) -> std::io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("npmrc", MemfdFlags::CLOEXEC)?);
        file.write_all(self.0.as_bytes())?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// Descriptors that bubblewrap inherits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    /// Where it tells its child's process id.
    pub(super) status: RawFd,
    /// The system-call filter.
    pub(super) filter: RawFd,
    /// Our own program. By descriptor: an upgrade may have replaced the file since we were started.
    pub(super) program: RawFd,
    /// `.npmrc`.
    pub(super) npmrc: Option<RawFd>,
}

impl Bwrap {
    /// Everything after the program's name, for an install.
    pub(super) fn install_args(&self, spec: &Spec, sees: &Installation, inherited: Inherited) -> Vec<OsString> {
        let mut argv = Argv::default();
        self.isolate(&mut argv);
        argv.add(["--dir", "/etc"]);
        for name in ACCOUNT_FILES {
            argv.bind("--ro-bind", &self.etc().join(name), &Path::new("/etc").join(name));
        }
        for path in CERTIFICATES {
            argv.add(["--ro-bind-try", path, path]);
        }
        argv.add(["--proc", "/proc", "--dev", "/dev"]);
        self.tmpfs(&mut argv, Path::new("/tmp"), TMP_BYTES);
        argv.add(["--dir", INSTALL_HOME]);
        if let Some(npmrc) = inherited.npmrc {
            argv.add(["--ro-bind-data".to_owned(), npmrc.to_string(), format!("{INSTALL_HOME}/.npmrc")]);
        }
        for path in &sees.read_only {
            argv.bind("--ro-bind", path, path);
        }
        for path in &sees.writable {
            argv.bind("--bind", path, path);
        }
        argv.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
        for (name, value) in &spec.env {
            argv.add(["--setenv".into(), name.clone(), value.clone()]);
        }
        argv.add(["--seccomp".to_owned(), inherited.filter.to_string()]);
        argv.add(["--json-status-fd".to_owned(), inherited.status.to_string()]);
        argv.add(["--chdir".into(), spec.cwd.clone().into_os_string()]);
        argv.add(["--".to_owned(), format!("/proc/self/fd/{}", inherited.program), HANDOVER_COMMAND.to_owned(), "--".to_owned()]);
        argv.add([spec.program.clone().into_os_string()]);
        argv.add(spec.args.iter().cloned());
        argv.into_args()
    }
}

/// What of a program's files has to be shown so that it runs: nothing of what is below `/usr`; for `…/bin/x` the tree around
/// it, for the program of a package its folder, else the file alone. `program` has no links in it.
pub fn tree_of(program: &Path) -> Option<PathBuf> {
    if program.starts_with("/usr") {
        return None;
    }
    let folder = program.parent()?;
    let tree = folder.parent().filter(|tree| folder.ends_with("bin") && tree.components().count() > 2);
    let package = || folder.join("package.json").is_file().then_some(folder);
    Some(tree.or_else(package).unwrap_or(program).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Confinement;
    use crate::sandbox::seccomp::Filter;

    #[test]
    fn an_install_sees_what_it_was_given_and_certificates() {
        let (channel, _) = UnixStream::pair().expect("pair");
        let sees = Installation {
            read_only: vec!["/opt/pnpm".into()],
            writable: vec!["/d/layers/.tmp-1".into(), "/d/shared-store".into()],
            npmrc: Some(Npmrc("//r/:_authToken=hidden-token".into())),
            channel: Arc::new(channel),
        };
        assert!(!format!("{sees:?}").contains("hidden"));
        let spec = Spec {
            program: "/opt/pnpm/pnpm".into(),
            args: vec!["install".into()],
            cwd: "/d/layers/.tmp-1".into(),
            env: vec![],
            confinement: Confinement::Install(sees.clone()),
        };
        let bwrap = Bwrap::new("/usr/bin/bwrap".into(), "bubblewrap 0.8.0", "/e".into(), Filter::new().expect("a filter"));
        let args = bwrap.install_args(&spec, &sees, Inherited { status: 9, filter: 10, program: 11, npmrc: Some(12) });
        let args: Vec<String> = args.into_iter().map(|arg| arg.into_string().expect("utf-8")).collect();
        let writable: Vec<_> = args.windows(2).filter(|w| w[0] == "--bind").map(|w| w[1].as_str()).collect();
        assert_eq!(writable, ["/d/layers/.tmp-1", "/d/shared-store"]);
        let readable: Vec<_> = args.windows(2).filter(|w| w[0].starts_with("--ro-bind")).map(|w| w[1].as_str()).collect();
        let expected = [&["/usr", "/e/passwd", "/e/group", "/e/hosts"][..], &CERTIFICATES, &["12", "/opt/pnpm"]].concat();
        assert_eq!(readable, expected);
        assert!(args.contains(&"--unshare-net".to_owned()) && !args.iter().any(|arg| arg.contains("hidden")));
        assert_eq!(args[args.len() - 6..], ["--", "/proc/self/fd/11", "hand-over", "--", "/opt/pnpm/pnpm", "install"]);
    }

    #[test]
    fn of_a_program_only_its_own_tree_is_shown() {
        assert_eq!(tree_of(Path::new("/usr/bin/node")), None);
        assert_eq!(tree_of(Path::new("/root/.nvm/versions/node/v22/bin/node")), Some("/root/.nvm/versions/node/v22".into()));
        assert_eq!(tree_of(Path::new("/home/bin/pnpm")), Some("/home/bin/pnpm".into()), "never a home");
        assert_eq!(tree_of(Path::new("/home/x/pnpm")), Some("/home/x/pnpm".into()));
    }
}
