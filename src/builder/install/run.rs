//! One run of pnpm: started, given its network, watched, ended.
//!
//! Invariant: when it has returned, nothing of the run is left, and no message of it holds the registry's token.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, sleep_until};

use super::Parts;
use super::failure::{self, Cause};
use super::pnpm;
use super::proxy::{self, Traffic};
use crate::builder::BuildLog;
use crate::builder::job::MB;
use crate::config::SandboxMode;
use crate::sandbox::{Child, Confinement, INSTALL_HOME, Installation, Npmrc, SpawnError, Spec, take_listener, tree_of};

/// What is read of pnpm's output, bytes: a large install tells of each package.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Between two looks at what was written.
const LOOK: Duration = Duration::from_millis(100);
/// In place of a secret.
const HIDDEN: &str = "[hidden]";

/// What one run of pnpm came to.
pub(super) enum Installed {
    Yes,
    No(failure::Failure),
    TookTooLong,
    /// It fetched or unpacked more than it may: the project's failure.
    TooLarge(String),
}

impl Parts {
    pub(super) async fn pnpm(&self, dir: &Path, args: Vec<String>, deadline: Instant, log: &BuildLog) -> anyhow::Result<Installed> {
        let (ours, theirs) = UnixStream::pair()?;
        let sandboxed = self.door.mode() == SandboxMode::Required;
        let mut child = self.door.spawn(self.spec(dir, args, sandboxed, theirs)?).await?;
        drop(child.take_stdin());
        let traffic = Arc::new(Traffic::default());
        let network = async {
            if sandboxed {
                // Without a listener the child has ended, and says why.
                if let Ok(listener) = take_listener(ours).await {
                    let _serving = proxy::serve(listener, self.reach.clone(), traffic.clone(), self.bytes_limit);
                    return std::future::pending::<()>().await;
                }
            }
            std::future::pending::<()>().await;
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let streams = (child.take_stdout(), child.take_stderr());
        let read = async {
            if let (Some(stdout), Some(stderr)) = streams {
                let (mut stdout, mut stderr) = (stdout.take(OUTPUT_BYTES_MAX), stderr.take(OUTPUT_BYTES_MAX));
                let _ = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
            }
        };
        let stop = tokio::select! {
            () = read => None,
            () = network => None,
            () = self.writes_too_much(&child) => Some(Ok(Installed::TooLarge(self.too_large("unpacks")))),
            () = traffic.over() => Some(Ok(Installed::TooLarge(self.too_large("fetches")))),
            () = sleep_until(deadline) => Some(Ok(Installed::TookTooLong)),
            () = self.door.closing() => Some(Err(SpawnError::Closed.into())),
        };
        if stop.is_none() {
            // Its streams are closed; it is about to end.
            tokio::select! {
                () = child.exited() => {}
                () = sleep_until(deadline) => {}
            }
        }
        let ended = child.end().await;
        if let Some(stopped) = stop {
            return stopped;
        }
        let output = self.without_token(format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)));
        output.lines().filter_map(pnpm::log_line).for_each(|line| log.info(line));
        let refused = traffic.refused();
        if !refused.is_empty() {
            tracing::warn!(hosts = refused.len(), ?refused, "an install asked for hosts that it may not reach");
        }
        tracing::debug!(bytes = traffic.bytes(), "a run of pnpm has ended");
        if ended.code == Some(0) { Ok(Installed::Yes) } else { Ok(Installed::No(told(failure::failure(&output), &traffic))) }
    }

    fn spec(&self, dir: &Path, args: Vec<String>, sandboxed: bool, channel: UnixStream) -> anyhow::Result<Spec> {
        let tool = self.pnpm.as_ref().map_err(|why| anyhow::anyhow!("pnpm is needed to install dependencies: {why}"))?;
        // Where it really lies: the folders that a link to it is in are not shown.
        let program = tool.path.canonicalize()?;
        let own_home = self.data.installer_home();
        let home = if sandboxed { Path::new(INSTALL_HOME) } else { &own_home };
        let npmrc = self.token.as_ref().map(|token| pnpm::npmrc(&self.registry, token.reveal()));
        if !sandboxed {
            write_home(home, npmrc.as_deref())?;
        }
        let mut env = pnpm::environment(home, !sandboxed, |name| std::env::var_os(name));
        let certificates = certificates(&mut env);
        // It asks Node.js for its version.
        let node = self.node_program.as_ref().and_then(|node| tree_of(&node.canonicalize().ok()?));
        let installation = Installation {
            read_only: tree_of(&program).into_iter().chain(node).chain(certificates).collect(),
            writable: vec![dir.to_owned(), self.data.shared_store()],
            npmrc: npmrc.map(Npmrc),
            channel: Arc::new(channel),
        };
        Ok(Spec {
            program,
            args: args.into_iter().map(Into::into).collect(),
            cwd: dir.to_owned(),
            env: env.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            confinement: Confinement::Install(installation),
        })
    }

    async fn writes_too_much(&self, child: &Child) {
        while child.written_bytes().await <= self.bytes_limit {
            sleep(LOOK).await;
        }
    }

    fn too_large(&self, does: &str) -> String {
        format!("installing the dependencies {does} more than {} MB, the limit build.install_mb", self.bytes_limit / MB)
    }

    fn without_token(&self, output: String) -> String {
        match &self.token {
            Some(token) => output.replace(token.reveal(), HIDDEN),
            None => output,
        }
    }
}

