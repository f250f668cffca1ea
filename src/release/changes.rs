//! What differs between two releases, as far as open pages are concerned: do they have to be loaded anew, or is it enough to
//! swap stylesheets?
//!
//! Invariant: when in doubt, loading anew. [`styles_only`] is pure; [`compare`] reads what it decides by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::inject::without_build;
use crate::events::StyleSwap;

/// Pages that are compared by their text at most, and the largest of them, in bytes: beyond, loading anew is good enough.
const PAGES_MAX: usize = 50;
const PAGE_BYTES_MAX: u64 = 512 * 1024;
/// Files that are looked at; releases with more are loaded anew.
const FILES_MAX: usize = 5_000;
/// Compressed copies, which come after a release is published, and what they are called until they are whole (`compress.rs`).
const COPIES: [&str; 4] = [".br", ".gz", ".br.tmp", ".gz.tmp"];

/// Stands for a file's content: its length, and the time that a scan made from its hash (`scan.rs`).
type Stamp = (u64, i64);
/// A release's files, by path.
type Files = BTreeMap<String, Stamp>;

/// The stylesheets to swap, where that is all that differs between two releases, each given by its folder. Blocking.
pub fn compare(before: &Path, after: &Path) -> io::Result<Option<Vec<StyleSwap>>> {
    let (Some(old), Some(new)) = (list(before)?, list(after)?) else { return Ok(None) };
    let changed = new.iter().filter(|(path, stamp)| is_page(path) && old.get(*path).is_some_and(|known| known != *stamp));
    let paths: Vec<&String> = changed.map(|(path, _)| path).collect();
    if paths.len() > PAGES_MAX || paths.iter().any(|path| new[*path].0 > PAGE_BYTES_MAX || old[*path].0 > PAGE_BYTES_MAX) {
        return Ok(None);
    }
    let mut pages = BTreeMap::new();
    for path in paths {
        let read = |root: &Path| fs::read(root.join(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        pages.insert(path.clone(), (read(before)?, read(after)?));
    }
    Ok(styles_only(&old, &new, &pages))
}

/// The same from what is known of both: their files, and the old and new text of the pages that changed.
fn styles_only(old: &Files, new: &Files, pages: &BTreeMap<String, (String, String)>) -> Option<Vec<StyleSwap>> {
    let differ = |a: &Files, b: &Files| -> BTreeSet<String> {
        a.iter().filter(|(path, stamp)| b.get(*path) != Some(*stamp) && !is_page(path)).map(|(path, _)| path.clone()).collect()
    };
    let (gone, come) = (differ(old, new), differ(new, old));
    let same_pages = old.keys().filter(|path| is_page(path)).eq(new.keys().filter(|path| is_page(path)));
    if !same_pages || gone.is_empty() || !gone.iter().chain(&come).all(|path| is_style(path)) {
        return None;
    }
    let swaps = pair(&gone, &come)?;
    let renamed = |text: &str| swaps.iter().fold(text.to_owned(), |text, swap| text.replace(&swap.from, &swap.to));
    pages.values().all(|(before, after)| renamed(&without_build(before)) == without_build(after)).then_some(swaps)
}

/// Which new stylesheet takes the place of which old one. Vite names them `{name}-{hash}.css`; a name that is there twice, or
/// on one side only, is a doubt.
fn pair(gone: &BTreeSet<String>, come: &BTreeSet<String>) -> Option<Vec<StyleSwap>> {
    let by_stem = |paths: &BTreeSet<String>| -> Option<BTreeMap<String, String>> {
        let stems: BTreeMap<_, _> = paths.iter().map(|path| (stem(path).to_owned(), path.clone())).collect();
        (stems.len() == paths.len()).then_some(stems)
    };
    let (old, mut new) = (by_stem(gone)?, by_stem(come)?);
    let swaps: Option<Vec<_>> = old.into_iter().map(|(stem, from)| Some(StyleSwap { from, to: new.remove(&stem)? })).collect();
    swaps.filter(|_| new.is_empty())
}

/// A stylesheet's path without the hash of its content.
fn stem(path: &str) -> &str {
    /// Characters of a hash in a file name: Vite's own are 8, of base64url or base36.
    const HASH_CHARS: usize = 8;
    let name = path.strip_suffix(".css").unwrap_or(path);
    let Some(at) = name.len().checked_sub(HASH_CHARS + 1).filter(|at| name.is_char_boundary(*at)) else { return name };
    let (stem, hash) = name.split_at(at);
    let is_hash = hash.starts_with(['-', '.']) && hash[1..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_hash { stem } else { name }
}

fn is_style(path: &str) -> bool {
    path.ends_with(".css")
}

fn is_page(path: &str) -> bool {
    path.ends_with(".html") || path.ends_with(".htm")
}

/// A release's files without compressed copies; none where there are too many.
fn list(root: &Path) -> io::Result<Option<Files>> {
    let (mut files, mut folders) = (Files::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let found = entry.metadata()?;
            files.insert(path, (found.len(), found.mtime()));
            if files.len() > FILES_MAX {
                return Ok(None);
            }
        }
    }
    let copies: BTreeSet<String> = files.keys().filter(|path| is_copy(path, &files)).cloned().collect();
    files.retain(|path, _| !copies.contains(path));
    Ok(Some(files))
}

fn is_copy(path: &str, files: &Files) -> bool {
    COPIES.iter().any(|copy| path.strip_suffix(copy).is_some_and(|of| files.contains_key(of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<link rel="stylesheet" href="/assets/index-AAAAAAAA.css"><div id="root"></div>"#;

    fn files(of: &[(&str, i64)]) -> Files {
        of.iter().map(|(path, stamp)| ((*path).to_owned(), (1, *stamp))).collect()
    }

    fn swaps(old: &[(&str, i64)], new: &[(&str, i64)], page: Option<(&str, &str)>) -> Option<Vec<(String, String)>> {
        let pages = page.map(|(a, b)| ("index.html".to_owned(), (a.to_owned(), b.to_owned()))).into_iter().collect();
        let found = styles_only(&files(old), &files(new), &pages)?;
        Some(found.into_iter().map(|swap| (swap.from, swap.to)).collect())
    }

    #[test]
    fn a_stylesheet_alone_is_swapped() {
        let old = [("index.html", 1), ("assets/index-AAAAAAAA.css", 1), ("assets/index-JJJJJJJJ.js", 1)];
        let new = [("index.html", 2), ("assets/index-BBBBBBBB.css", 2), ("assets/index-JJJJJJJJ.js", 1)];
        let pair = |from: &str, to: &str| Some(vec![(from.to_owned(), to.to_owned())]);
        let page = PAGE.replace("AAAAAAAA", "BBBBBBBB");
        assert_eq!(swaps(&old, &new, Some((PAGE, &page))), pair("assets/index-AAAAAAAA.css", "assets/index-BBBBBBBB.css"));
        assert_eq!(swaps(&[("a.css", 1), ("i.html", 1)], &[("a.css", 2), ("i.html", 1)], None), pair("a.css", "a.css"), "a name without a hash");
        let told = PAGE.replace("AAAAAAAA", "BBBBBBBB").replace("root", "app");
        assert_eq!(swaps(&old, &new, Some((PAGE, &told))), None, "the page says something else too");
    }

    #[test]
    fn doubt_means_loading_anew() {
        let base = [("index.html", 1), ("a-AAAAAAAA.css", 1), ("a-JJJJJJJJ.js", 1)];
        let cases: [(&str, &[(&str, i64)]); 7] = [
            ("nothing changed", &base),
            ("a script", &[("index.html", 1), ("a-AAAAAAAA.css", 1), ("a-JJJJJJJJ.js", 2)]),
            ("both", &[("index.html", 1), ("a-BBBBBBBB.css", 1), ("a-KKKKKKKK.js", 1)]),
            ("an image more", &[("index.html", 1), ("a-BBBBBBBB.css", 1), ("a-JJJJJJJJ.js", 1), ("x.png", 1)]),
            ("a stylesheet more", &[("index.html", 1), ("a-BBBBBBBB.css", 1), ("b-CCCCCCCC.css", 1), ("a-JJJJJJJJ.js", 1)]),
            ("a stylesheet less", &[("index.html", 1), ("a-JJJJJJJJ.js", 1)]),
            ("a page more", &[("index.html", 1), ("two.html", 1), ("a-BBBBBBBB.css", 1), ("a-JJJJJJJJ.js", 1)]),
        ];
        for (what, new) in cases {
            assert_eq!(swaps(&base, new, None), None, "{what}");
        }
        let twice = [("a-AAAAAAAA.css", 1), ("a-CCCCCCCC.css", 1)];
        assert_eq!(swaps(&twice, &[("a-BBBBBBBB.css", 1), ("a-DDDDDDDD.css", 1)], None), None, "which is which?");
    }

    #[test]
    fn compressed_copies_are_no_change() {
        let root = tempfile::tempdir().expect("temp dir");
        let release = |name: &str, css: &str, copies: bool| {
            let dir = root.path().join(name);
            fs::create_dir_all(dir.join("assets")).expect("mkdir");
            fs::write(dir.join("index.html"), "<p>").expect("write");
            fs::write(dir.join("assets/a.css"), css).expect("write");
            if copies {
                for copy in COPIES {
                    fs::write(dir.join(format!("assets/a.css{copy}")), "x").expect("write");
                }
            }
            super::super::scan(&dir, super::super::OutputLimits { files: 99, bytes: 99_999 }).expect("scan");
            dir
        };
        let (one, two, same) = (release("one", "a{}", true), release("two", "b{}", false), release("same", "a{}", false));
        let swap = StyleSwap { from: "assets/a.css".into(), to: "assets/a.css".into() };
        assert_eq!(compare(&one, &two).expect("read"), Some(vec![swap]));
        assert_eq!(compare(&one, &same).expect("read"), None, "nothing to swap");
        assert!(compare(&one, &root.path().join("gone")).is_err());
    }
}
