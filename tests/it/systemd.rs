//! The units: they load without a warning, are as tight as builds allow, and fit what the daemon needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use previewd::config::Config;

use crate::harness::guard;

const SERVICE: &str = include_str!("../../systemd/previewd.service");
const SOCKET: &str = include_str!("../../systemd/previewd.socket");

/// `systemd-analyze security`: 0 is closed, 10 is open; a service without any option has 9.6. What is left is what the
/// sandbox and the network need (see the unit).
const EXPOSURE_MAX: f32 = 3.4;
/// systemd of the oldest system that the units are for (Ubuntu 22.04). Newer keys would be warnings there.
const NEWER_THAN_249: [&str; 8] = [
    "DelegateSubgroup=",
    "ImportCredential=",
    "LoadCredentialEncrypted=",
    "MemoryZSwapMax=",
    "OpenFile=",
    "PrivatePIDs=",
    "RestartMaxDelaySec=",
    "RestartSteps=",
];
/// What keeps bubblewrap, Node.js or the daemon from working, and what it would do. Tried one by one: the kernel refuses a fresh /proc
/// to a user namespace while anything in the one outside is covered.
const BREAKERS: [(&str, &str); 10] = [
    ("MemoryDenyWriteExecute", "V8 writes code into memory"),
    ("PrivateUsers", "no user namespace below it can be set up as bubblewrap does"),
    ("ProcSubset", "covers /proc"),
    ("ProtectControlGroups", "no limits per build below Delegate="),
    ("ProtectHostname", "covers /proc/sys/kernel/hostname"),
    ("ProtectKernelLogs", "covers /proc/kmsg"),
    ("ProtectKernelTunables", "covers /proc/sys"),
    ("RestrictNamespaces", "a sandbox is namespaces"),
    ("RestrictSUIDSGID", "its filter answers openat2() with ENOSYS, which sources and releases are read by"),
    ("RootDirectory", "layers and tools are found by their real paths"),
];

/// Values of a key, in the order of the file.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn seconds(key: &str) -> Duration {
    let value = *values(SERVICE, key).last().unwrap_or_else(|| panic!("{key} is not set"));
    Duration::from_secs(value.parse().unwrap_or_else(|_| panic!("{key}={value}: in seconds, please")))
}

fn analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output().expect("systemd-analyze: scripts/test installs it")
}

/// The units as they are installed, but for the place of the binary, which need not be installed here.
fn units(dir: &Path) -> [String; 2] {
    let service = SERVICE.replace("/usr/local/bin/previewd", env!("CARGO_BIN_EXE_previewd"));
    [("previewd.service", service.as_str()), ("previewd.socket", SOCKET)].map(|(name, text)| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("write");
        path.to_str().expect("utf-8").to_owned()
    })
}

