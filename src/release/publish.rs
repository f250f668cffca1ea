//! Makes a scanned output the live release: one rename, then one symlink swapped.
//!
//! nginx reads releases as another user. So the folders on the way to them may be passed through (not listed), whatever
//! the umask is, and a project whose label is a hash has a link of that name. Nothing else of a project is opened.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::disk::remove_tree;
use crate::domain::{BuildId, ProjectDir};

/// Mode of a folder that others may pass through without seeing what is in it.
const PASSAGE_MODE: u32 = 0o711;
/// Mode of a folder that is the daemon's alone.
const CLOSED_MODE: u32 = 0o700;
/// What marks a file or folder that is still being written.
const ASIDE_PREFIX: &str = ".tmp-";

/// Renames the output of `build` into place and swaps `dist` to it. Blocking.
pub fn publish(dir: &ProjectDir, build: BuildId) -> io::Result<()> {
    let release = dir.release(build);
    match fs::rename(dir.release_aside(build), &release) {
        // Published before a crash, or by a rollback: only the swap is left to do.
        Err(e) if e.kind() == io::ErrorKind::NotFound && release.is_dir() => {}
        renamed => renamed?,
    }
    show(dir)?;
    swap(&dir.dist(), Path::new("releases").join(build.to_string()).as_path())
}

/// Lets nginx's user pass through `folder`. Blocking.
pub fn open_passage(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(PASSAGE_MODE))
}

/// Lets nobody but the daemon into `folder`. Blocking.
pub fn close_passage(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(CLOSED_MODE))
}

/// Lets nginx find the project: the way to its releases, and its label.
fn show(dir: &ProjectDir) -> io::Result<()> {
    open_passage(dir.root())?;
    open_passage(&dir.releases())?;
    let Some((link, target)) = dir.label_link() else { return Ok(()) };
    if fs::read_link(&link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    swap(&link, &target)
}

/// Hides a project from nginx, which serves whatever `dist` leads to: before it is deleted, and once it is. Blocking.
pub fn hide(dir: &ProjectDir) -> io::Result<()> {
    if let Some((link, _)) = dir.label_link() {
        remove_tree(&link)?;
    }
    remove_tree(&dir.dist())
}

/// Makes the log of `build` the project's newest. Blocking.
pub fn swap_log(dir: &ProjectDir, build: BuildId) -> io::Result<()> {
    swap(&dir.build_log(), Path::new("releases").join(format!("{build}.log")).as_path())
}

/// Points `link` at `target`, atomically: readers see the old or the new target, never none.
fn swap(link: &Path, target: &Path) -> io::Result<()> {
    let aside = link.with_extension("swap");
    remove_tree(&aside)?;
    symlink(target, &aside)?;
    fs::rename(aside, link)
}

/// The build that `dist` points to. Blocking.
pub fn live_build(dir: &ProjectDir) -> Option<BuildId> {
    fs::read_link(dir.dist()).ok()?.file_name()?.to_str()?.parse().ok()
}

/// Points `dist` to the build that the state calls live, where a crash came between the two, and sees to it that nginx
/// finds it. Whether `dist` was another. Blocking.
pub fn put_back(dir: &ProjectDir, live: Option<BuildId>) -> io::Result<bool> {
    if live_build(dir) == live {
        if live.is_some() {
            show(dir)?;
        }
        return Ok(false);
    }
    match live {
        Some(build) if dir.release(build).is_dir() => publish(dir, build)?,
        // Its files are gone: what is shown instead is better than nothing.
        Some(_) => return Ok(false),
        None => remove_tree(&dir.dist())?,
    }
    Ok(true)
}

/// Removes what builds that a crash cut short left behind: halves of releases. Blocking.
pub fn remove_leftovers(dir: &ProjectDir) -> io::Result<()> {
    let mut result = Ok(());
    let entries = match fs::read_dir(dir.releases()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return result,
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ASIDE_PREFIX) {
            // One that cannot be removed does not keep the others.
            result = remove_tree(&entry.path()).and(result);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DataDir;

    #[test]
    fn the_live_release_is_swapped_and_leftovers_go() {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = DataDir::new(root.path()).project(&"demo".parse().expect("id"));
        let builds = [1, 2, 3].map(|n| BuildId::from_parts(n, 0));
        for build in builds {
            fs::create_dir_all(dir.release_aside(build)).expect("mkdir");
            fs::write(dir.release_aside(build).join("index.html"), build.to_string()).expect("write");
        }
        assert_eq!(live_build(&dir), None);
        for build in &builds[..2] {
            publish(&dir, *build).expect("publish");
            assert_eq!(live_build(&dir), Some(*build));
            assert_eq!(fs::read_to_string(dir.dist().join("index.html")).expect("read"), build.to_string());
        }
        publish(&dir, builds[0]).expect("an older one again");
        assert_eq!(live_build(&dir), Some(builds[0]));
        hide(&dir).expect("hide");
        assert!(!dir.dist().is_symlink() && dir.release(builds[0]).exists());
        assert!(put_back(&dir, Some(builds[1])).expect("put back") && live_build(&dir) == Some(builds[1]));
        remove_leftovers(&dir).expect("clean");
        assert!(!dir.release_aside(builds[2]).exists() && dir.release(builds[1]).exists());
    }

    #[test]
    fn a_hashed_label_leads_to_its_project() {
        let root = tempfile::tempdir().expect("temp dir");
        let data = DataDir::new(root.path());
        let (dir, build) = (data.project(&"My_App".parse().expect("id")), BuildId::from_parts(1, 0));
        let (link, _) = dir.label_link().expect("a hashed label");
        fs::create_dir(data.labels()).expect("mkdir");
        fs::create_dir_all(dir.release(build)).expect("mkdir");
        fs::write(dir.release(build).join("index.html"), "mine").expect("write");
        let page = || fs::read_to_string(link.join("dist/index.html")).ok();
        publish(&dir, build).expect("publish");
        assert_eq!(page().as_deref(), Some("mine"));
        fs::remove_file(&link).expect("remove");
        assert!(!put_back(&dir, Some(build)).expect("at the next start"));
        assert_eq!(page().as_deref(), Some("mine"));
        hide(&dir).expect("hide");
        assert!(!link.is_symlink());
        for folder in [dir.root(), &dir.releases()] {
            assert_eq!(fs::metadata(folder).expect("stat").permissions().mode() & 0o777, PASSAGE_MODE);
        }
    }
}
