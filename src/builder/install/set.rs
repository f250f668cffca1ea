//! A project's dependency set: everything of the project that decides what is installed, filtered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::lockfile::{self, Lock};
use super::manifest::{Manifest, ManifestError, Problem};
use super::package_json::filter;
use super::workspace::{self, Workspace};
use crate::domain::app_root::join;
use crate::domain::{Failure, FailureKind};

const PACKAGE_JSON: &str = "package.json";
/// Code that pnpm would run while it resolves.
const PNPMFILES: [&str; 2] = [".pnpmfile.cjs", ".pnpmfile.mjs"];
/// Install scripts that the log names.
const NEVER_RUN_MAX: usize = 20;
const WORKSPACE_FILE: &str = "pnpm-workspace.yaml";

/// What decides what is installed.
#[derive(Debug)]
pub(crate) struct DependencySet {
    /// The folder of the project that all this is relative to; `""` is the top.
    pub(crate) root: String,
    /// What is written into the install directory, but for the settings and the lockfile: path → text.
    pub(super) files: BTreeMap<String, String>,
    pub(super) workspace: Workspace,
    /// Folders of workspace members, without the root.
    pub(super) members: BTreeSet<String>,
    pub(super) lock: Lock,
    /// The lockfile's name, or `fresh`.
    pub(super) lock_source: &'static str,
    /// For the build log.
    pub(super) notes: Vec<String>,
}

impl DependencySet {
    /// The root and its members: every folder that has a `node_modules`.
    pub(super) fn importers(&self) -> Vec<String> {
        if self.files.is_empty() {
            return Vec::new();
        }
        std::iter::once(String::new()).chain(self.members.iter().cloned()).collect()
    }
}

/// Whether a path of a project is a `package.json`.
pub(super) fn is_package_json(path: &str) -> bool {
    path.rsplit('/').next() == Some(PACKAGE_JSON)
}

/// Reads the set of the app in folder `app` of the sources in `work`, of which `package_jsons` are all manifests. Blocking.
pub(super) fn read(work: &Path, package_jsons: &[String], app: &str) -> io::Result<Result<DependencySet, Failure>> {
    let Some(nearest) = nearest_package(package_jsons, app) else {
        return Ok(Ok(without_dependencies()));
    };
    let mut candidates: Vec<&str> = ancestors(&nearest).filter(|folder| *folder != nearest).collect();
    candidates.reverse();
    for root in candidates {
        // A manifest above that is broken is no reason to fail an app that does not belong to it.
        if let Ok(set) = read_root(work, package_jsons, root)?
            && set.members.iter().any(|member| join(root, member) == nearest)
        {
            return Ok(Ok(set));
        }
    }
    read_root(work, package_jsons, &nearest)
}

fn read_root(work: &Path, package_jsons: &[String], root: &str) -> io::Result<Result<DependencySet, Failure>> {
    let folder = work.join(root);
    let Some(text) = read_text(&folder.join(PACKAGE_JSON))? else { return Ok(Ok(without_dependencies())) };
    let yaml = read_text(&folder.join(WORKSPACE_FILE))?;
    let relative: Vec<String> = package_jsons.iter().filter_map(|path| below(root, path).map(str::to_owned)).collect();
    let mut manifests = match read_manifests(&folder, &text, yaml.as_deref(), &relative)? {
        Ok(manifests) => manifests,
        Err(failure) => return Ok(Err(placed(root, failure))),
    };
    let names: BTreeMap<String, String> =
        manifests.all.values().filter(|m| !m.dir.is_empty()).filter_map(|m| Some((m.dir.clone(), m.name.clone()?))).collect();
    for manifest in manifests.all.values_mut() {
        if let Err(error) = manifest.link(&names) {
            return Ok(Err(placed(root, refused(&error))));
        }
    }
    let members: BTreeSet<String> = manifests.all.keys().filter(|dir| !dir.is_empty()).cloned().collect();
    let importers: BTreeSet<String> = manifests.all.keys().cloned().collect();
    let locks = read_locks(&folder);
    let choice = lockfile::choose(&locks, &manifests.all[""], &importers);
    let mut notes = manifests.workspace.notes.clone();
    notes.push(choice.note);
    notes.extend(never_run(&folder, &manifests.all));
    Ok(Ok(DependencySet {
        root: root.to_owned(),
        files: manifests.all.iter().map(|(dir, manifest)| (join(dir, PACKAGE_JSON), manifest.to_json())).collect(),
        workspace: manifests.workspace,
        members,
        lock: choice.lock,
        lock_source: choice.source,
        notes,
    }))
}

struct Manifests {
    workspace: Workspace,
    /// By folder; the root is `""`.
    all: BTreeMap<String, Manifest>,
}

fn read_manifests(folder: &Path, root_text: &str, yaml: Option<&str>, package_jsons: &[String]) -> io::Result<Result<Manifests, Failure>> {
    let root = match filter(root_text, "") {
        Ok(root) => root,
        Err(error) => return Ok(Err(refused(&error))),
    };
    let found = workspace::parse(yaml, &root).and_then(|workspace| {
        let members = workspace::members(&workspace.globs, package_jsons)?;
        Ok((workspace, members))
    });
    let (workspace, members) = match found {
        Ok(found) => found,
        Err(message) => return Ok(Err(Failure::new(FailureKind::Install, message))),
    };
    let mut all = BTreeMap::from([(String::new(), root)]);
    for member in members {
        let Some(text) = read_text(&folder.join(&member).join(PACKAGE_JSON))? else { continue };
        match filter(&text, &member) {
            Ok(manifest) => drop(all.insert(member, manifest)),
            Err(error) => return Ok(Err(refused(&error))),
        }
    }
    Ok(Ok(Manifests { workspace, all }))
}

