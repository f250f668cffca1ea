//! Keeps secrets out of every text that leaves this module.
//!
//! Invariant: no error text, log line or status built from a client error carries a key, a
//! signature, a token or a query string (where a SAS has its signature). Two nets, since
//! either may have a hole: the secrets that we hold are replaced wherever they occur, and
//! whatever looks like a secret is replaced too. Texts are also cut and put on one line, for
//! they go into logs and answers.

use std::error::Error;

use azure_core::credentials::Secret;

/// Longest text that is passed on, in characters; error pages of proxies can be huge.
const TEXT_CHARS_MAX: usize = 400;
/// Shorter texts are no secrets; replacing them would garble messages.
const SECRET_CHARS_MIN: usize = 8;
const HIDDEN: &str = "[redacted]";
/// Names whose value is hidden, as `name=value`, `name: value` or `"name":"value"`.
const SECRET_NAMES: [&str; 11] = [
    "sig",
    "signature",
    "accountkey",
    "sharedaccesssignature",
    "access_token",
    "refresh_token",
    "client_secret",
    "client_assertion",
    "x-identity-header",
    "authorization",
    "password",
];
/// Words of an `Authorization` header that a credential follows.
const SCHEMES: [&str; 3] = ["bearer", "sharedkey", "sharedkeylite"];
/// Shortest word after a scheme that is taken for a credential, in characters.
const CREDENTIAL_CHARS_MIN: usize = 16;
/// Shortest base64 with padding that is taken for a key or an HMAC, in characters.
const BASE64_CHARS_MIN: usize = 40;

/// Knows the secrets in use, and how secrets look.
#[derive(Debug)]
pub(super) struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets }
    }

    /// The messages of `error` and its sources on one line, without secrets. Layers of the
    /// client that only wrap a cause are left out: they add words and no knowledge.
    pub(super) fn describe(&self, error: &azure_core::Error) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut layer: Option<&dyn Error> = Some(error);
        while let Some(current) = layer {
            layer = current.source();
            let wraps = current.is::<azure_core::Error>() && layer.is_some();
            let text = current.to_string();
            // Some errors print their source themselves.
            if !wraps && !parts.iter().any(|part| part.contains(&text)) {
                parts.push(text);
            }
        }
        self.clean(&parts.join(": "))
    }

    /// `text` on one line, cut, without secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if secret.secret().len() >= SECRET_CHARS_MIN {
                text = text.replace(secret.secret(), HIDDEN);
            }
        }
        let hidden = hide_what_looks_secret(&text);
        let line = hidden.split(|c: char| c.is_whitespace() || c.is_control());
        let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(TEXT_CHARS_MAX) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        }
    }
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "'\"`()<>[]{},;\\".contains(c)
}

fn hide_what_looks_secret(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Set by a name or a scheme: the least length at which the next word is its secret.
    let mut expect_secret: Option<usize> = None;
    // A name that is one only if ':' or '=' follows, for texts also speak of "Authorization".
    let mut after_name = false;
    for piece in text.split_inclusive(is_delimiter) {
        let word = piece.trim_end_matches(is_delimiter);
        let delimiter = &piece[word.len()..];
        let name = word.trim_matches([':', '=']).to_ascii_lowercase();
        if SCHEMES.contains(&name.as_str()) {
            out.push_str(word);
            expect_secret = Some(CREDENTIAL_CHARS_MIN);
        } else if SECRET_NAMES.contains(&name.as_str()) {
            out.push_str(word);
            expect_secret = word.ends_with([':', '=']).then_some(1);
            after_name = true;
        } else if name.is_empty() {
            // Quotes and colons between a name and its value.
            out.push_str(word);
            if after_name && !word.is_empty() {
                expect_secret = Some(1);
            }
        } else if expect_secret.take().is_some_and(|least| word.len() >= least) || looks_secret(word) {
            out.push_str(HIDDEN);
        } else {
            out.push_str(&hide_in_word(word));
        }
        after_name &= name.is_empty() || SECRET_NAMES.contains(&name.as_str());
        out.push_str(delimiter);
    }
    out
}

