//! Reads a project's `package.json` into a [`Manifest`].
//!
//! Invariant: nothing gets into a manifest unchecked, and whatever is refused is an error that names file, package and spec.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::manifest::{FIELDS, Manifest, ManifestError, Problem};
use super::spec::{check_spec, has_archive_ending, is_package_name, is_version, join};

/// A `package.json` beyond this is no manifest (the largest real ones are below 100 kB).
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Entries over all dependency fields of one manifest.
pub(super) const MAX_DEPENDENCIES: usize = 2000;
/// How much of a refused name or spec an error repeats.
const QUOTED_CHARS: usize = 200;
/// Scripts that npm and pnpm run when they install a project.
const INSTALL_SCRIPTS: [&str; 7] = ["preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish"];

/// Reads a project's `package.json` that lies in `dir` ("" is the project root).
pub(super) fn filter(text: &str, dir: &str) -> Result<Manifest, ManifestError> {
    let mut manifest = Manifest { dir: dir.to_owned(), ..Manifest::default() };
    read(text, &mut manifest).map_err(|problem| manifest.error(problem))?;
    Ok(manifest)
}

fn read(text: &str, manifest: &mut Manifest) -> Result<(), Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::TooLarge { limit: MAX_BYTES, unit: "bytes" });
    }
    // Editors on Windows write a byte order mark; npm ignores it too.
    let parsed = serde_json::from_str(text.trim_start_matches('\u{feff}'));
    let root: Map<String, Value> = parsed.map_err(|e| Problem::Json {
        message: e.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        line: e.line(),
        column: e.column(),
    })?;
    for field in FIELDS {
        read_field(&root, field, manifest)?;
    }
    if manifest.fields.values().map(BTreeMap::len).sum::<usize>() > MAX_DEPENDENCIES {
        return Err(Problem::TooLarge { limit: MAX_DEPENDENCIES, unit: "dependencies" });
    }
    let text_of = |key: &str| root.get(key).and_then(Value::as_str);
    manifest.name = text_of("name").filter(|name| is_package_name(name)).map(str::to_owned);
    manifest.version = text_of("version").filter(|version| is_version(version)).map(str::to_owned);
    let tool = text_of("packageManager").and_then(|pin| pin.split('@').next());
    manifest.package_manager = tool.map(str::to_owned);
    manifest.workspaces = root.get("workspaces").cloned().unwrap_or_default();
    let overrides =
        [("pnpm", root.get("pnpm").and_then(|pnpm| pnpm.get("overrides"))), ("npm", root.get("overrides")), ("yarn", root.get("resolutions"))];
    for (tool, value) in overrides {
        manifest.overrides.extend(value.map(|value| (tool.to_owned(), value.clone())));
    }
    let scripts = root.get("scripts").and_then(Value::as_object);
    manifest.install_scripts = INSTALL_SCRIPTS.into_iter().filter(|name| scripts.is_some_and(|scripts| scripts.contains_key(*name))).collect();
    let meta = root.get("peerDependenciesMeta").and_then(Value::as_object);
    let optional = meta.into_iter().flatten().filter(|(_, peer)| peer["optional"] == true);
    let names = optional.map(|(name, _)| name.clone());
    manifest.optional_peers = names.filter(|name| is_package_name(name)).collect();
    Ok(())
}

fn read_field(root: &Map<String, Value>, field: &'static str, manifest: &mut Manifest) -> Result<(), Problem> {
    let malformed = Problem::Field { field };
    let entries = match root.get(field) {
        None | Some(Value::Null) => return Ok(()),
        Some(value) => value.as_object().ok_or_else(|| malformed.clone())?,
    };
    let quoted = |text: &str| text.chars().take(QUOTED_CHARS).collect();
    for (name, spec) in entries {
        let spec = spec.as_str().ok_or_else(|| malformed.clone())?.trim();
        if !is_package_name(name) {
            return Err(Problem::Name { field, name: quoted(name) });
        }
        let reason = match check_spec(name, spec) {
            Ok(()) => {
                let spec = if spec.is_empty() { "*" } else { spec };
                let entries = manifest.fields.entry(field).or_default();
                entries.insert(name.clone(), spec.to_owned());
                continue;
            }
            // A peer is a statement about others; nothing has to be installed for it.
            Err(_) if field == "peerDependencies" => continue,
            Err(reason) => reason,
        };
        let Some(target) = local_target(&manifest.dir, spec) else {
            return Err(Problem::Spec { name: name.clone(), spec: quoted(spec), reason });
        };
        manifest.local.insert((field, name.clone()), target);
    }
    Ok(())
}

