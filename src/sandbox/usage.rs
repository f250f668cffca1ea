//! What a running child's process tree takes: memory, and how many tasks (processes and threads) it has.
//!
//! The stand-in for a cgroup where there is none: it is looked at, not enforced by the kernel, so a tree can be
//! over its limits for as long as its watcher looks away.
//!
//! Invariant: only what the tree holds for itself counts; programs and libraries that others map too do not.

use std::fs;

/// Lines of `/proc/{pid}/status` that count, in kB there.
const COUNTED: [&str; 2] = ["RssAnon:", "RssShmem:"];
/// The line of `/proc/{pid}/io` that counts bytes handed to write calls.
const WRITTEN: &str = "wchar:";

/// What a tree takes at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory.
    pub bytes: u64,
    /// Processes and threads.
    pub tasks: u64,
}

/// What `root` and its descendants take. A tree with more than `tasks_max` tasks is not looked at beyond that: there
/// may be more before the look has ended. Blocking.
///
/// In a process-id namespace orphans belong to its first process, so nothing leaves the tree; a plain child's may.
pub(super) fn tree_usage(root: u32, tasks_max: u64) -> Usage {
    let (mut left, mut usage) = (vec![root.to_string()], Usage::default());
    while let Some(pid) = left.pop() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        usage.bytes += status.lines().filter_map(counted_bytes).sum::<u64>();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            usage.tasks += 1;
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            left.extend(children.split_whitespace().map(str::to_owned));
        }
        if usage.tasks + left.len() as u64 > tasks_max {
            usage.tasks += left.len() as u64;
            break;
        }
    }
    usage
}

/// Bytes that `root` and its descendants have written, to whatever it was: what has been unpacked, never less. Blocking.
pub(super) fn written_bytes(root: u32) -> u64 {
    let (mut left, mut bytes) = (vec![root.to_string()], 0);
    while let Some(pid) = left.pop() {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        bytes += io.lines().find_map(|line| line.strip_prefix(WRITTEN)?.trim().parse::<u64>().ok()).unwrap_or(0);
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        left.extend(children.flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    }
    bytes
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
    fn a_tree_takes_what_its_processes_take() {
        let own = tree_usage(std::process::id(), u64::MAX);
        assert!(own.bytes > 100 * 1024 && own.tasks > 1, "{own:?}");
        // `cat` is a grandchild's place: the shell stays because of what follows it.
        let mut shell = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let alone = || {
            let status = fs::read_to_string(format!("/proc/{}/status", shell.id())).expect("status");
            status.lines().filter_map(counted_bytes).sum::<u64>()
        };
        // Both change as they begin: what counts is how they stand to each other once the child is there.
        let counts = || tree_usage(shell.id(), u64::MAX).tasks == 2 && tree_usage(shell.id(), u64::MAX).bytes > alone() + 8 * 1024;
        while !counts() {
            assert!(std::time::Instant::now() < deadline, "the child of the shell does not count");
            std::thread::yield_now();
        }
        assert!(tree_usage(shell.id(), 1).tasks > 1, "one more is seen without a look at it");
        drop(shell.stdin.take());
        shell.wait().expect("wait");
        assert_eq!(tree_usage(u32::MAX, u64::MAX), Usage::default(), "no such process");
    }

    #[test]
    fn only_own_memory_counts() {
        assert_eq!(counted_bytes("RssAnon:\t     120 kB"), Some(120 * 1024));
        assert_eq!(counted_bytes("RssFile:\t     120 kB"), None);
    }
}
