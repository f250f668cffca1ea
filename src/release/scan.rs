//! Looks through a build's output before it may become a release.
//!
//! 1. walk without following links  2. regular files with one link only  3. limits on number, bytes, depth, names
//! 4. plain modes  5. a modification time made from the content  6. a copy of it, or a link to the same file of the release before
//!
//! Step 6 is what makes a release ours: whoever wrote the output may live on, with open files there. Step 5 gives every file a validator that nginx and previewd agree on (`ETag` is `"{mtime:x}-{size:x}"` in
//! both), that stays the same across releases and machines while the content does, and that differs when
//! two builds within one second write different files of one size.
//!
//! Invariant: whoever wrote the output is gone or stands still (see `sandbox`), and what is published nobody else has ever had.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest, Sha256};

use super::compress::with_suffix;
use crate::domain::paths::{DEPTH_MAX, NAME_BYTES_MAX};
use crate::domain::{ContentHash, Failure, FailureKind};

/// Mode of published files and folders.
pub(super) const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Modification times lie in the 17 years from this one (2001-09-09), seconds since 1970.
const MTIME_BASE: u64 = 1_000_000_000;
const MTIME_SPAN: u64 = 1 << 29;
/// What the owner of a folder must be able to do with it.
const OWNERS_RIGHTS: u32 = 0o700;
/// What is said of one that is closed even to its owner.
pub const UNLISTED: &str = "the output has a folder that cannot be looked into";
/// What names of compressed copies end in.
const COPY_SUFFIXES: [&str; 2] = [".br", ".gz"];
/// Bytes read at once while hashing.
const CHUNK_BYTES: usize = 64 * 1024;

/// What one build may write.
#[derive(Debug, Clone, Copy)]
pub struct OutputLimits {
    /// `build.output_files`.
    pub files: u64,
    /// `build.output_mb`, in bytes.
    pub bytes: u64,
}

impl OutputLimits {
    /// Which limit an output of so many entries (files and folders) and bytes, at such a depth, is over.
    pub fn exceeded(self, entries: u64, bytes: u64, depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return Some(format!("the output is nested deeper than {DEPTH_MAX} folders"));
        }
        if entries > self.files {
            return Some(format!("the output has more than {} files and folders, the limit build.output_files", self.files));
        }
        (bytes > self.bytes).then(|| format!("the output has more than {} MB, the limit build.output_mb", self.bytes / (1024 * 1024)))
    }
}

/// What a scan found to be fine.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Relative paths of the files.
    pub files: Vec<PathBuf>,
    /// Bytes of all files together.
    pub bytes: u64,
    entries: u64,
}

/// Where checked files go.
#[derive(Debug, Clone, Copy)]
enum Into<'a> {
    /// They stay where they are.
    Place,
    /// To a folder, as copies; what is the same in another release is linked from there.
    Release(&'a Path, Option<&'a Path>),
}

/// Why an output cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The project's fault: data.
    #[error("{0}")]
    Rejected(Failure),
    /// Ours.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn rejected(message: String) -> ScanError {
    ScanError::Rejected(Failure::new(FailureKind::Output, message))
}

/// Checks everything under `root`, which nobody else will ever write to, and makes it fit to be served. Blocking.
pub fn scan(root: &Path, limits: OutputLimits) -> Result<Scanned, ScanError> {
    scan_into(root, Into::Place, limits)
}

/// Checks everything under `root`, and makes a release of it in `release`, which is not there yet. Files that are the same in the
/// release `before` are shared with it, compressed copies too. Blocking.
pub fn collect(root: &Path, release: &Path, before: Option<&Path>, limits: OutputLimits) -> Result<Scanned, ScanError> {
    fs::create_dir(release)?;
    scan_into(root, Into::Release(release, before), limits)
}

fn scan_into(root: &Path, into: Into<'_>, limits: OutputLimits) -> Result<Scanned, ScanError> {
    let mut scanned = Scanned::default();
    match root.symlink_metadata() {
        Ok(found) if found.is_dir() => check_open(&found, Path::new("."))?,
        _ => return Err(rejected("the build removed its output folder, or put something else in its place".into())),
    }
    scan_folder(root, Path::new(""), 0, into, limits, &mut scanned)?;
    make_folder(root, Path::new(""), into)?;
    Ok(scanned)
}

