//! `previewd check-store`: whether every file of the store, and of every layer, is what was once fetched.
//!
//! 1. each file of the store's `files` is named by the SHA-512 of its content: hash it
//! 2. each file of a package in `links`, or of a layer, is a hard link to one of those, or has the content of one
//! 3. what pnpm itself writes there (the starters in `.bin`) is what the layer noted when it was complete
//! 4. no link leads out of store and layer
//!
//! A repair removes what is damaged: the file, the packages that have it, the layers that use those. Whatever is removed is
//! installed anew by the next build that wants it; previews that are live stay as they are, and so does every undamaged layer.
//!
//! Invariant: nothing is removed that is not damaged or made of something damaged, and no link is followed out of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha512};

use super::layer::LAYER_FILE;
use super::store_lock::StoreLock;
use crate::disk::{blocking, remove_tree};
use crate::domain::DataDir;

/// How long the check waits for an install to end.
const PATIENCE: Duration = Duration::from_mins(10);
/// Hex digits of a SHA-512, and how a file's name ends that may be run.
const DIGEST_CHARS: usize = 128;
const EXECUTABLE: &str = "-exec";
const CHUNK_BYTES: usize = 256 * 1024;
const NODE_MODULES: &str = "node_modules";
const BIN: &str = ".bin";
/// What pnpm notes for itself.
const NOTES: [&str; 3] = [".modules.yaml", ".pnpm-workspace-state-v1.json", "lock.yaml"];

/// Something that is not as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Files that were looked at.
    pub files: usize,
    /// What is damaged, sorted.
    pub damage: Vec<Damage>,
    /// What a repair removed.
    pub removed: Vec<PathBuf>,
}

/// Checks store and layers, and with `repair` removes what is damaged. Waits until no install runs.
pub async fn check_store(data: &DataDir, repair: bool) -> io::Result<Checked> {
    let lock = StoreLock::take(&data.shared_store(), PATIENCE).await?;
    let (store, layers) = (data.shared_store(), data.layers());
    let checked = blocking(move || {
        let mut check = Check::default();
        check.run(&store, &layers)?;
        let mut checked = Checked { files: check.files, damage: check.damage.into_iter().collect(), removed: Vec::new() };
        if repair && !checked.damage.is_empty() {
            checked.removed = remove(&store, &layers, &checked.damage)?;
        }
        Ok(checked)
    })
    .await;
    drop(lock);
    checked
}

type Inode = (u64, u64);

#[derive(Default)]
struct Check {
    files: usize,
    /// Files of the store by inode, and whether each is what its name says.
    known: HashMap<Inode, bool>,
    digests: HashSet<String>,
    /// Starters → their digest, as layers noted them.
    noted: BTreeMap<PathBuf, String>,
    damage: BTreeSet<Damage>,
}

impl Check {
    fn run(&mut self, store: &Path, layers: &Path) -> io::Result<()> {
        for version in folders(store)?.into_iter().filter(|path| path.join("files").is_dir()) {
            self.hash_files(&version.join("files"))?;
        }
        let layers = folders(layers)?;
        for layer in &layers {
            self.noted.extend(noted(layer));
        }
        for version in folders(store)? {
            self.compare(&version.join("links"), store)?;
        }
        for layer in &layers {
            self.compare(layer, store)?;
        }
        Ok(())
    }

    fn damaged(&mut self, path: &Path, what: &'static str) {
        self.damage.insert(Damage { path: path.to_owned(), what });
    }

    /// Step 1, on every core.
    fn hash_files(&mut self, files: &Path) -> io::Result<()> {
        let mut all = Vec::new();
        walk(files, &mut |path, metadata| all.push((path.to_owned(), metadata.clone())))?;
        let (next, hashed) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
        let work = || -> io::Result<()> {
            while let Some((path, metadata)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                let digest = if metadata.is_file() { sha512(path)? } else { String::new() };
                hashed.lock().map_err(|_| io::ErrorKind::Other)?.push((path, metadata, digest));
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            all.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::Error::from(io::ErrorKind::Other))?)
        })?;
        for (path, metadata, digest) in hashed.into_inner().map_err(|_| io::ErrorKind::Other)? {
            self.files += 1;
            let sound = metadata.is_file() && named(path).is_some_and(|name| name == digest);
            self.known.insert((metadata.dev(), metadata.ino()), sound);
            if sound {
                self.digests.insert(digest);
            } else {
                self.damaged(path, "its content is not what its name says");
            }
        }
        Ok(())
    }

    /// Steps 2 to 4.
    fn compare(&mut self, top: &Path, store: &Path) -> io::Result<()> {
        let mut found = Vec::new();
        walk(top, &mut |path, metadata| found.push((path.to_owned(), metadata.clone())))?;
        for (path, metadata) in found {
            self.files += 1;
            let what = if metadata.is_symlink() {
                (!leads_inside(&path, &fs::read_link(&path)?, &[top, store])).then_some("it leads elsewhere")
            } else if metadata.is_file() {
                self.compare_file(top, &path, &metadata)?
            } else {
                Some("it is no file")
            };
            if let Some(what) = what {
                self.damaged(&path, what);
            }
        }
        Ok(())
    }

    fn compare_file(&self, top: &Path, path: &Path, metadata: &Metadata) -> io::Result<Option<&'static str>> {
        match self.known.get(&(metadata.dev(), metadata.ino())) {
            Some(true) => return Ok(None),
            Some(false) => return Ok(Some("it shares its content with a damaged file")),
            None => {}
        }
        let below = path.strip_prefix(top).unwrap_or(path);
        let in_package = below.components().any(|part| part.as_os_str() == NODE_MODULES);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Our own files, and pnpm's notes to itself: no build runs them.
        if !in_package || (NOTES.contains(&name) && below.components().count() <= 4) {
            return Ok(None);
        }
        let digest = sha512(path)?;
        if path.parent().and_then(Path::file_name).is_some_and(|folder| folder == BIN) {
            let changed = self.noted.get(path).is_some_and(|noted| *noted != digest);
            return Ok(changed.then_some("it is not the starter that was written"));
        }
        Ok((!self.digests.contains(&digest)).then_some("its content is of no package"))
    }
}

