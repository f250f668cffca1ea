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
    let mut paths: Vec<(String, String)> = changed.map(|(path, _)| (path.clone(), path.clone())).collect();
    let (gone, come) = (differing(&old, &new, is_script), differing(&new, &old, is_script));
    let scripts = pair(&gone, &come).unwrap_or_default();
    paths.extend(scripts.into_iter().filter(|swap| old[&swap.from] != new[&swap.to]).map(|swap| (swap.from, swap.to)));
    if paths.len() > PAGES_MAX || paths.iter().any(|(from, to)| old[from].0 > PAGE_BYTES_MAX || new[to].0 > PAGE_BYTES_MAX) {
        return Ok(None);
    }
    let mut texts = BTreeMap::new();
    for (from, to) in paths {
        let read = |root: &Path, path: &str| fs::read(root.join(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let pair = (read(before, &from)?, read(after, &to)?);
        texts.insert(to, pair);
    }
    Ok(styles_only(&old, &new, &texts))
}

/// The same from what is known of both: their files, and the old and new text of the pages and scripts that changed, by the new path.
///
/// Vite names a script also by the styles that it imports, so an edit of those alone gives it, and all that import it, another name. A
/// script that differs in such names alone is the same to a page that runs it.
fn styles_only(old: &Files, new: &Files, texts: &BTreeMap<String, (String, String)>) -> Option<Vec<StyleSwap>> {
    let other = |path: &str| !is_page(path) && !is_script(path) && !is_style(path);
    let same_pages = old.keys().filter(|path| is_page(path)).eq(new.keys().filter(|path| is_page(path)));
    if !same_pages || !differing(old, new, other).is_empty() || !differing(new, old, other).is_empty() {
        return None;
    }
    let [scripts, swaps] = [is_script, is_style].map(|kind| pair(&differing(old, new, kind), &differing(new, old, kind)));
    let (scripts, swaps) = (scripts?, swaps.filter(|swaps| !swaps.is_empty())?);
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let names: Vec<(String, String)> = scripts.iter().chain(&swaps).map(|swap| (name(&swap.from), name(&swap.to))).collect();
    let renamed = |text: &str| names.iter().fold(without_build(text), |text, (from, to)| text.replace(from, to));
    let same_scripts = scripts.iter().all(|swap| old[&swap.from] == new[&swap.to] || texts.contains_key(&swap.to));
    (same_scripts && texts.values().all(|(before, after)| renamed(before) == without_build(after))).then_some(swaps)
}

/// The files of a kind in `a` that `b` has not, or has with another content.
fn differing(a: &Files, b: &Files, kind: impl Fn(&str) -> bool) -> BTreeSet<String> {
    a.iter().filter(|(path, stamp)| kind(path) && b.get(*path) != Some(*stamp)).map(|(path, _)| path.clone()).collect()
}

/// Which new file takes the place of which old one. Vite names them `{name}-{hash}.css`; a name that is there twice, or
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

/// A file's path without the hash of its content.
fn stem(path: &str) -> &str {
    /// Characters of a hash in a file name: Vite's own are 8, of base64url or base36.
    const HASH_CHARS: usize = 8;
    let name = path.rsplit_once('.').map_or(path, |(name, _)| name);
    let Some(at) = name.len().checked_sub(HASH_CHARS + 1).filter(|at| name.is_char_boundary(*at)) else { return name };
    let (stem, hash) = name.split_at(at);
    let is_hash = hash.starts_with(['-', '.']) && hash[1..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_hash { stem } else { name }
}

fn is_script(path: &str) -> bool {
    path.ends_with(".js")
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
            ("both", &[("index.html", 1), ("a-BBBBBBBB.css", 1), ("a-KKKKKKKK.js", 2)]),
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
    fn a_script_that_only_got_another_name_is_the_same() {
        let old = [("index.html", 1), ("a-AAAAAAAA.css", 1), ("main-JJJJJJJJ.js", 1), ("lazy-LLLLLLLL.js", 1)];
        let new = [("index.html", 2), ("a-BBBBBBBB.css", 2), ("main-KKKKKKKK.js", 1), ("lazy-MMMMMMMM.js", 2)];
        let texts = |lazy: &str| {
            let page = ("<script src=/main-JJJJJJJJ.js>a-AAAAAAAA.css", "<script src=/main-KKKKKKKK.js>a-BBBBBBBB.css");
            let lazy = ("import './main-JJJJJJJJ.js'", lazy);
            [("index.html", page), ("lazy-MMMMMMMM.js", lazy)].map(|(path, (a, b))| (path.to_owned(), (a.to_owned(), b.to_owned()))).into()
        };
        let only = |lazy: &str| styles_only(&files(&old), &files(&new), &texts(lazy)).map(|swaps| swaps.len());
        assert_eq!(only("import './main-KKKKKKKK.js'"), Some(1));
        assert_eq!(only("import './main-KKKKKKKK.js';more()"), None);
        assert_eq!(styles_only(&files(&old), &files(&new), &BTreeMap::new()), None, "what was not read is a doubt");
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
