//! A project's synced files on disk, and their manifest.
//!
//! Invariant: a file in `frontend/` is never written in place, only renamed into it; the manifest
//! is replaced after the files are safe from a power cut; the intent lies there from before the first
//! change until after the manifest. No symlink is followed: what stands in the way of a folder is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::syncfs;

use crate::disk::{blocking, remove_tree, replace};
use crate::domain::{Manifest, ProjectDir, SourcePath};

/// Changes up to this number are written out one by one, in 10 ms or less. With more it is quicker to write out the whole file
/// system, though that may have to wait for what builds wrote there.
const SINGLY_MAX: usize = 64;

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
            // A manifest that outlived its files would call what a power cut left of them unchanged for ever.
            make_durable(&dir, changes.keys().chain(&deleted))?;
            // The renames in this folder reach the disk in their order: the intent is not gone before the manifest is there.
            replace(&dir.manifest(), &serde_json::to_vec(&next)?)?;
            fs::remove_file(dir.sync_intent())
        })
        .await
    }
}

/// Makes what was done to `paths` below `frontend/` survive a power cut.
fn make_durable<'a>(dir: &ProjectDir, paths: impl Iterator<Item = &'a SourcePath> + Clone) -> io::Result<()> {
    let begun = Instant::now();
    let changes = paths.clone().count();
    let singly = changes <= SINGLY_MAX;
    if singly {
        for path in to_write_out(dir, paths) {
            match File::open(path) {
                // A file or folder that was taken out; that it is gone, the folder above tells.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                file => file?.sync_all()?,
            }
        }
    } else {
        syncfs(File::open(dir.root())?)?;
    }
    tracing::debug!(changes, singly, elapsed_us = begun.elapsed().as_micros(), "sources written out");
    Ok(())
}

/// The files, then every folder that may have got or lost something, the deepest first.
fn to_write_out<'a>(dir: &ProjectDir, paths: impl Iterator<Item = &'a SourcePath> + Clone) -> Vec<PathBuf> {
    let frontend = dir.frontend();
    let folders: BTreeSet<PathBuf> = paths.clone().flat_map(SourcePath::ancestors).map(|folder| frontend.join(folder)).collect();
    let files = paths.map(|path| path.under(&frontend));
    files.chain(folders.into_iter().rev()).chain([frontend.clone(), dir.root().to_owned()]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DataDir;

    #[test]
    fn every_file_and_every_folder_above_it_is_written_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let project = DataDir::new(dir.path()).project(&"demo".parse().expect("id"));
        let paths = ["index.html", "src/a.ts", "src/deep/b.ts"].map(|path| SourcePath::parse(path).expect("path"));
        let told = to_write_out(&project, paths.iter());
        let expected = ["frontend/index.html", "frontend/src/a.ts", "frontend/src/deep/b.ts", "frontend/src/deep", "frontend/src", "frontend", ""];
        assert_eq!(told, expected.map(|path| project.root().join(path)));
        // Of what was taken out nothing is left but the folder above.
        fs::create_dir_all(project.frontend()).expect("mkdir");
        make_durable(&project, paths.iter()).expect("nothing of it is there");
        fs::write(project.frontend().join("src"), "a file now").expect("write");
        make_durable(&project, paths.iter()).expect("a file where a folder was");
    }
}