/// Where a `link:` or `file:` spec points, as a dir below the project root; `None` when it leaves the project.
fn local_target(dir: &str, spec: &str) -> Option<String> {
    let path = spec.strip_prefix("link:").or_else(|| spec.strip_prefix("file:"))?;
    if path.starts_with(['/', '~', '\\']) || has_archive_ending(path) {
        return None;
    }
    join(dir, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_only_what_decides_the_install() {
        let text = "\u{feff}{\"name\":\"x\",\"scripts\":{\"postinstall\":\"sh\"},\"engines\":{\"node\":\">=99\"},\"packageManager\":\"bun@1.2\",\"devDependencies\":{\"vite\":\"^8\"},\"dependencies\":{\"b\":\"1\",\"a\":\"\"}}";
        let manifest = filter(text, "").expect("valid");
        assert_eq!(manifest.to_json(), r#"{"dependencies":{"a":"*","b":"1"},"devDependencies":{"vite":"^8"},"private":true}"#);
        assert_eq!(manifest.package_manager.as_deref(), Some("bun"));
        assert!(manifest.depends_on("vite") && !manifest.depends_on("react"));
    }

    #[test]
    fn errors_name_place_package_and_spec() {
        let error = filter("{\"dependencies\": {\"a\": \"1\",}}", "apps/web").expect_err("trailing comma");
        assert_eq!(error.to_string(), "apps/web/package.json: not valid JSON: trailing comma (line 1, column 28)");
        assert!(matches!(filter("{} x", ""), Err(ManifestError { problem: Problem::Json { line: 1, column: 4, .. }, .. })));
        assert!(matches!(filter("[]", ""), Err(ManifestError { problem: Problem::Json { .. }, .. })));
        assert!(matches!(filter(r#"{"dependencies":["a"]}"#, ""), Err(ManifestError { problem: Problem::Field { .. }, .. })));
        let error = filter(r#"{"dependencies":{"evil":"github:a/b"}}"#, "").expect_err("git");
        assert!(error.to_string().starts_with("package.json: evil@github:a/b is refused: "));
        assert!(matches!(filter(r#"{"dependencies":{"../x":"1"}}"#, ""), Err(ManifestError { problem: Problem::Name { .. }, .. })));
    }

    #[test]
    fn paths_to_members_become_workspace_specs() {
        let text = r#"{"dependencies":{"ui":"file:../../packages/ui"}}"#;
        let mut manifest = filter(text, "apps/web").expect("inside");
        assert!(manifest.clone().link(&BTreeMap::new()).is_err());
        manifest.link(&BTreeMap::from([("packages/ui".to_owned(), "ui".to_owned())])).expect("member");
        assert_eq!(manifest.direct().collect::<Vec<_>>(), [("ui", "workspace:*")]);
        assert!(filter(r#"{"dependencies":{"ui":"link:../../../etc"}}"#, "apps/web").is_err());
    }

    #[test]
    fn unusable_peers_are_left_out() {
        let manifest =
            filter(r#"{"peerDependencies":{"a":"git://x","b":">=1"},"peerDependenciesMeta":{"b":{"optional":true}}}"#, "p").expect("valid");
        assert_eq!(manifest.to_json(), r#"{"peerDependencies":{"b":">=1"},"peerDependenciesMeta":{"b":{"optional":true}},"private":true}"#);
    }
}
