//! Takes over a `pnpm-lock.yaml` that pnpm 12 reads (format 9), or says why not.
//!
//! Invariant: what comes out has registry packages with an integrity and links between workspace packages, closed under itself:
//! every dependency in it is one of its packages. Nothing is patched, hooked, or fetched from a URL.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::pins;
use super::spec::{check_spec, is_package_name, is_version, join};

/// The fields that have dependencies in an importer.
const DEPENDENCIES: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];
/// What is kept of a package beside its integrity. Not `name` and `version`: pnpm would believe them rather than the key, and they become paths.
const PACKAGE_FIELDS: [&str; 8] = ["bundledDependencies", "cpu", "engines", "hasBin", "libc", "os", "peerDependencies", "peerDependenciesMeta"];
/// What is kept of how a package is installed.
const SNAPSHOT_FIELDS: [&str; 4] = ["dependencies", "optional", "optionalDependencies", "transitivePeerDependencies"];

/// Rebuilds a lockfile of format 9 from the parts that are safe, or says what is not.
pub(super) fn filter(lock: &Value, importers: &BTreeSet<String>) -> Result<Value, String> {
    let version = &lock["lockfileVersion"];
    if !version.as_str().map_or_else(|| version.to_string(), str::to_owned).starts_with("9.") {
        return Err(format!("format {version} is not read by pnpm 12"));
    }
    let mut packages = Map::new();
    for (key, package) in object(&lock["packages"]) {
        let plain = pins::split_descriptor(key).is_some_and(|(name, version)| is_package_name(name) && is_version(version));
        let resolution = &package["resolution"];
        let integrity = resolution["integrity"].as_str().filter(|text| plain && is_integrity(text) && resolution["type"].is_null());
        let Some(integrity) = integrity else {
            return Err(format!("{key} is no registry package with an integrity"));
        };
        let mut kept = keep(package, &PACKAGE_FIELDS);
        // A tarball URL beside the integrity would be another host; the registry serves the same bytes.
        kept["resolution"] = json!({"integrity": integrity});
        packages.insert(key.clone(), kept);
    }
    let mut snapshots = Map::new();
    for (key, snapshot) in object(&lock["snapshots"]) {
        let base = key.split('(').next().unwrap_or_default();
        if !packages.contains_key(base) {
            return Err(format!("{key} is recorded without its package"));
        }
        if !is_peer_suffix(&key[base.len()..]) {
            return Err(format!("{key} has more after its version than peers"));
        }
        for field in ["dependencies", "optionalDependencies"] {
            for (name, target) in object(&snapshot[field]) {
                let known = target.as_str().is_some_and(|target| is_package_name(name) && resolves(name, target, &packages));
                if !known {
                    return Err(format!("{key} depends on {name} from elsewhere"));
                }
            }
        }
        snapshots.insert(key.clone(), keep(snapshot, &SNAPSHOT_FIELDS));
    }
    let mut kept = Map::new();
    for (path, importer) in object(&lock["importers"]) {
        let dir = if path == "." { "" } else { path };
        // Folders that are gone, or that the filter did not take over.
        if !importers.contains(dir) {
            continue;
        }
        check_importer(dir, importer, &packages, importers)?;
        kept.insert(path.clone(), keep(importer, &DEPENDENCIES));
    }
    // Hooks, patches and extensions are not carried out, so their checksums would only make the lockfile look outdated.
    let mut out = json!({"lockfileVersion": "9.0", "settings": {"autoInstallPeers": true, "excludeLinksFromLockfile": false}});
    for (selector, spec) in object(&lock["overrides"]) {
        if !spec.as_str().is_some_and(|spec| spec == "-" || check_spec("", spec.trim_start_matches('$')).is_ok()) {
            return Err(format!("it overrides {selector} with {spec}"));
        }
    }
    for (name, entry) in object(&lock["catalogs"]).flat_map(|(_, catalog)| object(catalog)) {
        if entry["specifier"].as_str().is_none_or(|spec| check_spec(name, spec).is_err()) {
            return Err(format!("its catalog has {name} from elsewhere"));
        }
    }
    for field in ["catalogs", "overrides"] {
        if lock[field].is_object() {
            out[field] = lock[field].clone();
        }
    }
    out["importers"] = Value::Object(kept);
    out["packages"] = Value::Object(packages);
    out["snapshots"] = Value::Object(snapshots);
    Ok(out)
}

