//! One writer of a store at a time, whoever it belongs to.
//!
//! The daemon's own lock covers its data directory. A store may be shared by several of them (a mount), so it has a lock of its
//! own, which installs, and the check of the store, hold while they work.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);
const FILE: &str = "previewd.lock";

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct StoreLock {
    /// Only held.
    _file: File,
}

impl StoreLock {
    /// Takes the lock of `store`, for which others may have to end first.
    pub(super) async fn take(store: &Path, patience: Duration) -> io::Result<Self> {
        let path = store.join(FILE);
        let file = match File::options().create(true).truncate(false).write(true).open(&path) {
            // Made by another user; locking needs no right to write.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => File::open(&path)?,
            file => file?,
        };
        let deadline = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(AGAIN).await,
                Err(Errno::WOULDBLOCK) => {
                    let message = format!("{} is held by another previewd for longer than {} s", path.display(), patience.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_has_one_writer() {
        let store = tempfile::tempdir().expect("temp dir");
        let held = StoreLock::take(store.path(), Duration::ZERO).await.expect("free");
        let error = StoreLock::take(store.path(), Duration::from_millis(60)).await.expect_err("held").to_string();
        assert!(error.contains("previewd.lock is held by another previewd"), "{error}");
        drop(held);
        StoreLock::take(store.path(), Duration::ZERO).await.expect("free again");
    }
}