/// Names the operator's certificates by where they really lie, and says which of them `/usr` does not show: what is mounted
/// over a link (`/usr/lib/ssl/certs`) would be mounted where that leads.
fn certificates(env: &mut BTreeMap<String, OsString>) -> Vec<PathBuf> {
    let mut shown = Vec::new();
    for name in pnpm::CERTIFICATES {
        let Some(value) = env.remove(name) else { continue };
        let real: Vec<PathBuf> =
            std::env::split_paths(&value).filter(|path| path.is_absolute()).filter_map(|path| path.canonicalize().ok()).collect();
        if let (false, Ok(value)) = (real.is_empty(), std::env::join_paths(&real)) {
            env.insert(name.to_owned(), value);
            shown.extend(real.into_iter().filter(|path| !path.starts_with("/usr")));
        }
    }
    shown
}

/// A failure, with what the network has to say to it.
fn told(failure: failure::Failure, traffic: &Traffic) -> failure::Failure {
    let refused = traffic.refused();
    if !refused.is_empty() && matches!(failure.cause, Cause::Registry | Cause::Project | Cause::Integrity) {
        let hosts = refused.join(", ");
        let message = format!("{}; it needs {hosts}, which is neither build.registry nor in build.registry_hosts", failure.message);
        return failure::Failure { cause: Cause::Project, message, ..failure };
    }
    match traffic.trouble().filter(|_| failure.cause == Cause::Registry) {
        Some(trouble) => failure::Failure { message: format!("{} ({trouble})", failure.message), ..failure },
        None => failure,
    }
}

/// A home on disk, where there is no sandbox to have one in.
fn write_home(home: &Path, npmrc: Option<&str>) -> io::Result<()> {
    fs::create_dir_all(home)?;
    let path = home.join(".npmrc");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    match npmrc {
        Some(text) => io::Write::write_all(&mut fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?, text.as_bytes()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_named_by_where_they_really_lie() {
        let dir = tempfile::tempdir().expect("temp dir");
        let real = dir.path().canonicalize().expect("path").join("real");
        fs::create_dir(&real).expect("mkdir");
        std::os::unix::fs::symlink(&real, dir.path().join("link")).expect("symlink");
        let list = std::env::join_paths([dir.path().join("link"), "/nowhere".into(), "/usr/bin".into()]).expect("list");
        let mut env = BTreeMap::from([
            ("SSL_CERT_DIR".to_owned(), list),
            ("SSL_CERT_FILE".to_owned(), "/nowhere/ca.pem".into()),
            ("NODE_EXTRA_CA_CERTS".to_owned(), "relative.pem".into()),
            ("PATH".to_owned(), "/bin".into()),
        ]);
        assert_eq!(certificates(&mut env), std::slice::from_ref(&real), "what /usr has is there already");
        let named = std::env::join_paths([real, Path::new("/usr/bin").canonicalize().expect("path")]).expect("list");
        assert_eq!(env, BTreeMap::from([("PATH".to_owned(), "/bin".into()), ("SSL_CERT_DIR".to_owned(), named)]), "what is not there is not named");
    }
}
