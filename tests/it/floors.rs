//! The floors of the house (DESIGN.md): imports point down only.
//!
//! Same floor is for one module's own tree, and for the pairs below, each with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::files_below;

/// Modules by floor; `main` is the binary.
const FLOORS: [&[&str]; 7] = [
    &["domain", "config", "telemetry"],
    &["auth", "disk", "events", "locks", "metrics", "sandbox", "source", "state"],
    &["sync", "builder", "release", "preview", "notify"],
    &["queue"],
    &["app"],
    &["http"],
    &["cli", "server", "main"],
];

/// Who may import whom on the same floor, and why. No two of them lead in a circle.
const SAME_FLOOR: &[(&str, &str, &str)] = &[
    ("domain", "config", "a status says which sandbox mode is configured"),
    ("telemetry", "config", "logs are set up as configured"),
    ("source", "metrics", "every request to the source is counted"),
    ("builder", "sync", "sources that a crash left incomplete are synced anew"),
    ("preview", "release", "places of errors are found by the maps beside a release"),
    ("builder", "release", "an output is scanned by the rules of what may be published"),
    ("cli", "server", "`serve` is a command"),
    ("main", "cli", "the binary is the command line"),
];

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("`{module}` is on no floor: give it one"))
}

/// A file's text without comments and without its tests, line by line.
fn code(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line == "#[cfg(test)]" {
            break;
        }
        lines.push(line.split("//").next().unwrap_or_default().to_owned());
    }
    lines
}

/// Top-level modules that a file names as `crate::X` or within `crate::{X, Y::…}`, each with the number of its line.
fn imports(code: &[String], root: &str) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    for (number, line) in code.iter().enumerate() {
        for (at, _) in line.match_indices(root) {
            let whole_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &line[at + root.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group_members(&(group.to_owned() + &code[number + 1..].concat())),
                None => vec![first_name(rest)],
            };
            // A name with a capital is an item of the root, which has none.
            found.extend(names.into_iter().filter(|name| whole_word && !name.is_empty()).map(|name| (number + 1, name)));
        }
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names in `a, b::{c, d}, e}…`.
fn group_members(text: &str) -> Vec<String> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                members.push(first_name(&text[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    members
}

/// What is wrong with a file's imports.
fn violations(file: &str, text: &str) -> Vec<String> {
    let module = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let code = code(text);
    let mut imported = imports(&code, "crate::");
    if module == "main" {
        imported.extend(imports(&code, "previewd::"));
    }
    if file == format!("{module}.rs") || file == format!("{module}/mod.rs") {
        // Above such a file is the root of the crate.
        imported.extend(imports(&code, "super::").into_iter().filter(|(_, name)| name != "super"));
    }
    let wrong = |to: &str| {
        let (ours, theirs) = (floor(module), floor(to));
        let listed = || SAME_FLOOR.iter().any(|(a, b, _)| (*a, *b) == (module, to));
        module != to && (theirs > ours || (theirs == ours && !listed()))
    };
    let tell = |(line, to): (usize, String)| format!("src/{file}:{line}: {module} (floor {}) imports {to} (floor {})", floor(module), floor(&to));
    imported.into_iter().filter(|(_, to)| wrong(to)).map(tell).collect()
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_code = |file: &String| file.ends_with(".rs") && file != "lib.rs" && !file.ends_with("/tests.rs");
    let files: Vec<String> = files_below(&src).into_iter().filter(is_code).collect();
    assert!(files.len() > 50, "{files:?}");
    let wrong: Vec<String> = files.iter().flat_map(|file| violations(file, &std::fs::read_to_string(src.join(file)).expect("read"))).collect();
    assert!(wrong.is_empty(), "imports that do not point to a lower floor:\n{}", wrong.join("\n"));
}

#[test]
fn pairs_on_one_floor_are_needed_and_make_no_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let used: BTreeSet<(String, String)> = files_below(&src)
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .flat_map(|file| {
            let module = file.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
            let code = code(&std::fs::read_to_string(src.join(&file)).expect("read"));
            let mut names = imports(&code, "crate::");
            names.extend(imports(&code, "previewd::"));
            names.into_iter().map(move |(_, to)| (module.clone(), to)).collect::<Vec<_>>()
        })
        .collect();
    for (from, to, why) in SAME_FLOOR {
        assert!(used.contains(&((*from).to_owned(), (*to).to_owned())), "{from} no longer imports {to} ({why}): remove the pair");
        assert!(floor(from) == floor(to) && !SAME_FLOOR.iter().any(|(a, b, _)| (a, b) == (to, from)), "{from} and {to}");
    }
}

#[test]
fn every_form_of_an_import_is_seen() {
    let found = |file: &str, text: &str| violations(file, text).len();
    assert_eq!(found("sync/mod.rs", "use crate::queue::Queue;"), 1);
    assert_eq!(found("sync/files.rs", "fn f() -> crate::app::App {}"), 1);
    assert_eq!(found("domain/x.rs", "use crate::{\n    config::{A, B},\n    state::{C, d::E},\n    http,\n};"), 2);
    assert_eq!(found("events.rs", "use super::queue::Queue;"), 1);
    assert_eq!(found("queue/gate.rs", "use super::settle;\nuse crate::sync::Syncer; // not crate::http"), 0);
    assert_eq!(found("auth.rs", "use crate::domain::X;\n#[cfg(test)]\nmod tests { use crate::http; }"), 0);
    assert_eq!(found("preview/urls.rs", "use crate::builder::Builder;"), 1, "same floor, not listed");
}
