//! What several floors do to the disk: work off the async threads, whole replacements, thorough removals.
//!
//! Invariant: nothing here follows a symlink, and no tree, however deep or wide, exhausts stack, descriptors or memory.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Names of a folder that are held in memory at once while it is emptied.
const NAMES_AT_ONCE: usize = 10_000;
/// What folders are called on their way out.
const GONE_PREFIX: &str = ".gone-";

/// Runs `work` where blocking is allowed.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Replaces a file by rename, synced, so that a reader sees the old or the new content, whole. Blocking.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, File::sync_data)
}

/// The same without waiting for the disk: for what is written anew soon enough if a power cut takes it. Blocking.
pub fn replace_soon(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, |_| Ok(()))
}

fn replace_with(path: &Path, content: &[u8], sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = File::create(&aside)?;
    file.write_all(content)?;
    sync(&file)?;
    fs::rename(aside, path)
}

/// Removes a file or folder with everything in it, if it is there; a symlink is removed, not followed. Blocking.
///
/// Untrusted code may have made the tree. It is emptied without recursion and with two descriptors at most: folders
/// that are not empty hand their own folders up to the top, one level at a time.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(metadata) if !metadata.is_dir() => return ignore_missing(fs::remove_file(path)),
        Ok(_) => {}
    }
    let top = open_folder(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let names = names_in(&top)?;
        if names.is_empty() {
            match fs::remove_dir(path) {
                // Somebody who was not stopped yet wrote into it.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => continue,
                removed => return ignore_missing(removed),
            }
        }
        for name in names {
            if !remove_entry(&top, &name)? {
                dissolve(&top, &name, &mut moved)?;
            }
        }
    }
}

/// Empties the folder `name` of `top`, moving its own folders up to `top`, and removes it.
fn dissolve(top: &OwnedFd, name: &CString, moved: &mut u64) -> io::Result<()> {
    let folder = open_folder(top, name)?;
    loop {
        let names = names_in(&folder)?;
        if names.is_empty() {
            return match unlinkat(top, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => continue,
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(e.into()),
            };
        }
        for name in names {
            if !remove_entry(&folder, &name)? {
                renameat(&folder, &name, top, format!("{GONE_PREFIX}{moved}-{:08x}", rand::random::<u32>()))?;
                *moved += 1;
            }
        }
    }
}

/// Removes what is not a folder, or is an empty one. Whether it is gone.
fn remove_entry(folder: &OwnedFd, name: &CString) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&at, name, flags, Mode::empty()) {
        // Whoever made it took the right to look into it away.
        Err(Errno::ACCESS) => {
            chmodat(&at, name, Mode::RWXU, AtFlags::empty())?;
            Ok(openat(&at, name, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

fn names_in(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
        if names.len() == NAMES_AT_ONCE {
            break;
        }
    }
    Ok(names)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn any_tree_is_removed_and_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        fs::create_dir_all(tree.join("a/b/c")).expect("mkdir");
        fs::create_dir_all(tree.join("a/d")).expect("mkdir");
        fs::create_dir(&kept).expect("mkdir");
        for file in ["x", "a/x", "a/b/x", "a/b/c/x"] {
            fs::write(tree.join(file), "").expect("write");
        }
        fs::write(kept.join("file"), "").expect("write");
        symlink(&kept, tree.join("a/link")).expect("symlink");
        remove_tree(&tree).expect("remove");
        assert!(!tree.exists() && kept.join("file").exists());
        remove_tree(&tree).expect("not there is fine");
        symlink(&kept, &tree).expect("symlink");
        remove_tree(&tree).expect("remove");
        assert!(!tree.is_symlink() && kept.join("file").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("mkdir");
        let mut folder = open_folder(CWD, &tree).expect("open");
        for _ in 0..20_000 {
            mkdirat(&folder, "a", Mode::RWXU).expect("mkdir");
            folder = open_folder(&folder, c"a").expect("open");
        }
        remove_tree(&tree).expect("remove");
        assert!(!tree.exists());
    }
}
