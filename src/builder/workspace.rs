//! What a build sees of a project: `work/`, the sources of one revision with `node_modules` linked in.
//!
//! Sources are hard links to the synced files. Those are never written in place (see `sync::files`), so
//! a sync that goes on during a build changes nothing under it, and a project costs no second set of inodes.
//!
//! Invariant: after [`refresh`], `work/` holds the manifest's files and nothing else but `node_modules`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::install::Layer;
use crate::disk::remove_tree;
use crate::domain::{Manifest, ProjectDir, SourcePath};

const NODE_MODULES: &str = "node_modules";
/// An empty folder of this name at the top says where the project begins. Without it, tools that look for ignore files
/// go on upward: below a folder that git ignores, Tailwind scanned `node_modules` and made four times the CSS.
const PROJECT_MARK: &str = ".git";
/// Where a file is linked to before it is renamed over its predecessor.
const ASIDE: &str = ".previewd-link";
/// In a folder of symlinks: the `node_modules` that it was made from.
const ORIGIN: &str = ".previewd-origin";
/// Vite's config loader writes here; the sandbox mounts a tmpfs over it.
pub(super) const VITE_TEMP: &str = ".vite-temp";

/// Brings `work/` up to `manifest`. Blocking; the caller holds the project's lock. A source file that
/// is missing on disk is [`io::ErrorKind::NotFound`]: the sources must be synced anew.
pub(super) fn refresh(dir: &ProjectDir, work: &Path, manifest: &Manifest) -> io::Result<()> {
    let from = dir.frontend();
    fs::create_dir_all(work.join(PROJECT_MARK))?;
    let folders: BTreeSet<&str> = manifest.files.keys().flat_map(SourcePath::ancestors).collect();
    remove_strangers(work, "", manifest, &folders)?;
    for folder in folders {
        match fs::create_dir(work.join(folder)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    let aside = work.join(ASIDE);
    for path in manifest.files.keys() {
        let (source, target) = (path.under(&from), path.under(work));
        let inode = fs::symlink_metadata(&source)?.ino();
        if fs::symlink_metadata(&target).is_ok_and(|m| m.ino() == inode) {
            continue;
        }
        remove_tree(&aside)?;
        fs::hard_link(&source, &aside)?;
        fs::rename(&aside, &target)?;
    }
    Ok(())
}

fn remove_strangers(work: &Path, folder: &str, manifest: &Manifest, folders: &BTreeSet<&str>) -> io::Result<()> {
    for entry in fs::read_dir(work.join(folder))? {
        let entry = entry?;
        let name = entry.file_name();
        if name == NODE_MODULES || (folder.is_empty() && name == PROJECT_MARK) {
            continue;
        }
        let path = name.to_str().map(|name| crate::domain::app_root::join(folder, name));
        let is_folder = entry.file_type()?.is_dir();
        match path {
            Some(path) if is_folder && folders.contains(path.as_str()) => remove_strangers(work, &path, manifest, folders)?,
            Some(path) if !is_folder && SourcePath::parse(&path).is_ok_and(|path| manifest.files.contains_key(&path)) => {}
            _ => remove_tree(&entry.path())?,
        }
    }
    Ok(())
}

/// Links the `node_modules` of a layer into `work/`: one symlink where nothing in it leads to a member of the
/// workspace; else a folder of symlinks, so that members are found here, with their sources, and not in the layer, which
/// has none. Returns where Vite writes its bundled configuration. Blocking.
pub(super) fn link_dependencies(work: &Path, layer: &Layer, app: &str) -> io::Result<Vec<PathBuf>> {
    let root = work.join(&layer.root);
    if layer.importers.is_empty() {
        remove_tree(&root.join(NODE_MODULES))?;
        return Ok(Vec::new());
    }
    for importer in &layer.importers {
        let (from, into) = (layer.dir.join(importer).join(NODE_MODULES), root.join(importer).join(NODE_MODULES));
        if from.is_dir() && root.join(importer).is_dir() && !is_linked(&into, &from) {
            link_importer(&from, &into, &root, layer)?;
        }
    }
    // The worker writes below the app's own `node_modules`, which an app without a manifest of its own does not have.
    let temp = work.join(app).join(NODE_MODULES).join(VITE_TEMP);
    if !temp.is_dir() {
        fs::create_dir_all(&temp)?;
    }
    Ok(vec![fs::canonicalize(temp)?])
}

/// Where Vite writes its bundled configuration for an app whose `node_modules` is that of `root`, a folder of a layer. Blocking.
pub(super) fn vite_temp_of(root: &Path) -> Option<PathBuf> {
    fs::canonicalize(root.join(NODE_MODULES).join(VITE_TEMP)).ok()
}

/// Whether `into` was made from `from` before.
fn is_linked(into: &Path, from: &Path) -> bool {
    let link = fs::read_link(into).or_else(|_| fs::read_link(into.join(ORIGIN)));
    link.is_ok_and(|target| target == from)
}

fn link_importer(from: &Path, into: &Path, root: &Path, layer: &Layer) -> io::Result<()> {
    remove_tree(into)?;
    let entries = entries_of(from, Path::new(""))?;
    let links = entries.into_iter().map(|entry| {
        // Where it really lies: a member of the workspace, or a package.
        let target = fs::canonicalize(from.join(&entry))?;
        let member = target.strip_prefix(&layer.dir).ok().filter(|path| layer.importers.iter().any(|m| !m.is_empty() && *path == Path::new(m)));
        Ok((entry, member.map(|member| root.join(member))))
    });
    let links: Vec<(PathBuf, Option<PathBuf>)> = links.collect::<io::Result<_>>()?;
    if links.iter().all(|(_, member)| member.is_none()) {
        return symlink(from, into);
    }
    fs::create_dir(into)?;
    for (entry, member) in links {
        let link = into.join(&entry);
        fs::create_dir_all(link.parent().unwrap_or(into))?;
        // Members by a relative path: where the project lies is another path for the build.
        let target = member.map_or_else(|| from.join(&entry), |member| relative(link.parent().unwrap_or(into), &member));
        symlink(target, link)?;
    }
    symlink(from, into.join(ORIGIN))
}

/// How `to` is reached from the folder `from`; both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| std::path::Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

/// The packages of a `node_modules`: `react`, `@acme/ui`.
pub(super) fn entries_of(node_modules: &Path, scope: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(node_modules.join(scope))? {
        let entry = entry?;
        let path = scope.join(entry.file_name());
        match entry.file_name().to_string_lossy() {
            name if name.starts_with('.') => {}
            name if name.starts_with('@') && entry.file_type()?.is_dir() => entries.extend(entries_of(node_modules, &path)?),
            _ => entries.push(path),
        }
    }
    Ok(entries)
}

/// Replaces the hard links in `work/` by copies: what writes into them does not write into the synced files. Blocking.
/// The next [`refresh`] puts the links back.
pub(super) fn own_copies(work: &Path) -> io::Result<()> {
    let aside = work.join(ASIDE);
    let mut folders = vec![work.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != NODE_MODULES {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.nlink() > 1 {
                remove_tree(&aside)?;
                fs::copy(entry.path(), &aside)?;
                fs::rename(&aside, entry.path())?;
            }
        }
    }
    Ok(())
}

/// Removes from `work/` whatever is neither a plain file nor a folder, and every `node_modules`: project code wrote
/// there. Blocking; follows no link.
pub(super) fn keep_plain(work: &Path) -> io::Result<()> {
    let mut folders = vec![work.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.file_name() == NODE_MODULES || !(kind.is_dir() || kind.is_file()) {
                remove_tree(&entry.path())?;
            } else if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ContentHash, DataDir, ManifestEntry};

    fn project(files: &[&str]) -> (tempfile::TempDir, ProjectDir, Manifest) {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = DataDir::new(root.path()).project(&"demo".parse().expect("id"));
        let manifest = write(&dir, files, "1");
        (root, dir, manifest)
    }

    fn work(dir: &ProjectDir) -> PathBuf {
        dir.root().join("work")
    }

    fn write(dir: &ProjectDir, files: &[&str], content: &str) -> Manifest {
        let entry = ManifestEntry { sha256: ContentHash::of(content), etag: String::new(), size: 1 };
        for file in files {
            let path = dir.frontend().join(file);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            // As the sync does: aside, then renamed.
            fs::write(dir.root().join("aside"), content).expect("write");
            fs::rename(dir.root().join("aside"), path).expect("rename");
        }
        Manifest { files: files.iter().map(|f| (SourcePath::parse(f).expect("path"), entry.clone())).collect() }
    }

    #[test]
    fn work_follows_the_manifest_and_is_untouched_by_a_later_sync() {
        let (_root, dir, manifest) = project(&["a/x.ts", "b/c/y.ts", "z.ts"]);
        refresh(&dir, &work(&dir), &manifest).expect("refresh");
        fs::create_dir(work(&dir).join("node_modules")).expect("mkdir");
        write(&dir, &["z.ts"], "2");
        assert_eq!(fs::read_to_string(work(&dir).join("z.ts")).expect("read"), "1", "not before the next refresh");
        // A folder becomes a file.
        fs::remove_dir_all(dir.frontend().join("b")).expect("remove");
        let manifest = write(&dir, &["a/x.ts", "b"], "3");
        fs::write(work(&dir).join("stray"), "").expect("write");
        refresh(&dir, &work(&dir), &manifest).expect("refresh");
        let mut names: Vec<_> = fs::read_dir(work(&dir)).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, [".git", "a", "b", "node_modules"]);
        assert_eq!(fs::read_to_string(work(&dir).join("a/x.ts")).expect("read"), "3");
    }

    #[test]
    fn a_missing_source_is_not_found() {
        let (_root, dir, manifest) = project(&["x.ts"]);
        fs::remove_file(dir.frontend().join("x.ts")).expect("remove");
        assert_eq!(refresh(&dir, &work(&dir), &manifest).expect_err("missing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn own_copies_are_written_without_the_synced_files_and_only_plain_files_stay() {
        let (root, dir, manifest) = project(&["a/x.ts", "z.ts"]);
        refresh(&dir, &work(&dir), &manifest).expect("refresh");
        own_copies(&work(&dir)).expect("copies");
        fs::write(work(&dir).join("a/x.ts"), "changed").expect("write");
        assert_eq!(fs::read_to_string(dir.frontend().join("a/x.ts")).expect("read"), "1");

        let outside = root.path().join("outside");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("kept"), "").expect("write");
        for link in ["a/out", "node_modules"] {
            symlink(&outside, work(&dir).join(link)).expect("symlink");
        }
        keep_plain(&work(&dir)).expect("plain");
        assert!(!work(&dir).join("a/out").is_symlink() && !work(&dir).join("node_modules").is_symlink());
        assert!(outside.join("kept").exists() && work(&dir).join("a/x.ts").exists());
        refresh(&dir, &work(&dir), &manifest).expect("refresh");
        assert_eq!(fs::read_to_string(work(&dir).join("a/x.ts")).expect("read"), "1");
    }
}
