//! Whatever ends the test run, nothing of it stays: no daemon, no directory.
//!
//! Statics are not dropped at exit, and a killed test drops nothing at all. So daemons are started by one thread that lives as
//! long as this process, and die with it (`PR_SET_PDEATHSIG` follows the thread that forked); and a helper waits for
//! the end of this process, seen by the end of a pipe, to remove the directory that holds all others.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};

use tempfile::TempDir;

/// Removes its argument once its standard input ends; again where somebody still wrote into it.
const REMOVER: &str = r#"cat >/dev/null; for try in 1 2 3 4 5; do rm -rf "$0" && exit; sleep 0.2; done"#;

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, answer) in jobs {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

static BASE: LazyLock<(PathBuf, Child)> = LazyLock::new(|| {
    let base = tempfile::Builder::new().prefix("previewd-it-").tempdir().expect("temp dir").keep();
    let mut remover = Command::new("sh");
    // Not in this process group: Ctrl-C ends the tests, not the one that tidies up after them.
    remover.args(["-c", REMOVER]).arg(&base).stdin(Stdio::piped()).process_group(0);
    (base, remover.spawn().expect("sh"))
});

/// A directory that is gone when it is dropped, or else when the test run ends.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::tempdir_in(base()).expect("temp dir")
}

/// Where everything of this test run lies.
pub(crate) fn base() -> &'static Path {
    &BASE.0
}

/// A command for `program` whose process dies with this one; start it with [`spawn`].
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts a command from the thread that lives as long as this process.
pub(crate) fn spawn(command: Command) -> Child {
    let (answer, child) = mpsc::channel();
    SPAWNER.lock().expect("spawner").send((command, answer)).expect("spawner");
    child.recv().expect("spawner").expect("the program starts")
}
