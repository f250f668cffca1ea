//! Has a tree of processes stand still and go on: between two builds, nothing of a project's code runs.
//!
//! Invariant: a signal goes to nothing but the tree. A process is taken hold of first, and signalled only if it still is the child of
//! the one that it was found at.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a tree may take to stand still.
const DEADLINE: Duration = Duration::from_millis(500);
/// Who is in the kernel for longer than this waits for a child to begin (`vfork`), which stands still: neither comes back before it goes on.
const IN_KERNEL: Duration = Duration::from_millis(20);
/// Between two looks: signals take a moment to be heeded.
const POLL: Duration = Duration::from_micros(200);

/// One process of a tree.
struct Process {
    pid: Pid,
    parent: Option<Pid>,
}

/// Stops all descendants of `root`, and `root` itself where it is one of them (`own`). Whether all stand still. Blocking.
pub(super) fn pause_tree(root: u32, own: bool) -> bool {
    let begun = Instant::now();
    let until = begun + DEADLINE;
    loop {
        let in_kernel = if begun.elapsed() > IN_KERNEL { 'D' } else { 'T' };
        let moves = |process: &Process| state(process.pid).is_some_and(|state| is_moving(state) && state != in_kernel);
        // One that was just made by another before that was stopped is found by the next look.
        let moving: Vec<Process> = tree(root, own).into_iter().filter(moves).collect();
        if moving.is_empty() {
            return true;
        }
        for process in &moving {
            signal(process, Signal::STOP);
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// How many processes a tree has besides those whose program is called one of `known`. Blocking.
pub(super) fn count_besides(root: u32, own: bool, known: &[&str]) -> usize {
    let is_known = |process: &Process| name(process.pid).is_some_and(|name| known.contains(&name.as_str()));
    tree(root, own).iter().filter(|process| state(process.pid).is_some_and(|state| !matches!(state, 'Z' | 'X')) && !is_known(process)).count()
}

fn name(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok().map(|name| name.trim_end().to_owned())
}

/// Lets them go on. Blocking.
pub(super) fn resume_tree(root: u32, own: bool) {
    for process in tree(root, own) {
        signal(&process, Signal::CONT);
    }
}

fn tree(root: u32, own: bool) -> Vec<Process> {
    let Some(root) = Pid::from_raw(root.cast_signed()) else { return Vec::new() };
    let mut found = vec![Process { pid: root, parent: None }];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let parent = process.pid;
        let threads = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<i32> = lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        found.extend(children.into_iter().filter_map(Pid::from_raw).map(|pid| Process { pid, parent: Some(parent) }));
        next += 1;
    }
    if !own {
        found.remove(0);
    }
    found
}

fn signal(process: &Process, signal: Signal) {
    let Ok(held) = pidfd_open(process.pid, PidfdFlags::empty()) else { return };
    // Its number may have been given to another since it was found.
    let is_still = process.parent.is_none_or(|parent| parent_of(process.pid) == Some(parent));
    if is_still {
        // An error means that it has ended.
        let _ = pidfd_send_signal(held, signal);
    }
}

/// The fields after the name, which may hold anything: state, parent, …
fn fields(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}

fn state(pid: Pid) -> Option<char> {
    fields(pid)?.chars().next()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    Pid::from_raw(fields(pid)?.split(' ').nth(1)?.parse().ok()?)
}

fn is_moving(state: char) -> bool {
    !matches!(state, 'T' | 't' | 'Z' | 'X')
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::kill_process;

    use super::*;

    #[test]
    fn a_tree_stands_still_and_goes_on() {
        // A shell that makes new processes all the time, the hardest to stop.
        let script = "while true; do sh -c 'true; echo x' || exit; done";
        let mut shell = Command::new("timeout").args(["-s", "KILL", "60", "sh", "-c", script]).stdout(Stdio::piped()).spawn().expect("sh");
        let mut out = shell.stdout.take().expect("stdout");
        let mut read = |bytes: usize| std::io::Read::read_exact(&mut out, &mut vec![0; bytes]).expect("it runs");
        read(2);
        for _ in 0..20 {
            assert!(pause_tree(shell.id(), true));
            let all = tree(shell.id(), true);
            assert!(all.len() > 1);
            let states = || all.iter().map(|process| state(process.pid)).collect::<Vec<_>>();
            let before = states();
            assert!(before.iter().flatten().all(|state| !is_moving(*state) || *state == 'D'), "{before:?}");
            resume_tree(shell.id(), true);
            read(2);
        }
        // `timeout` tells the shell.
        kill_process(Pid::from_child(&shell), Signal::TERM).expect("signal");
        shell.wait().expect("wait");
    }
}
