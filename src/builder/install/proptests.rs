//! Hostile manifests, lockfiles and settings, made at random: no reader panics, and nothing but registry specs comes out.
//!
//! What "registry spec" means is written down here once more, in other words than in `spec`, so that a mistake there is seen.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::lockfile::{self, Lock};
use super::manifest::{FIELDS, Manifest};
use super::package_json::filter;
use super::pins::Pins;
use super::{formats, overrides, pnpm_lock, spec, workspace};

/// What specs are put together from; most of it must not get through.
const PIECES: &[&str] = &[
    "file:",
    "link:",
    "portal:",
    "git+ssh://",
    "git:",
    "github:",
    "https://",
    "http:",
    "npm:",
    "workspace:",
    "catalog:",
    "patch:",
    "exec:",
    "jsr:",
    "node:",
    "../",
    "./",
    "..",
    ".",
    "/",
    "\\",
    "~/",
    "~",
    ".tgz",
    ".tar.gz",
    ".TAR",
    "@",
    "#",
    ":",
    "a",
    "b",
    "@s/a",
    "@jsr/a",
    "u/r",
    "x.y",
    "^1.2.3",
    "1.0.0",
    "2.0.0-rc.1",
    "*",
    "latest",
    " ",
    "||",
    ">=1",
    "\n",
    "\t",
    "\0",
    "é",
    "\u{feff}",
    "%2e",
    "(",
    ")",
    "(b@2.0.0)",
    "=",
    "node_modules",
    ".bin",
    "-",
];
const NAMES: &[&str] = &["a", "b", "@s/a", "react", "../a", "/etc", ".bin", "node_modules", "@jsr/a", "a/b", "A", "é", ""];
const VERSIONS: &[&str] =
    &["1.0.0", "2.0.0", "1.0.0(b@2.0.0)", "b@2.0.0", "link:packages/ui", "link:../../etc", "file:/etc", "https://x/a.tgz", "1.0.0(../../x)", ""];
const INTEGRITIES: &[&str] = &["sha512-eA==", "sha512-eQ==", "sha1-eA==", "", "none", "md5-eA==", "sha512-../x"];

fn hostile() -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..5).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(NAMES).prop_map(str::to_owned), 1 => hostile()]
}

fn written_spec() -> impl Strategy<Value = String> {
    prop_oneof![1 => select(&["^1", "1.0.0", "*", "latest", "npm:@s/a@^1", "workspace:*", "catalog:"][..]).prop_map(str::to_owned), 2 => hostile()]
}

/// Any JSON, with the names that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![hostile().prop_map(Value::from), any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from), Just(Value::Null)];
    let key = prop_oneof![
        name(),
        select(&["dependencies", "overrides", "packages", "resolution", "integrity", "version", "catalog", ".", "**/a"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), btree_map(key.clone(), inner, 0..4).prop_map(|map| json!(map))]
    })
}

/// Usually what belongs there, sometimes anything.
fn mostly(strategy: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![12 => strategy.boxed(), 1 => any_json().boxed()]
}

fn specs() -> impl Strategy<Value = Value> {
    mostly(btree_map(name(), mostly(written_spec().prop_map(Value::from)), 0..4).prop_map(|map| json!(map)))
}

fn manifest() -> impl Strategy<Value = String> {
    let fields = (specs(), specs(), specs(), specs(), specs(), any_json(), any_json());
    fields.prop_map(|(dependencies, dev, peers, overrides, resolutions, workspaces, pnpm)| {
        json!({
            "name": "x", "dependencies": dependencies, "devDependencies": dev, "peerDependencies": peers, "overrides": overrides, "resolutions": resolutions,
            "workspaces": workspaces, "pnpm": {"overrides": pnpm}, "scripts": {"postinstall": "sh"}, "engines": {"node": "0"}, "packageManager": "pnpm@1",
        })
        .to_string()
    })
}