#[test]
fn the_units_load_without_a_warning() {
    let dir = guard::temp_dir();
    let [service, socket] = units(dir.path());
    let output = analyze(&["verify", "--man=no", &service, &socket]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
    // Would it say so?
    std::fs::write(&service, SERVICE.replace("WatchdogSec=", "WatchDog=")).expect("write");
    let output = analyze(&["verify", "--man=no", &service]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("WatchDog"), "{output:?}");
    for key in NEWER_THAN_249 {
        assert!(!SERVICE.contains(&format!("\n{key}")) && !SOCKET.contains(&format!("\n{key}")), "{key} is newer than the oldest system");
    }
}

#[test]
fn the_service_is_as_closed_as_builds_allow() {
    let dir = guard::temp_dir();
    let [service, _] = units(dir.path());
    let output = analyze(&["security", "--offline=true", "--no-pager", &service]);
    let told = String::from_utf8_lossy(&output.stdout);
    let score = told.lines().find_map(|line| line.split_once("Overall exposure level for previewd.service: ")?.1.split(' ').next());
    let score: f32 =
        score.and_then(|score| score.parse().ok()).unwrap_or_else(|| panic!("no score in {told}{}", String::from_utf8_lossy(&output.stderr)));
    println!("systemd-analyze security: {score}, at most {EXPOSURE_MAX}");
    assert!(score <= EXPOSURE_MAX, "{told}");
}

#[test]
fn nothing_in_the_unit_breaks_the_sandbox() {
    for (option, why) in BREAKERS {
        assert!(values(SERVICE, option).is_empty(), "{option}: {why}");
    }
    let families = values(SERVICE, "RestrictAddressFamilies").concat();
    assert!(families.is_empty() || families.contains("AF_NETLINK"), "bubblewrap needs netlink: {families}");
    let calls = values(SERVICE, "SystemCallFilter").concat();
    assert!(calls.is_empty() || calls.split(' ').any(|group| group == "@mount"), "bubblewrap mounts: {calls}");
}

#[test]
fn a_stop_has_the_time_that_it_needs() {
    let config = Config::load(None, []).expect("defaults");
    let (stop, needed) = (seconds("TimeoutStopSec"), previewd::server::stop_deadline(&config));
    assert!(stop > needed, "TimeoutStopSec={stop:?} is not longer than {needed:?}");
    assert_eq!(values(SERVICE, "KillMode"), ["mixed"], "builds are ended by the daemon, not under it");
    assert!(seconds("WatchdogSec") >= Duration::from_mins(1), "a look takes 10 s, and one in four may fail");
}

#[test]
fn every_credential_of_the_unit_is_known_and_optional() {
    let names: BTreeSet<&str> = values(SERVICE, "LoadCredential").iter().map(|value| value.split_once(':').expect("a path").0).collect();
    assert!(names.contains("PREVIEWD__AUTH__TOKENS") && names.contains("AZURE_STORAGE_CONNECTION_STRING"), "{names:?}");
    for name in &names {
        let path = format!("{name}:/etc/previewd/credentials/{name}");
        assert!(values(SERVICE, "LoadCredential").contains(&path.as_str()), "{name} comes from a file of its name");
    }
    let defaults = values(SERVICE, "SetCredential");
    assert_eq!(defaults, names_in_order(SERVICE).iter().map(|name| format!(r"{name}:\n")).collect::<Vec<_>>(), "a file may be missing");
    // As systemd hands them over where no file is there, and with one that is.
    let dir = guard::temp_dir();
    for name in &names {
        std::fs::write(dir.path().join(name), "\n").expect("write");
    }
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
        command.arg("check-config").env("CREDENTIALS_DIRECTORY", dir.path()).env("PREVIEWD__SERVER__LISTEN", "0.0.0.0:0");
        let output = command.output().expect("run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = check();
    assert!(code == Some(2) && told.contains("auth.tokens"), "{told}");
    std::fs::write(dir.path().join("PREVIEWD__AUTH__TOKENS"), "a-token-of-our-own\n").expect("write");
    assert_eq!(check(), (Some(0), String::new()));
    std::fs::write(dir.path().join("PREVIEWD__AUTH__TOKEN"), "a-token-of-our-own\n").expect("write");
    let (code, told) = check();
    assert!(code == Some(2) && told.contains("auth.token") && !told.contains("our-own"), "{told}");
}

fn names_in_order(unit: &str) -> Vec<&str> {
    values(unit, "LoadCredential").into_iter().filter_map(|value| value.split(':').next()).collect()
}

#[test]
fn the_socket_is_where_the_daemon_would_listen() {
    let config = Config::load(None, []).expect("defaults");
    assert_eq!(values(SOCKET, "ListenStream"), [config.server.listen.to_string()]);
    assert_eq!((values(SERVICE, "Requires"), values(SERVICE, "Also")), (vec!["previewd.socket"], vec!["previewd.socket"]));
    assert_eq!((values(SERVICE, "StateDirectoryMode"), values(SERVICE, "UMask")), (vec!["0750"], vec!["0027"]));
}
