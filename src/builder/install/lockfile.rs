//! Which of a project's lockfiles decides the versions.
//!
//! Invariant: a lockfile that reaches pnpm as it is ([`Lock::Pnpm`]) names registry packages with an integrity and nothing else, and
//! every link in it stays inside the workspace. So it may be trusted (`--trust-lockfile`), and an install from it cannot leave the
//! registry. Everything else becomes [`Pins`]: versions to prefer, resolved anew against the registry.
//!
//! Order: the tool that `packageManager` names, then pnpm, npm, yarn, bun. A lockfile that knows more of the project's direct
//! dependencies with their present specs goes first whatever its tool: AI builders leave stale lockfiles beside the one in use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::formats;
use super::manifest::Manifest;
use super::pins::Pins;
use super::pnpm_lock;

/// What to look for beside the root `package.json`, in order. The text of `bun.lockb` (binary) is not needed.
pub(super) const NAMES: [&str; 6] = ["pnpm-lock.yaml", "npm-shrinkwrap.json", "package-lock.json", "yarn.lock", "bun.lock", "bun.lockb"];
/// In place of a lockfile's name where there is none.
pub(super) const FRESH: &str = "fresh";
/// A longer lockfile is not read (a monorepo with 5,000 packages has about 2 MB).
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What goes into the install directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lock {
    /// Write as `pnpm-lock.yaml` (JSON, which YAML includes), then install.
    Pnpm(String),
    /// Write [`Pins::to_package_lock`] as `package-lock.json`, run `pnpm import`, remove it, then install.
    Import(Pins),
    /// Nothing usable: resolve everything.
    Fresh,
}

/// The lock and what to tell the user of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The lock.
    pub(super) lock: Lock,
    /// The file that it came from, or `fresh`.
    pub(super) source: &'static str,
    /// One line for the build log: which lockfile, why, and why not another.
    pub(super) note: String,
}

/// Chooses among the lockfiles that are there (name → text). `importers` are the workspace dirs, "" for the root.
pub(super) fn choose(found: &BTreeMap<String, String>, root: &Manifest, importers: &BTreeSet<String>) -> Choice {
    let total = root.direct().count();
    let (mut refused, mut remarks) = (BTreeSet::new(), Vec::new());
    let mut best: Option<(usize, &'static str, Lock, String)> = None;
    for name in order(root.package_manager.as_deref()) {
        let Some(text) = found.get(name) else {
            continue;
        };
        match read(name, text, importers) {
            Ok((lock, pins, how)) => {
                let covered = pins.covered(root.direct());
                if best.as_ref().is_none_or(|(most, ..)| covered > *most) {
                    best = Some((covered, name, lock, how));
                }
            }
            Err(why) => {
                refused.insert(name);
                remarks.push(format!("{name} is not used: {why}"));
            }
        }
    }
    let mut note = match &best {
        Some((covered, name, _, how)) => {
            format!("versions from {name}{how}; it knows {covered} of {total} direct dependencies")
        }
        None => "no usable lockfile: newest matching versions".to_owned(),
    };
    refused.extend(best.as_ref().map(|(_, name, ..)| *name));
    let passed_over: Vec<_> = found.keys().map(String::as_str).filter(|name| !refused.contains(name)).collect();
    if !passed_over.is_empty() {
        remarks.push(format!("passed over: {}", passed_over.join(", ")));
    }
    for remark in remarks {
        note.push_str("; ");
        note.push_str(&remark);
    }
    Choice { source: best.as_ref().map_or(FRESH, |(_, name, ..)| *name), lock: best.map_or(Lock::Fresh, |(_, _, lock, _)| lock), note }
}

fn order(package_manager: Option<&str>) -> Vec<&'static str> {
    let preferred = |name: &&str| match package_manager {
        Some("npm") => matches!(*name, "npm-shrinkwrap.json" | "package-lock.json"),
        Some(tool) => name.starts_with(tool),
        None => false,
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = NAMES.into_iter().partition(preferred);
    first.extend(rest);
    first
}

/// The lock, its pins for comparison, and what was done to it.
fn read(name: &str, text: &str, importers: &BTreeSet<String>) -> Result<(Lock, Pins, String), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("more than {MAX_BYTES} bytes"));
    }
    let mut how = String::new();
    let pins = match name {
        "pnpm-lock.yaml" => {
            let lock = yaml_main_document(text)?;
            match pnpm_lock::filter(&lock, importers) {
                Ok(filtered) => {
                    return Ok((Lock::Pnpm(filtered.to_string()), formats::pnpm(&lock), how));
                }
                Err(why) => how = format!(" (its versions only: {why})"),
            }
            formats::pnpm(&lock)
        }
        "yarn.lock" if text.contains("__metadata:") => formats::yarn_berry(&serde_saphyr::from_str(text).map_err(|e| first_line(&e))?),
        "yarn.lock" => formats::yarn_classic(text),
        "bun.lock" => formats::bun(text)?,
        "bun.lockb" => return Err("bun's binary format cannot be read".to_owned()),
        _ => formats::npm(text)?,
    };
    if pins.versions.is_empty() { Err("no registry package in it".to_owned()) } else { Ok((Lock::Import(pins.clone()), pins, how)) }
}

