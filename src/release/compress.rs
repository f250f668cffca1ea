//! Brotli and gzip copies beside a release's files, made after it went live.
//!
//! Invariant: a copy carries its file's modification time and mode, is written aside and renamed, and exists
//! only where it saves something. A release without copies is served just as well, only larger.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::scan::FILE_MODE;

/// Smaller files fit into one packet as they are.
const MIN_BYTES: u64 = 1024;
/// Larger ones would keep a core busy for seconds.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// A copy that saves less than a tenth is not worth its inode.
const WORTH_IT: (u64, u64) = (9, 10);
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 4096;
/// What compresses. Images, fonts in woff2, audio and video are compressed already.
const COMPRESSIBLE: &[&str] = &[
    "html",
    "htm",
    "js",
    "mjs",
    "cjs",
    "css",
    "json",
    "svg",
    "txt",
    "xml",
    "map",
    "wasm",
    "webmanifest",
    "md",
    "csv",
    "ico",
    "ttf",
    "otf",
    "eot",
    "bmp",
];

/// How hard to try.
#[derive(Debug, Clone, Copy)]
pub enum Effort {
    /// Good copies, without competing with the next build: for releases.
    Release,
    /// The best there are, for what is made once and kept for ever.
    Highest,
}

impl Effort {
    const fn brotli(self) -> u32 {
        match self {
            Self::Release => 9,
            Self::Highest => 11,
        }
    }

    const fn gzip(self) -> u32 {
        match self {
            Self::Release => 6,
            Self::Highest => 9,
        }
    }
}

/// Compresses one release at a time, in the background.
#[derive(Debug, Clone)]
pub struct Compressor {
    turn: Arc<Semaphore>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Compressor {
    /// Makes copies of `files` under `root`, until `cancel` says that there is no time for more. A release that is
    /// removed meanwhile is no error.
    pub async fn compress(&self, root: PathBuf, files: Vec<PathBuf>, effort: Effort, cancel: &CancellationToken) {
        let _turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            turn = self.turn.acquire() => turn,
        };
        let (shown, cancel) = (root.clone(), cancel.clone());
        let work = tokio::task::spawn_blocking(move || compress_all(&root, &files, effort, &cancel));
        match work.await.map_err(io::Error::other).and_then(|done| done) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(release = %shown.display(), error = %e, "a release could not be compressed");
            }
            _ => {}
        }
    }
}

fn compress_all(root: &Path, files: &[PathBuf], effort: Effort, cancel: &CancellationToken) -> io::Result<()> {
    for file in files.iter().filter(|file| is_compressible(file)).take_while(|_| !cancel.is_cancelled()) {
        let path = root.join(file);
        let metadata = fs::metadata(&path)?;
        if !(MIN_BYTES..=MAX_BYTES).contains(&metadata.len()) {
            continue;
        }
        let content = fs::read(&path)?;
        let modified = metadata.modified()?;
        let write = |suffix: &str, copy: Vec<u8>| -> io::Result<()> {
            let target = with_suffix(&path, suffix);
            if copy.len() as u64 * WORTH_IT.1 > metadata.len() * WORTH_IT.0 || target.exists() {
                return Ok(());
            }
            let aside = with_suffix(&path, &format!("{suffix}.tmp"));
            let mut file = File::create(&aside)?;
            file.write_all(&copy)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.set_times(FileTimes::new().set_modified(modified))?;
            fs::rename(aside, target)
        };
        write(".br", brotli(&content, effort)?)?;
        write(".gz", gzip(&content, effort)?)?;
    }
    Ok(())
}

/// Whether a file of this name may have compressed copies.
fn is_compressible(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| COMPRESSIBLE.contains(&e.to_ascii_lowercase().as_str()))
}

/// `path` with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn brotli(content: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, effort.brotli(), BROTLI_WINDOW);
    writer.write_all(content)?;
    Ok(writer.into_inner())
}

fn gzip(content: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(effort.gzip()));
    writer.write_all(content)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn copies_are_made_where_they_pay() {
        let dir = tempfile::tempdir().expect("temp dir");
        let large = "body { color: red }\n".repeat(200);
        for (name, content) in [("a.css", large.as_str()), ("small.js", "1"), ("x.png", large.as_str())] {
            fs::write(dir.path().join(name), content).expect("write");
        }
        let files = ["a.css", "small.js", "x.png"].map(PathBuf::from).to_vec();
        let (stopped, goes_on) = (CancellationToken::new(), CancellationToken::new());
        stopped.cancel();
        Compressor::default().compress(dir.path().to_owned(), files.clone(), Effort::Release, &stopped).await;
        compress_all(dir.path(), &files, Effort::Release, &stopped).expect("stopped");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 3, "none once it is stopped");
        Compressor::default().compress(dir.path().to_owned(), files, Effort::Highest, &goes_on).await;
        let mut names: Vec<_> = fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.css", "a.css.br", "a.css.gz", "small.js", "x.png"]);
        let mut back = String::new();
        let file = File::open(dir.path().join("a.css.br")).expect("open");
        brotli::Decompressor::new(file, 4096).read_to_string(&mut back).expect("brotli");
        assert_eq!(back, large);
        let modified = |name: &str| fs::metadata(dir.path().join(name)).and_then(|m| m.modified()).expect("stat");
        assert_eq!(modified("a.css"), modified("a.css.gz"));
    }
}
