//! What a project's sources are: path → hash, `ETag`, size; and what differs between two states.
//!
//! Invariant: [`Manifest::tree_hash`] depends on paths and contents only. Two manifests with
//! the same tree hash build the same site, whatever their `ETag`s say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ContentHash, SourcePath};

/// What is known of one synced file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// SHA-256 of the content.
    pub sha256: ContentHash,
    /// The source's version tag, without quotes; lets an unchanged file cost no body.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

/// All files of a project, as synced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest {
    /// By path, in order.
    pub files: BTreeMap<SourcePath, ManifestEntry>,
}

impl Manifest {
    /// One hash over every path and content.
    pub fn tree_hash(&self) -> ContentHash {
        let mut hasher = Sha256::new();
        for (path, entry) in &self.files {
            hasher.update((path.as_str().len() as u64).to_le_bytes());
            hasher.update(path.as_str());
            hasher.update(entry.sha256.as_bytes());
        }
        ContentHash::from_bytes(hasher.finalize().into())
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.size).sum()
    }

    /// A path that is a file and, for another path, also a folder: a blob store can hold
    /// both, a file system cannot.
    pub fn file_and_folder_clash(&self) -> Option<&SourcePath> {
        let folders: BTreeSet<&str> = self.files.keys().flat_map(SourcePath::ancestors).collect();
        self.files.keys().find(|path| folders.contains(path.as_str()))
    }
}

/// What has to be asked of the source to bring a manifest up to a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReconcilePlan {
    /// New, or with another `ETag`: fetch.
    pub fetch: Vec<SourcePath>,
    /// Listed with the `ETag` that we know.
    pub unchanged: usize,
    /// No longer listed.
    pub gone: Vec<SourcePath>,
}

/// Compares what we have with the source's listing of path → `ETag`.
pub fn plan_reconcile(have: &Manifest, listed: &BTreeMap<SourcePath, String>) -> ReconcilePlan {
    let mut plan = ReconcilePlan::default();
    for (path, etag) in listed {
        match have.files.get(path) {
            Some(entry) if entry.etag == *etag => plan.unchanged += 1,
            _ => plan.fetch.push(path.clone()),
        }
    }
    plan.gone = have.files.keys().filter(|path| !listed.contains_key(*path)).cloned().collect();
    plan
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn entry(content: &str, etag: &str) -> ManifestEntry {
        ManifestEntry { sha256: ContentHash::of(content), etag: etag.to_owned(), size: content.len() as u64 }
    }

    fn manifest(files: &[(&str, &str, &str)]) -> Manifest {
        let files = files.iter().map(|(path, content, etag)| (SourcePath::parse(path).expect("path"), entry(content, etag)));
        Manifest { files: files.collect() }
    }

    #[test]
    fn the_tree_hash_ignores_etags_and_sees_everything_else() {
        let base = manifest(&[("a", "1", "x"), ("b", "2", "y")]);
        assert_eq!(base.tree_hash(), manifest(&[("a", "1", "other"), ("b", "2", "y")]).tree_hash());
        for other in [
            manifest(&[("a", "1", "x"), ("b", "3", "y")]),
            manifest(&[("a", "1", "x")]),
            manifest(&[("a", "1", "x"), ("c", "2", "y")]),
            manifest(&[("ab", "1", "x"), ("b", "2", "y")]),
        ] {
            assert_ne!(base.tree_hash(), other.tree_hash());
        }
    }

    #[test]
    fn a_clash_of_file_and_folder_is_found() {
        assert_eq!(manifest(&[("a", "", ""), ("ab/c", "", "")]).file_and_folder_clash(), None);
        let clash = manifest(&[("a/b", "", ""), ("a/b/c/d", "", "")]);
        assert_eq!(clash.file_and_folder_clash().map(SourcePath::as_str), Some("a/b"));
    }

    proptest! {
        #[test]
        fn a_plan_covers_both_sides_exactly_once(
            have in btree_map("[a-e]{1,2}", 0_u8..3, 0..12),
            listed in btree_map("[a-e]{1,2}", 0_u8..3, 0..12),
        ) {
            let path = |text: &String| SourcePath::parse(text).expect("path");
            let manifest = Manifest { files: have.iter().map(|(p, v)| (path(p), entry("", &v.to_string()))).collect() };
            let listing: BTreeMap<_, _> = listed.iter().map(|(p, v)| (path(p), v.to_string())).collect();
            let plan = plan_reconcile(&manifest, &listing);
            prop_assert_eq!(plan.fetch.len() + plan.unchanged, listing.len());
            prop_assert!(plan.gone.iter().all(|p| manifest.files.contains_key(p) && !listing.contains_key(p)));
            prop_assert_eq!(plan.gone.len() + listing.keys().filter(|p| manifest.files.contains_key(*p)).count(), have.len());
            for path in &plan.fetch {
                prop_assert!(manifest.files.get(path).is_none_or(|e| e.etag != listing[path]));
            }
        }
    }
}
