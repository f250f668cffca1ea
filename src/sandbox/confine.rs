//! Between the daemon and an untrusted child: our own program once more, for the moment before it becomes the child.
//!
//! 1. move into the child's control group  2. lower limits that are inherited  3. become the program
//!
//! Nothing of this can be done by the daemon for a child without code between `fork` and `exec`, which Rust calls unsafe,
//! nor for a child that runs already without a moment in which it is free.
//!
//! Invariant: either all of it holds when the program begins, or the program does not begin.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// The first argument that makes the program this.
const ASKED: &str = "confine-child";
/// The running program, also after its file was replaced.
pub(super) const OURSELVES: &str = "/proc/self/exe";
/// Open files of a build. The daemon has many more, which Node.js would take over.
const DESCRIPTORS: u64 = 16_384;
/// How much less of the processor a child gets where there is no control group for that: the daemon goes first.
const NICENESS: i32 = 5;

/// What holds for a child and all that it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The control group to move into.
    pub(super) cgroup: Option<PathBuf>,
    /// Longest file that may be written, bytes; the kernel counts each file for itself.
    pub(super) file_bytes: u64,
}

impl Bounds {
    /// The arguments of [`OURSELVES`]; the program and its own arguments follow.
    pub(super) fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![ASKED.into(), self.file_bytes.to_string().into()];
        args.push(self.cgroup.as_ref().map(OsString::from).unwrap_or_default());
        args
    }

    fn parse(args: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let file_bytes = args.next()?.to_str()?.parse().ok()?;
        let cgroup = args.next()?;
        Some(Self { cgroup: (!cgroup.is_empty()).then(|| cgroup.into()), file_bytes })
    }

    fn hold(&self) -> std::io::Result<()> {
        if let Some(group) = &self.cgroup {
            std::fs::File::options().write(true).open(group.join("cgroup.procs"))?.write_all(b"0")?;
        } else {
            let _ = nice(NICENESS);
        }
        lower(Resource::Core, 0)?;
        lower(Resource::Nofile, DESCRIPTORS)?;
        lower(Resource::Fsize, self.file_bytes)
    }
}

/// Lowers a limit for good.
fn lower(resource: Resource, to: u64) -> std::io::Result<()> {
    let to = getrlimit(resource).maximum.map_or(to, |most| most.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })?)
}

/// Becomes a child, if that is what the program was started for: then this returns only where it failed. Only for the
/// start of `main`: descriptors that were handed over are the child's.
pub fn become_child() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(ASKED)) {
        return None;
    }
    let (bounds, program) = (Bounds::parse(&mut args), args.next());
    let (Some(bounds), Some(program)) = (bounds, program) else {
        eprintln!("previewd: {ASKED} is for previewd itself");
        return Some(ExitCode::from(2));
    };
    let error = match bounds.hold() {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    };
    eprintln!("previewd: a child's limits cannot be set: {error}");
    Some(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_back() {
        for bounds in [Bounds { cgroup: Some("/sys/fs/cgroup/x y".into()), file_bytes: 7 }, Bounds { cgroup: None, file_bytes: 0 }] {
            let mut args = bounds.args().into_iter();
            assert_eq!(args.next().as_deref(), Some(OsStr::new(ASKED)));
            assert_eq!(Bounds::parse(&mut args), Some(bounds));
        }
        let parse = |args: [&str; 2]| Bounds::parse(&mut args.map(OsString::from).into_iter());
        assert_eq!(parse(["all", ""]), None, "no number is not no limit");
    }
}
