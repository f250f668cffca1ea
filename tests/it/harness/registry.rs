//! A registry of packages that tests publish: packuments and tarballs over HTTP, with a token where one is set.
//!
//! It runs on threads of its own, so that tests with runtimes of their own can share it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// An entry of a tarball, written as it is: names are not checked.
pub(crate) enum Entry<'a> {
    File(&'a str, &'a [u8]),
    Symlink(&'a str, &'a str),
}

#[derive(Default)]
struct Served {
    /// Path → type and body.
    files: BTreeMap<String, (&'static str, Vec<u8>)>,
    packuments: BTreeMap<String, Value>,
    /// Lines of requests, with `authorization` behind them where it was there.
    asked: Vec<String>,
    down: bool,
}

/// The running registry; it ends with the process.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) url: String,
    served: Arc<Mutex<Served>>,
}

impl Registry {
    pub(crate) fn start(token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let registry = Self { url: format!("http://{}/", listener.local_addr().expect("address")), served: Arc::default() };
        let served = registry.served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let served = served.clone();
                // A client that goes away is no failure of a test.
                std::thread::spawn(move || drop(answer(stream, &served, token)));
            }
        });
        registry
    }

    /// `host:port`.
    pub(crate) fn host(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }

    /// Publishes a version; `manifest` is laid over name and version. Returns the integrity of the tarball.
    pub(crate) fn publish(&self, name: &str, version: &str, manifest: &Value, entries: &[Entry<'_>]) -> String {
        let mut package = json!({ "name": name, "version": version });
        merge(&mut package, manifest);
        let text = package.to_string();
        let own = Entry::File("package/package.json", text.as_bytes());
        let all: Vec<_> = std::iter::once(&own).chain(entries).collect();
        self.publish_tarball(name, version, manifest, &tarball(&all))
    }

    /// The same with a tarball that is there.
    pub(crate) fn publish_tarball(&self, name: &str, version: &str, manifest: &Value, tarball: &[u8]) -> String {
        let path = format!("/{name}/-/{}-{version}.tgz", name.rsplit('/').next().expect("a name"));
        let integrity = format!("sha512-{}", BASE64.encode(&Sha512::digest(tarball)));
        let mut package = json!({ "name": name, "version": version });
        package["dist"] = json!({ "tarball": format!("{}{}", self.url.trim_end_matches('/'), path), "integrity": integrity });
        merge(&mut package, manifest);
        let mut served = self.served.lock().expect("served");
        served.files.insert(path, ("application/octet-stream", tarball.to_vec()));
        let packument =
            served.packuments.entry(name.to_owned()).or_insert_with(|| json!({ "name": name, "dist-tags": {}, "versions": {}, "time": {} }));
        packument["dist-tags"]["latest"] = json!(version);
        packument["versions"][version] = package;
        // Older than any minimal age.
        packument["time"][version] = json!("2020-01-01T00:00:00.000Z");
        integrity
    }

    /// From now on every connection is closed without an answer.
    pub(crate) fn go_down(&self) {
        self.served.lock().expect("served").down = true;
    }

    /// What was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.served.lock().expect("served").asked.clone()
    }

    pub(crate) fn was_asked_for(&self, text: &str) -> bool {
        self.asked().iter().any(|line| line.contains(text))
    }
}

/// A gzipped tarball of exactly these entries.
fn tarball(entries: &[&Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (name, content): (&str, &[u8]) = match entry {
            Entry::File(name, content) => (name, content),
            Entry::Symlink(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name_literal(target).expect("short");
                (name, &[])
            }
        };
        // Not `set_path`, which refuses what an attacker would write.
        header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content).expect("append");
    }
    archive.into_inner().expect("tar").finish().expect("gzip")
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) if into[key].is_object() => merge(&mut into[key], value),
            _ => into[key] = value.clone(),
        }
    }
}

fn answer(stream: TcpStream, served: &Mutex<Served>, token: Option<&str>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut authorization) = (String::new(), String::new());
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            value.trim().clone_into(&mut authorization);
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().replace("%2f", "/").replace("%2F", "/");
    let (status, kind, body) = {
        let mut served = served.lock().expect("served");
        if served.down {
            return Ok(());
        }
        served.asked.push(format!("{} {authorization}", request.trim_end()));
        let packument = served.packuments.get(path.trim_start_matches('/'));
        match (packument, served.files.get(&path)) {
            _ if token.is_some_and(|token| authorization != format!("Bearer {token}")) => ("401 Unauthorized", "application/json", b"{}".to_vec()),
            (Some(packument), _) => ("200 OK", "application/json", packument.to_string().into_bytes()),
            (None, Some((kind, body))) => ("200 OK", *kind, body.clone()),
            (None, None) => ("404 Not Found", "application/json", b"{}".to_vec()),
        }
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
