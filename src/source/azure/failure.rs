//! What an error of the client means for us: which [`SourceError`] it is, and whether
//! trying again can help.
//!
//! Invariant: only the store's own word that this blob does not exist counts as "missing".
//! A caller deletes what is missing, so any other 404 (a wrong account, a proxy, a container
//! that is gone) must be an error.

use std::error::Error;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::HeaderName;

use super::SourceError;
use super::redact::Redactor;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: SourceError,
    pub(super) retry: Retry,
}

/// Whether another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    /// Nobody answers at that address: one quick try more, since somebody may be waiting and
    /// a restart of the store takes longer than we could bridge.
    Connect,
    /// With back-off; at least this long, where the store said so.
    BackOff(Option<Duration>),
}

impl Failure {
    pub(super) fn never(error: SourceError) -> Self {
        Self { error, retry: Retry::Never }
    }

    pub(super) fn again(error: SourceError) -> Self {
        Self { error, retry: Retry::BackOff(None) }
    }

    /// Nothing came for so long.
    pub(super) fn timeout(what: &str, after: Duration) -> Self {
        Self::again(SourceError::Unavailable(format!("{what} took longer than {} ms", after.as_millis())))
    }

    pub(super) fn of(error: &azure_core::Error, redactor: &Redactor) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, .. } => {
                let status = u16::from(*status);
                let code = error_code.as_deref().unwrap_or_default();
                let text = redactor.clean(&answer(status, code, &error.to_string()));
                match status {
                    401 | 403 => Self::never(SourceError::Denied(text)),
                    // Containers without anonymous access answer 409 to requests without credentials.
                    409 if code == "PublicAccessNotPermitted" => Self::never(SourceError::Denied(text)),
                    408 | 429 | 500.. => Self { error: SourceError::Unavailable(text), retry: Retry::BackOff(retry_after(error)) },
                    _ => Self::never(SourceError::Misconfigured(format!("the source answered {text}"))),
                }
            }
            ErrorKind::Credential if !is_transient(error) => Self::never(SourceError::Denied(redactor.describe(error))),
            ErrorKind::Connection => Self { error: SourceError::Unavailable(redactor.describe(error)), retry: Retry::Connect },
            // Cut connections, token services out of order, answers that are no XML.
            _ => Self::again(SourceError::Unavailable(redactor.describe(error))),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::never(SourceError::Local(error))
    }
}

/// The blob is not there, and its container is.
pub(super) fn is_missing(error: &azure_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { status: StatusCode::NotFound, error_code: Some(code), .. } if code == "BlobNotFound")
}

/// The container is there already.
pub(super) fn is_there(error: &azure_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "ContainerAlreadyExists")
}

/// The token service had a hiccup, rather than an opinion about us. A managed identity's
/// endpoint says 404 or 410 while it is being updated.
fn is_transient(error: &azure_core::Error) -> bool {
    let mut layer: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = layer {
        match current.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind) {
            Some(ErrorKind::Connection | ErrorKind::Io) => return true,
            Some(ErrorKind::HttpResponse { status, .. }) => {
                return matches!(u16::from(*status), 404 | 408 | 410 | 429 | 500..);
            }
            _ => layer = current.source(),
        }
    }
    false
}

