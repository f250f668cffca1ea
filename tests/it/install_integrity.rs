//! What builds can do to dependencies and what they can learn of the registry: nothing. And what becomes of a store that was
//! tampered with all the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::registry::{Entry, Registry};
use crate::harness::{Daemon, Options};

const TOKEN: &str = "hidden-registry-token-0001";
/// In place of Vite: the worker imports it inside of the sandbox, so it can do there what any build can.
const SEARCH: &str = r"
import fs from 'node:fs';
const token = ['hidden-registry', 'token-0001'].join('-'), marker = ['a-marker', 'to-find'].join('-');
const found = { [token]: [], [marker]: [] };
let files = 0;
const look = (path) => {
  let text;
  try { text = fs.readFileSync(path, 'latin1'); } catch { return; }
  files += 1;
  for (const wanted in found) if (text.includes(wanted)) found[wanted].push(path);
};
const left = ['/'];
while (left.length) {
  const folder = left.pop();
  if (['/usr', '/sys', '/dev', '/proc'].includes(folder)) continue;
  let entries = [];
  try { entries = fs.readdirSync(folder, { withFileTypes: true }); } catch { /* not for us */ }
  for (const entry of entries) {
    const path = folder === '/' ? '/' + entry.name : folder + '/' + entry.name;
    if (entry.isDirectory()) left.push(path); else if (entry.isFile()) look(path);
  }
}
for (const id of fs.readdirSync('/proc')) if (/^\d+$/.test(id)) for (const file of ['environ', 'cmdline']) look(`/proc/${id}/${file}`);
console.log(`SEARCHED ${files} files`, JSON.stringify({ env: JSON.stringify(process.env).includes(token), token: found[token].length, marker: found[marker].length > 0 }));
";
/// Tries to write wherever dependencies are.
const WRITE: &str = r"
import fs from 'node:fs';
const tried = [];
const attempt = (what, work) => { try { work(); tried.push(`${what}: WRITTEN`); } catch (error) { tried.push(`${what}: ${error.code}`); } };
const own = fs.realpathSync(new URL('index.js', import.meta.url).pathname);
const store = own.slice(0, own.indexOf('/shared-store/') + '/shared-store'.length), layers = store.replace(/shared-store$/, 'layers');
const layer = layers + '/' + fs.readdirSync(layers)[0];
attempt('package', () => fs.appendFileSync(own, '// evil'));
attempt('replace', () => { fs.unlinkSync(own); });
attempt('store', () => fs.writeFileSync(store + '/evil', ''));
attempt('layer', () => fs.writeFileSync(layer + '/node_modules/evil', ''));
attempt('layer file', () => fs.writeFileSync(layer + '/layer.json', '{}'));
attempt('mode', () => fs.chmodSync(own, 0o777));
attempt('times', () => fs.utimesSync(own, 0, 0));
attempt('link', () => fs.linkSync(own, layer + '/linked'));
attempt('lock', () => fs.openSync(store + '/previewd.lock', 'r+'));
console.log('TRIED', tried.join('; '));
";

/// A registry whose `vite` is this module.
fn with_vite(token: Option<&'static str>, module: &str) -> Registry {
    let registry = Registry::start(token);
    registry.publish(
        "vite",
        "8.0.0",
        &json!({ "type": "module", "main": "dist/node/index.js" }),
        &[Entry::File("package/dist/node/index.js", module.as_bytes())],
    );
    registry
}

fn push(daemon: &Daemon, project: &str, dependencies: &Value) {
    daemon.put(project, "package.json", json!({ "type": "module", "dependencies": dependencies }).to_string());
    daemon.put(project, "index.html", "<h1>a-marker-to-find</h1>");
    daemon.put(project, "vite.config.js", "export default {};\n");
}

/// The line of the build's log that begins so.
async fn line(daemon: &Daemon, project: &str, begin: &str) -> String {
    let log = daemon.build_log(project).await;
    log.lines().find_map(|line| line.find(begin).map(|at| line[at..].to_owned())).unwrap_or_else(|| panic!("{log}"))
}

