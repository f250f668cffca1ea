//! A directory as the source: the embedded default, and what tests and demos use.
//!
//! Invariant: no symlink below the root is followed, at any depth; what is not a regular file does not exist. And nothing
//! is called missing unless the root is the very directory that was opened at start: one that was unmounted looks empty.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, renameat, statat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::{Download, FRONTEND, Fetched, Listed, Listing, SourceError};
use crate::domain::paths::DEPTH_MAX;
use crate::domain::{ContentHash, ProjectId, SourcePath};

/// A file that was changed this shortly before it was read may change again without its time
/// stamp moving on, so its tag is one that never matches.
const RACY_WINDOW: Duration = Duration::from_millis(50);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How folders are opened: to look into, and never through a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Projects at `{root}/{project}/frontend/…`.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: Arc<Root>,
}

/// The directory that was opened at start. No descriptor of it is kept: that would keep it from being unmounted.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Directory {
    /// Makes `root` where it does not exist yet.
    pub(super) fn open(root: &Path) -> Result<Self, SourceError> {
        let unusable = |e: io::Error| SourceError::Misconfigured(format!("the source directory {} cannot be used: {e}", root.display()));
        fs::create_dir_all(root).map_err(unusable)?;
        let path = fs::canonicalize(root).map_err(unusable)?;
        let identity = identity_of(&fs::metadata(&path).map_err(unusable)?);
        Ok(Self { root: Arc::new(Root { path, identity }) })
    }

    /// A project that is not in the source has no files: it was deleted there.
    pub(super) async fn list(&self, project: &ProjectId, max_files: usize) -> Result<Listing, SourceError> {
        let (root, project) = (self.root.clone(), project.clone());
        blocking(move || {
            let mut listing = Listing::default();
            if let Some(frontend) = open_frontend(&root.open()?, &project)? {
                walk(&frontend, "", 0, max_files, &mut listing)?;
            }
            Ok(listing)
        })
        .await
    }

    pub(super) async fn fetch(
        &self,
        project: &ProjectId,
        path: &SourcePath,
        known_etag: Option<&str>,
        into: &Path,
        max_bytes: u64,
    ) -> Result<Fetched, SourceError> {
        let (root, project, path, into) = (self.root.clone(), project.clone(), path.clone(), into.to_owned());
        let known = known_etag.map(str::to_owned);
        blocking(move || {
            let Some(frontend) = open_frontend(&root.open()?, &project)? else { return Ok(Fetched::Missing) };
            let Some((mut file, stat)) = open_regular(&frontend, &path)? else { return Ok(Fetched::Missing) };
            if known.as_deref() == Some(&*tag(&stat)) {
                return Ok(Fetched::Unchanged);
            }
            let too_large = |size| SourceError::TooLarge { path: path.clone(), size, limit: max_bytes };
            if size(&stat) > max_bytes {
                return Err(too_large(size(&stat)));
            }
            let (bytes, sha256) = copy_hashing(&mut file, &path, &into, max_bytes)?.ok_or_else(|| too_large(max_bytes))?;
            let etag = if is_racy(&stat) { format!("{}-racy", tag(&stat)) } else { tag(&stat) };
            Ok(Fetched::File(Download { etag, size: bytes, sha256 }))
        })
        .await
    }

    pub(super) async fn put(&self, project: &ProjectId, path: &SourcePath, bytes: Vec<u8>) -> Result<(), SourceError> {
        let (root, project, path) = (self.root.clone(), project.clone(), path.clone());
        blocking(move || {
            let home = make_folder(&root.open()?, project.as_str())?;
            let (folders, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
            let mut folder = make_folder(&home, FRONTEND)?;
            for name in folders.split('/').filter(|name| !name.is_empty()) {
                folder = make_folder(&folder, name)?;
            }
            // Written aside and renamed, so that a sync that runs meanwhile sees the old or the new file, whole; and aside is
            // outside of `frontend/`, or that sync would take it for a file of the project.
            let aside = format!(".previewd-{:016x}.tmp", rand::random::<u64>());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut file: File = openat(&home, &aside, flags, Mode::from_raw_mode(0o666)).map_err(io::Error::from)?.into();
            let moved = file.write_all(&bytes).and_then(|()| Ok(renameat(&home, &aside, &folder, name)?));
            if moved.is_err() {
                let _ = unlinkat(&home, &aside, AtFlags::empty());
            }
            Ok(moved?)
        })
        .await
    }

    pub(super) async fn delete(&self, project: &ProjectId, path: &SourcePath) -> Result<(), SourceError> {
        let (root, project, path) = (self.root.clone(), project.clone(), path.clone());
        blocking(move || {
            let (folders, name) = path.as_str().rsplit_once('/').unwrap_or((".", path.as_str()));
            let Some(frontend) = open_frontend(&root.open()?, &project)? else { return Ok(()) };
            let Some(folder) = open_folder(&frontend, folders)? else { return Ok(()) };
            match unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(io::Error::from(e).into()),
            }
        })
        .await
    }

    pub(super) async fn probe(&self) -> Result<(), SourceError> {
        let root = self.root.clone();
        blocking(move || root.open().map(drop)).await
    }
}

