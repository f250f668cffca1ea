//! Versions that a project's lockfile recorded, whatever tool wrote it.
//!
//! Invariant: of a lockfile only package names and plain versions are taken over, never a URL, a path or an integrity. pnpm gets them
//! as a `package-lock.json` that we write, because `pnpm import` takes every recorded version that satisfies a range before it asks
//! for the newest. So formats that pnpm does not read (its own 5.x and 6.x, yarn berry, bun) work like those that it does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::spec::{is_package_name, is_version};

/// Package name → recorded versions.
pub(super) type Versions = BTreeMap<String, BTreeSet<String>>;

/// What was read from one lockfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pins {
    /// Every recorded registry package.
    pub(super) versions: Versions,
    /// (name, spec) as the lockfile knew them; tells a stale lockfile. Empty where the format does not record them.
    pub(super) specs: BTreeSet<(String, String)>,
}

impl Pins {
    /// Records a version; anything but a plain one (git, tarball, link) is left out, so that it resolves fresh.
    pub(super) fn add(&mut self, name: &str, version: &str) {
        if is_package_name(name) && is_version(version) {
            self.versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }

    /// How many of these direct dependencies the lockfile knew with the same spec.
    pub(super) fn covered<'a>(&self, direct: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
        let known = |(name, spec): &(&str, &str)| {
            if self.specs.is_empty() { self.versions.contains_key(*name) } else { self.specs.contains(&((*name).to_owned(), (*spec).to_owned())) }
        };
        direct.filter(known).count()
    }

    /// The `package-lock.json` for `pnpm import`. Its tree means nothing: pnpm only collects names and versions.
    pub(super) fn to_package_lock(&self) -> String {
        let mut packages = Map::from_iter([(String::new(), json!({}))]);
        for (name, versions) in &self.versions {
            for (index, version) in versions.iter().rev().enumerate() {
                let parent = if index == 0 { String::new() } else { format!("node_modules/pin-{index}/") };
                packages.insert(format!("{parent}node_modules/{name}"), json!({"version": version}));
            }
        }
        json!({"name": "pins", "lockfileVersion": 3, "requires": true, "packages": packages}).to_string()
    }

    /// Records the specs of a lockfile's root: strings, or objects with a `specifier`.
    pub(super) fn add_specs(&mut self, owner: &Value) {
        for field in ["dependencies", "devDependencies", "optionalDependencies"] {
            for (name, spec) in entries(&owner[field]) {
                let spec = spec.as_str().or_else(|| spec["specifier"].as_str());
                self.specs.extend(spec.map(|spec| (name.clone(), spec.to_owned())));
            }
        }
    }
}

/// Splits `name@spec`; the name may be scoped.
pub(super) fn split_descriptor(descriptor: &str) -> Option<(&str, &str)> {
    let at = descriptor.get(1..)?.find('@')? + 1;
    Some((&descriptor[..at], &descriptor[at + 1..]))
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_versions_of_one_package_keep_all() {
        let mut pins = Pins::default();
        for version in ["1.0.0", "2.0.0", "git+x", "latest"] {
            pins.add("a", version);
        }
        pins.add("../x", "1.0.0");
        let lock: Value = serde_json::from_str(&pins.to_package_lock()).expect("JSON");
        assert_eq!(lock["packages"]["node_modules/a"]["version"], "2.0.0");
        assert_eq!(lock["packages"]["node_modules/pin-1/node_modules/a"]["version"], "1.0.0");
        assert_eq!(lock["packages"].as_object().map(Map::len), Some(3));
    }
}