fn retry_after(error: &azure_core::Error) -> Option<Duration> {
    let ErrorKind::HttpResponse { raw_response: Some(response), .. } = error.kind() else { return None };
    let seconds = response.headers().get_optional_str(&HeaderName::from_static("retry-after"))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Status, code and message, each once: the client's text begins with the status, and the
/// store's with the code.
fn answer(status: u16, code: &str, text: &str) -> String {
    let status = status.to_string();
    let text = without_markup(text.strip_prefix(&status).unwrap_or(text));
    let text = text.trim_start_matches([':', ' ']);
    let text = text.strip_prefix(code).unwrap_or(text).trim();
    // Where there is no code the client gives the status again.
    let code = if code == status { "" } else { code };
    [&format!("HTTP {status}"), code, text].map(str::trim).into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// The text of the XML or HTML that an error answer carries.
fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_tag = false;
    for c in text.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                out.push(' ');
            }
            _ if !in_tag => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use azure_core::http::RawResponse;
    use azure_core::http::headers::Headers;

    use super::*;

    fn http(status: u16, code: &str, body: &str) -> azure_core::Error {
        let mut headers = Headers::new();
        headers.insert("retry-after", "7");
        let raw = RawResponse::from_bytes(status.into(), headers, body.to_owned());
        let kind = ErrorKind::HttpResponse { status: status.into(), error_code: Some(code.to_owned()), raw_response: Some(Box::new(raw)) };
        azure_core::Error::with_message(kind, format!("{status}: {body}"))
    }

    fn fate(error: &azure_core::Error) -> (&'static str, Retry) {
        let failure = Failure::of(error, &Redactor::new(Vec::new()));
        let name = match failure.error {
            SourceError::Unavailable(_) => "unavailable",
            SourceError::Denied(_) => "denied",
            SourceError::Misconfigured(_) => "misconfigured",
            _ => "other",
        };
        (name, failure.retry)
    }

    #[test]
    fn statuses() {
        let wait = Retry::BackOff(Some(Duration::from_secs(7)));
        assert_eq!(fate(&http(403, "AuthenticationFailed", "")), ("denied", Retry::Never));
        assert_eq!(fate(&http(409, "PublicAccessNotPermitted", "")), ("denied", Retry::Never));
        assert_eq!(fate(&http(404, "ContainerNotFound", "")), ("misconfigured", Retry::Never));
        assert_eq!(fate(&http(400, "InvalidHeaderValue", "")), ("misconfigured", Retry::Never));
        assert_eq!(fate(&http(429, "", "")), ("unavailable", wait));
        assert_eq!(fate(&http(503, "ServerBusy", "")), ("unavailable", wait));
    }

    #[test]
    fn an_answer_says_each_thing_once() {
        assert_eq!(answer(404, "404", "404: <html>not here</html>"), "HTTP 404: not here");
        assert_eq!(answer(302, "", "302"), "HTTP 302");
        assert_eq!(answer(503, "ServerBusy", "503: <Error><Code>ServerBusy</Code></Error>"), "HTTP 503: ServerBusy");
    }

    #[test]
    fn only_blob_not_found_is_missing() {
        assert!(is_missing(&http(404, "BlobNotFound", "")));
        for code in ["ContainerNotFound", "ResourceNotFound", "404", ""] {
            assert!(!is_missing(&http(404, code, "")), "{code}");
        }
    }

    #[test]
    fn token_errors_are_told_apart_by_their_cause() {
        let wrap = |inner| azure_core::Error::with_error(ErrorKind::Credential, inner, "authentication failed");
        assert_eq!(fate(&wrap(http(400, "invalid_client", ""))), ("denied", Retry::Never));
        assert_eq!(fate(&wrap(http(503, "", ""))), ("unavailable", Retry::BackOff(None)));
        assert_eq!(fate(&wrap(ErrorKind::Connection.into())), ("unavailable", Retry::BackOff(None)));
        assert_eq!(fate(&azure_core::Error::with_message(ErrorKind::Credential, "no identity")), ("denied", Retry::Never));
    }

    #[test]
    fn an_answer_is_told_without_markup_and_secrets() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>no.\nRequestId:1</Message>\
                    <AuthenticationErrorDetail>/acct/c?sig=SECRET</AuthenticationErrorDetail></Error>";
        let failure = Failure::of(&http(403, "AuthenticationFailed", body), &Redactor::new(Vec::new()));
        assert_eq!(
            failure.error.to_string(),
            "the source refused our credentials: HTTP 403: AuthenticationFailed: no. RequestId:1 /acct/c?[redacted]"
        );
    }
}