impl Root {
    /// The directory that was there at start, or [`SourceError::Unavailable`]: whether something is missing can only be
    /// said of that one.
    fn open(&self) -> Result<OwnedFd, SourceError> {
        let unavailable = |e: io::Error| SourceError::Unavailable(format!("the source directory cannot be read: {}", e.kind()));
        let directory = File::open(&self.path).map_err(unavailable)?;
        let metadata = directory.metadata().map_err(unavailable)?;
        if identity_of(&metadata) != self.identity {
            return Err(SourceError::Unavailable("another directory is in the place of the source directory that was there at start".into()));
        }
        Ok(directory.into())
    }
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// What could not be read, for callers: without the path on this machine.
fn unreadable(what: &str, error: &io::Error) -> SourceError {
    SourceError::Unreadable(format!("{what}: {}", error.kind()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, SourceError> + Send + 'static) -> Result<T, SourceError> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The version of a file: any write, replacement or touch changes one of these.
fn tag(stat: &Stat) -> String {
    format!("{:x}.{:x}-{:x}-{:x}", stat.st_ctime, stat.st_ctime_nsec, stat.st_size, stat.st_ino)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn is_racy(stat: &Stat) -> bool {
    let nanoseconds = u32::try_from(stat.st_ctime_nsec).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::new(stat.st_ctime.unsigned_abs(), nanoseconds);
    // A time in the future is as doubtful as a very recent one.
    changed.elapsed().is_ok_and(|age| age < RACY_WINDOW) || changed > SystemTime::now()
}

/// Opens something below `folder` without following any symlink; `None` where it is not there, or only by a link.
fn open_beneath(folder: impl AsFd, path: &str, flags: OFlags) -> Result<Option<OwnedFd>, SourceError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        // A symlink, or a file where a folder is named: there is no such thing for us.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => Ok(None),
        Err(e) => Err(unreadable(path, &e.into())),
    }
}

fn open_folder(folder: impl AsFd, path: &str) -> Result<Option<OwnedFd>, SourceError> {
    open_beneath(folder, path, FOLDER)
}

/// A project's files; `None` where the source has no such project.
fn open_frontend(root: &OwnedFd, project: &ProjectId) -> Result<Option<OwnedFd>, SourceError> {
    open_folder(root, &format!("{project}/{FRONTEND}"))
}

fn open_regular(frontend: &OwnedFd, path: &SourcePath) -> Result<Option<(File, Stat)>, SourceError> {
    let Some(fd) = open_beneath(frontend, path.as_str(), OFlags::RDONLY | OFlags::NONBLOCK)? else { return Ok(None) };
    let stat = fstat(&fd).map_err(|e| unreadable(path.as_str(), &e.into()))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(regular.then(|| (fd.into(), stat)))
}

/// Opens the folder `name`, making it where it is not there; for `previewd push`.
fn make_folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, SourceError> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(io::Error::from(e).into()),
    }
    // What a sync would not find must not be written to.
    openat(parent, name, FOLDER, Mode::empty()).map_err(|e| match e {
        Errno::NOTDIR | Errno::LOOP => SourceError::Misconfigured(format!("`{name}` in the source is not a folder")),
        e => io::Error::from(e).into(),
    })
}

/// Copies at most `max_bytes`, or returns `None` where there are more.
fn copy_hashing(from: &mut File, path: &SourcePath, into: &Path, max_bytes: u64) -> Result<Option<(u64, ContentHash)>, SourceError> {
    let mut out = File::create(into)?;
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = from.read(&mut chunk).map_err(|e| unreadable(path.as_str(), &e))?;
        if n == 0 {
            return Ok(Some((size, ContentHash::from_bytes(hasher.finalize().into()))));
        }
        size += n as u64;
        if size > max_bytes {
            return Ok(None);
        }
        hasher.update(&chunk[..n]);
        out.write_all(&chunk[..n])?;
    }
}

