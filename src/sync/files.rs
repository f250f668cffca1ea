//! A project's synced files on disk, and their manifest.
//!
//! Invariant: a file in `frontend/` is never written in place, only renamed into it; the manifest
//! is replaced after the files; the intent lies there from before the first change until after
//! the manifest. No symlink is followed: what stands in the way of a folder is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{blocking, remove_tree, replace};
use crate::domain::{Manifest, ProjectDir, SourcePath};

/// The files of one project that the sync owns.
#[derive(Debug, Clone)]
pub struct SyncFiles {
    dir: ProjectDir,
}

impl SyncFiles {
    /// The files of the project in `dir`.
    pub fn new(dir: ProjectDir) -> Self {
        Self { dir }
    }

    /// The manifest; `None` where it cannot be trusted: the project was never synced, its last sync did
    /// not come to its end, or the file is unreadable.
    pub async fn read(&self) -> io::Result<Option<Manifest>> {
        let dir = self.dir.clone();
        blocking(move || {
            if dir.sync_intent().exists() {
                return Ok(None);
            }
            let text = match fs::read(dir.manifest()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                text => text?,
            };
            let manifest = serde_json::from_slice(&text).inspect_err(|e| {
                tracing::warn!(path = %dir.manifest().display(), error = %e, "unreadable manifest: everything is fetched again");
            });
            Ok(manifest.ok())
        })
        .await
    }

    /// An empty folder below `.incoming`, and nothing beside it. Its name is new each time: a fetch that a failed
    /// sync left behind on its thread finds no folder to write to.
    pub(super) async fn make_incoming(&self) -> io::Result<PathBuf> {
        let all = self.dir.incoming();
        blocking(move || {
            remove_tree(&all)?;
            let incoming = all.join(format!("{:016x}", rand::random::<u64>()));
            fs::create_dir_all(&incoming)?;
            Ok(incoming)
        })
        .await
    }

    pub(super) async fn clear_incoming(&self) -> io::Result<()> {
        let incoming = self.dir.incoming();
        blocking(move || remove_tree(&incoming)).await
    }

    /// Moves `changes` in, takes `deleted` (with `anew`: everything else) out, and makes `next` the manifest.
    pub(super) async fn apply(
        &self,
        changes: BTreeMap<SourcePath, PathBuf>,
        deleted: BTreeSet<SourcePath>,
        next: Manifest,
        anew: bool,
    ) -> io::Result<()> {
        let dir = self.dir.clone();
        blocking(move || {
            let frontend = dir.frontend();
            File::create(dir.sync_intent())?.sync_all()?;
            // A symlink in its place would lead every file elsewhere.
            if anew || frontend.is_symlink() {
                remove_tree(&frontend)?;
            }
            fs::create_dir_all(&frontend)?;
            for path in &deleted {
                remove_file_and_empty_folders(&frontend, path)?;
            }
            for (path, from) in &changes {
                ensure_real_folders(&frontend, path)?;
                let target = path.under(&frontend);
                if target.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                    remove_tree(&target)?;
                }
                fs::rename(from, target)?;
            }
            replace(&dir.manifest(), &serde_json::to_vec(&next)?)?;
            fs::remove_file(dir.sync_intent())
        })
        .await
    }
}

fn ensure_real_folders(root: &Path, path: &SourcePath) -> io::Result<()> {
    for folder in path.ancestors() {
        let folder = root.join(folder);
        match folder.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(_) => fs::remove_file(&folder)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        fs::create_dir(&folder)?;
    }
    Ok(())
}

fn remove_file_and_empty_folders(root: &Path, path: &SourcePath) -> io::Result<()> {
    // Through a symlinked folder the file of somebody else would be removed.
    let through_link = path.ancestors().any(|folder| root.join(folder).symlink_metadata().is_ok_and(|m| m.is_symlink()));
    if through_link {
        return Ok(());
    }
    match fs::remove_file(path.under(root)) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory) => return Err(e),
        _ => {}
    }
    let folders: Vec<&str> = path.ancestors().collect();
    for folder in folders.iter().rev() {
        if fs::remove_dir(root.join(folder)).is_err() {
            break;
        }
    }
    Ok(())
}
