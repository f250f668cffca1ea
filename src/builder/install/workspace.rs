//! The project's workspace: which packages belong to it, and what its catalogs and overrides say.
//!
//! Invariant: of the project's own settings only package globs, catalogs and overrides are read, and only registry specs of those
//! survive; [`super::settings`] writes the file that pnpm sees.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::manifest::Manifest;
use super::overrides;
use super::spec::{check_spec, is_package_name};

const MAX_BYTES: usize = 256 * 1024;
const MAX_GLOBS: usize = 100;
/// Importers of one workspace; every one costs a directory in the layer.
pub(super) const MAX_MEMBERS: usize = 200;

/// What is taken over from the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Workspace {
    /// Package globs; `!` excludes.
    pub(super) globs: Vec<String>,
    /// Catalog name → package → spec; "default" is the unnamed one.
    pub(super) catalogs: BTreeMap<String, BTreeMap<String, String>>,
    /// pnpm's selectors → spec.
    pub(super) overrides: BTreeMap<String, String>,
    /// What was left out, for the build log.
    pub(super) notes: Vec<String>,
}

/// Reads the project's `pnpm-workspace.yaml`, if there is one, and what the root `package.json` says of workspaces and overrides.
/// An error is the project's own fault, in one line.
pub(super) fn parse(yaml: Option<&str>, root: &Manifest) -> Result<Workspace, String> {
    let settings: Value = match yaml {
        Some(text) if text.len() > MAX_BYTES => {
            return Err(format!("pnpm-workspace.yaml has more than {MAX_BYTES} bytes"));
        }
        Some(text) if !text.trim().is_empty() => {
            serde_saphyr::from_str(text).map_err(|e| format!("pnpm-workspace.yaml: {}", e.to_string().lines().next().unwrap_or_default()))?
        }
        _ => Value::Null,
    };
    let mut workspace = Workspace::default();
    let declared = &root.workspaces;
    // npm, yarn: an array; yarn 1, bun: an object with `packages`.
    for globs in [&settings["packages"], declared, &declared["packages"]] {
        if workspace.globs.is_empty() {
            workspace.globs = globs.as_array().into_iter().flatten().filter_map(Value::as_str).take(MAX_GLOBS).map(str::to_owned).collect();
        }
    }
    for source in [declared, &settings] {
        workspace.add_catalog("default", &source["catalog"]);
        for (name, entries) in object(&source["catalogs"]) {
            workspace.add_catalog(name, entries);
        }
    }
    let (overrides, left_out) = overrides::translate(root, &settings["overrides"]);
    workspace.overrides = overrides;
    workspace.notes.extend(left_out);
    Ok(workspace)
}

impl Workspace {
    fn add_catalog(&mut self, catalog: &str, entries: &Value) {
        for (name, spec) in object(entries) {
            // YAML reads `react: 19` as a number.
            let spec = spec.as_str().map_or_else(|| spec.to_string(), str::to_owned);
            if is_package_name(name) && check_spec(name, &spec).is_ok() {
                self.catalogs.entry(catalog.to_owned()).or_default().insert(name.clone(), spec);
            } else {
                self.notes.push(format!("catalog entry {name}: {spec} is left out"));
            }
        }
    }
}

/// The dirs of workspace packages among all `package.json` paths of the project, without the root.
pub(super) fn members(globs: &[String], package_jsons: &[String]) -> Result<BTreeSet<String>, String> {
    let (excluded, included): (Vec<_>, Vec<_>) = globs.iter().map(String::as_str).partition(|glob| glob.starts_with('!'));
    let (included, excluded) = (glob_set(included)?, glob_set(excluded)?);
    let dirs = package_jsons.iter().filter_map(|path| path.strip_suffix("/package.json"));
    // Other characters would be read as globs once more, by pnpm.
    let plain = |dir: &&str| dir.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.@+ ".contains(c)) && !dir.starts_with('/');
    let inside = |dir: &&str| !dir.split('/').any(|part| matches!(part, "node_modules" | ".." | "." | ""));
    let members: BTreeSet<String> =
        dirs.filter(plain).filter(inside).filter(|dir| included.is_match(dir) && !excluded.is_match(dir)).map(str::to_owned).collect();
    if members.len() > MAX_MEMBERS { Err(format!("more than {MAX_MEMBERS} workspace packages")) } else { Ok(members) }
}

fn glob_set(globs: Vec<&str>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let pattern = glob.trim_start_matches('!').trim_start_matches("./").trim_end_matches('/');
        // `apps/**` means `apps` too, as it does for pnpm.
        for pattern in [Some(pattern), pattern.strip_suffix("/**")].into_iter().flatten() {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|e| format!("workspace glob {pattern:?}: {}", e.kind()))?);
        }
    }
    set.build().map_err(|e| e.to_string())
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::super::package_json::filter;
    use super::*;

    fn parsed(yaml: Option<&str>, package_json: &str) -> Workspace {
        parse(yaml, &filter(package_json, "").expect("manifest")).expect("workspace")
    }

    fn dirs(globs: &[&str], paths: &[&str]) -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        members(&owned(globs), &owned(paths)).expect("globs").into_iter().collect()
    }

    #[test]
    fn globs_as_pnpm_reads_them() {
        let all = [
            "package.json",
            "apps/package.json",
            "apps/a/package.json",
            "apps/a/b/package.json",
            "packages/ui/package.json",
            "apps/a/node_modules/x/package.json",
        ];
        assert_eq!(dirs(&["apps/*"], &all), ["apps/a"]);
        assert_eq!(dirs(&["apps/**"], &all), ["apps", "apps/a", "apps/a/b"]);
        assert_eq!(dirs(&["./packages/{ui,x}/", "apps/a"], &all), ["apps/a", "packages/ui"]);
        assert_eq!(dirs(&["**", "!**/b", "!apps"], &all), ["apps/a", "packages/ui"]);
        assert!(dirs(&["../*", "*"], &["../x/package.json", "a*/package.json", "/x/package.json"]).is_empty());
        assert!(members(&["a[".to_owned()], &[]).is_err());
    }

    #[test]
    fn only_known_settings_and_registry_specs_survive() {
        let yaml = "packages: ['a/*']\nstoreDir: /evil\ncatalog:\n  react: 19\n  evil: git://x\ncatalogs:\n  build: {vite: ^8}\noverrides:\n  'a@>1 <2>b': 1.0.0\n  c: link:/etc\n  $(x): '1'\n";
        let workspace = parsed(Some(yaml), "{}");
        assert_eq!(workspace.globs, ["a/*"]);
        assert_eq!(workspace.catalogs["default"], BTreeMap::from([("react".to_owned(), "19".to_owned())]));
        assert_eq!(workspace.overrides.keys().collect::<Vec<_>>(), ["a@>1 <2>b"]);
        assert_eq!(workspace.notes.len(), 3);
        assert!(parse(Some("a: ["), &Manifest::default()).is_err());
    }

    #[test]
    fn workspaces_of_package_json() {
        assert_eq!(parsed(None, r#"{"workspaces":["a","b/*"]}"#).globs, ["a", "b/*"]);
        let bun = parsed(None, r#"{"workspaces":{"packages":["a"],"catalog":{"x":"^1"}}}"#);
        assert_eq!((bun.globs.len(), bun.catalogs["default"].len()), (1, 1));
    }
}
