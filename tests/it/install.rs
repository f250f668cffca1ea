//! `scripts/install`, for real: in a throw-away copy of this machine (an overlay that nobody else sees), up to a preview
//! through the installed nginx site.
//!
//! Invariant: nothing outside of the copy changes, whatever the script does. It needs root (the copy is a mount namespace),
//! which `scripts/test` has or gets by sudo.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Makes the copy, with a network of its own (its loopback device is up, nothing else), and runs `$1` in it.
const COPY: &str = r#"
M=$(mktemp -d)
unshare --mount --pid --fork --kill-child --propagation private bash -euc '
  M=$0
  mount -t tmpfs tmpfs "$M"; mkdir "$M/up" "$M/work" "$M/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$M/up,workdir=$M/work" "$M/root"
  mount --rbind /dev "$M/root/dev"; mount --rbind /sys "$M/root/sys"; mount -t proc proc "$M/root/proc"
  mount -t tmpfs tmpfs "$M/root/run"; mount -t tmpfs -o mode=1777 tmpfs "$M/root/tmp"
  mkdir -p "$M/root/oldroot"; cd "$M/root"; pivot_root . oldroot; cd /; umount -l /oldroot
  cd "$1"
  exec bwrap --dev-bind / / --proc /proc --unshare-net --cap-add ALL bash -euc "$2"
' "$M" "$PWD" "$1"
code=$?
rmdir "$M"
exit $code
"#;

/// What the script is run with the first time.
const FIRST: &str = "--domain apps.example.org --api-host build.example.org --embed-origin https://app.example.org";

