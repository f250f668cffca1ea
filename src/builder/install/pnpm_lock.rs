//! Takes over a `pnpm-lock.yaml` that pnpm 12 reads (format 9), or says why not.
//!
//! Invariant: what comes out has registry packages with an integrity and links between workspace packages, closed under itself:
//! every dependency in it is one of its packages. Nothing is patched, hooked, or fetched from a URL.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::pins;
use super::spec::{is_package_name, is_version, join};

/// Rebuilds a lockfile of format 9 from the parts that are safe, or says what is not.
pub(super) fn filter(lock: &Value, importers: &BTreeSet<String>) -> Result<Value, String> {
    let version = &lock["lockfileVersion"];
    if !version.as_str().map_or_else(|| version.to_string(), str::to_owned).starts_with("9.") {
        return Err(format!("format {version} is not read by pnpm 12"));
    }
    let mut packages = Map::new();
    for (key, package) in object(&lock["packages"]) {
        let plain = pins::split_descriptor(key).is_some_and(|(name, version)| is_package_name(name) && is_version(version));
        let Some(integrity) = package["resolution"]["integrity"].as_str().filter(|_| plain && package["resolution"]["type"].is_null()) else {
            return Err(format!("{key} is no registry package with an integrity"));
        };
        let mut package = package.clone();
        // A tarball URL beside the integrity would be another host; the registry serves the same bytes.
        package["resolution"] = json!({"integrity": integrity});
        packages.insert(key.clone(), package);
    }
    for (key, snapshot) in object(&lock["snapshots"]) {
        let base = key.split('(').next().unwrap_or_default();
        if !packages.contains_key(base) {
            return Err(format!("{key} is recorded without its package"));
        }
        for field in ["dependencies", "optionalDependencies"] {
            for (name, target) in object(&snapshot[field]) {
                let known = target.as_str().is_some_and(|target| is_package_name(name) && resolves(name, target, &packages));
                if !known {
                    return Err(format!("{key} depends on {name} from elsewhere"));
                }
            }
        }
    }
    let mut kept = Map::new();
    for (path, importer) in object(&lock["importers"]) {
        let dir = if path == "." { "" } else { path };
        // Folders that are gone, or that the filter did not take over.
        if !importers.contains(dir) {
            continue;
        }
        check_importer(dir, importer, &packages, importers)?;
        kept.insert(path.clone(), importer.clone());
    }
    // Hooks, patches and extensions are not carried out, so their checksums would only make the lockfile look outdated.
    let mut out = json!({"lockfileVersion": "9.0", "settings": {"autoInstallPeers": true, "excludeLinksFromLockfile": false}});
    for field in ["catalogs", "overrides"] {
        if lock[field].is_object() {
            out[field] = lock[field].clone();
        }
    }
    out["importers"] = Value::Object(kept);
    out["packages"] = Value::Object(packages);
    out["snapshots"] = lock["snapshots"].clone();
    Ok(out)
}

fn check_importer(dir: &str, importer: &Value, packages: &Map<String, Value>, importers: &BTreeSet<String>) -> Result<(), String> {
    for field in ["dependencies", "devDependencies", "optionalDependencies"] {
        for (name, entry) in object(&importer[field]) {
            let target = entry["version"].as_str().unwrap_or_default();
            let inside = match target.strip_prefix("link:") {
                Some(path) => join(dir, path).is_some_and(|dir| importers.contains(&dir)),
                None => resolves(name, target, packages),
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
        ] {
            assert!(V9.contains(from), "{from}");
            assert!(filtered(&V9.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn links_between_members_stay() {
        let linked = V9.replace("version: 1.0.0(b@2.0.0)", "version: link:packages/ui");
        let members = BTreeSet::from([String::new(), "packages/ui".to_owned()]);
        assert!(filter(&serde_saphyr::from_str(&linked).expect("YAML"), &members).is_ok());
        assert!(filtered(&linked).is_err());
    }
}