/// One line for the build log: what of the project another installer would have run.
fn never_run(folder: &Path, manifests: &BTreeMap<String, Manifest>) -> Option<String> {
    let scripts = manifests.iter().flat_map(|(dir, manifest)| manifest.install_scripts.iter().map(move |name| (dir, name)));
    let scripts = scripts.map(|(dir, name)| format!("{name} of {}", join(dir, PACKAGE_JSON)));
    let hooks = PNPMFILES.iter().filter(|name| folder.join(name).exists()).map(|name| (*name).to_owned());
    let all: Vec<String> = scripts.chain(hooks).collect();
    let more = all.len().saturating_sub(NEVER_RUN_MAX);
    let listed = all[..all.len() - more].join(", ");
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    (!all.is_empty()).then(|| format!("install scripts of a project are never run: {listed}{more}"))
}

fn read_locks(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in lockfile::NAMES {
        let path = folder.join(name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        // What is too long, or binary, is only known to be there.
        let readable = metadata.len() <= lockfile::MAX_BYTES as u64;
        let text = if readable { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        found.insert(name.to_owned(), text);
    }
    found
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

fn refused(error: &ManifestError) -> Failure {
    let file = Some(error.file.clone());
    match error.problem {
        Problem::Json { line, column, .. } => {
            let (line, column) = (u32::try_from(line).ok(), u32::try_from(column).ok());
            Failure { file, line, column, ..Failure::new(FailureKind::Config, error.to_string()) }
        }
        _ => Failure { file, ..Failure::new(FailureKind::Install, error.to_string()) },
    }
}

fn placed(root: &str, failure: Failure) -> Failure {
    Failure { file: failure.file.map(|file| join(root, &file)), ..failure }
}

fn without_dependencies() -> DependencySet {
    DependencySet {
        root: String::new(),
        files: BTreeMap::new(),
        workspace: Workspace::default(),
        members: BTreeSet::new(),
        lock: Lock::Fresh,
        lock_source: lockfile::FRESH,
        notes: Vec::new(),
    }
}

/// The folder with a manifest that the app belongs to: its own, or the nearest above.
fn nearest_package(package_jsons: &[String], app: &str) -> Option<String> {
    let folders: Vec<&str> = ancestors(app).collect();
    folders.into_iter().rev().find(|folder| package_jsons.contains(&join(folder, PACKAGE_JSON))).map(str::to_owned)
}

/// `""`, `a`, `a/b` for `a/b`.
fn ancestors(folder: &str) -> impl Iterator<Item = &str> {
    let own = (!folder.is_empty()).then_some(folder);
    std::iter::once("").chain(folder.match_indices('/').map(|(at, _)| &folder[..at])).chain(own)
}

/// `path` relative to `root`, where it lies below.
fn below<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    if root.is_empty() { Some(path) } else { path.strip_prefix(root)?.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(files: &[(&str, &str)], app: &str) -> Result<DependencySet, Failure> {
        let work = tempfile::tempdir().expect("temp dir");
        for (path, text) in files {
            let path = work.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
        let manifests: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).filter(|path| is_package_json(path)).collect();
        read(work.path(), &manifests, app).expect("io")
    }

    const UI: &str = r#"{"name": "@acme/ui", "version": "1.0.0"}"#;
    const WEB: &str = r#"{"name": "web", "dependencies": {"@acme/ui": "workspace:*", "react": "catalog:"}}"#;

    #[test]
    fn a_member_is_installed_from_its_workspace() {
        let yaml = "packages: ['apps/*', 'packages/*']\ncatalog: {react: ^19.0.0}\n";
        let files = [("package.json", "{}"), (WORKSPACE_FILE, yaml), ("apps/web/package.json", WEB), ("packages/ui/package.json", UI)];
        let set = set_of(&files, "apps/web").expect("set");
        assert_eq!((set.root.as_str(), set.importers()), ("", vec![String::new(), "apps/web".into(), "packages/ui".into()]));
    }

    #[test]
    fn an_app_of_its_own_is_installed_from_its_folder() {
        let files = [("package.json", r#"{"name": "server"}"#), ("client/package.json", "{}"), ("client/package-lock.json", "{}")];
        let set = set_of(&files, "client").expect("set");
        assert_eq!((set.root.as_str(), set.importers()), ("client", vec![String::new()]));
        let below = set_of(&[("package.json", "{}")], "client/src").expect("set");
        assert_eq!(below.root, "");
        assert!(set_of(&[], "").expect("set").importers().is_empty());
    }

    #[test]
    fn what_is_refused_is_the_projects_failure() {
        let broken = set_of(&[("client/package.json", "{")], "client").expect_err("broken");
        assert_eq!((broken.kind, broken.file.as_deref(), broken.line), (FailureKind::Config, Some("client/package.json"), Some(1)));
        let spec = set_of(&[("package.json", r#"{"dependencies": {"x": "file:../../etc"}}"#)], "").expect_err("refused");
        assert_eq!(spec.kind, FailureKind::Install);
        assert!(spec.message.contains('x') && spec.message.contains("file:../../etc"), "{}", spec.message);
    }

    #[test]
    fn what_is_never_run_is_named() {
        let set =
            set_of(&[("package.json", r#"{"scripts": {"prepare": "husky", "build": "vite build"}}"#), (".pnpmfile.cjs", "")], "").expect("a set");
        let expected = "install scripts of a project are never run: prepare of package.json, .pnpmfile.cjs";
        assert!(set.notes.iter().any(|note| note == expected), "{:?}", set.notes);
    }
}