/// A lockfile of format 9, near enough to a good one that many pass.
fn pnpm_9() -> impl Strategy<Value = Value> {
    let package = (select(INTEGRITIES), prop::option::weighted(0.1, any_json()), prop::option::weighted(0.1, any_json()))
        .prop_map(|(integrity, tarball, extra)| {
            let mut package = json!({"resolution": {"integrity": integrity}});
            if let Some(tarball) = tarball {
                package["resolution"]["tarball"] = tarball;
            }
            if let Some(extra) = extra {
                package["version"] = extra.clone();
                package["name"] = extra.clone();
                package["patched"] = extra;
            }
            package
        })
        .boxed();
    let target = prop_oneof![3 => Just("1.0.0"), 1 => select(VERSIONS)];
    let importer_dependency = (target.clone(), written_spec()).prop_map(|(version, specifier)| json!({"version": version, "specifier": specifier}));
    let suffix = prop_oneof![6 => Just(""), 2 => Just("(b@2.0.0)"), 1 => Just("(../../x)"), 1 => Just("(patch_hash=00)")];
    let parts = (
        (package.clone(), package),
        btree_map(prop_oneof![5 => Just("b".to_owned()), 1 => name()], prop_oneof![5 => Just("2.0.0"), 1 => target], 0..3),
        btree_map(prop_oneof![4 => Just("a".to_owned()), 1 => name()], importer_dependency, 0..3),
        suffix,
        prop::option::weighted(0.2, specs()),
        prop::option::weighted(0.1, any_json()),
        prop::option::weighted(0.05, (name(), any_json())),
    );
    parts.prop_map(|((a, b), dependencies, importer, suffix, overrides, anywhere, odd_package)| {
        let mut lock = json!({
            "lockfileVersion": "9.0", "pnpmfileChecksum": "x", "patchedDependencies": {"a": "x"},
            "importers": {".": {"dependencies": importer}, "packages/ui": {}},
            "packages": {"a@1.0.0": a, "b@2.0.0": b}, "snapshots": {"b@2.0.0": {}},
        });
        lock["snapshots"][format!("a@1.0.0{suffix}")] = json!({"dependencies": dependencies});
        if let Some(overrides) = overrides {
            lock["overrides"] = overrides;
        }
        if let Some(anywhere) = anywhere {
            lock["importers"]["."]["publishDirectory"] = anywhere.clone();
            lock["importers"]["."]["dependenciesMeta"] = anywhere.clone();
            lock["snapshots"]["b@2.0.0"]["patched"] = anywhere.clone();
            lock["catalogs"] = json!({"default": {"a": {"specifier": anywhere, "version": "1.0.0"}}});
        }
        if let Some((name, value)) = odd_package {
            lock["packages"][name] = value;
        }
        lock
    })
}

fn is_name(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with(['.', '_']) && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c));
    match text.strip_prefix('@').and_then(|scoped| scoped.split_once('/')) {
        Some((scope, base)) => part(scope) && part(base),
        None => part(text),
    }
}

/// What only the registry can be asked for: a range or tag, under a name of its own at most.
fn is_registry_spec(spec: &str) -> bool {
    let is_range = |range: &str| {
        let lower = range.trim().to_ascii_lowercase();
        let archive = [".tgz", ".tar", ".tar.gz"].iter().any(|ending| lower.ends_with(ending));
        !archive && !range.starts_with('.') && !range.chars().any(|c| c.is_control() || !c.is_ascii() || "/\\:#@()".contains(c))
    };
    match spec.split_once(':') {
        Some(("npm", target)) => match target[1.min(target.len())..].split_once('@') {
            Some((_, range)) => is_range(range) && is_name(&target[..target.len() - range.len() - 1]) && !target.starts_with("@jsr/"),
            None => is_name(target) && !target.starts_with("@jsr/"),
        },
        Some(("workspace" | "catalog", range)) => is_range(range),
        Some(_) => false,
        None => is_range(spec),
    }
}

fn check_manifest(manifest: &Manifest) -> Result<(), TestCaseError> {
    let written: Value = serde_json::from_str(&manifest.to_json()).expect("JSON");
    for (field, entries) in written.as_object().expect("object") {
        if FIELDS.contains(&field.as_str()) {
            for (name, spec) in entries.as_object().expect("specs") {
                prop_assert!(is_name(name) && is_registry_spec(spec.as_str().expect("text")), "{}: {}", name, spec);
            }
        } else {
            prop_assert!(["name", "version", "private", "peerDependenciesMeta"].contains(&field.as_str()), "{}", field);
        }
    }
    Ok(())
}

