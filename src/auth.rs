//! Who may call: bearer tokens, signed webhooks, and short-lived tokens for one project.
//!
//! Invariant: it is never off, and every comparison with a secret takes constant time.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::config;
use crate::domain::{DataDir, ProjectId};

/// How far the clock of who signs a webhook may be off, seconds.
const SIGNATURE_WINDOW_S: i64 = 300;
/// Longest `Authorization`, signature or token that is looked at, in characters.
const CREDENTIAL_CHARS_MAX: usize = 4096;
/// Random bytes of a generated token.
const TOKEN_BYTES: usize = 24;

/// What a short-lived token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Status, logs, events, builds.
    Read,
    /// Everything that changes something, and reading.
    Control,
    /// Opening a private preview.
    Preview,
}

impl Scope {
    fn allows(self, wanted: Self) -> bool {
        self == wanted || (self == Self::Control && wanted == Self::Read)
    }
}

/// The claims of a short-lived token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The project.
    pub sub: ProjectId,
    /// What it allows.
    pub scope: Scope,
    /// Until when, seconds since 1970.
    pub exp: u64,
}

/// What a request shows to prove who sends it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `Authorization: Bearer …`: a configured token or a project token.
    pub bearer: Option<&'a str>,
    /// `?token=…`, or the cookie of a private preview: a project token only, for addresses end up in logs and histories.
    pub project_token: Option<&'a str>,
    /// `X-Previewd-Signature`.
    pub signature: Option<&'a str>,
}

/// What is signed by a webhook.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// As on the request line.
    pub path_and_query: &'a str,
    /// As sent.
    pub body: &'a [u8],
    /// Seconds since 1970.
    pub now: i64,
}

/// Why a request is refused. The same for every reason: what is wrong with a guess is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a valid bearer token, signature or project token is needed")]
pub struct Unauthorized;

/// Knows the secrets.
pub struct Authenticator {
    tokens: Vec<String>,
    secrets: Vec<String>,
    generated: bool,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authenticator {{ {} tokens, {} secrets }}", self.tokens.len(), self.secrets.len())
    }
}

impl Authenticator {
    /// With the configured secrets; without a configured token, with the one in `{data_dir}/token`, made where there is none.
    pub fn open(config: &config::Auth, data: &DataDir) -> std::io::Result<Self> {
        let generated = config.tokens.is_empty();
        let tokens = if generated { vec![generated_token(data)?] } else { config.tokens.clone() };
        Ok(Self { tokens, secrets: config.webhook_secrets.clone(), generated })
    }

    /// Whether the token is one that the daemon made.
    pub fn is_generated(&self) -> bool {
        self.generated
    }

    /// Whether `credentials` allow `scope` on `project`; on every project where that is `None`.
    pub fn authorize(&self, credentials: Credentials<'_>, scope: Scope, project: Option<&ProjectId>) -> Result<(), Unauthorized> {
        let bearer = credentials.bearer.filter(|b| b.len() <= CREDENTIAL_CHARS_MAX);
        let known = |bearer: &str| self.tokens.iter().fold(false, |found, token| found | equal(token.as_bytes(), bearer.as_bytes()));
        if bearer.is_some_and(known) {
            return Ok(());
        }
        let token = bearer.or(credentials.project_token).filter(|token| token.len() <= CREDENTIAL_CHARS_MAX).ok_or(Unauthorized)?;
        let claims = self.claims(token).ok_or(Unauthorized)?;
        let ours = project == Some(&claims.sub) && claims.scope.allows(scope);
        if ours { Ok(()) } else { Err(Unauthorized) }
    }

    /// Like [`authorize`](Self::authorize) for control calls on a project that may be signed instead.
    pub fn authorize_signed(&self, credentials: Credentials<'_>, project: &ProjectId, signed: Signed<'_>) -> Result<(), Unauthorized> {
        match credentials.signature {
            Some(signature) if credentials.bearer.is_none() => self.check_signature(signature, signed),
            _ => self.authorize(credentials, Scope::Control, Some(project)),
        }
    }