fn check_importer(dir: &str, importer: &Value, packages: &Map<String, Value>, importers: &BTreeSet<String>) -> Result<(), String> {
    for field in DEPENDENCIES {
        for (name, entry) in object(&importer[field]) {
            let target = entry["version"].as_str().unwrap_or_default();
            let asked = entry["specifier"].as_str().unwrap_or_default();
            let inside = match target.strip_prefix("link:") {
                Some(path) => join(dir, path).is_some_and(|dir| importers.contains(&dir)),
                None => resolves(name, target, packages) && check_spec(name, asked).is_ok(),
            };
            if !inside || !is_package_name(name) {
                return Err(format!("{name} comes from {target:?}"));
            }
        }
    }
    Ok(())
}

/// A dependency is recorded as a version of the same name, or as `other@version` for an alias; peers follow in parentheses.
fn resolves(name: &str, target: &str, packages: &Map<String, Value>) -> bool {
    let base = target.split('(').next().unwrap_or_default();
    packages.contains_key(&format!("{name}@{base}")) || packages.contains_key(base)
}

/// `sha512-…` in base64, as the registry gives it: without one pnpm would take any bytes.
fn is_integrity(text: &str) -> bool {
    let known = text.split_once('-').filter(|(kind, _)| ["sha512", "sha384", "sha256", "sha1"].contains(kind));
    known.is_some_and(|(_, hash)| !hash.is_empty() && hash.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c)))
}

/// `(react@19.0.0)(…)`, which becomes part of a folder's name: no path, and no `patch_hash=`.
fn is_peer_suffix(text: &str) -> bool {
    !text.contains("..") && text.chars().all(|c| c.is_ascii_alphanumeric() || "()@/._~+-".contains(c))
}

/// These fields of an object, where it has them.
fn keep(value: &Value, fields: &[&str]) -> Value {
    Value::Object(object(value).filter(|(key, _)| fields.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V9: &str = "lockfileVersion: '9.0'\nsettings:\n  autoInstallPeers: false\npnpmfileChecksum: x\nimporters:\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n        version: 1.0.0(b@2.0.0)\npackages:\n  a@1.0.0:\n    resolution: {integrity: sha512-x, tarball: 'https://elsewhere/a.tgz'}\n  b@2.0.0:\n    resolution: {integrity: sha512-y}\nsnapshots:\n  a@1.0.0(b@2.0.0):\n    dependencies:\n      b: 2.0.0\n  b@2.0.0: {}\n";

    fn filtered(text: &str) -> Result<Value, String> {
        filter(&serde_saphyr::from_str(text).expect("YAML"), &BTreeSet::from([String::new()]))
    }

    #[test]
    fn an_entry_from_elsewhere_is_refused() {
        for (from, to) in [
            ("{integrity: sha512-y}", "{tarball: 'https://x/b.tgz'}"),
            ("{integrity: sha512-y}", "{integrity: sha512-y, directory: /etc, type: directory}"),
            ("b: 2.0.0\n", "b: link:../../../etc\n"),
            ("      b: 2.0.0\n", "      b: file:/etc\n"),
            ("version: 1.0.0(b@2.0.0)", "version: link:../../etc"),
            ("b@2.0.0:\n    res", "b@https://x/b.tgz:\n    res"),
            ("'9.0'", "'6.0'"),
            ("sha512-y", "''"),
            ("sha512-y", "none"),
            ("specifier: ^1", "specifier: 'https://x/a.tgz'"),
            ("a@1.0.0(b@2.0.0):", "a@1.0.0(../../x):"),
            ("a@1.0.0(b@2.0.0):", "a@1.0.0(patch_hash=00):"),
            ("packages:\n", "overrides: {b: 'file:/etc'}\npackages:\n"),
            ("packages:\n", "overrides: {b: 0}\npackages:\n"),
            ("packages:\n", "catalogs: {default: {b: {specifier: 'link:/etc', version: 2.0.0}}}\npackages:\n"),
        ] {
            assert!(V9.contains(from), "{from}");
            assert!(filtered(&V9.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn what_decides_where_a_package_lies_is_its_key_alone() {
        let odd = V9
            .replace("{integrity: sha512-y}", "{integrity: sha512-y}\n    version: ../../../x\n    name: ../x\n    patched: true\n    hasBin: true")
            .replace("  .:\n", "  .:\n    publishDirectory: ../../..\n");
        let lock = filtered(&odd).expect("usable");
        assert_eq!(lock["packages"]["b@2.0.0"], json!({"hasBin": true, "resolution": {"integrity": "sha512-y"}}));
        assert_eq!(lock["importers"]["."].as_object().map(|importer| importer.keys().count()), Some(1));
    }

    #[test]
    fn links_between_members_stay() {
        let linked = V9.replace("version: 1.0.0(b@2.0.0)", "version: link:packages/ui");
        let members = BTreeSet::from([String::new(), "packages/ui".to_owned()]);
        assert!(filter(&serde_saphyr::from_str(&linked).expect("YAML"), &members).is_ok());
        assert!(filtered(&linked).is_err());
    }
}
