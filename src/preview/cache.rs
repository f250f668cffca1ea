//! Small files of releases, kept in memory: a request for one of them needs neither the disk nor another thread.
//!
//! Invariant: an entry is named by its build, and a release never changes, so no entry can be stale. Which build a request is
//! for is decided before, from what is live or retained now; so neither can it outlive a publication, rollback or deletion.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::domain::{BuildId, ProjectId};

/// What all entries may weigh together, bytes.
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many entries are expected: some are a few bytes, some as large as [`SMALL_BYTES_MAX`].
const ENTRIES_EXPECTED: usize = 4096;
/// What an entry weighs beside its content, path and headers, bytes.
const ENTRY_BYTES: u64 = 512;
/// Files up to this size are kept, bytes.
pub const SMALL_BYTES_MAX: u64 = 256 * 1024;
/// For so long a file is served as it is to who would take a copy: copies are made after a release went live.
const UNCOMPRESSED_FOR: Duration = Duration::from_secs(1);

/// A file, or a compressed copy of it, as it is sent.
#[derive(Debug)]
pub struct SmallFile {
    /// Its path in the release, decoded.
    pub path: String,
    /// Its validator.
    pub etag: String,
    /// How it is compressed.
    pub encoding: Option<&'static str>,
    /// What is sent.
    pub content: Bytes,
}

/// What was asked for; requests with equal ones get equal files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    /// The release.
    pub build: BuildId,
    /// May be answered with the `.br` copy.
    pub brotli: bool,
    /// May be answered with the `.gz` copy.
    pub gzip: bool,
    /// As it was asked for, still percent-encoded.
    pub path: &'a str,
}

// The same fields in the same order as `Asked`: their hashes are the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    build: BuildId,
    brotli: bool,
    gzip: bool,
    path: String,
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.build, self.brotli, self.gzip, self.path) == (key.build, key.brotli, key.gzip, key.path.as_str())
    }
}

#[derive(Debug, Clone)]
struct Kept {
    project: ProjectId,
    file: Arc<SmallFile>,
    until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Kept> for Bytewise {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        (kept.file.content.len() + kept.file.path.len() + kept.file.etag.len() + key.path.len()) as u64 + ENTRY_BYTES
    }
}

/// The files, at most [`CACHE_BYTES_MAX`] of them; what is asked for least goes first.
#[derive(Debug)]
pub struct FileCache {
    files: Cache<Key, Kept, Bytewise>,
}

impl Default for FileCache {
    fn default() -> Self {
        Self { files: Cache::with_weighter(ENTRIES_EXPECTED, CACHE_BYTES_MAX, Bytewise) }
    }
}

impl FileCache {
    /// A file that was asked for before.
    pub fn get(&self, asked: Asked<'_>) -> Option<Arc<SmallFile>> {
        let kept = self.files.get(&asked)?;
        kept.until.is_none_or(|until| Instant::now() < until).then_some(kept.file)
    }

    /// Keeps what `asked` was answered with, where it is the very file that was named: any number of made-up addresses
    /// may lead to one page of an app.
    pub fn put(&self, project: &ProjectId, asked: Asked<'_>, file: &Arc<SmallFile>) {
        let named = file.path.strip_prefix(asked.path).is_some_and(|rest| {
            let folder = asked.path.is_empty() || asked.path.ends_with('/');
            rest.is_empty() || (folder && rest == super::resolve::INDEX)
        });
        if !named || file.content.len() as u64 > SMALL_BYTES_MAX {
            return;
        }
        let best = match file.encoding {
            Some("br") => true,
            Some(_) => !asked.brotli,
            None => !asked.brotli && !asked.gzip,
        };
        let until = (!best).then(|| Instant::now() + UNCOMPRESSED_FOR);
        let Asked { build, brotli, gzip, path } = asked;
        self.files.insert(Key { build, brotli, gzip, path: path.to_owned() }, Kept { project: project.clone(), file: file.clone(), until });
    }

    /// Frees what is kept of a project.
    pub(super) fn forget(&self, project: &ProjectId) {
        self.files.retain(|_, kept| kept.project != *project);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, encoding: Option<&'static str>, bytes: usize) -> Arc<SmallFile> {
        Arc::new(SmallFile { path: path.into(), etag: "\"1-1\"".into(), encoding, content: vec![b'x'; bytes].into() })
    }

    fn ask(build: u64, path: &str) -> Asked<'_> {
        Asked { build: BuildId::from_parts(build, 0), brotli: true, gzip: true, path }
    }

    #[test]
    fn only_the_file_that_was_named_is_kept_and_only_for_its_build() {
        let (cache, demo) = (FileCache::default(), "demo".parse().expect("id"));
        for (path, found, kept) in [
            ("a.js", "a.js", true),
            ("", "index.html", true),
            ("docs/", "docs/index.html", true),
            ("about", "about.html", false),
            ("items/42", "index.html", false),
            ("a%20b", "a b", false),
            ("docs", "docs/index.html", false),
        ] {
            cache.put(&demo, ask(1, path), &file(found, Some("br"), 10));
            assert_eq!(cache.get(ask(1, path)).is_some(), kept, "{path}");
            assert!(cache.get(ask(2, path)).is_none() && cache.get(Asked { brotli: false, ..ask(1, path) }).is_none(), "{path}");
        }
        cache.forget(&"other".parse().expect("id"));
        assert!(cache.get(ask(1, "a.js")).is_some());
        cache.forget(&demo);
        assert!(cache.get(ask(1, "a.js")).is_none());
    }

    #[test]
    fn what_may_yet_get_a_copy_is_kept_for_a_moment() {
        let (cache, demo) = (FileCache::default(), "demo".parse().expect("id"));
        let deadline = |asked: Asked<'_>, encoding| {
            cache.put(&demo, asked, &file("a.js", encoding, 10));
            cache.files.get(&asked).expect("kept").until.is_some()
        };
        assert!(deadline(ask(1, "a.js"), None) && deadline(ask(1, "a.js"), Some("gzip")) && !deadline(ask(1, "a.js"), Some("br")));
        let gzip = Asked { brotli: false, ..ask(1, "a.js") };
        assert!(deadline(gzip, None) && !deadline(gzip, Some("gzip")) && !deadline(Asked { gzip: false, ..gzip }, None));
    }

    #[test]
    fn its_size_has_a_limit() {
        let (cache, demo) = (FileCache::default(), "demo".parse().expect("id"));
        let large = usize::try_from(SMALL_BYTES_MAX).expect("small");
        cache.put(&demo, ask(1, "larger"), &file("larger", Some("br"), large + 1));
        assert!(cache.get(ask(1, "larger")).is_none());
        for n in 0..1000 {
            let path = n.to_string();
            cache.put(&demo, ask(1, &path), &file(&path, Some("br"), large));
        }
        assert!(cache.files.weight() <= CACHE_BYTES_MAX && cache.files.len() > 100, "{} in {}", cache.files.weight(), cache.files.len());
    }
}
