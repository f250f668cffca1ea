//! Which addresses webhooks may go to.
//!
//! Invariant: an address that is accepted has a host that the operator named, and nothing in it that is not sent as it stands.
//! Where that host's name leads is another question (`send.rs`), asked each time.

use reqwest::Url;

use crate::config;

/// Addresses of one project at most, and the longest, in characters.
pub(super) const URLS_MAX: usize = 5;
const URL_CHARS_MAX: usize = 2_000;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum TargetError {
    #[error("an address begins with https:// or http://, and has no name, password or fragment")]
    NotAnAddress,
    #[error("an address has at most {URL_CHARS_MAX} characters")]
    TooLong,
    #[error("{0} is none of the hosts in notify.hosts")]
    Host(String),
    #[error("at most {URLS_MAX} addresses")]
    TooMany,
}

/// What the operator allows.
#[derive(Debug)]
pub struct Rules {
    everywhere: Vec<String>,
    hosts: Vec<String>,
}

impl Rules {
    pub(super) fn new(config: &config::Notify) -> Self {
        Self { everywhere: config.urls.clone(), hosts: config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// The addresses of a project, as they are kept.
    pub fn accept(&self, urls: &[String]) -> Result<Vec<String>, (usize, TargetError)> {
        if urls.len() > URLS_MAX {
            return Err((URLS_MAX, TargetError::TooMany));
        }
        let checked = urls.iter().enumerate().map(|(at, url)| self.check_host(url).map(String::from).map_err(|error| (at, error)));
        checked.collect()
    }

    /// An address that webhooks may go to at this moment.
    pub(super) fn check(&self, url: &str) -> Result<Url, TargetError> {
        if self.everywhere.iter().any(|known| known == url) { parse(url) } else { self.check_host(url) }
    }

    fn check_host(&self, text: &str) -> Result<Url, TargetError> {
        let url = parse(text)?;
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        // A host without a port means the ports of https and http.
        let named = |known: &String| *known == format!("{host}:{port}") || (*known == host && url.port().is_none());
        if self.hosts.iter().any(named) { Ok(url) } else { Err(TargetError::Host(host)) }
    }
}

fn parse(text: &str) -> Result<Url, TargetError> {
    if text.chars().count() > URL_CHARS_MAX {
        return Err(TargetError::TooLong);
    }
    let url = Url::parse(text).map_err(|_| TargetError::NotAnAddress)?;
    let plain = ["http", "https"].contains(&url.scheme()) && url.has_host() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if plain && anonymous { Ok(url) } else { Err(TargetError::NotAnAddress) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let hosts = ["Chat.example", "hooks.example:8443", "[fd00::1]"].map(str::to_owned).to_vec();
        Rules::new(&config::Notify { urls: vec!["http://10.0.0.1/all".to_owned()], hosts, private: false })
    }

    #[test]
    fn only_hosts_that_were_named() {
        let accepted = |url: &str| rules().accept(&[url.to_owned()]).is_ok();
        for url in
            ["https://chat.example/hook?x=1", "http://CHAT.example", "https://chat.example./", "https://hooks.example:8443/a", "http://[fd00::1]/"]
        {
            assert!(accepted(url), "{url}");
        }
        for url in [
            "https://evil.example/",
            "https://chat.example.evil.example/",
            "https://evil.example\\@chat.example/",
            "https://chat.example@evil.example/",
            "https://user@chat.example/",
            "https://chat.example:444/",
            "https://hooks.example/",
            "https://chat.example/#x",
            "http://10.0.0.1/all",
            "ftp://chat.example/",
            "file:///etc/passwd",
            "chat.example",
            "",
        ] {
            assert!(!accepted(url), "{url}");
        }
        let many = vec!["https://chat.example/".to_owned(); URLS_MAX + 1];
        assert_eq!(rules().accept(&many), Err((URLS_MAX, TargetError::TooMany)));
        assert_eq!(rules().accept(&[format!("https://chat.example/{}", "x".repeat(URL_CHARS_MAX))]), Err((0, TargetError::TooLong)));
        assert!(rules().check("http://10.0.0.1/all").is_ok() && rules().check("http://10.0.0.1/other").is_err(), "the operator's own");
    }
}