    fn check_signature(&self, header: &str, signed: Signed<'_>) -> Result<(), Unauthorized> {
        if header.len() > CREDENTIAL_CHARS_MAX {
            return Err(Unauthorized);
        }
        let part = |name: &str| header.split(',').find_map(|part| part.trim().strip_prefix(name)).ok_or(Unauthorized);
        let (time, given) = (part("t=")?, part("v1=")?);
        let seconds: i64 = time.parse().map_err(|_| Unauthorized)?;
        if seconds.abs_diff(signed.now) > SIGNATURE_WINDOW_S.unsigned_abs() {
            return Err(Unauthorized);
        }
        let valid = self
            .secrets
            .iter()
            .fold(false, |found, secret| found | sign(secret, time, &signed).is_some_and(|expected| equal(expected.as_bytes(), given.as_bytes())));
        if valid { Ok(()) } else { Err(Unauthorized) }
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = 0;
        rules.set_required_spec_claims(&["exp", "sub"]);
        self.secrets
            .iter()
            .find_map(|secret| decode::<Claims>(token, &DecodingKey::from_secret(secret.as_bytes()), &rules).ok())
            .map(|data| data.claims)
    }
}

/// A short-lived token, signed with `secret`.
pub fn mint(secret: &str, claims: &Claims) -> anyhow::Result<String> {
    Ok(encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}

/// The HMAC-SHA256 of `{t}.{METHOD}.{path-and-query}.{body}`, in hex; `None` for a secret that no HMAC takes.
fn sign(secret: &str, time: &str, signed: &Signed<'_>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    for part in [time.as_bytes(), b".", signed.method.as_bytes(), b".", signed.path_and_query.as_bytes(), b".", signed.body] {
        mac.update(part);
    }
    Some(HEXLOWER.encode(&mac.finalize().into_bytes()))
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The token in `{data_dir}/token`, made at first start and readable by the owner only.
fn generated_token(data: &DataDir) -> std::io::Result<String> {
    match fs::read_to_string(data.token()) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let token = HEXLOWER.encode(&rand::random::<[u8; TOKEN_BYTES]>());
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(data.token())?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";
    const SECRET: &str = "a-webhook-secret-of-ours";

    fn authenticator() -> Authenticator {
        Authenticator {
            tokens: vec![TOKEN.into(), "fedcba9876543210".into()],
            secrets: vec!["an-older-webhook-secret".into(), SECRET.into()],
            generated: false,
        }
    }

    fn project(id: &str) -> ProjectId {
        id.parse().expect("id")
    }

    fn bearer(token: &str) -> Credentials<'_> {
        Credentials { bearer: Some(token), ..Credentials::default() }
    }

    fn now() -> u64 {
        u64::try_from(jiff::Timestamp::now().as_second()).expect("after 1970")
    }

    fn token(scope: Scope, exp: u64) -> String {
        mint(SECRET, &Claims { sub: project("demo"), scope, exp }).expect("mint")
    }

    #[test]
    fn configured_tokens_open_everything_and_others_nothing() {
        let auth = authenticator();
        assert_eq!(auth.authorize(bearer(TOKEN), Scope::Control, None), Ok(()));
        assert_eq!(auth.authorize(bearer("fedcba9876543210"), Scope::Read, Some(&project("x"))), Ok(()));
        for wrong in ["", "0123456789abcdee", "0123456789abcdef0", &"x".repeat(CREDENTIAL_CHARS_MAX + 1)] {
            assert_eq!(auth.authorize(bearer(wrong), Scope::Read, None), Err(Unauthorized));
        }
        assert_eq!(auth.authorize(Credentials::default(), Scope::Read, None), Err(Unauthorized));
    }

    #[test]
    fn a_configured_token_is_not_taken_from_an_address() {
        let auth = authenticator();
        let in_address = |token| Credentials { project_token: Some(token), ..Credentials::default() };
        assert_eq!(auth.authorize(in_address(TOKEN), Scope::Read, Some(&project("demo"))), Err(Unauthorized));
        let read = token(Scope::Read, now() + 60);
        assert_eq!(auth.authorize(in_address(&read), Scope::Read, Some(&project("demo"))), Ok(()));
    }

    #[test]
    fn project_tokens_hold_for_their_project_scope_and_time() {
        let auth = authenticator();
        let demo = project("demo");
        let check = |token: &str, scope, project: Option<&ProjectId>| auth.authorize(bearer(token), scope, project);
        let other = project("other");
        let read = token(Scope::Read, now() + 60);
        assert_eq!(check(&read, Scope::Read, Some(&demo)), Ok(()));
        assert_eq!(check(&read, Scope::Control, Some(&demo)), Err(Unauthorized), "wrong scope");
        assert_eq!(check(&read, Scope::Read, Some(&other)), Err(Unauthorized), "wrong project");
        assert_eq!(check(&read, Scope::Read, None), Err(Unauthorized), "a call on all projects");
        assert_eq!(check(&token(Scope::Read, now() - 1), Scope::Read, Some(&demo)), Err(Unauthorized), "expired");
        assert_eq!(check(&token(Scope::Control, now() + 60), Scope::Read, Some(&demo)), Ok(()));
        assert_eq!(check(&token(Scope::Preview, now() + 60), Scope::Read, Some(&demo)), Err(Unauthorized));
        let foreign = mint("another-secret-entirely", &Claims { sub: demo.clone(), scope: Scope::Read, exp: now() + 60 }).expect("mint");
        assert_eq!(check(&foreign, Scope::Read, Some(&demo)), Err(Unauthorized), "foreign secret");
    }

    #[test]
    fn other_algorithms_are_refused() {
        let auth = authenticator();
        let claims = Claims { sub: project("demo"), scope: Scope::Control, exp: now() + 60 };
        let wrong = encode(&Header::new(Algorithm::HS512), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("mint");
        assert_eq!(auth.authorize(bearer(&wrong), Scope::Read, Some(&project("demo"))), Err(Unauthorized));
        let body = token(Scope::Control, now() + 60).split('.').nth(1).expect("claims").to_owned();
        // {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        assert_eq!(auth.authorize(bearer(&none), Scope::Read, Some(&project("demo"))), Err(Unauthorized));
    }

    #[test]
    fn signatures_cover_time_method_path_and_body() {
        let auth = authenticator();
        let signed = Signed { method: "POST", path_and_query: "/sync-project/demo", body: b"{}", now: 1_000_000 };
        let header = |time: &str| format!("t={time},v1={}", sign(SECRET, time, &signed).expect("sign"));
        let check =
            |header: &str, signed| auth.authorize_signed(Credentials { signature: Some(header), ..Credentials::default() }, &project("demo"), signed);
        let good = header("999900");
        assert_eq!(check(&good, signed), Ok(()));
        assert_eq!(check(&good, Signed { body: b"{} ", ..signed }), Err(Unauthorized), "altered body");
        assert_eq!(check(&good, Signed { path_and_query: "/sync-project/other", ..signed }), Err(Unauthorized), "altered path");
        assert_eq!(check(&good, Signed { method: "GET", ..signed }), Err(Unauthorized), "altered method");
        assert_eq!(check(&good, Signed { now: 1_000_301, ..signed }), Err(Unauthorized), "replayed later");
        assert_eq!(check(&header("1000301"), signed), Err(Unauthorized), "from the future");
        assert_eq!(check(&good.replace("t=999900", "t=999901"), signed), Err(Unauthorized), "altered time");
        for broken in ["", "t=1", "v1=00", "t=x,v1=00", "t=1000000,v1="] {
            assert_eq!(check(broken, signed), Err(Unauthorized), "{broken}");
        }
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf '1.POST./sync-project/demo.{}' | openssl dgst -sha256 -hmac a-webhook-secret-of-ours
        let signed = Signed { method: "POST", path_and_query: "/sync-project/demo", body: b"{}", now: 0 };
        assert_eq!(sign(SECRET, "1", &signed).expect("sign"), "cd2cafaba98776a110175a7d44cf2666f7bd56600a546ce2ab482c752979d403");
    }
}