/// Removes what is damaged and whatever is made of it.
fn remove(store: &Path, layers: &Path, damage: &[Damage]) -> io::Result<Vec<PathBuf>> {
    let mut gone = BTreeSet::new();
    for Damage { path, .. } in damage {
        gone.insert(unit(store, layers, path));
    }
    for layer in folders(layers)?.into_iter().filter(|layer| !gone.contains(layer)).collect::<Vec<_>>() {
        let mut uses = false;
        walk(&layer, &mut |path, metadata| {
            let target = if metadata.is_symlink() { fs::read_link(path).ok() } else { None };
            let target = target.and_then(|target| normal(&path.parent()?.join(target)));
            uses |= target.is_some_and(|target| target.ancestors().any(|folder| gone.contains(folder)));
        })?;
        if uses {
            gone.insert(layer);
        }
    }
    for path in &gone {
        remove_tree(path)?;
    }
    Ok(gone.into_iter().collect())
}

/// What goes with a damaged file: its layer, its package in `links`, or the file alone.
fn unit(store: &Path, layers: &Path, path: &Path) -> PathBuf {
    if let Some(layer) = path.strip_prefix(layers).ok().and_then(|below| below.components().next()) {
        return layers.join(layer);
    }
    let package = path.strip_prefix(store).ok().filter(|below| below.components().nth(1) == Some(Component::Normal("links".as_ref())));
    let package = package.and_then(|_| path.ancestors().filter(|folder| folder.file_name().is_some_and(|name| name == NODE_MODULES)).last());
    package.and_then(Path::parent).unwrap_or(path).to_owned()
}

/// The starters of a layer and of the packages in it, with their digests: what [`check_store`] compares them with.
pub(super) fn starters(layer: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut add = |path: &Path, metadata: &Metadata| -> io::Result<()> {
        if metadata.is_file() && path.parent().and_then(Path::file_name).is_some_and(|folder| folder == BIN) {
            found.insert(path.to_string_lossy().into_owned(), sha512(path)?);
        }
        Ok(())
    };
    let mut packages = BTreeSet::new();
    let mut result = Ok(());
    walk(layer, &mut |path, metadata| {
        if metadata.is_symlink() {
            packages.extend(fs::canonicalize(path).ok().filter(|package| !package.starts_with(layer)));
        } else if result.is_ok() {
            result = add(path, metadata);
        }
    })?;
    result?;
    for bin in packages.iter().map(|package| package.join(NODE_MODULES).join(BIN)).filter(|bin| bin.is_dir()) {
        for entry in fs::read_dir(bin)? {
            let entry = entry?;
            add(&entry.path(), &entry.metadata()?)?;
        }
    }
    Ok(found)
}

/// What a layer noted of its starters; those of its own folder are noted relative to it.
fn noted(layer: &Path) -> BTreeMap<PathBuf, String> {
    let text = fs::read(layer.join(LAYER_FILE)).unwrap_or_default();
    let file: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let starters = file["starters"].as_object().into_iter().flatten();
    starters.filter_map(|(path, digest)| Some((layer.join(path), digest.as_str()?.to_owned()))).collect()
}

/// The digest that a file of the store is named by.
fn named(path: &Path) -> Option<String> {
    let (name, folder) = (path.file_name()?.to_str()?, path.parent()?.file_name()?.to_str()?);
    let digest = format!("{folder}{}", name.strip_suffix(EXECUTABLE).unwrap_or(name));
    (digest.len() == DIGEST_CHARS && folder.len() == 2).then_some(digest)
}

fn sha512(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha512::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(data_encoding::HEXLOWER.encode(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn leads_inside(link: &Path, target: &Path, tops: &[&Path]) -> bool {
    let target = link.parent().and_then(|folder| normal(&folder.join(target)));
    target.is_some_and(|target| tops.iter().any(|top| target.starts_with(top)))
}

/// A path without `..`, by its names alone.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    Some(normal)
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Everything below `top` that is no folder; links are not followed, and there is no recursion.
fn walk(top: &Path, found: &mut dyn FnMut(&Path, &Metadata)) -> io::Result<()> {
    let mut left = vec![top.to_owned()];
    while let Some(folder) = left.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() { left.push(entry.path()) } else { found(&entry.path(), &metadata) }
        }
    }
    Ok(())
}