fn make_folder(root: &Path, path: &Path, into: Into<'_>) -> io::Result<()> {
    let folder = match into {
        Into::Place => root.join(path),
        Into::Release(release, _) => release.join(path),
    };
    if !folder.exists() {
        fs::create_dir(&folder)?;
    }
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))
}

fn scan_folder(root: &Path, relative: &Path, depth: usize, into: Into<'_>, limits: OutputLimits, scanned: &mut Scanned) -> Result<(), ScanError> {
    for entry in fs::read_dir(root.join(relative))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = relative.join(&name);
        if name.len() > NAME_BYTES_MAX || name.to_str().is_none_or(|name| name.chars().any(char::is_control)) {
            return Err(rejected(format!("the output has a file whose name is too long or not plain text: {}", path.display())));
        }
        scanned.entries += 1;
        if let Some(what) = limits.exceeded(scanned.entries, scanned.bytes, depth) {
            return Err(rejected(what));
        }
        if entry.file_type()?.is_dir() {
            check_open(&entry.metadata()?, &path)?;
            make_folder(root, &path, into)?;
            scan_folder(root, &path, depth + 1, into, limits, scanned)?;
        } else {
            scanned.bytes += scan_file(root, &path, into)?;
            scanned.files.push(path);
            if let Some(what) = limits.exceeded(scanned.entries, scanned.bytes, depth) {
                return Err(rejected(what));
            }
        }
    }
    Ok(())
}

/// A folder that its own builder closed could not be counted while it was filled, either (`builder/watch.rs`).
fn check_open(folder: &fs::Metadata, path: &Path) -> Result<(), ScanError> {
    if folder.mode() & OWNERS_RIGHTS == OWNERS_RIGHTS {
        return Ok(());
    }
    Err(rejected(format!("{UNLISTED}: {}", path.display())))
}

/// Lets us read a file that its builder closed. Nobody who could put something else in its place runs any more.
fn open_closed(path: &Path) -> io::Result<bool> {
    let found = path.symlink_metadata()?;
    let ours = found.is_file() && found.nlink() == 1 && found.mode() & OWNERS_RIGHTS != OWNERS_RIGHTS;
    if ours {
        fs::set_permissions(path, Permissions::from_mode(OWNERS_RIGHTS))?;
    }
    Ok(ours)
}

/// Checks, hashes and stamps one file; returns its bytes.
fn scan_file(root: &Path, path: &Path, into: Into<'_>) -> Result<u64, ScanError> {
    let (whole, whole_root) = (root.join(path), root.to_owned());
    let root: OwnedFd = File::open(root)?.into();
    // Not blocking: opening a fifo would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS);
    let mut file: File = match opened {
        Ok(fd) => fd.into(),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Err(not_regular(path)),
        Err(rustix::io::Errno::ACCESS) if open_closed(&whole)? => return scan_file(&whole_root, path, into),
        Err(e) => return Err(io::Error::from(e).into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular(path));
    }
    if metadata.nlink() != 1 {
        return Err(rejected(format!("the output has a hard link, which may lead out of it: {}", path.display())));
    }
    let modified = content_time(&hash(&mut file)?);
    match into {
        Into::Place => stamp(&file, modified)?,
        Into::Release(release, before) => {
            let shared = before.map(|before| share(&mut file, &before.join(path), &release.join(path), modified));
            if !matches!(shared, Some(Ok(true))) {
                file.rewind()?;
                let mut copy = File::create_new(release.join(path))?;
                // Not more than was counted, whatever it is that grows.
                io::copy(&mut file.take(metadata.len()), &mut copy)?;
                stamp(&copy, modified)?;
            }
        }
    }
    Ok(metadata.len())
}

fn stamp(file: &File, modified: SystemTime) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.set_times(FileTimes::new().set_modified(modified))
}