/// pnpm 11 and later may put a document of its own settings in front.
fn yaml_main_document(text: &str) -> Result<Value, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| first_line(&e))?;
    documents.into_iter().rev().find(Value::is_object).ok_or_else(|| "empty".to_owned())
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::package_json::filter;
    use super::*;

    const V9: &str = "lockfileVersion: '9.0'\nsettings:\n  autoInstallPeers: false\npnpmfileChecksum: x\nimporters:\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n        version: 1.0.0(b@2.0.0)\npackages:\n  a@1.0.0:\n    resolution: {integrity: sha512-x, tarball: 'https://elsewhere/a.tgz'}\n  b@2.0.0:\n    resolution: {integrity: sha512-y}\nsnapshots:\n  a@1.0.0(b@2.0.0):\n    dependencies:\n      b: 2.0.0\n  b@2.0.0: {}\n";

    fn chosen(files: &[(&str, &str)], package_json: &str) -> Choice {
        let found = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        choose(&found, &filter(package_json, "").expect("manifest"), &BTreeSet::from([String::new()]))
    }

    #[test]
    fn a_clean_pnpm_lock_is_used_without_foreign_urls() {
        let choice = chosen(&[("pnpm-lock.yaml", V9)], r#"{"dependencies":{"a":"^1"}}"#);
        let Lock::Pnpm(text) = &choice.lock else { panic!("{choice:?}") };
        assert!(!text.contains("elsewhere") && !text.contains("Checksum") && text.contains("sha512-x"));
        assert_eq!(choice.note, "versions from pnpm-lock.yaml; it knows 1 of 1 direct dependencies");
        let two_documents = format!("---\nlockfileVersion: '9.0'\nimporters: {{}}\n---\n{V9}");
        assert_eq!(chosen(&[("pnpm-lock.yaml", &two_documents)], r#"{"dependencies":{"a":"^1"}}"#).lock, choice.lock);
    }

    #[test]
    fn the_lock_that_knows_the_dependencies_wins() {
        let npm = r#"{"packages":{"":{"dependencies":{"a":"^1"}},"node_modules/a":{"version":"1.0.0"}}}"#;
        let bun = r#"{"workspaces":{"":{"dependencies":{"a":"^1","b":"^2"}}},"packages":{"a":["a@1.1.0"],"b":["b@2.0.0"]}}"#;
        let both = [("package-lock.json", npm), ("bun.lock", bun), ("bun.lockb", "")];
        let choice = chosen(&both, r#"{"dependencies":{"a":"^1","b":"^2"}}"#);
        assert!(choice.note.starts_with("versions from bun.lock; it knows 2 of 2"), "{}", choice.note);
        let choice = chosen(&both, r#"{"dependencies":{"a":"^1"}}"#);
        assert_eq!(
            choice.note,
            "versions from package-lock.json; it knows 1 of 1 direct dependencies; bun.lockb is not used: bun's binary format cannot be read; passed over: bun.lock"
        );
        let choice = chosen(&both, r#"{"packageManager":"bun@1.3.0","dependencies":{"a":"^1"}}"#);
        assert!(choice.note.starts_with("versions from bun.lock;"), "{}", choice.note);
    }

    #[test]
    fn broken_lockfiles_are_named_and_left_out() {
        let choice = chosen(&[("pnpm-lock.yaml", "a: [\n"), ("package-lock.json", "{")], "{}");
        assert_eq!(choice.lock, Lock::Fresh);
        assert!(choice.note.contains("pnpm-lock.yaml is not used: ") && choice.note.contains("package-lock.json is not used: "), "{}", choice.note);
        assert_eq!(chosen(&[], "{}").note, "no usable lockfile: newest matching versions");
    }
}
