//! Names, paths and manifests from outside, made at random: what is accepted cannot lead anywhere else.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::{BuildId, Manifest, ProjectId, SourcePath};

/// What paths are put together from.
const PIECES: &[&str] = &[
    "..",
    ".",
    "/",
    "//",
    "\\",
    "a",
    "src",
    "node_modules",
    ".git",
    ".GIT",
    "frontend",
    "%2e%2e",
    "%2f",
    "\0",
    "\n",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "~",
    "C:",
    " ",
    "...",
    ".env",
    "\u{feff}",
    "\u{2028}",
    "-",
    "aux",
    "x.tsx",
];

fn path() -> impl Strategy<Value = String> {
    let pieces = vec(select(PIECES), 0..10).prop_map(|pieces| pieces.concat());
    let long = (select(PIECES), 1_usize..1200).prop_map(|(piece, times)| piece.repeat(times));
    let deep = (select(PIECES), 1_usize..80).prop_map(|(piece, times)| format!("{piece}/").repeat(times) + "a");
    prop_oneof![8 => pieces, 1 => long, 1 => deep]
}

fn stays_inside(path: &SourcePath) -> bool {
    let joined = path.under(Path::new("/root/dir"));
    let below = joined.strip_prefix("/root/dir").map(|below| below.components().collect::<Vec<_>>()).unwrap_or_default();
    let text = path.as_str();
    !below.is_empty()
        && below.iter().all(|part| matches!(part, Component::Normal(name) if !["node_modules", ".git"].iter().any(|refused| name == refused)))
        && below.len() == text.split('/').count()
        && !text.chars().any(char::is_control)
        && !text.contains('\\')
}

proptest! {
    #[test]
    fn a_source_path_that_is_accepted_stays_inside(text in path()) {
        if let Ok(path) = SourcePath::parse(&text) {
            prop_assert!(stays_inside(&path) && path.as_str() == text, "{:?}", text);
            prop_assert!(path.ancestors().all(|folder| text.starts_with(&format!("{folder}/"))), "{:?}", text);
        }
        if let Ok(path) = SourcePath::parse_request(&text) {
            prop_assert!(stays_inside(&path) && text.ends_with(path.as_str()), "{:?}", text);
        }
    }

    #[test]
    fn an_id_that_is_accepted_is_one_plain_name(
        text in prop_oneof!["[A-Za-z0-9_-]{0,70}", path(), "[0-7][0-9A-Za-z]{25}", "[0-9A-Zа-я]{24,28}"],
    ) {
        if let Ok(id) = text.parse::<ProjectId>() {
            prop_assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') && !text.starts_with(['-', '_']));
            prop_assert_eq!(serde_json::from_value::<ProjectId>(json!(text)).expect("the same rule"), id);
        }
        if let Ok(build) = text.parse::<BuildId>() {
            // One name for one build, or a release could be asked for under several.
            prop_assert_eq!(build.to_string(), text.to_ascii_uppercase());
        }
    }

    #[test]
    fn two_projects_never_share_a_label(a in "[A-Za-z0-9][A-Za-z0-9_-]{0,8}", b in "[A-Za-z0-9][A-Za-z0-9_-]{0,8}") {
        let [a, b] = [a, b].map(|id| id.parse::<ProjectId>().expect("id"));
        prop_assert_eq!(a == b, a.label() == b.label());
        let label = a.label();
        prop_assert!(label.len() <= 63 && !label.contains("--") && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
    }

    #[test]
    fn a_manifest_on_disk_that_is_read_names_files_inside(
        entries in vec((path(), prop_oneof![3 => "[0-9a-f]{64}", 1 => "[0-9a-fA-Fé]{0,66}"], path(), prop_oneof![any::<u32>().prop_map(|n| json!(n)), Just(json!(-1)), Just(json!("1"))]), 0..5),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let object: serde_json::Map<_, _> =
            entries.into_iter().map(|(path, sha256, etag, size)| (path, json!({"sha256": sha256, "etag": etag, "size": size}))).collect();
        let mut text = serde_json::to_vec(&object).expect("JSON");
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) {
            prop_assert!(manifest.files.keys().all(stays_inside));
            let again: Manifest = serde_json::from_slice(&serde_json::to_vec(&manifest).expect("JSON")).expect("its own");
            prop_assert_eq!(again.tree_hash(), manifest.tree_hash());
            let names: BTreeSet<_> = manifest.files.keys().map(SourcePath::as_str).collect();
            let clash = names.iter().any(|name| names.iter().any(|other| other.starts_with(&format!("{name}/"))));
            prop_assert_eq!(manifest.file_and_folder_clash().is_some(), clash);
        }
    }
}
