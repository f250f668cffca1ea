//! What of a project's `package.json` may reach the installer ([`super::package_json`] reads it).
//!
//! Invariant: a [`Manifest`] holds registry packages and workspace members, nothing else. No spec in it names a host, a path,
//! a repository or a script, so pnpm can be given it whoever wrote the project. What cannot be kept is an error that names
//! package and spec, never dropped in silence: the app would only fail later, and for a reason that nobody could guess.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The fields that decide what is installed; peers last.
pub(super) const FIELDS: [&str; 4] = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];

/// Why a project's dependencies cannot be installed. Always the project's own fault: failure kind `config` where the file
/// cannot be read at all, else `install`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub(super) struct ManifestError {
    /// Path below the project root.
    pub(super) file: String,
    /// What is wrong with it.
    pub(super) problem: Problem,
}

/// What is wrong with a `package.json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("not valid JSON: {message} (line {line}, column {column})")]
    Json { message: String, line: usize, column: usize },
    #[error("\"{field}\" has to be an object of package names and versions")]
    Field { field: &'static str },
    #[error("\"{name}\" in \"{field}\" is not a package name")]
    Name { field: &'static str, name: String },
    #[error("{name}@{spec} is refused: {reason}")]
    Spec { name: String, spec: String, reason: &'static str },
    #[error("too large: more than {limit} {unit}")]
    TooLarge { limit: usize, unit: &'static str },
}

/// A filtered `package.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Where it lies below the project root, `/` between names; "" is the root.
    pub(super) dir: String,
    /// Kept for `workspace:` specs and nothing else.
    pub(super) name: Option<String>,
    /// Kept for `workspace:` specs and nothing else.
    pub(super) version: Option<String>,
    /// Field name → package → spec.
    pub(super) fields: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Peers that need not be installed.
    pub(super) optional_peers: BTreeSet<String>,
    /// `link:` and `file:` specs that stay inside the project: (field, package) → target dir. [`Manifest::link`] settles them.
    pub(super) local: BTreeMap<(&'static str, String), String>,
    /// `pnpm.overrides`, `overrides` and `resolutions` as they were written; [`super::workspace`] translates them.
    pub(super) overrides: Map<String, Value>,
    /// `workspaces`, with bun's catalogs, as written.
    pub(super) workspaces: Value,
    /// The tool that the project says it is managed with ("pnpm", "yarn", …), without the version.
    pub(super) package_manager: Option<String>,
    /// Names of the scripts that an installer would run; they never are.
    pub(super) install_scripts: Vec<&'static str>,
}

impl Manifest {
    /// Whether the project names this package itself.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        self.direct().any(|(direct, _)| direct == name)
    }

    /// Direct dependencies without peers, with their specs.
    pub(super) fn direct(&self) -> impl Iterator<Item = (&str, &str)> {
        FIELDS[..3].iter().filter_map(|field| self.fields.get(field)).flatten().map(|(name, spec)| (name.as_str(), spec.as_str()))
    }

    /// Turns paths to workspace members into `workspace:*`; any other path is refused. `members`: dir → package name.
    pub(super) fn link(&mut self, members: &BTreeMap<String, String>) -> Result<(), ManifestError> {
        for ((field, name), target) in std::mem::take(&mut self.local) {
            // An alias would need the member's files at a second place.
            if members.get(&target) != Some(&name) {
                let reason = "a local folder can be used only when it is a workspace package of that name";
                let spec = format!("link:{target}");
                return Err(self.error(Problem::Spec { name, spec, reason }));
            }
            let entries = self.fields.entry(field).or_default();
            entries.insert(name, "workspace:*".to_owned());
        }
        Ok(())
    }

    /// Says which file the problem is in.
    pub(super) fn error(&self, problem: Problem) -> ManifestError {
        let dir = &self.dir;
        let file = if dir.is_empty() { String::new() } else { format!("{dir}/") } + "package.json";
        ManifestError { file, problem }
    }

    /// The `package.json` to install from. Sorted, so equal dependency sets are equal bytes.
    pub(super) fn to_json(&self) -> String {
        let mut out = Map::new();
        // The root is never a dependency, so its name would only split sets that are the same.
        if !self.dir.is_empty() {
            out.extend(self.name.iter().map(|name| ("name".to_owned(), json!(name))));
            out.extend(self.version.iter().map(|version| ("version".to_owned(), json!(version))));
        }
        out.insert("private".to_owned(), json!(true));
        out.extend(self.fields.iter().filter(|(_, entries)| !entries.is_empty()).map(|(field, entries)| ((*field).to_owned(), json!(entries))));
        if !self.optional_peers.is_empty() {
            let meta: BTreeMap<_, _> = self.optional_peers.iter().map(|name| (name, json!({"optional": true}))).collect();
            out.insert("peerDependenciesMeta".to_owned(), json!(meta));
        }
        Value::Object(out).to_string()
    }
}