/// Starts what systemd would start: the unit's command as its user, with its environment, credentials and umask.
const START: &str = r"
start_daemon() {
  mkdir -p /run/credentials; cp /etc/previewd/credentials/* /run/credentials/
  chown -R previewd: /run/credentials; chmod 500 /run/credentials; chmod 400 /run/credentials/*
  sed -n 's/^ExecStart=/umask 0027; cd \/var\/lib\/previewd; exec /p' /etc/systemd/system/previewd.service >/run/start
  setpriv --reuid previewd --regid previewd --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin CREDENTIALS_DIRECTORY=/run/credentials sh /run/start 2>/run/log &
  DAEMON=$!
  for _ in $(seq 300); do [ -e /var/lib/previewd/listen ] && return; sleep 0.1; done
  cat /run/log; exit 1
}
stop_daemon() { kill $DAEMON; wait $DAEMON; }
";

/// Runs `script` in a copy of this machine; it is to end well. `$INSTALL` runs scripts/install with this test's binary.
fn in_a_copy(script: &str) -> String {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "bash" } else { "sudo" });
    command.args(if root { &["-c"][..] } else { &["-n", "bash", "-c"] });
    let install = format!("INSTALL='scripts/install --binary {}'; {START}", env!("CARGO_BIN_EXE_previewd"));
    command.args([COPY, "bash", &format!("{install}{script}")]).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let output = command.output().expect("run");
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    told
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What there would be on this machine.
fn traces() -> Vec<&'static str> {
    let paths = ["/etc/previewd", "/var/lib/previewd", "/etc/systemd/system/previewd.service", "/etc/nginx/sites-enabled/previewd.conf"];
    paths.into_iter().filter(|path| Path::new(path).exists()).collect()
}

#[test]
fn a_dry_run_tells_every_change_and_makes_none() {
    let before = traces();
    let mut command = Command::new("scripts/install");
    command.arg("--dry-run").args(FIRST.split(' ')).args(["--binary", env!("CARGO_BIN_EXE_previewd")]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if before.is_empty() {
        let output = command.output().expect("run");
        let told = text(&output);
        assert!(output.status.success() && told.contains("changes that would be made"), "{told}");
        let steps = ["user previewd", "www-data joins", "/etc/previewd/previewd.toml", "PREVIEWD__AUTH__TOKENS", "/usr/local/bin/previewd"];
        for step in steps.into_iter().chain(["previewd.service", "previewd.socket", "sites-available/previewd.conf", "nginx -t"]) {
            assert!(told.contains(step), "{step} in {told}");
        }
        assert_eq!(traces(), before, "{told}");
    }
    in_a_copy(&format!(
        "if [ -e /etc/previewd ]; then scripts/install uninstall --purge; fi
         touch /run/begin; $INSTALL --dry-run {FIRST}
         changed=$(find /etc /usr/local /var/lib -newer /run/begin); [ -z \"$changed\" ] || {{ echo \"changed: $changed\"; exit 1; }}"
    ));
}

#[test]
fn what_was_said_wrong_changes_nothing() {
    let wrong = [
        ("", "needs --domain and --api-host"),
        ("--domain apps.example.org --api-host build.apps.example.org", "would take it for a preview"),
        ("--domain Apps --api-host b", "not a host name"),
        ("--domain a --api-host b --embed-origin x\"y", "not an origin"),
        ("--domain a --api-host b --embed-origin https://x;y", "not an origin"),
        ("--domain a --api-host b --source azure://x\"y", "not an address"),
        ("--nonsense", "unknown option --nonsense"),
        ("--purge", "belongs to uninstall"),
        ("--binary /no/such/file", "there is no /no/such/file"),
    ];
    for (arguments, expected) in wrong.into_iter().filter(|_| traces().is_empty()) {
        let arguments = arguments.split_whitespace().chain(["--dry-run"]);
        let output = Command::new("scripts/install").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("run");
        let told = text(&output);
        assert!(!output.status.success() && told.contains(expected) && !told.contains("  + "), "{expected}: {told}");
    }
}

#[test]
fn installed_it_serves_previews_and_an_upgrade_keeps_what_is_there() {
    let told = in_a_copy(&format!(
        r#"
$INSTALL {FIRST}
echo "-- again"; $INSTALL
echo "-- modes"; cd /etc/previewd; stat -c '%a %U:%G %n' . previewd.toml credentials credentials/* /var/lib/previewd /usr/local/bin/previewd; cd - >/dev/null
nginx; start_daemon
export PREVIEWD_URL=http://127.0.0.1:8080 PREVIEWD_TOKEN=$(cat /etc/previewd/credentials/PREVIEWD__AUTH__TOKENS)
mkdir -p /var/lib/previewd/source; chown previewd: /var/lib/previewd/source
setpriv --reuid previewd --regid previewd --init-groups previewd --config /etc/previewd/previewd.toml push tests/fixtures/sites/static-html --project demo
preview() {{ curl -sS -D /run/head -H "Host: demo.apps.example.org" http://127.0.0.1/ >/run/body; head -n 1 /run/head; grep -i '^content-security-policy' /run/head || true; cat /run/body; echo; }}
echo "-- preview"; preview
echo "-- api"; curl -sS -o /run/body -w '%{{http_code}}\n' -H "Host: build.example.org" http://127.0.0.1/status/demo
curl -sS -w '%{{http_code}}\n' -H "Host: build.example.org" -H "Authorization: Bearer $PREVIEWD_TOKEN" http://127.0.0.1/status/demo
echo "-- nginx alone"; kill -STOP $DAEMON; preview; kill -CONT $DAEMON
echo "-- www-data reads"; cd /var/lib/previewd; for f in state.db projects/demo/frontend/index.html projects/demo/dist/index.html; do
  setpriv --reuid www-data --regid www-data --init-groups cat "$f" >/dev/null 2>&1 && echo "yes $f" || echo "no $f"; done; cd - >/dev/null
stop_daemon
echo "-- private"; cp -p /etc/previewd/previewd.toml /run/kept.toml; printf '[preview]\nprivate = true\n' >>/etc/previewd/previewd.toml
start_daemon; preview; stop_daemon; cp -p /run/kept.toml /etc/previewd/previewd.toml
echo "-- upgrade"
cp {binary} /run/newer; printf newer >>/run/newer
scripts/install --binary /run/newer; cmp /run/newer /usr/local/bin/previewd
start_daemon; preview
[ "$PREVIEWD_TOKEN" = "$(cat /etc/previewd/credentials/PREVIEWD__AUTH__TOKENS)" ]
stop_daemon
echo "-- uninstall"; scripts/install uninstall; ls -d /etc/previewd /var/lib/previewd/state.db; nginx -t; scripts/install uninstall
scripts/install uninstall --purge; ! id previewd; ! ls -d /etc/previewd /var/lib/previewd /etc/nginx/snippets/previewd-*
"#,
        binary = env!("CARGO_BIN_EXE_previewd")
    ));
    let part =
        |name: &str| told.split(&format!("-- {name}\n")).nth(1).unwrap_or_else(|| panic!("{name}: {told}")).split("\n-- ").next().unwrap_or_default();
    assert!(part("again").contains("nothing to change"), "{told}");
    for mode in
        ["750 root:previewd .", "640 root:previewd previewd.toml", "700 root:root credentials", "600 root:root credentials/PREVIEWD__AUTH__TOKENS"]
    {
        assert!(part("modes").contains(mode), "{mode}: {told}");
    }
    for name in ["preview", "nginx alone", "upgrade"] {
        let part = part(name);
        assert!(
            part.contains("HTTP/1.1 200") && part.contains("<h1>") && part.contains("frame-ancestors 'self' https://app.example.org"),
            "{name}: {told}"
        );
    }
    assert!(part("api").starts_with("401\n") && part("api").contains("\"state\":\"ready\""), "{told}");
    let reads = part("www-data reads");
    assert!(reads.contains("yes projects/demo/dist/index.html"), "{told}");
    for closed in ["state.db", "projects/demo/frontend/index.html"] {
        assert!(reads.contains(&format!("no {closed}")), "{closed}: {told}");
    }
    let private = part("private");
    assert!(private.contains("HTTP/1.1 401") && !private.contains("<h1>"), "nginx's site file is from before: {told}");
    assert!(part("upgrade").contains("+ /usr/local/bin/previewd") && part("upgrade").contains("changes made: 1\n"), "{told}");
    assert!(part("uninstall").contains("nothing to change"), "{told}");
}