/// A JWT, or base64 of a key or an HMAC.
fn looks_secret(word: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=-_".contains(c);
    let jwt = word.starts_with("eyJ") && word.len() >= CREDENTIAL_CHARS_MIN;
    jwt || (word.len() >= BASE64_CHARS_MIN && word.ends_with('=') && word.chars().all(base64))
}

/// Hides query strings, user names in URLs, and `name=value` of secret names.
fn hide_in_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(at) = word.find('?')
        && word[at..].contains('=')
    {
        word.replace_range(at + 1.., HIDDEN);
    }
    if let Some(host) = word.find("://").map(|at| at + 3) {
        let end = word[host..].find('/').map_or(word.len(), |at| host + at);
        if let Some(at) = word[host..end].rfind('@') {
            word.replace_range(host..host + at, HIDDEN);
        }
    }
    let lower = word.to_ascii_lowercase();
    let values = SECRET_NAMES.iter().filter_map(|name| {
        let start = lower.find(&format!("{name}="))?;
        Some(start + name.len() + 1)
    });
    if let Some(start) = values.min() {
        word.replace_range(start.., HIDDEN);
    }
    word
}

#[cfg(test)]
mod tests {
    use azure_core::error::ErrorKind;

    use super::*;

    const KEY: &str = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYg==";
    const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3N0b3JhZ2UifQ.c2lnbmF0dXJl";

    fn clean(text: &str) -> String {
        Redactor::new(Vec::new()).clean(text)
    }

    #[test]
    fn real_looking_texts_lose_their_secrets_and_keep_the_rest() {
        let cases = [
            (
                "error sending request for url (https://a.blob.core.windows.net/c/x?sv=2022-11-02&sig=Ab%2Fc%3D&se=2030): refused",
                "error sending request for url (https://a.blob.core.windows.net/c/x?[redacted]): refused",
            ),
            ("GET /c?comp=list&sig=abc%3D HTTP/1.1", "GET /c?[redacted] HTTP/1.1"),
            ("AccountName=acct;AccountKey=abc/def==;BlobEndpoint=http://h/acct", "AccountName=acct;AccountKey=[redacted];BlobEndpoint=http://h/acct"),
            ("SharedAccessSignature=sv=1&sig=xyz", "SharedAccessSignature=[redacted]"),
            ("Authorization: SharedKey acct:c2lnbmF0dXJlYmFzZTY0", "Authorization: SharedKey [redacted]"),
            ("authorization: something", "authorization: [redacted]"),
            ("http://user:pass@proxy:3128/x", "http://[redacted]@proxy:3128/x"),
            ("the Authorization header and its signature are wrong", "the Authorization header and its signature are wrong"),
            ("what? a bearer token is missing = bad", "what? a bearer token is missing = bad"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected);
        }
        for text in [
            format!("Bearer {JWT}"),
            format!("{{\"access_token\":\"{JWT}\",\"expires_in\":1}}"),
            format!("{{\"access_token\" : \"short-opaque\"}} {JWT}"),
            format!("client_assertion={JWT}&grant_type=x"),
            format!("The MAC signature found in the HTTP request '{KEY}' is not the same"),
        ] {
            let text = clean(&text);
            assert!(text.contains(HIDDEN) && !text.contains("eyJ") && !text.contains("Zm9v") && !text.contains("opaque"), "{text}");
        }
    }

    #[test]
    fn secrets_that_we_hold_go_wherever_they_stand() {
        let redactor = Redactor::new(vec![Secret::new("p%2Fq%3Dr-raw"), Secret::new("")]);
        assert_eq!(redactor.clean("x-p%2Fq%3Dr-raw-y"), "x-[redacted]-y");
    }

    #[test]
    fn a_chain_of_errors_is_one_clean_short_line() {
        let cause = std::io::Error::other("peer said\n  ?sig=SECRET&se=1\u{7} no");
        let inner = azure_core::Error::with_error(ErrorKind::Io, cause, "failed to execute `reqwest` request");
        let outer = azure_core::Error::with_error(ErrorKind::Io, inner, "policy: https://h/?sig=SECRET");
        let text = Redactor::new(Vec::new()).describe(&outer);
        assert_eq!(text, "peer said ?[redacted] no");
        let long = azure_core::Error::with_message(ErrorKind::Other, "ä".repeat(5000));
        assert_eq!(Redactor::new(Vec::new()).describe(&long).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
