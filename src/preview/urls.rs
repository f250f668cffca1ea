//! Addresses: of the API, of previews in host mode and in path mode. Pure.

use reqwest::Url;

use crate::domain::{BuildId, ProjectId};

/// Separates a build id from a label in a permalink's host name.
const PERMALINK_SEPARATOR: &str = "--";

/// Knows where everything is reached.
#[derive(Debug, Clone)]
pub struct Urls {
    /// Without a slash at the end.
    public_url: String,
    /// With its port; empty: path mode only.
    preview_domain: String,
}

/// What a host name below the preview domain stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTarget {
    /// Of the project.
    pub label: String,
    /// A certain build, where the name is a permalink.
    pub build: Option<BuildId>,
}

impl Urls {
    /// From `server.public_url` and `server.preview_domain`, with `{port}` filled in.
    pub fn new(public_url: &str, preview_domain: &str, port: u16) -> Self {
        let fill = |text: &str| text.replace("{port}", &port.to_string());
        Self { public_url: fill(public_url.trim_end_matches('/')), preview_domain: fill(preview_domain) }
    }

    /// The root of the API, without a slash at the end.
    pub fn public(&self) -> &str {
        &self.public_url
    }

    /// Where a project's live release is seen: host mode, where there is a preview domain.
    pub fn preview(&self, project: &ProjectId) -> String {
        if self.preview_domain.is_empty() {
            return format!("{}{}", self.public_url, Self::path_prefix(project));
        }
        format!("{}://{}.{}/", self.scheme(), project.label(), self.preview_domain)
    }

    /// Where one retained build is seen, for ever the same bytes.
    pub fn permalink(&self, project: &ProjectId, build: BuildId) -> String {
        let build_label = build.to_string().to_ascii_lowercase();
        let label = format!("{build_label}{PERMALINK_SEPARATOR}{}", project.label());
        // A host name's label ends at 63 characters; a longer project has its permalinks in path mode.
        if self.preview_domain.is_empty() || label.len() > 63 {
            return format!("{}{}@{build}/", self.public_url, Self::path_prefix(project));
        }
        format!("{}://{label}.{}/", self.scheme(), self.preview_domain)
    }

    /// Path mode's prefix of a project, with slashes around.
    pub fn path_prefix(project: &ProjectId) -> String {
        format!("/preview/{project}/")
    }

    /// Where previews' own origins are, as a policy of content names them; empty in path mode.
    pub fn preview_origins(&self) -> String {
        if self.preview_domain.is_empty() { String::new() } else { format!("{}://*.{}", self.scheme(), self.preview_domain) }
    }

    /// Whether previews have origins of their own.
    pub fn has_preview_origins(&self) -> bool {
        !self.preview_domain.is_empty()
    }

    /// Who may show previews in a frame and hear what they tell: who is configured, and the operator's page. None: any origin of this machine.
    pub fn frame_origins(&self, embed_origins: &[String]) -> Vec<String> {
        let mut origins = embed_origins.to_vec();
        let page = Url::parse(&self.public_url).map(|url| url.origin().ascii_serialization()).ok();
        origins.extend(page.filter(|page| !embed_origins.is_empty() && !embed_origins.contains(page)));
        origins
    }

    /// A call of the API on a project.
    pub fn call(&self, call: &str, project: &ProjectId) -> String {
        format!("{}/{call}/{project}", self.public_url)
    }

    /// What a `Host` header stands for, where it lies below the preview domain; never `None` there, or a preview's origin could
    /// reach the API: what cannot be read is a label that no project has. The port is not compared: a proxy in front may
    /// listen elsewhere.
    pub fn host_target(&self, host: &str) -> Option<HostTarget> {
        let name = without_port(host).to_ascii_lowercase();
        let domain = without_port(&self.preview_domain);
        let absolute = name.trim_end_matches('.');
        let label = absolute.strip_suffix(domain)?.strip_suffix('.')?;
        if domain.is_empty() {
            return None;
        }
        // With a dot at its end it is an origin of its own, which no address of ours leads to.
        if absolute != name {
            return Some(HostTarget { label: name, build: None });
        }
        // A label of a project never holds the separator, so what stands before it is a build.
        let permalink = label.split_once(PERMALINK_SEPARATOR).and_then(|(build, label)| Some((build.parse().ok()?, label)));
        Some(match permalink {
            Some((build, label)) => HostTarget { label: label.to_owned(), build: Some(build) },
            None => HostTarget { label: label.to_owned(), build: None },
        })
    }

    fn scheme(&self) -> &str {
        if self.public_url.starts_with("https:") { "https" } else { "http" }
    }
}

/// The name before the port, whatever the port looks like. An IPv6 address is cut short: it is no name.
fn without_port(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(domain: &str) -> Urls {
        Urls::new("http://127.0.0.1:{port}/", domain, 8080)
    }

    #[test]
    fn previews_have_their_own_origin_or_a_path() {
        let demo = "demo".parse().expect("id");
        assert_eq!(urls("localhost:{port}").preview(&demo), "http://demo.localhost:8080/");
        assert_eq!(urls("").preview(&demo), "http://127.0.0.1:8080/preview/demo/");
        let https = Urls::new("https://build.example", "apps.example", 1);
        assert_eq!(https.preview(&demo), "https://demo.apps.example/");
        let build = BuildId::from_parts(0, 1);
        assert_eq!(https.permalink(&demo, build), "https://00000000000000000000000001--demo.apps.example/");
        let long = "a".repeat(60).parse().expect("id");
        assert!(https.permalink(&long, build).starts_with("https://build.example/preview/aaa"));
    }

    #[test]
    fn hosts_are_told_apart() {
        let urls = urls("localhost:{port}");
        let label = |host: &str| urls.host_target(host).map(|t| (t.label, t.build.is_some()));
        assert_eq!(label("demo.localhost:8080"), Some(("demo".into(), false)));
        assert_eq!(label("Demo.LOCALHOST"), Some(("demo".into(), false)));
        assert_eq!(label("00000000000000000000000001--demo.localhost"), Some(("demo".into(), true)));
        assert_eq!(label("x--demo.localhost"), Some(("x--demo".into(), false)), "a preview's name that no project has");
        for unreadable in
            ["a.b.localhost", "demo.localhost.", "demo.localhost..:8080", ".localhost", "..localhost", "x.--a.localhost", "d\u{fffd}.localhost"]
        {
            let (label, permalink) = label(unreadable).unwrap_or_else(|| panic!("{unreadable} is below the domain"));
            assert!(!permalink && (label.parse::<ProjectId>().is_err()), "{unreadable}: {label}");
        }
        assert_eq!(label("demo.localhost:8080x"), Some(("demo".into(), false)));
        for other in ["localhost:8080", "localhost.", "127.0.0.1:8080", "[::1]:8080", "::1", "demo.localhost.evil", "evillocalhost", ""] {
            assert_eq!(label(other), None, "{other}");
        }
    }
}
