//! Short-lived tokens for one project: JWTs, signed with a webhook secret (API.md, "Authentication").
//!
//! Invariant: HS256 and nothing else, whatever a token's header says; nothing in it that is not understood is passed over.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::domain::ProjectId;

/// How far ahead the clock of who made a token may be, seconds: some libraries write the time of now as `nbf`.
const NOT_BEFORE_LEEWAY_S: f64 = 60.0;

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
    pub(super) fn allows(self, wanted: Self) -> bool {
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

/// What is read of a token. Times may have a fraction (RFC 7519 §2, NumericDate); that `exp` is there is for the library.
#[derive(Deserialize)]
pub(super) struct Held {
    pub(super) sub: ProjectId,
    pub(super) scope: Scope,
    exp: f64,
    nbf: Option<f64>,
}

/// A short-lived token, signed with `secret`.
pub fn mint(secret: &str, claims: &Claims) -> anyhow::Result<String> {
    Ok(encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}

/// What a token holds, where one of `secrets` signed it and its time is now.
pub(super) fn read(secrets: &[String], token: &str) -> Option<Held> {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.leeway = 0;
    rules.set_required_spec_claims(&["exp", "sub"]);
    let data = secrets.iter().find_map(|secret| decode::<Held>(token, &DecodingKey::from_secret(secret.as_bytes()), &rules).ok())?;
    // Extensions that have to be understood (RFC 7515 §4.1.11): there are none here, and the library does not look.
    if data.header.crit.is_some() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact for some millions of years")]
    let now = jiff::Timestamp::now().as_second() as f64;
    let held = data.claims;
    // The library takes a token through the second of `exp`; RFC 7519 §4.1.4 says: before it.
    (now < held.exp && held.nbf.is_none_or(|nbf| nbf <= now + NOT_BEFORE_LEEWAY_S)).then_some(held)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a-webhook-secret-of-ours";

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// A token with any header and claims, signed by the library with what the header names.
    fn token(header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("mint")
    }

    fn opens(token: &str) -> bool {
        read(&["an-older-webhook-secret".to_owned(), SECRET.to_owned()], token).is_some()
    }

    fn with_claims(claims: &Value) -> bool {
        opens(&token(&Header::new(Algorithm::HS256), claims))
    }

    #[test]
    fn times_are_numbers_and_hold() {
        let claims = |exp: Value| json!({"sub": "demo", "scope": "read", "exp": exp});
        for good in [json!(now() + 60), json!(9_999_999_999_u64), json!(u64::MAX), json!(1.5 + 2e9)] {
            assert!(with_claims(&claims(good.clone())), "{good}");
        }
        for bad in [json!(now() - 1), json!(now()), json!(0), json!(-1), json!("9999999999"), json!(1e300), json!(null), json!([9_999_999_999_u64])] {
            assert!(!with_claims(&claims(bad.clone())), "{bad}");
        }
        assert!(!with_claims(&json!({"sub": "demo", "scope": "read"})), "no exp");
        let starting = |nbf: Value| with_claims(&json!({"sub": "demo", "scope": "read", "exp": now() + 600, "nbf": nbf}));
        assert!(starting(json!(now())) && starting(json!(now() + 30)) && starting(json!(1.5)));
        assert!(!starting(json!(now() + 120)) && !starting(json!("1")));
    }

    #[test]
    fn claims_are_what_they_should_be() {
        let exp = now() + 60;
        assert!(with_claims(&json!({"sub": "demo", "scope": "read", "exp": exp, "jti": "x", "iat": exp})));
        for bad in [
            json!({"scope": "read", "exp": exp}),
            json!({"sub": "demo", "exp": exp}),
            json!({"sub": "demo", "scope": "admin", "exp": exp}),
            json!({"sub": "demo", "scope": ["read"], "exp": exp}),
            json!({"sub": ["demo"], "scope": "read", "exp": exp}),
            json!({"sub": "../demo", "scope": "read", "exp": exp}),
            json!({"sub": "demo", "scope": "read", "exp": exp, "aud": "another-service"}),
            json!([]),
            json!("demo"),
        ] {
            assert!(!with_claims(&bad), "{bad}");
        }
    }

    #[test]
    fn headers_change_nothing() {
        let claims = json!({"sub": "demo", "scope": "control", "exp": now() + 60});
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            assert!(!opens(&token(&Header::new(algorithm), &claims)), "{algorithm:?}");
        }
        let crit = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
        assert!(!opens(&token(&crit, &claims)), "crit");
        let good = token(&Header::new(Algorithm::HS256), &claims);
        assert!(opens(&good));
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        let body = signed.split_once('.').expect("two parts").1;
        for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"None"}"#, r#"{"alg":"RS256","typ":"JWT"}"#, r#"{"alg":""}"#, "{}", "", "[]"] {
            let header = BASE64URL_NOPAD.encode(header.as_bytes());
            for signature in ["", signature] {
                assert!(!opens(&format!("{header}.{body}.{signature}")), "{header}");
            }
        }
        for broken in [signed, &format!("{good}."), &format!("{good}A"), &format!("{signed}."), "..", "", &good.replace('.', "")] {
            assert!(!opens(broken), "{broken}");
        }
    }
}
