//! Children of an earlier daemon that outlived it.
//!
//! They die with their daemon, but for one moment: a bubblewrap that had not armed its own death yet waits for ever for
//! a parent that is gone. It runs no project code, and keeps its mounts.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::process::JOB_VARIABLE;

/// Ends every child that was started for the data directory `root`, and returns how many. The caller holds the
/// directory's lock, so none of them has a daemon. Blocking.
pub fn end_orphans(root: &Path) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| is_child_of(&read(*pid, "cmdline"), &read(*pid, "environ"), root)).filter_map(Pid::from_raw);
    ours.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

fn read(pid: i32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// A bubblewrap, or a plain child with our mark, that has a path below `root` among its arguments.
fn is_child_of(cmdline: &[u8], environ: &[u8], root: &Path) -> bool {
    let mut arguments = cmdline.split(|byte| *byte == 0);
    let is_bwrap = arguments.next().is_some_and(|program| program.ends_with(b"bwrap"));
    let marked = environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(JOB_VARIABLE.as_bytes()));
    let below = |argument: &[u8]| argument.strip_prefix(root.as_os_str().as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    (is_bwrap || marked) && arguments.any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_children_for_this_directory_are_ours() {
        let root = Path::new("/srv/data");
        let bwrap = |path: &str| format!("/usr/bin/bwrap\0--bind\0{path}\0--\0node\0").into_bytes();
        assert!(is_child_of(&bwrap("/srv/data/projects/x"), b"", root));
        assert!(is_child_of(b"node\0/srv/data/runtime/worker.mjs\0", b"PATH=x\0PREVIEWD_JOB=1\0", root));
        assert!(!is_child_of(&bwrap("/srv/data2/projects/x"), b"", root));
        assert!(!is_child_of(b"vi\0/srv/data/log\0", b"PATH=x\0", root));
        assert!(!is_child_of(b"", b"", root));
    }
}
