//! Overrides as pnpm, npm and yarn write them, in pnpm's terms.
//!
//! Invariant: selectors are package names and ranges, values are registry specs. What is neither is left out and named in a note.

use std::collections::BTreeMap;

use serde_json::Value;

use super::manifest::Manifest;
use super::spec::{check_spec, is_package_name, is_range};

/// Selector → spec, and a note for everything left out. The project's `pnpm-workspace.yaml` has the last word, then `pnpm`, npm's and
/// yarn's fields of the root `package.json`.
pub(super) fn translate(root: &Manifest, workspace_yaml: &Value) -> (BTreeMap<String, String>, Vec<String>) {
    let mut overrides = Overrides { root, kept: BTreeMap::new(), notes: Vec::new() };
    let written = |tool| root.overrides.get(tool).unwrap_or(&Value::Null);
    for (selector, spec) in written("yarn").as_object().into_iter().flatten() {
        overrides.add(&yarn_selector(selector), spec);
    }
    overrides.add_nested(&[], written("npm"));
    for flat in [written("pnpm"), workspace_yaml] {
        for (selector, spec) in flat.as_object().into_iter().flatten() {
            overrides.add(selector, spec);
        }
    }
    (overrides.kept, overrides.notes)
}

struct Overrides<'a> {
    root: &'a Manifest,
    kept: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Overrides<'_> {
    /// npm nests: `{"a": {".": "1", "b": "2"}}` is `a: 1` and `a>b: 2`. pnpm knows one parent, so the nearest one stays.
    fn add_nested(&mut self, parents: &[&str], entries: &Value) {
        for (key, value) in entries.as_object().into_iter().flatten() {
            let path = if key == "." { parents.to_vec() } else { [parents, &[key.as_str()]].concat() };
            if value.is_object() {
                self.add_nested(&path, value);
            } else {
                self.add(&path[path.len().saturating_sub(2)..].join(">"), value);
            }
        }
    }

    fn add(&mut self, selector: &str, spec: &Value) {
        let spec = spec.as_str().unwrap_or_default();
        let allowed = match spec.strip_prefix('$') {
            Some(reference) => self.root.depends_on(reference),
            // "-" removes a dependency.
            None => spec == "-" || (!spec.is_empty() && check_spec("", spec).is_ok()),
        };
        if allowed && is_selector(selector) {
            self.kept.insert(selector.to_owned(), spec.to_owned());
        } else {
            self.notes.push(format!("override {selector}: {spec} is left out"));
        }
    }
}

/// `a`, `a@^1`, `a@^1>b`, `@s/a>b@2`; a `>` after a space, `|` or `@` belongs to a range.
fn is_selector(selector: &str) -> bool {
    let bytes = selector.as_bytes();
    let split = (1..bytes.len()).find(|at| bytes[*at] == b'>' && !b" |@".contains(&bytes[at - 1]));
    let side = |side: &str| {
        let at = side.get(1..).and_then(|rest| rest.find('@')).map(|at| at + 1);
        is_package_name(&side[..at.unwrap_or(side.len())]) && at.is_none_or(|at| is_range(&side[at + 1..]))
    };
    split.map_or_else(|| side(selector), |at| side(&selector[..at]) && side(&selector[at + 1..]))
}

/// `**/a`, `a/b`, `@s/a/**/b@npm:^1` → `a`, `a>b`, `@s/a>b@^1`.
fn yarn_selector(selector: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    for part in selector.replace("@npm:", "@").split('/').filter(|part| *part != "**") {
        match names.last_mut() {
            Some(scope) if scope.starts_with('@') && !scope.contains('/') => {
                *scope = format!("{scope}/{part}");
            }
            _ => names.push(part.to_owned()),
        }
    }
    names[names.len().saturating_sub(2)..].join(">")
}

#[cfg(test)]
mod tests {
    use super::super::package_json::filter;
    use super::*;

    #[test]
    fn overrides_of_every_tool() {
        let text = r#"{"dependencies":{"react":"^19"},"pnpm":{"overrides":{"p":"-"}},"resolutions":{"**/y":"1.0.0","@s/a/**/b":"2"},
            "overrides":{"n":{".":"1","m":"$react","k":{"l":"3"}},"o":"$missing"}}"#;
        let (kept, notes) = translate(&filter(text, "").expect("manifest"), &Value::Null);
        let flat: Vec<_> = kept.iter().map(|(selector, spec)| format!("{selector}={spec}")).collect();
        assert_eq!(flat, ["@s/a>b=2", "k>l=3", "n=1", "n>m=$react", "p=-", "y=1.0.0"]);
        assert_eq!(notes, ["override o: $missing is left out"]);
    }
}
