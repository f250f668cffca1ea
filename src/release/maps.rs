//! Source maps: beside a release, never in it, and what they say about a place in a script.
//!
//! `releases/{build}.maps/` holds what the bundler wrote beside the scripts and styles of `releases/{build}/`, under the same paths.
//!
//! Invariant: a map was written by code that nobody reviewed. It is a claim: bounded in size, read only to tell a person where to look,
//! and whatever it names, nothing outside of the maps is opened for it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use sourcemap::{DecodedMap, SourceMap, decode_slice};

use crate::disk::remove_tree;

/// Larger maps are not read: bytes. In memory one takes some fifteen times as much.
const MAP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Maps that are read for one report.
const MAPS_MAX: usize = 4;
/// Lines of a frame before and after the one that it is about.
const FRAME_LINES: u32 = 2;
/// Characters of a line in a frame.
const FRAME_CHARS: usize = 160;
/// What has maps.
const MAPPED: &[&str] = &["js", "mjs", "cjs", "css"];

/// A place in the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Relative to the project; from `node_modules/` on for what is a dependency's.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// The lines around it, where the map has them.
    pub frame: Option<String>,
}

impl Place {
    /// Whether it is the project's own code.
    pub fn is_own(&self) -> bool {
        !self.file.starts_with("node_modules/")
    }
}

/// Moves the maps among `files`, which lie under `root` and were scanned, to `aside`, and takes them off the list. A file is a map where what it
/// maps is there too: an app may have a `world.map` of its own. Blocking.
pub fn set_maps_aside(root: &Path, files: &mut Vec<PathBuf>, aside: &Path) -> io::Result<()> {
    remove_tree(aside)?;
    let all: HashSet<PathBuf> = files.iter().cloned().collect();
    let is_map = |file: &Path| {
        let mapped = file.extension().is_some_and(|ending| ending == "map").then(|| file.with_extension(""));
        mapped.is_some_and(|of| all.contains(&of) && of.extension().and_then(|e| e.to_str()).is_some_and(|ending| MAPPED.contains(&ending)))
    };
    for map in files.extract_if(.., |file| is_map(file)) {
        let target = aside.join(&map);
        fs::create_dir_all(target.parent().unwrap_or(aside))?;
        fs::rename(root.join(map), target)?;
    }
    Ok(())
}

/// The maps of one release, each read when it is asked for first.
#[derive(Debug)]
pub struct SourceMaps {
    /// Where they are looked for.
    folders: Vec<PathBuf>,
    /// The project's sources: what a map calls `../../work/src/App.tsx` is found by what there is.
    sources: PathBuf,
    read: HashMap<String, Option<SourceMap>>,
}

impl SourceMaps {
    /// Of a release whose maps lie in `folders`, the first that has one counting; `sources` is the folder of the project's files.
    pub fn new(folders: Vec<PathBuf>, sources: PathBuf) -> Self {
        Self { folders, sources, read: HashMap::new() }
    }

    /// Where `line` and `column` (both from 1) of the release's file `path` come from. Blocking.
    pub fn place(&mut self, path: &str, line: u32, column: u32) -> Option<Place> {
        if !self.read.contains_key(path) {
            if self.read.len() >= MAPS_MAX {
                return None;
            }
            let map = self.folders.iter().find_map(|folder| read(folder, path));
            self.read.insert(path.to_owned(), map);
        }
        let map = self.read.get(path)?.as_ref()?;
        let token = map.lookup_token(line.checked_sub(1)?, column.saturating_sub(1))?;
        let (line, column) = (token.get_src_line().checked_add(1)?, token.get_src_col().saturating_add(1));
        let frame = map.get_source_contents(token.get_src_id()).and_then(|text| frame(text, line, column));
        Some(Place { file: self.name(token.get_source()?)?, line, column, frame })
    }

    /// What a map calls a source, as the project does: the longest end of the path that is one of its files.
    fn name(&self, source: &str) -> Option<String> {
        let path = source.split(['?', '#']).next()?.replace('\\', "/");
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").collect();
        if let Some(at) = parts.iter().rposition(|part| *part == "node_modules") {
            return Some(parts[at..].join("/"));
        }
        (0..parts.len()).map(|from| parts[from..].join("/")).find(|name| self.sources.join(name).is_file())
    }
}

