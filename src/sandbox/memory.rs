//! How much memory a running child's process tree holds.
//!
//! The stand-in for a cgroup where there is none: it is looked at, not enforced by the kernel, so a tree can be
//! over its limit for as long as its watcher looks away.
//!
//! Invariant: only what the tree holds for itself counts; programs and libraries that others map too do not.

use std::fs;

/// Lines of `/proc/{pid}/status` that count, in kB there.
const COUNTED: [&str; 2] = ["RssAnon:", "RssShmem:"];
/// The line of `/proc/{pid}/io` that counts bytes handed to write calls.
const WRITTEN: &str = "wchar:";

/// Bytes held by `root` and its descendants. Blocking.
///
/// In a process-id namespace orphans belong to its first process, so nothing leaves the tree; a plain child's may.
pub(super) fn tree_bytes(root: u32) -> u64 {
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum_over_tree(root, |pid| status(pid).lines().filter_map(counted_bytes).sum())
}

/// Bytes that `root` and its descendants have written, to whatever it was: what has been unpacked, never less. Blocking.
pub(super) fn written_bytes(root: u32) -> u64 {
    let written = |line: &str| line.strip_prefix(WRITTEN)?.trim().parse().ok();
    let io = |pid: &str| fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    sum_over_tree(root, |pid| io(pid).lines().find_map(written).unwrap_or(0))
}

fn sum_over_tree(root: u32, of: impl Fn(&str) -> u64) -> u64 {
    let (mut left, mut sum) = (vec![root.to_string()], 0);
    while let Some(pid) = left.pop() {
        sum += of(&pid);
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        left.extend(children.flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    }
    sum
}

fn counted_bytes(line: &str) -> Option<u64> {
    let value = COUNTED.iter().find_map(|name| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_tree_holds_what_its_processes_hold() {
        let own = tree_bytes(std::process::id());
        assert!(own > 100 * 1024, "{own}");
        // `cat` is a grandchild's place: the shell stays because of what follows it.
        let mut shell = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh");
        let alone = fs::read_to_string(format!("/proc/{}/status", shell.id())).expect("status").lines().filter_map(counted_bytes).sum::<u64>();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while tree_bytes(shell.id()) <= alone + 8 * 1024 {
            assert!(std::time::Instant::now() < deadline, "the child of the shell does not count");
            std::thread::yield_now();
        }
        drop(shell.stdin.take());
        shell.wait().expect("wait");
        assert_eq!(tree_bytes(u32::MAX), 0, "no such process");
    }

    #[test]
    fn only_own_memory_counts() {
        assert_eq!(counted_bytes("RssAnon:\t     120 kB"), Some(120 * 1024));
        assert_eq!(counted_bytes("RssFile:\t     120 kB"), None);
    }
}
