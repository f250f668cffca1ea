//! Reads the versions out of every lockfile format that AI builders and templates come with.
//!
//! Invariant: a reader takes what it understands and leaves out the rest; only a file that is not of its format at all is an error.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pins::{Pins, split_descriptor};
use super::spec::is_package_name;

/// `package-lock.json` or `npm-shrinkwrap.json`, versions 1 to 3.
pub(super) fn npm(text: &str) -> Result<Pins, String> {
    let lock: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| e.to_string())?;
    let mut pins = Pins::default();
    for (path, package) in entries(&lock["packages"]) {
        // Without `node_modules/` it is the root or a workspace package.
        let Some((_, installed)) = path.rsplit_once("node_modules/") else {
            continue;
        };
        // An alias is installed under one name and resolved under another.
        let name = package["name"].as_str().unwrap_or(installed);
        if from_registry(package) {
            pins.add(name, package["version"].as_str().unwrap_or_default());
        }
    }
    pins.add_specs(&lock["packages"][""]);
    if lock["packages"].is_null() {
        npm_v1(&lock["dependencies"], &mut pins);
    }
    Ok(pins)
}

fn npm_v1(dependencies: &Value, pins: &mut Pins) {
    // serde_json's depth limit bounds this recursion.
    for (name, package) in entries(dependencies) {
        if from_registry(package) {
            pins.add(name, package["version"].as_str().unwrap_or_default());
        }
        npm_v1(&package["dependencies"], pins);
    }
}

/// A missing `resolved` is fine: npm's `omit-lockfile-registry-resolved`.
fn from_registry(package: &Value) -> bool {
    let resolved = package["resolved"].as_str().unwrap_or("https:");
    package["link"].is_null() && (resolved.starts_with("https:") || resolved.starts_with("http:"))
}

/// `yarn.lock` of yarn 1 (a format of its own).
pub(super) fn yarn_classic(text: &str) -> Pins {
    let mut pins = Pins::default();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            names.clear();
            for pattern in line.trim_end_matches(':').split(", ") {
                let Some((name, spec)) = split_descriptor(pattern.trim_matches('"')) else {
                    continue;
                };
                pins.specs.insert((name.to_owned(), spec.to_owned()));
                let target = spec.strip_prefix("npm:").map(|target| split_descriptor(target).map_or(target, |(name, _)| name));
                names.insert(target.unwrap_or(name).to_owned());
            }
        } else if let Some(version) = line.strip_prefix("  version ") {
            for name in &names {
                pins.add(name, version.trim_matches('"'));
            }
        }
    }
    pins
}

/// `yarn.lock` of yarn 2 and later (YAML).
pub(super) fn yarn_berry(lock: &Value) -> Pins {
    let mut pins = Pins::default();
    for (descriptors, package) in entries(lock) {
        // `name@npm:1.2.3`; workspace:, patch: and git resolutions are none of the registry's.
        let Some((name, version)) = package["resolution"].as_str().and_then(|resolution| resolution.split_once("@npm:")) else {
            continue;
        };
        pins.add(name, version);
        for (name, spec) in descriptors.split(", ").filter_map(split_descriptor) {
            pins.specs.insert((name.to_owned(), spec.strip_prefix("npm:").unwrap_or(spec).to_owned()));
            pins.specs.insert((name.to_owned(), spec.to_owned()));
        }
    }
    pins
}

/// `bun.lock` (JSON with comments and trailing commas).
pub(super) fn bun(text: &str) -> Result<Pins, String> {
    let lock: Value = jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default()).map_err(|e| e.to_string())?;
    let mut pins = Pins::default();
    for (_, package) in entries(&lock["packages"]) {
        if let Some((name, version)) = package[0].as_str().and_then(split_descriptor) {
            pins.add(name, version);
        }
    }
    pins.add_specs(&lock["workspaces"][""]);
    Ok(pins)
}

