//! A downloaded file as it is written: hashes and disk, off the runtime's threads.
//!
//! Invariant: the hashes are those of exactly the bytes that are in the file, and a file that
//! nobody kept (an error, a caller who left) does not stay.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use md5::Md5;
use sha2::{Digest, Sha256};

/// Bytes that are collected before they go to a blocking thread, which hashes and writes
/// them. Most source files fit, so they cost one hop; none is held in memory as a whole if it is larger.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// Hashes and writes on blocking threads, so that neither holds up the runtime.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    /// Opened with the first write: an answer without content makes no file.
    file: Option<File>,
    sha256: Sha256,
    md5: Md5,
    size: u64,
}

/// All of a file, written but not yet kept.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    pub(super) md5: [u8; 16],
    writer: Writer,
}

impl Written {
    /// Closes the file without removing it.
    pub(super) fn keep(mut self) {
        self.writer.file = None;
    }
}

impl Writer {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, sha256: Sha256::new(), md5: Md5::new(), size: 0 }
    }

    /// Takes the content of `buffer` and gives it back empty.
    pub(super) async fn write(mut self, mut buffer: Vec<u8>) -> io::Result<(Self, Vec<u8>)> {
        let task = tokio::task::spawn_blocking(move || {
            self.append(&buffer)?;
            buffer.clear();
            Ok((self, buffer))
        });
        task.await?
    }

    pub(super) async fn finish(mut self, rest: Vec<u8>) -> io::Result<Written> {
        let task = tokio::task::spawn_blocking(move || {
            self.append(&rest)?;
            let (sha256, md5) = (self.sha256.finalize_reset().into(), self.md5.finalize_reset().into());
            Ok(Written { size: self.size, sha256, md5, writer: self })
        });
        task.await?
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(bytes)?;
        self.sha256.update(bytes);
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: whatever led here is the error to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_writer_truncates_hashes_and_writes_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "older and longer").unwrap();
        let (writer, buffer) = Writer::new(&path).write(b"hel".to_vec()).await.unwrap();
        assert!(buffer.is_empty());
        let written = writer.finish(b"lo".to_vec()).await.unwrap();
        assert_eq!(written.size, 5);
        assert_eq!(written.sha256, <[u8; 32]>::from(Sha256::digest(b"hello")));
        assert_eq!(written.md5, <[u8; 16]>::from(Md5::digest(b"hello")));
        written.keep();
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn what_is_not_kept_does_not_stay_and_an_untouched_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "of the caller").unwrap();
        drop(Writer::new(&path));
        assert!(path.exists());
        let (writer, _) = Writer::new(&path).write(b"half".to_vec()).await.unwrap();
        drop(writer);
        assert!(!path.exists());
        drop(Writer::new(&path).finish(b"whole".to_vec()).await.unwrap());
        assert!(!path.exists());
    }
}