fn check_pins(pins: &Pins) -> Result<(), TestCaseError> {
    let written: Value = serde_json::from_str(&pins.to_package_lock()).expect("JSON");
    for (path, package) in written["packages"].as_object().expect("packages").iter().filter(|(path, _)| !path.is_empty()) {
        let name = path.rsplit_once("node_modules/").expect("below node_modules").1;
        prop_assert!(is_name(name) && !path.contains(".."), "{}", path);
        let fields: Vec<_> = package.as_object().expect("object").keys().collect();
        prop_assert_eq!(fields, ["version"]);
        let version = package["version"].as_str().expect("text");
        prop_assert!(is_registry_spec(version) && version.starts_with(|c: char| c.is_ascii_digit()), "{}", version);
    }
    Ok(())
}

fn members() -> BTreeSet<String> {
    BTreeSet::from([String::new(), "packages/ui".to_owned()])
}

/// Every part of what would be pnpm's lockfile is one that is known, and names the registry or the workspace.
fn check_pnpm_lock(lock: &Value) -> Result<(), TestCaseError> {
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let only = |value: &Value, known: &[&str]| object(value).keys().all(|key| known.contains(&key.as_str()));
    prop_assert!(only(lock, &["lockfileVersion", "settings", "catalogs", "overrides", "importers", "packages", "snapshots"]), "{lock}");
    for (key, package) in object(&lock["packages"]) {
        let (name, version) = key[1..].split_once('@').map(|(rest, version)| (&key[..=rest.len()], version)).expect("name@version");
        prop_assert!(is_name(name) && version.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c)), "{}", key);
        prop_assert!(only(&package["resolution"], &["integrity"]), "{}", package);
        let integrity = package["resolution"]["integrity"].as_str().unwrap_or_default();
        let (kind, hash) = integrity.split_once('-').unwrap_or_default();
        prop_assert!(
            ["sha512", "sha384", "sha256", "sha1"].contains(&kind) && data_encoding::BASE64.decode(hash.as_bytes()).is_ok(),
            "{:?}",
            integrity
        );
        prop_assert!(object(&package).keys().all(|key| !["name", "version", "patched", "bin", "tarball"].contains(&key.as_str())), "{}", package);
    }
    for (key, snapshot) in object(&lock["snapshots"]) {
        prop_assert!(lock["packages"][key.split('(').next().expect("one")].is_object(), "{}", key);
        prop_assert!(!key.contains("..") && !key.contains('='), "{}", key);
        prop_assert!(only(&snapshot, &["dependencies", "optionalDependencies", "transitivePeerDependencies", "optional"]), "{}", snapshot);
    }
    for (_, importer) in object(&lock["importers"]) {
        prop_assert!(only(&importer, &FIELDS[..3]), "{}", importer);
        for (name, entry) in FIELDS[..3].iter().flat_map(|field| object(&importer[*field])) {
            let (version, specifier) = (entry["version"].as_str().unwrap_or_default(), entry["specifier"].as_str().unwrap_or_default());
            prop_assert!(is_name(&name) && only(&entry, &["version", "specifier"]), "{}", entry);
            prop_assert!(version == "link:packages/ui" || is_registry_spec(specifier), "{}", entry);
        }
    }
    for (selector, spec) in object(&lock["overrides"]) {
        prop_assert!(spec.as_str().is_some_and(|spec| spec == "-" || is_registry_spec(spec.trim_start_matches('$'))), "{}: {}", selector, spec);
    }
    for (_, entry) in object(&lock["catalogs"]).values().flat_map(object) {
        prop_assert!(entry["specifier"].as_str().is_some_and(is_registry_spec), "{}", entry);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_spec_that_passes_names_the_registry(name in name(), text in written_spec()) {
        if spec::check_spec(&name, &text).is_ok() {
            prop_assert!(is_registry_spec(&text), "{:?}", text);
        }
        if spec::is_package_name(&name) {
            prop_assert!(is_name(&name), "{:?}", name);
        }
        if let Some(inside) = spec::join("packages/ui", &text) {
            prop_assert!(!inside.starts_with('/') && !inside.split('/').any(|part| part == ".."), "{:?}", inside);
        }
    }

    #[test]
    fn a_manifest_that_is_taken_over_names_the_registry(text in manifest(), yaml in any_json()) {
        let Ok(mut manifest) = filter(&text, "apps/web") else { return Ok(()) };
        drop(manifest.link(&BTreeMap::from([("packages/ui".to_owned(), "a".to_owned())])));
        check_manifest(&manifest)?;
        if let Ok(workspace) = workspace::parse(Some(&yaml.to_string()), &manifest) {
            let catalogs = workspace.catalogs.values().flatten();
            for (name, spec) in catalogs {
                prop_assert!(is_name(name) && is_registry_spec(spec), "{}: {}", name, spec);
            }
            drop(workspace::members(&workspace.globs, &["packages/ui/package.json".to_owned(), "../x/package.json".to_owned()]));
        }
    }

    #[test]
    fn an_override_that_is_taken_over_names_the_registry(text in manifest(), yaml in specs()) {
        let Ok(manifest) = filter(&text, "") else { return Ok(()) };
        let (kept, _) = overrides::translate(&manifest, &yaml);
        for (selector, spec) in kept {
            prop_assert!(spec == "-" || is_registry_spec(spec.trim_start_matches('$')), "{}: {}", selector, spec);
            prop_assert!(selector.split(['/', '>', '@']).all(|part| part != "..") && !selector.chars().any(char::is_control), "{}", selector);
        }
    }

    #[test]
    fn a_pnpm_lockfile_that_is_taken_over_names_the_registry(lock in pnpm_9()) {
        if let Ok(filtered) = pnpm_lock::filter(&lock, &members()) {
            check_pnpm_lock(&filtered)?;
        }
    }

    #[test]
    fn of_any_lockfile_only_names_and_versions_are_taken_over(
        packages in btree_map(prop_oneof![hostile(), (name(), written_spec()).prop_map(|(n, s)| format!("{n}@{s}"))], any_json(), 0..6),
        file in select(&lockfile::NAMES[..]),
        noise in prop::option::of((any::<prop::sample::Index>(), hostile())),
        lines in vec(hostile(), 0..8),
    ) {
        let packages: Map<String, Value> = packages.into_iter().collect();
        let mut text = match file {
            "yarn.lock" if lines.len() < 4 => json!({"__metadata": {"version": 8}, "a@npm:^1": {"resolution": lines.first()}}).to_string(),
            "yarn.lock" => lines.iter().enumerate().map(|(n, line)| if n % 2 == 0 { format!("{line}:\n") } else { format!("  version \"{line}\"\n") }).collect(),
            _ => json!({"lockfileVersion": "9.0", "packages": packages, "dependencies": packages, "importers": {".": packages}}).to_string(),
        };
        if let Some((at, noise)) = noise {
            // Not whole any more, as a rule.
            let at = (0..=at.index(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.insert_str(at, &noise);
        }
        let found = BTreeMap::from([(file.to_owned(), text)]);
        let root = filter(r#"{"dependencies":{"a":"^1"}}"#, "").expect("manifest");
        match lockfile::choose(&found, &root, &members()).lock {
            Lock::Pnpm(text) => check_pnpm_lock(&serde_json::from_str(&text).expect("JSON"))?,
            Lock::Import(pins) => check_pins(&pins)?,
            Lock::Fresh => {}
        }
    }

    #[test]
    fn comments_and_commas_are_read_like_plain_json(value in any_json()) {
        let plain = serde_json::to_string(&json!({"packages": value})).expect("JSON");
        let commented = format!("// é\n{plain} /* end */");
        prop_assert_eq!(formats::bun(&commented).ok(), formats::bun(&plain).ok());
    }
}

/// No property: `scripts/fuzz` leaves it out.
mod depth {
    use super::*;

    #[test]
    fn what_is_nested_without_end_is_refused() {
        for depth in [100, 10_000, 200_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"dependencies\":", "}]"), ("- ", ""), ("(", ")")] {
                let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                for name in lockfile::NAMES {
                    for text in [text.clone(), format!("{{\"packages\":{text}}}"), format!("__metadata: {text}")] {
                        let found = BTreeMap::from([(name.to_owned(), text)]);
                        let choice = lockfile::choose(&found, &Manifest::default(), &members());
                        assert_eq!(choice.lock, Lock::Fresh, "{name} {open} {depth}");
                    }
                }
                drop(filter(&text, ""));
                drop(workspace::parse(Some(&text), &Manifest::default()));
            }
        }
    }
}
