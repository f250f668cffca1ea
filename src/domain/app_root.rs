//! Where in a project the app is, and what kind of app.
//!
//! Generated projects keep theirs at the top; exports and monorepos in `client/`, `apps/web/` and
//! the like. Pure: the caller knows the paths and which folders depend on Vite.

use std::collections::BTreeSet;

/// How a project is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// By its own Vite, in this folder (`""`: the top).
    Vite(String),
    /// Not at all: this folder is served as it is.
    Static(String),
}

/// Names that a folder with the app usually has, best first; others come after, by name.
const USUAL: &[&str] = &["web", "client", "frontend", "app", "site", "www", "ui"];
const CONFIG_EXTENSIONS: &[&str] = &["ts", "js", "mjs", "mts", "cjs", "cts"];

/// Finds the app among a project's `files`; `vite_dependents` are the folders whose `package.json` names Vite.
pub fn find(files: &BTreeSet<&str>, vite_dependents: &BTreeSet<String>) -> Option<App> {
    let has = |folder: &str, name: &str| files.contains(join(folder, name).as_str());
    let has_config = |folder: &str| CONFIG_EXTENSIONS.iter().any(|e| has(folder, &format!("vite.config.{e}")));
    let has_index = |folder: &str| has(folder, "index.html");
    let depends = |folder: &str| vite_dependents.contains(folder);

    if has_config("") || (depends("") && has_index("")) {
        return Some(App::Vite(String::new()));
    }
    if has_index("") && !has("", "package.json") {
        return Some(App::Static(String::new()));
    }
    let folders = folders(files);
    let best = |accept: &dyn Fn(&str) -> bool| {
        folders.iter().filter(|folder| accept(folder)).min_by_key(|folder| rank(folder)).map(|folder| (*folder).to_owned())
    };
    if let Some(folder) = best(&has_config).or_else(|| best(&|f| depends(f) && has_index(f))) {
        return Some(App::Vite(folder));
    }
    if has_index("") {
        return Some(App::Static(String::new()));
    }
    if depends("") {
        // Its Vite will say what is missing.
        return Some(App::Vite(String::new()));
    }
    let no_package = !files.iter().any(|path| path.rsplit('/').next() == Some("package.json"));
    best(&has_index).filter(|_| no_package).map(App::Static)
}

/// The app in a folder that was named by who knows the project; `None` where there is none.
pub fn at(folder: &str, files: &BTreeSet<&str>, vite_dependents: &BTreeSet<String>) -> Option<App> {
    let has = |name: &str| files.contains(join(folder, name).as_str());
    let has_config = CONFIG_EXTENSIONS.iter().any(|e| has(&format!("vite.config.{e}")));
    if has_config || vite_dependents.contains(folder) {
        return Some(App::Vite(folder.to_owned()));
    }
    has("index.html").then(|| App::Static(folder.to_owned()))
}

/// `name` in `folder`, where `""` is the top.
pub fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn folders<'a>(files: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    files.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect()
}

fn rank(folder: &str) -> (usize, usize, &str) {
    let name = folder.rsplit('/').next().unwrap_or(folder);
    let usual = USUAL.iter().position(|usual| *usual == name).unwrap_or(USUAL.len());
    (folder.matches('/').count(), usual, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(files: &[&str], dependents: &[&str]) -> Option<App> {
        find(&files.iter().copied().collect(), &dependents.iter().map(|f| (*f).to_owned()).collect())
    }

    #[test]
    fn apps_are_found() {
        let vite = |folder: &str| Some(App::Vite(folder.to_owned()));
        let fixed = |folder: &str| Some(App::Static(folder.to_owned()));
        assert_eq!(find_in(&["vite.config.ts", "client/index.html"], &[""]), vite(""));
        assert_eq!(find_in(&["package.json", "index.html"], &[""]), vite(""));
        assert_eq!(find_in(&["package.json", "apps/docs/vite.config.js", "apps/web/vite.config.ts"], &["apps/web"]), vite("apps/web"));
        assert_eq!(find_in(&["client/package.json", "client/index.html", "server/package.json"], &["client"]), vite("client"));
        assert_eq!(find_in(&["index.html", "about.html"], &[]), fixed(""));
        assert_eq!(find_in(&["package.json", "index.html"], &[]), fixed(""));
        assert_eq!(find_in(&["package.json"], &[""]), vite(""));
        assert_eq!(find_in(&["site/index.html", "readme.md"], &[]), fixed("site"));
        assert_eq!(find_in(&["package.json", "public/index.html"], &[]), None);
        assert_eq!(find_in(&["README.md"], &[]), None);
    }

    #[test]
    fn a_named_folder_is_the_app_or_nothing_is() {
        let files = BTreeSet::from(["vite.config.ts", "apps/web/package.json", "apps/docs/vite.config.js", "apps/old/index.html", "apps/readme.md"]);
        let found = |folder: &str| at(folder, &files, &BTreeSet::from(["apps/web".to_owned()]));
        assert_eq!(found(""), Some(App::Vite(String::new())));
        assert_eq!(found("apps/web"), Some(App::Vite("apps/web".into())));
        assert_eq!(found("apps/docs"), Some(App::Vite("apps/docs".into())));
        assert_eq!(found("apps/old"), Some(App::Static("apps/old".into())));
        assert_eq!(found("apps"), None);
        assert_eq!(found("app"), None, "no beginning of a name");
    }
}