/// Links `old`, a file of a release, to `new`, if it has the content of `file`, with its compressed copies. An error means that it is to be
/// copied: a file system has an end to the links of a file.
fn share(file: &mut File, old: &Path, new: &Path, modified: SystemTime) -> io::Result<bool> {
    let found = old.symlink_metadata()?;
    // A time stands for few enough contents to make looking further worth it, and not for one.
    if !found.is_file() || found.len() != file.metadata()?.len() || found.modified()? != modified || !is_same(file, &mut File::open(old)?)? {
        return Ok(false);
    }
    fs::hard_link(old, new)?;
    for suffix in COPY_SUFFIXES {
        // Not made yet, or not worth it: then it is made, or not, again.
        let _ = fs::hard_link(with_suffix(old, suffix), with_suffix(new, suffix));
    }
    Ok(true)
}

/// Whether two files of one length have the same content.
fn is_same(a: &mut File, b: &mut File) -> io::Result<bool> {
    a.rewind()?;
    let (mut left, mut right) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let read = a.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

fn not_regular(path: &Path) -> ScanError {
    rejected(format!("the output has something that is not a regular file: {}", path.display()))
}

fn hash(file: &mut File) -> io::Result<ContentHash> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(ContentHash::from_bytes(hasher.finalize().into())),
            n => hasher.update(&chunk[..n]),
        }
    }
}

/// A time that stands for the content.
pub(super) fn content_time(hash: &ContentHash) -> SystemTime {
    let first: [u8; 8] = std::array::from_fn(|n| hash.as_bytes()[n]);
    SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME_BASE + u64::from_le_bytes(first) % MTIME_SPAN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LIMITS: OutputLimits = OutputLimits { files: 40, bytes: 100 };

    fn scan_of(prepare: impl FnOnce(&Path)) -> Result<Scanned, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        prepare(dir.path());
        scan(dir.path(), LIMITS).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let link = scan_of(|dir| symlink("/etc/passwd", dir.join("x")).expect("symlink"));
        assert!(link.expect_err("symlink").contains("not a regular file: x"));
        let folder = scan_of(|dir| symlink("/etc", dir.join("x")).expect("symlink"));
        assert!(folder.expect_err("symlink").contains("not a regular file: x"));
        let hard = scan_of(|dir| {
            fs::write(dir.join("a"), "1").expect("write");
            fs::hard_link(dir.join("a"), dir.join("b")).expect("link");
        });
        assert!(hard.expect_err("hard link").contains("hard link"));
        let fifo = scan_of(|dir| {
            let status = std::process::Command::new("mkfifo").arg(dir.join("x")).status();
            assert!(status.expect("mkfifo").success());
        });
        assert!(fifo.expect_err("fifo").contains("not a regular file: x"));
        let gone = scan_of(|dir| fs::remove_dir(dir).expect("remove"));
        assert!(gone.expect_err("no folder").contains("removed its output folder"));
        let elsewhere = scan_of(|dir| {
            fs::remove_dir(dir).expect("remove");
            symlink("/etc", dir).expect("symlink");
        });
        assert!(elsewhere.expect_err("a link").contains("put something else"));
    }

    #[test]
    fn limits_are_named() {
        let many = scan_of(|dir| (0..41).for_each(|n| fs::write(dir.join(n.to_string()), "").expect("write")));
        assert!(many.expect_err("files").contains("build.output_files"));
        let large = scan_of(|dir| fs::write(dir.join("x"), [0; 101]).expect("write"));
        assert!(large.expect_err("bytes").contains("build.output_mb"));
        let deep = scan_of(|dir| fs::create_dir_all(dir.join("d/".repeat(DEPTH_MAX + 2))).expect("mkdir"));
        assert!(deep.expect_err("depth").contains("deeper"));
    }

    #[test]
    fn the_time_stands_for_the_content_and_modes_are_plain() {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, content) in [("a", "one"), ("b", "one"), ("c", "two")] {
            fs::write(dir.path().join(name), content).expect("write");
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o4777)).expect("chmod");
        }
        assert_eq!(scan(dir.path(), LIMITS).expect("fine").files.len(), 3);
        let [a, b, c] = ["a", "b", "c"].map(|name| fs::metadata(dir.path().join(name)).expect("stat"));
        assert_eq!(a.mtime(), b.mtime());
        assert_ne!(a.mtime(), c.mtime());
        assert_eq!(a.mode() & 0o7777, FILE_MODE);
    }
}