fn read(folder: &Path, path: &str) -> Option<SourceMap> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = folder.join(format!("{path}.map"));
    if !inside || path.is_empty() || !fs::symlink_metadata(&file).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    File::open(file).ok()?.take(MAP_BYTES_MAX + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAP_BYTES_MAX {
        return None;
    }
    match decode_slice(&text).ok()? {
        DecodedMap::Regular(map) => Some(map),
        DecodedMap::Index(index) => index.flatten().ok(),
        DecodedMap::Hermes(_) => None,
    }
}

/// The lines around a place, with a mark, in the form of Vite's own.
fn frame(text: &str, line: u32, column: u32) -> Option<String> {
    let first = line.saturating_sub(FRAME_LINES).max(1);
    let width = (line + FRAME_LINES).to_string().len();
    let mut frame = String::new();
    // Writing to a text does not fail.
    for (number, text) in (1..).zip(text.lines()).skip(first as usize - 1).take_while(|(number, _)| *number <= line + FRAME_LINES) {
        let shown: String = text.chars().take(FRAME_CHARS).collect();
        let _ = writeln!(frame, "{number:<width$} |  {shown}");
        if number == line {
            let column = usize::try_from(column).unwrap_or(1).min(FRAME_CHARS);
            let _ = writeln!(frame, "{:width$} |  {:>column$}", "", "^");
        }
    }
    frame.contains('^').then(|| frame.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `assets/a-12345678.js` is one line: `throw Error("x")` at column 6 comes from line 2, column 3 of `src/App.tsx`.
    const MAP: &str = r#"{"version":3,"sources":["../../../work/src/App.tsx?x","../../../../layers/l/node_modules/react/index.js"],
        "sourcesContent":["one\n  throw Error('x')\nthree\nfour\nfive",null],"names":[],"mappings":"AAAA,KACE,KCDF"}"#;

    fn maps() -> (tempfile::TempDir, SourceMaps) {
        let dir = tempfile::tempdir().expect("temp dir");
        for (file, text) in [("maps/assets/a.js.map", MAP), ("maps/bad.js.map", "{\"version\":3"), ("secret.js.map", MAP), ("src/src/App.tsx", "")] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().expect("parent")).expect("mkdir");
            fs::write(file, text).expect("write");
        }
        let maps = SourceMaps::new(vec![dir.path().join("none"), dir.path().join("maps")], dir.path().join("src"));
        (dir, maps)
    }

    #[test]
    fn a_place_is_found_in_the_sources() {
        let (_dir, mut maps) = maps();
        let found = maps.place("assets/a.js", 1, 6).expect("mapped");
        assert_eq!((found.file.as_str(), found.line, found.column, found.is_own()), ("src/App.tsx", 2, 3, true));
        assert_eq!(found.frame.as_deref(), Some("1 |  one\n2 |    throw Error('x')\n  |    ^\n3 |  three\n4 |  four"));
        let found = maps.place("assets/a.js", 1, 12).expect("mapped");
        assert_eq!((found.file.as_str(), found.line, found.is_own(), found.frame), ("node_modules/react/index.js", 1, false, None));
    }

    #[test]
    fn nothing_else_is_opened() {
        let (_dir, mut maps) = maps();
        for path in ["../secret.js", "bad.js", "none.js", "", "/etc/passwd", "assets/../assets/a.js"] {
            assert_eq!(maps.place(path, 1, 6), None, "{path}");
        }
        let (_dir, mut maps) = super::tests::maps();
        assert!((0..MAPS_MAX).all(|n| maps.place(&format!("{n}.js"), 1, 1).is_none()));
        assert_eq!(maps.place("assets/a.js", 1, 6), None, "too many for one report");
    }

    #[test]
    fn maps_leave_the_release_and_maps_of_lands_stay() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (root, aside) = (dir.path().join("r"), dir.path().join("r.maps"));
        let names = ["assets/a.js", "assets/a.js.map", "b.css", "b.css.map", "world.map", "c.js.map", "d.png", "d.png.map"];
        fs::create_dir_all(root.join("assets")).expect("mkdir");
        for name in names {
            fs::write(root.join(name), "").expect("write");
        }
        let mut files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        set_maps_aside(&root, &mut files, &aside).expect("moved");
        let left: Vec<_> = files.iter().map(|file| file.to_str().expect("utf-8")).collect();
        assert_eq!(left, ["assets/a.js", "b.css", "world.map", "c.js.map", "d.png", "d.png.map"]);
        assert!(left.iter().all(|name| root.join(name).exists()));
        assert!(!root.join("b.css.map").exists() && aside.join("b.css.map").exists() && aside.join("assets/a.js.map").exists());
    }
}