/// `pnpm-lock.yaml` of any version, when it cannot be used as it is.
pub(super) fn pnpm(lock: &Value) -> Pins {
    let mut pins = Pins::default();
    for (key, package) in entries(&lock["packages"]) {
        let from_registry = package["resolution"]["integrity"].is_string();
        // 5.x `/@scope/name/1.0.0_peers`, 6.x `/@scope/name@1.0.0(peers)`, 9.x `@scope/name@1.0.0`.
        let key = key.trim_start_matches('/').split('(').next().unwrap_or_default();
        let split = split_descriptor(key).filter(|(name, _)| is_package_name(name)).or_else(|| {
            let scope = if key.starts_with('@') { key.find('/')? + 1 } else { 0 };
            let slash = scope + key[scope..].find('/')?;
            Some((&key[..slash], key[slash + 1..].split('_').next().unwrap_or_default()))
        });
        if let (true, Some((name, version))) = (from_registry, split) {
            pins.add(name, version);
        }
    }
    let root = if lock["importers"].is_object() { &lock["importers"]["."] } else { lock };
    pins.add_specs(root);
    // 5.x keeps the specs apart, and versions where later formats have objects.
    let specifiers: BTreeSet<_> = entries(&root["specifiers"]).filter_map(|(name, spec)| Some((name.clone(), spec.as_str()?.to_owned()))).collect();
    if !specifiers.is_empty() {
        pins.specs = specifiers;
    }
    pins
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(pins: &Pins) -> String {
        pins.versions
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(move |version| format!("{name}@{version}")))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn yaml(text: &str) -> Value {
        serde_saphyr::from_str(text).expect("YAML")
    }

    #[test]
    fn npm_formats() {
        let v3 = npm(r#"{"packages":{"":{"dependencies":{"a":"^1"}},"node_modules/a":{"version":"1.2.0"},"node_modules/b/node_modules/a":{"version":"2.0.0"},
            "node_modules/g":{"version":"1.0.0","resolved":"git+ssh://x"},"node_modules/alias":{"name":"real","version":"3.0.0"},"packages/w":{"version":"1.0.0"},
            "node_modules/w":{"link":true,"resolved":"packages/w"}}}"#).expect("v3");
        assert_eq!(flat(&v3), "a@1.2.0 a@2.0.0 real@3.0.0");
        assert_eq!(v3.covered([("a", "^1"), ("b", "1")].into_iter()), 1);
        let v1 = npm(r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0"}}},"g":{"version":"github:x/y#1"}}}"#).expect("v1");
        assert_eq!(flat(&v1), "a@1.0.0 b@2.0.0");
        assert_eq!(v1.covered([("a", "^1")].into_iter()), 1);
    }

    #[test]
    fn yarn_formats() {
        let classic = yarn_classic(
            "# yarn lockfile v1\n\n\"@s/a@^1.0.0\", \"@s/a@^1.1.0\":\n  version \"1.2.0\"\n  resolved \"https://x\"\n  dependencies:\n    version \"9\"\n\nr@npm:real@^3:\n  version \"3.0.0\"\n",
        );
        assert_eq!(flat(&classic), "@s/a@1.2.0 real@3.0.0");
        assert_eq!(classic.covered([("@s/a", "^1.1.0"), ("@s/a", "^2")].into_iter()), 1);
        let berry = yarn_berry(&yaml(
            "__metadata:\n  version: 8\n\"a@npm:^1.0.0, a@npm:^1.1.0\":\n  version: 1.2.0\n  resolution: \"a@npm:1.2.0\"\n\"w@workspace:.\":\n  resolution: \"w@workspace:.\"\n",
        ));
        assert_eq!(flat(&berry), "a@1.2.0");
        assert_eq!(berry.covered([("a", "^1.0.0")].into_iter()), 1);
    }

    #[test]
    fn bun_text_lock() {
        let pins = bun("{\n// c\n\"workspaces\":{\"\":{\"dependencies\":{\"@s/a\":\"^1\",},},},\n\"packages\":{\"@s/a\":[\"@s/a@1.2.0\",\"\",{},\"sha512-x\"],\"g\":[\"g@github:a/b#1\",{}],},}").expect("JSONC");
        assert_eq!(flat(&pins), "@s/a@1.2.0");
        assert_eq!(pins.covered([("@s/a", "^1")].into_iter()), 1);
    }

    #[test]
    fn pnpm_formats() {
        let entry = "resolution: {integrity: sha512-x}";
        let v5 = pnpm(&yaml(&format!(
            "lockfileVersion: 5.4\nspecifiers:\n  a: ^1\ndependencies:\n  a: 1.0.0_b@2.0.0\npackages:\n  /a/1.0.0_b@2.0.0: {{{entry}}}\n  /@s/c__d/3.0.0: {{{entry}}}\n"
        )));
        assert_eq!((flat(&v5).as_str(), v5.covered([("a", "^1")].into_iter())), ("@s/c__d@3.0.0 a@1.0.0", 1));
        let v6 = pnpm(&yaml(&format!(
            "lockfileVersion: '6.0'\ndependencies:\n  a: {{specifier: ^1, version: 1.0.0}}\npackages:\n  /a@1.0.0(b@2.0.0): {{{entry}}}\n  /@s/c@3.0.0: {{{entry}}}\n  git/x: {{resolution: {{tarball: x}}}}\n"
        )));
        assert_eq!((flat(&v6).as_str(), v6.covered([("a", "^1")].into_iter())), ("@s/c@3.0.0 a@1.0.0", 1));
    }
}