fn holds(dir: &Path, text: &str) -> String {
    let output = Command::new("grep").args(["-rlaF", text]).arg(dir).output().expect("grep");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_registrys_token_reaches_no_build() {
    let registry = with_vite(Some(TOKEN), SEARCH);
    let dir = tempfile::tempdir().expect("temp dir");
    fs::write(dir.path().join("token"), format!("{TOKEN}\n")).expect("write");
    fs::create_dir(dir.path().join("credentials")).expect("mkdir");
    fs::write(dir.path().join("credentials/PREVIEWD__BUILD__REGISTRY_TOKEN"), format!("{TOKEN}\n")).expect("write");
    let base = Options::default().set("build.registry", &registry.url).set("log.level", "debug").cold_store();
    let ways = [
        base.clone().set("build.registry_token", TOKEN),
        base.clone().set("build.registry_token_file", dir.path().join("token").display()),
        base.clone().env("CREDENTIALS_DIRECTORY", dir.path().join("credentials").display()),
    ];
    for way in ways {
        let daemon = way.start().await;
        push(&daemon, "demo", &json!({ "vite": "8.0.0" }));
        let answer = daemon.sync_and_wait("demo").await;
        assert_eq!(answer["build"]["layer"], "miss", "{answer:#}");
        let searched = line(&daemon, "demo", "SEARCHED").await;
        assert!(searched.ends_with(r#"{"env":false,"token":0,"marker":true}"#), "{searched}");
        assert_eq!(holds(daemon.dir.path(), TOKEN), "", "on disk");
        for text in [answer.to_string(), daemon.log(), daemon.build_log("demo").await] {
            assert!(!text.contains(TOKEN), "{text}");
        }
    }
    assert!(registry.was_asked_for(&format!("GET /vite/-/vite-8.0.0.tgz HTTP/1.1 Bearer {TOKEN}")));
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_repeated() {
    let registry = with_vite(Some("the-right-token-0001"), SEARCH);
    let options = Options::default().set("build.registry", &registry.url).set("build.registry_token", TOKEN).set("queue.max_attempts", 1);
    let daemon = options.cold_store().start().await;
    push(&daemon, "demo", &json!({ "vite": "8.0.0" }));
    let answer = daemon.sync_and_wait("demo").await;
    let failure = answer["build"]["failure"].to_string();
    assert!(failure.contains("401") && !failure.contains(TOKEN), "{failure}");
    assert!(!daemon.log().contains(TOKEN) && !daemon.build_log("demo").await.contains(TOKEN));
    // The token is for the registry, not for a host that it names.
    assert!(registry.was_asked_for(TOKEN));
}

#[tokio::test]
async fn no_build_writes_store_or_layer() {
    /// `nobody`.
    const SERVICE_USER: u32 = 65534;
    let registry = with_vite(None, WRITE);
    let base = Options::default().set("build.registry", &registry.url).cold_store();
    let root = rustix::process::geteuid().is_root();
    for options in [Some(base.clone()), root.then(|| base.user(SERVICE_USER))].into_iter().flatten() {
        let daemon = options.start().await;
        push(&daemon, "demo", &json!({ "vite": "8.0.0" }));
        daemon.sync_and_wait("demo").await;
        let tried = line(&daemon, "demo", "TRIED").await;
        assert_eq!(tried.matches("; ").count(), 8, "{tried}");
        assert_eq!(tried.matches("EROFS").count(), 9, "by the mount, not by luck: {tried}");
        assert!(check_store(&daemon, &[]).status.success());
    }
}

fn check_store(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
    command.arg("check-store").args(arguments).env("PREVIEWD__SERVER__DATA_DIR", daemon.data());
    command.output().expect("previewd")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The layer of the project that depends on `package`.
fn layer_with(daemon: &Daemon, package: &str) -> PathBuf {
    let layers = fs::read_dir(daemon.data().join("layers")).expect("layers").flatten().map(|entry| entry.path());
    layers.into_iter().find(|layer| layer.join("node_modules").join(package).exists()).expect("a layer")
}

/// Something done to what is installed.
type Tampering = fn(&Path, &Path);

#[tokio::test]
async fn what_was_tampered_with_is_found_and_repaired() {
    const GOOD: &str = "export const good = 1;\n";
    let registry = with_vite(None, "console.log('fake');\n");
    registry.publish("deep", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"export const deep = 1;\n")]);
    let manifest = json!({ "dependencies": { "deep": "1.0.0" }, "bin": { "run": "run.js" } });
    let entries = [Entry::File("package/index.js", GOOD.as_bytes()), Entry::File("package/run.js", b"#!/usr/bin/env node\n")];
    registry.publish("victim", "1.0.0", &manifest, &entries);
    registry.publish("other", "1.0.0", &json!({}), &[Entry::File("package/index.js", b"export const other = 1;\n")]);
    let tamperings: &[(&str, Tampering)] = &[
        ("in place, through the layer", |layer, _| fs::write(layer.join("node_modules/victim/index.js"), "evil\n").expect("write")),
        ("in place, in a dependency of it", |layer, _| {
            fs::write(layer.join("node_modules/.pnpm/node_modules/deep/index.js"), "evil\n")
                .or_else(|_| fs::write(layer.join("node_modules/deep/index.js"), "evil\n"))
                .expect("write");
        }),
        ("another file in its place", |layer, _| {
            let file = layer.join("node_modules/victim/index.js");
            fs::remove_file(&file).expect("remove");
            fs::write(file, "evil\n").expect("write");
        }),
        ("one more file", |layer, _| fs::write(layer.join("node_modules/victim/more.js"), "evil\n").expect("write")),
        ("a link that leads out", |layer, _| symlink("/etc/passwd", layer.join("node_modules/victim/leak")).expect("symlink")),
        ("a starter", |layer, _| fs::write(layer.join("node_modules/.bin/run"), "#!/bin/sh\nevil\n").expect("write")),
    ];
    {
        let options = Options::default().set("build.registry", &registry.url).cold_store();
        let daemon = options.start().await;
        push(&daemon, "demo", &json!({ "victim": "1.0.0", "vite": "8.0.0" }));
        push(&daemon, "bystander", &json!({ "other": "1.0.0", "vite": "8.0.0" }));
        for project in ["demo", "bystander"] {
            daemon.sync_and_wait(project).await;
        }
        let told = text(&check_store(&daemon, &[]));
        assert!(told.contains(", 0 damaged"), "{told}");
        let edit = async |project: &str, n: usize| {
            daemon.put(project, "index.html", format!("<h1>{n}</h1>"));
            daemon.sync_and_wait(project).await["build"]["layer"].clone()
        };
        for (n, (what, tamper)) in tamperings.iter().enumerate() {
            tamper(&layer_with(&daemon, "victim"), &daemon.data());
            let found = check_store(&daemon, &[]);
            assert_eq!(found.status.code(), Some(1), "{what}: {}", text(&found));
            assert!(text(&found).contains("damaged: "), "{what}: {}", text(&found));
            let repaired = check_store(&daemon, &["--repair"]);
            assert!(repaired.status.success() && text(&repaired).contains("removed: "), "{what}: {}", text(&repaired));
            assert!(text(&check_store(&daemon, &[])).contains(", 0 damaged"), "{what}");
            assert_eq!((edit("demo", n).await, edit("bystander", n).await), (json!("miss"), json!("hit")), "{what}: {}", text(&repaired));
            let layer = layer_with(&daemon, "victim");
            assert_eq!(fs::read_to_string(layer.join("node_modules/victim/index.js")).expect("read"), GOOD, "{what}");
            let again = check_store(&daemon, &[]);
            assert!(again.status.success(), "{what}: {}", text(&again));
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_down_stops_no_build_with_known_dependencies() {
    let registry = with_vite(None, "console.log('fake');\n");
    let options = Options::default().set("build.registry", &registry.url).set("queue.max_attempts", 1).cold_store();
    let daemon = options.start().await;
    push(&daemon, "demo", &json!({ "vite": "8.0.0" }));
    assert_eq!(daemon.sync_and_wait("demo").await["build"]["layer"], "miss");
    registry.go_down();
    daemon.put("demo", "index.html", "<h1>1</h1>");
    assert_eq!(daemon.sync_and_wait("demo").await["build"]["layer"], "hit");
    fs::remove_dir_all(layer_with(&daemon, "vite")).expect("remove");
    daemon.put("demo", "index.html", "<h1>2</h1>");
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["build"]["layer"], "miss", "{answer:#}");
    push(&daemon, "new", &json!({ "vite": "8.0.0", "unknown": "1.0.0" }));
    let answer = daemon.sync_and_wait("new").await;
    let message = answer["build"]["failure"]["message"].as_str().expect("a message");
    assert!(message.contains("the registry did not answer as it should"), "{message}");
}

#[tokio::test]
async fn packages_with_binaries_work_without_their_install_scripts() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "vanilla");
    let dependencies = r#""devDependencies": { "esbuild": "0.25.12", "@swc/core": "1.13.5", "sharp": "0.34.4","#;
    daemon.edit("demo", "package.json", "\"devDependencies\": {", dependencies);
    daemon.put(
        "demo",
        "vite.config.js",
        "import * as esbuild from 'esbuild';\nimport swc from '@swc/core';\nimport sharp from 'sharp';\n\
         const png = await sharp({ create: { width: 2, height: 3, channels: 3, background: 'red' } }).png().toBuffer();\n\
         const typed = (await esbuild.transform('const a: number = 1', { loader: 'ts' })).code;\n\
         const { code } = await swc.transform('const b: number = 2', { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } });\n\
         console.log('NATIVE', (await sharp(png).metadata()).height, typed.trim(), code.trim());\nexport default {};\n",
    );
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["status"], "ready", "{answer:#} {}", daemon.build_log("demo").await);
    assert_eq!(line(&daemon, "demo", "NATIVE").await, "NATIVE 3 const a = 1; const b = 2;");
    let unbuilt = line(&daemon, "demo", "3 packages have install scripts, which are never run").await;
    assert!(["esbuild", "@swc/core", "sharp"].iter().all(|name| unbuilt.contains(name)), "{unbuilt}");
}

/// In place of pnpm: tells what it can see and do.
const NOSY: &str = r"#!/usr/bin/env node
import fs from 'node:fs';
import net from 'node:net';
import { spawnSync } from 'node:child_process';
if (process.argv[2] === '--version') { console.log('12.21.0'); process.exit(0); }
const data = process.cwd().replace(/\/layers\/[^/]*$/, ''), told = [];
const attempt = (what, work) => { try { work(); told.push(`${what}: yes`); } catch (error) { told.push(`${what}: ${error.code ?? error.message}`); } };
const connects = (options) => new Promise((done) => {
  const socket = net.connect(options, () => { socket.destroy(); done('yes'); });
  socket.on('error', (error) => done(error.code));
});
attempt('state', () => fs.readFileSync(data + '/state.db'));
attempt('token', () => fs.readFileSync(data + '/token'));
attempt('sources', () => fs.readdirSync(data + '/projects'));
attempt('other layers', () => { if (fs.readdirSync(data + '/layers').length < 2) throw new Error('only its own'); });
attempt('accounts', () => fs.readFileSync('/etc/shadow'));
attempt('keys', () => fs.readdirSync('/etc/ssl/private'));
attempt('daemon', () => { if (!fs.readdirSync('/proc').some((id) => /^\d+$/.test(id) && fs.readFileSync(`/proc/${id}/cmdline`, 'latin1').endsWith('\0serve\0'))) throw new Error('not there'); });
if (process.env.HTTPS_PROXY) attempt('system', () => fs.writeFileSync('/usr/evil-of-a-test', ''));
attempt('namespace', () => { if (spawnSync('unshare', ['--user', 'true']).status !== 0) throw new Error('refused'); });
attempt('descriptors', () => { if (!fs.readdirSync('/proc/self/fd').some((fd) => { try { return fs.statSync(`/proc/self/fd/${fd}`).isDirectory() && fs.readlinkSync(`/proc/self/fd/${fd}`) !== '/proc/self/fd' && !/^\/proc\/\d+\/fd$/.test(fs.readlinkSync(`/proc/self/fd/${fd}`)); } catch { return false; } })) throw new Error('none'); });
attempt('own folder', () => fs.writeFileSync('here', ''));
attempt('store', () => fs.writeFileSync(data + '/shared-store/here', ''));
attempt('certificates', () => fs.readdirSync('/etc/ssl/certs'));
const port = Number(fs.readFileSync('package.json', 'utf8').match(/port-(\d+)/)[1]);
told.push('loopback: ' + await connects({ host: '127.0.0.1', port }));
told.push('proxy: ' + (process.env.HTTPS_PROXY ? await connects({ host: '127.0.0.1', port: Number(new URL(process.env.HTTPS_PROXY).port) }) : 'none'));
console.log(JSON.stringify({ name: 'pnpm', level: 'info', message: 'SEES ' + told.join('; ') }));
";

#[tokio::test]
async fn an_install_sees_its_own_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("temp dir");
    let nosy = dir.path().join("pnpm.mjs");
    fs::write(&nosy, NOSY).expect("write");
    fs::set_permissions(&nosy, fs::Permissions::from_mode(0o755)).expect("chmod");
    let registry = Registry::start(None);
    let port = registry.host().rsplit_once(':').expect("a port").1.to_owned();
    for (sandbox, hidden) in [("required", true), ("off", false)] {
        let options = Options::default().set("build.pnpm", nosy.display()).set("build.registry", &registry.url).set("build.sandbox", sandbox);
        let daemon = options.cold_store().start().await;
        fs::create_dir(daemon.data().join("layers/other")).expect("mkdir");
        push(&daemon, "demo", &json!({ format!("port-{port}"): "1.0.0" }));
        daemon.sync_and_wait("demo").await;
        let sees = line(&daemon, "demo", "SEES").await;
        let may = |what: &str| sees.contains(&format!("{what}: yes"));
        for what in ["own folder", "store", "certificates"] {
            assert!(may(what), "{sandbox} {what}: {sees}");
        }
        assert_eq!(may("proxy"), hidden, "{sandbox}: {sees}");
        for what in ["state", "token", "sources", "other layers", "daemon", "loopback"] {
            assert_eq!(may(what), !hidden, "{sandbox} {what}: {sees}");
        }
        // Whether a plain process may depends on who runs the tests.
        for what in ["accounts", "keys", "system", "namespace", "descriptors"] {
            assert!(!hidden || !may(what), "{sandbox} {what}: {sees}");
        }
    }
}
