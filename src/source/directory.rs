//! A directory as the source: the embedded default, and what tests and demos use.
//!
//! Invariant: no symlink is followed, at any depth; what is not a regular file does not exist.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::{Download, FRONTEND, Fetched, Listed, Listing, SourceError};
use crate::domain::{ContentHash, ProjectId, SourcePath};

/// A file that was changed this shortly before it was read may change again without its time
/// stamp moving on, so its tag is one that never matches.
const RACY_WINDOW: Duration = Duration::from_millis(50);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Projects at `{root}/{project}/frontend/…`.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Makes `root` where it does not exist yet.
    pub(super) fn open(root: PathBuf) -> Result<Self, SourceError> {
        fs::create_dir_all(&root)?;
        Ok(Self { root: fs::canonicalize(root)? })
    }

    fn frontend(&self, project: &ProjectId) -> PathBuf {
        self.root.join(project.as_str()).join(FRONTEND)
    }

    pub(super) async fn list(&self, project: &ProjectId, max_files: usize) -> Result<Listing, SourceError> {
        let root = self.frontend(project);
        blocking(move || {
            let mut listing = Listing::default();
            walk(&root, &root, max_files, &mut listing)?;
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
        let (root, path, into) = (self.frontend(project), path.clone(), into.to_owned());
        let known = known_etag.map(str::to_owned);
        blocking(move || {
            let Some((mut file, metadata)) = open_regular(&root, &path)? else {
                return Ok(Fetched::Missing);
            };
            if known.as_deref() == Some(&*tag(&metadata)) {
                return Ok(Fetched::Unchanged);
            }
            let too_large = |size| SourceError::TooLarge { path: path.clone(), size, limit: max_bytes };
            if metadata.len() > max_bytes {
                return Err(too_large(metadata.len()));
            }
            let (size, sha256) = copy_hashing(&mut file, &into, max_bytes)?.ok_or_else(|| too_large(max_bytes))?;
            let etag = if is_racy(&metadata) { format!("{}-racy", tag(&metadata)) } else { tag(&metadata) };
            Ok(Fetched::File(Download { etag, size, sha256 }))
        })
        .await
    }

    pub(super) async fn put(&self, project: &ProjectId, path: &SourcePath, bytes: Vec<u8>) -> Result<(), SourceError> {
        let target = path.under(&self.frontend(project));
        blocking(move || {
            let folder = target.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            // Written aside and renamed: a sync that runs meanwhile sees the old or the new file, whole.
            let aside = folder.join(format!(".previewd-{:016x}.tmp", rand::random::<u64>()));
            fs::write(&aside, bytes)?;
            Ok(fs::rename(&aside, &target)?)
        })
        .await
    }

    pub(super) async fn delete(&self, project: &ProjectId, path: &SourcePath) -> Result<(), SourceError> {
        let target = path.under(&self.frontend(project));
        blocking(move || match fs::remove_file(target) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        })
        .await
    }

    pub(super) async fn probe(&self) -> Result<(), SourceError> {
        let root = self.root.clone();
        blocking(move || fs::read_dir(&root).map(drop).map_err(|e| SourceError::Unavailable(format!("{}: {e}", root.display())))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, SourceError> + Send + 'static) -> Result<T, SourceError> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The version of a file: any write, replacement or touch changes one of these.
fn tag(metadata: &Metadata) -> String {
    format!("{:x}.{:x}-{:x}-{:x}", metadata.ctime(), metadata.ctime_nsec(), metadata.size(), metadata.ino())
}

fn is_racy(metadata: &Metadata) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime().unsigned_abs(), u32::try_from(metadata.ctime_nsec()).unwrap_or(0));
    // A time in the future is as doubtful as a very recent one.
    changed.elapsed().is_ok_and(|age| age < RACY_WINDOW) || changed > SystemTime::now()
}

/// Opens a regular file below `root` without following any symlink below it.
fn open_regular(root: &Path, path: &SourcePath) -> Result<Option<(File, Metadata)>, SourceError> {
    let directory = match File::open(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file: File = match openat2(&directory, path.as_str(), flags, Mode::empty(), resolve) {
        Ok(fd) => fd.into(),
        // A symlink, or a file where a folder is named: there is no such file for us.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => return Ok(None),
        Err(e) => return Err(io::Error::from(e).into()),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// Copies at most `max_bytes`, or returns `None` where there are more.
fn copy_hashing(from: &mut File, into: &Path, max_bytes: u64) -> io::Result<Option<(u64, ContentHash)>> {
    let mut out = File::create(into)?;
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = from.read(&mut chunk)?;
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

fn walk(root: &Path, folder: &Path, max_files: usize, listing: &mut Listing) -> Result<(), SourceError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // Its content is never synced, and walking it would take seconds.
            if entry.file_name() != "node_modules" {
                walk(root, &entry.path(), max_files, listing)?;
            }
            continue;
        }
        let absolute = entry.path();
        let relative = absolute.strip_prefix(root).unwrap_or(&absolute).to_string_lossy().into_owned();
        if kind.is_symlink() || !kind.is_file() {
            listing.rejected.push((relative, "not a regular file".to_owned()));
            continue;
        }
        match SourcePath::parse(&relative) {
            Err(e) => listing.rejected.push((relative, e.to_string())),
            Ok(path) => match entry.metadata() {
                // Deleted since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                metadata => {
                    let metadata = metadata?;
                    listing.files.push(Listed { path, etag: tag(&metadata), size: metadata.len(), md5: None });
                }
            },
        }
        if listing.files.len() > max_files {
            return Err(SourceError::TooManyFiles { limit: max_files });
        }
    }
    Ok(())
}