/// Lists what is below `folder`, whose names begin with `prefix`.
fn walk(folder: &OwnedFd, prefix: &str, depth: usize, max_files: usize, listing: &mut Listing) -> Result<(), SourceError> {
    let failed = |e: Errno| unreadable(if prefix.is_empty() { FRONTEND } else { prefix }, &e.into());
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let relative = format!("{prefix}{}", name.display());
        let Some(name) = name.to_str() else {
            listing.reject(relative, "its name is not UTF-8".to_owned(), max_files)?;
            continue;
        };
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Deleted since it was listed.
            Err(Errno::NOENT) => continue,
            stat => stat.map_err(failed)?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            // Its content is never synced, and walking it would take seconds.
            FileType::Directory if name == "node_modules" => {}
            // No file in it has a name short enough to be synced; and each level holds a descriptor.
            FileType::Directory if depth + 1 >= DEPTH_MAX => listing.reject(relative, "nested too deep".to_owned(), max_files)?,
            FileType::Directory => {
                if let Some(inner) = open_folder(folder, name)? {
                    walk(&inner, &format!("{relative}/"), depth + 1, max_files, listing)?;
                }
            }
            FileType::RegularFile => match SourcePath::parse(&relative) {
                Err(e) => listing.reject(relative, e.to_string(), max_files)?,
                Ok(path) => {
                    listing.add(Listed { path, etag: tag(&stat), size: size(&stat), md5: None }, max_files)?;
                }
            },
            _ => listing.reject(relative, "not a regular file".to_owned(), max_files)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn demo() -> ProjectId {
        "demo".parse().expect("id")
    }

    fn path(text: &str) -> SourcePath {
        SourcePath::parse(text).expect("path")
    }

    fn source(root: &Path) -> Directory {
        fs::create_dir_all(root.join("demo/frontend/src")).expect("mkdir");
        fs::write(root.join("demo/frontend/src/a.ts"), "a").expect("write");
        Directory::open(root).expect("open")
    }

    async fn fetch(source: &Directory, name: &str, into: &Path) -> Result<Fetched, SourceError> {
        source.fetch(&demo(), &path(name), None, into, 1000).await
    }

    #[tokio::test]
    async fn a_root_that_is_gone_or_another_one_is_unavailable_and_not_empty() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (root, into) = (dir.path().join("root"), dir.path().join("into"));
        let source = source(&root);
        assert_eq!(source.list(&demo(), 10).await.expect("list").files.len(), 1);
        fs::rename(&root, dir.path().join("unmounted")).expect("rename");
        for what in ["gone", "another"] {
            let told = [
                source.list(&demo(), 10).await.map(drop),
                fetch(&source, "src/a.ts", &into).await.map(drop),
                source.put(&demo(), &path("b"), Vec::new()).await,
                source.delete(&demo(), &path("b")).await,
                source.probe().await,
            ];
            for result in told {
                let Err(SourceError::Unavailable(text)) = result else { panic!("{what}: {result:?}") };
                assert!(!text.contains(dir.path().to_str().expect("utf-8")), "a path on this machine: {text}");
            }
            // As the mount point under it would be.
            fs::create_dir_all(&root).expect("mkdir");
        }
        fs::remove_dir(&root).expect("remove");
        fs::rename(dir.path().join("unmounted"), &root).expect("rename");
        assert_eq!(source.list(&demo(), 10).await.expect("mounted again").files.len(), 1);
        fs::remove_dir_all(root.join("demo")).expect("remove");
        assert!(source.list(&demo(), 10).await.expect("the project was deleted").files.is_empty());
        assert_eq!(fetch(&source, "src/a.ts", &into).await.expect("fetch"), Fetched::Missing);
    }

    #[tokio::test]
    async fn a_project_or_front_end_that_is_a_link_is_not_there() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (root, outside, into) = (dir.path().join("root"), dir.path().join("outside"), dir.path().join("into"));
        let source = source(&root);
        fs::create_dir_all(outside.join("frontend")).expect("mkdir");
        fs::write(outside.join("frontend/key"), "secret").expect("write");
        fs::remove_dir_all(root.join("demo")).expect("remove");
        for (link, to) in [("demo", outside.clone()), ("demo/frontend", outside.join("frontend"))] {
            fs::create_dir_all(root.join(link).parent().expect("parent")).expect("mkdir");
            symlink(to, root.join(link)).expect("link");
            let listing = source.list(&demo(), 10).await.expect("list");
            assert!(listing.files.is_empty() && listing.rejected.is_empty(), "{link}: {listing:?}");
            assert_eq!(fetch(&source, "key", &into).await.expect("fetch"), Fetched::Missing, "{link}");
            assert!(source.put(&demo(), &path("src/b"), Vec::new()).await.is_err(), "{link}");
            source.delete(&demo(), &path("key")).await.expect("nothing to delete");
            fs::remove_file(root.join(link)).expect("remove");
        }
        assert_eq!(fs::read_dir(outside.join("frontend")).expect("read").count(), 1, "nothing was made or deleted there");
    }

    #[tokio::test]
    async fn odd_names_are_counted_and_the_first_are_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let source = source(dir.path());
        let frontend = dir.path().join("demo/frontend");
        fs::write(frontend.join(OsStr::from_bytes(b"not-\xff-utf-8")), "").expect("write");
        fs::create_dir_all(frontend.join("d/".repeat(40))).expect("mkdir");
        for n in 0..super::super::REJECTED_NAMED_MAX {
            symlink("x", frontend.join(format!("link-{n}"))).expect("link");
        }
        let listing = source.list(&demo(), 1000).await.expect("list");
        assert_eq!((listing.files.len(), listing.rejected.len(), listing.rejected_count), (1, 100, 102));
        assert!(matches!(source.list(&demo(), 102).await, Err(SourceError::TooManyFiles { limit: 102 })));
        assert!(source.list(&demo(), 103).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_that_is_written_aside_lies_where_a_sync_sees_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let source = source(dir.path());
        // The rename fails, so what was written aside would stay.
        fs::create_dir(dir.path().join("demo/frontend/folder")).expect("mkdir");
        assert!(source.put(&demo(), &path("folder"), b"x".to_vec()).await.is_err());
        let watched = dir.path().join("demo/frontend");
        let before = names(&watched);
        let big = vec![7; 4 * 1024 * 1024];
        let writes = tokio::spawn({
            let source = source.clone();
            async move {
                for n in 0..20 {
                    source.put(&demo(), &path(&format!("src/{n}")), big.clone()).await.expect("put");
                }
            }
        });
        while !writes.is_finished() {
            assert_eq!(names(&watched), before);
            assert!(names(&watched.join("src")).iter().all(|name| !name.contains("previewd")), "{:?}", names(&watched.join("src")));
            tokio::task::yield_now().await;
        }
        writes.await.expect("writes");
        assert_eq!(names(&dir.path().join("demo")), ["frontend"]);
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).expect("read").map(|entry| entry.expect("entry").file_name().display().to_string()).collect();
        names.sort();
        names
    }
}
