//! Who may call: bearer tokens, signed webhooks (`signature`), and short-lived tokens for one project (`project_token`).
//!
//! Invariant: it is never off, and every comparison with a secret takes constant time: tokens here and signatures in
//! `signature` by `subtle`, project tokens in `jsonwebtoken` by the check of its HMAC. Every secret is tried, found or not.

mod project_token;
mod signature;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use crate::config;
use crate::domain::{DataDir, ProjectId};

pub use project_token::{Claims, Scope, mint};
use signature::Used;
pub use signature::{Signed, sign};

/// Longest `Authorization`, signature or token that is looked at, in characters.
const CREDENTIAL_CHARS_MAX: usize = 4096;
/// Random bytes of a generated token.
const TOKEN_BYTES: usize = 24;

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

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// The same for every reason: what is wrong with a guess is nobody's business.
    #[error("a valid bearer token, signature or project token is needed")]
    Invalid,
    /// No guess: the signature is right, and was taken once.
    #[error("this signature was used before: sign every request anew, with the time of now")]
    Replayed,
}

/// Knows the secrets.
pub struct Authenticator {
    tokens: Vec<String>,
    secrets: Vec<String>,
    used: Used,
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
        Ok(Self { tokens, secrets: config.webhook_secrets.clone(), used: Used::default(), generated })
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
        let token = bearer.or(credentials.project_token).filter(|token| token.len() <= CREDENTIAL_CHARS_MAX).ok_or(Unauthorized::Invalid)?;
        let claims = project_token::read(&self.secrets, token).ok_or(Unauthorized::Invalid)?;
        let ours = project == Some(&claims.sub) && claims.scope.allows(scope);
        if ours { Ok(()) } else { Err(Unauthorized::Invalid) }
    }

    /// Like [`authorize`](Self::authorize) for control calls on a project that may be signed instead.
    pub fn authorize_signed(&self, credentials: Credentials<'_>, project: &ProjectId, signed: Signed<'_>) -> Result<(), Unauthorized> {
        match credentials.signature {
            Some(signature) if credentials.bearer.is_none() => {
                let header = Some(signature).filter(|header| header.len() <= CREDENTIAL_CHARS_MAX).ok_or(Unauthorized::Invalid)?;
                signature::check(&self.secrets, &self.used, header, &signed)
            }
            _ => self.authorize(credentials, Scope::Control, Some(project)),
        }
    }
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
            used: Used::default(),
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
            assert_eq!(auth.authorize(bearer(wrong), Scope::Read, None), Err(Unauthorized::Invalid));
        }
        assert_eq!(auth.authorize(Credentials::default(), Scope::Read, None), Err(Unauthorized::Invalid));
    }

    #[test]
    fn a_configured_token_is_not_taken_from_an_address() {
        let auth = authenticator();
        let in_address = |token| Credentials { project_token: Some(token), ..Credentials::default() };
        assert_eq!(auth.authorize(in_address(TOKEN), Scope::Read, Some(&project("demo"))), Err(Unauthorized::Invalid));
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
        assert_eq!(check(&read, Scope::Control, Some(&demo)), Err(Unauthorized::Invalid), "wrong scope");
        assert_eq!(check(&read, Scope::Read, Some(&other)), Err(Unauthorized::Invalid), "wrong project");
        assert_eq!(check(&read, Scope::Read, None), Err(Unauthorized::Invalid), "a call on all projects");
        assert_eq!(check(&token(Scope::Read, now() - 1), Scope::Read, Some(&demo)), Err(Unauthorized::Invalid), "expired");
        assert_eq!(check(&token(Scope::Control, now() + 60), Scope::Read, Some(&demo)), Ok(()));
        assert_eq!(check(&token(Scope::Preview, now() + 60), Scope::Read, Some(&demo)), Err(Unauthorized::Invalid));
        let foreign = mint("another-secret-entirely", &Claims { sub: demo.clone(), scope: Scope::Read, exp: now() + 60 }).expect("mint");
        assert_eq!(check(&foreign, Scope::Read, Some(&demo)), Err(Unauthorized::Invalid), "foreign secret");
    }
}
