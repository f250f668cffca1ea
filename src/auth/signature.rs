//! Signed webhooks: `X-Previewd-Signature: t=UNIX_SECONDS,v1=HEX` (API.md, "Authentication").
//!
//! 1. is its time within the window?  2. did one of the secrets make it?  3. where a call must not be repeated: is it new?
//!
//! Invariant: a signature opens the one request that it was made for. A sync may be repeated with it: what it does follows
//! from the source alone, so a copy that somebody caught does nothing. A build makes a release each time, and releases push
//! older ones out, so its signature is taken once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Unauthorized, equal};

/// How far the clock of who signs a webhook may be off, seconds.
const WINDOW_S: i64 = 300;
/// Used signatures that are remembered at once. Only who has a secret can add one; beyond it the oldest is forgotten.
const USED_MAX: usize = 10_000;
/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;

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
    /// The signature is good for one request only.
    pub once: bool,
}

/// Signatures that were taken once and are still within their window, by their time. In memory only: a restart within
/// the window forgets them.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<BTreeSet<(i64, [u8; MAC_BYTES])>>);

impl Used {
    /// Remembers a signature; whether it is new.
    fn add(&self, time: i64, mac: [u8; MAC_BYTES], now: i64) -> bool {
        // A change of the set cannot be left half done, so a poisoned lock is still good.
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is older than the window is refused by its time.
        *used = used.split_off(&(now - WINDOW_S, [0; MAC_BYTES]));
        let new = used.insert((time, mac));
        if used.len() > USED_MAX {
            used.pop_first();
        }
        new
    }
}

/// Whether the header's signature opens the request.
pub(super) fn check(secrets: &[String], used: &Used, header: &str, signed: &Signed<'_>) -> Result<(), Unauthorized> {
    let part = |name: &str| header.split(',').find_map(|part| part.trim().strip_prefix(name)).ok_or(Unauthorized::Invalid);
    let (time, given) = (part("t=")?, part("v1=")?);
    let seconds: i64 = time.parse().map_err(|_| Unauthorized::Invalid)?;
    if seconds.abs_diff(signed.now) > WINDOW_S.unsigned_abs() {
        return Err(Unauthorized::Invalid);
    }
    // Some libraries write capitals.
    let given = HEXLOWER_PERMISSIVE.decode(given.as_bytes()).map_err(|_| Unauthorized::Invalid)?;
    let given: [u8; MAC_BYTES] = given.try_into().map_err(|_| Unauthorized::Invalid)?;
    let valid = secrets.iter().fold(false, |found, secret| found | mac(secret, time, signed).is_some_and(|expected| equal(&expected, &given)));
    if !valid {
        return Err(Unauthorized::Invalid);
    }
    if signed.once && !used.add(seconds, given, signed.now) {
        return Err(Unauthorized::Replayed);
    }
    Ok(())
}

/// The header of a request that we sign, at `now` (seconds since 1970).
pub fn sign(secret: &str, now: i64, method: &str, path_and_query: &str, body: &[u8]) -> String {
    let time = now.to_string();
    let mac = mac(secret, &time, &Signed { method, path_and_query, body, now, once: false }).unwrap_or_default();
    format!("t={time},v1={}", HEXLOWER.encode(&mac))
}

/// The HMAC-SHA256 of `{t}.{METHOD}.{path-and-query}.{body}`; `None` for a secret that no HMAC takes.
fn mac(secret: &str, time: &str, signed: &Signed<'_>) -> Option<[u8; MAC_BYTES]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    for part in [time.as_bytes(), b".", signed.method.as_bytes(), b".", signed.path_and_query.as_bytes(), b".", signed.body] {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use data_encoding::{HEXLOWER, HEXUPPER};

    use super::*;

    const SECRET: &str = "a-webhook-secret-of-ours";
    const SIGNED: Signed<'static> = Signed { method: "POST", path_and_query: "/sync-project/demo", body: b"{}", now: 1_000_000, once: false };

    fn header(time: &str) -> String {
        format!("t={time},v1={}", HEXLOWER.encode(&mac(SECRET, time, &SIGNED).expect("mac")))
    }

    fn opens(header: &str, signed: &Signed<'_>) -> Result<(), Unauthorized> {
        check(&["an-older-webhook-secret".to_owned(), SECRET.to_owned()], &Used::default(), header, signed)
    }

    #[test]
    fn signatures_cover_time_method_path_query_and_body() {
        let good = header("999900");
        assert_eq!(opens(&good, &SIGNED), Ok(()));
        for (altered, why) in [
            (Signed { body: b"{} ", ..SIGNED }, "body"),
            (Signed { path_and_query: "/sync-project/other", ..SIGNED }, "path"),
            (Signed { path_and_query: "/sync-project/demo?a", ..SIGNED }, "query"),
            (Signed { method: "GET", ..SIGNED }, "method"),
            (Signed { now: 1_000_201, ..SIGNED }, "sent later"),
        ] {
            assert_eq!(opens(&good, &altered), Err(Unauthorized::Invalid), "{why}");
        }
        assert_eq!(opens(&good.replace("t=999900", "t=999901"), &SIGNED), Err(Unauthorized::Invalid), "altered time");
        let upper = format!("t=999900,v1={}", HEXUPPER.encode(&mac(SECRET, "999900", &SIGNED).expect("mac")));
        assert_eq!(opens(&upper, &SIGNED), Ok(()));
    }

    #[test]
    fn its_time_is_within_300_s_both_ways() {
        for (time, expected) in
            [("999700", Ok(())), ("1000300", Ok(())), ("999699", Err(Unauthorized::Invalid)), ("1000301", Err(Unauthorized::Invalid))]
        {
            assert_eq!(opens(&header(time), &SIGNED), expected, "{time}");
        }
        for odd in ["9999999999999999999999", "-1", "", " 1000000", "1000000.0", "1e6", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(opens(&header(odd), &SIGNED), Err(Unauthorized::Invalid), "{odd}");
        }
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let good = header("1000000");
        let cut = &good[..good.len() - 2];
        for broken in ["", ",", "t=1", "v1=00", "t=x,v1=00", "t=1000000,v1=", "t=1000000,v0=00", cut, &format!("{good}00"), &format!("{good}zz")] {
            assert_eq!(opens(broken, &SIGNED), Err(Unauthorized::Invalid), "{broken}");
        }
        assert_eq!(check(&[], &Used::default(), &good, &SIGNED), Err(Unauthorized::Invalid), "no secret at all");
    }

    #[test]
    fn a_signature_is_taken_once_where_that_matters() {
        let (used, secrets) = (Used::default(), [SECRET.to_owned()]);
        let once = Signed { once: true, ..SIGNED };
        let later = Signed { now: SIGNED.now + WINDOW_S, ..once };
        assert_eq!(check(&secrets, &used, &header("1000000"), &once), Ok(()));
        assert_eq!(check(&secrets, &used, &header("1000000"), &once), Err(Unauthorized::Replayed));
        assert_eq!(check(&secrets, &used, &header("1000001"), &once), Ok(()), "signed anew");
        assert_eq!(
            check(&secrets, &used, &header("1000000").to_uppercase().replace("T=", "t=").replace("V1=", "v1="), &later),
            Err(Unauthorized::Replayed)
        );
        assert_eq!(check(&secrets, &used, &header("1000000"), &SIGNED), Ok(()), "where it does not matter");
        assert_eq!(check(&secrets, &used, &header("1000600"), &Signed { now: 1_000_600, ..once }), Ok(()));
        assert_eq!(used.0.lock().expect("lock").len(), 1, "what is past its window is forgotten");
    }

    #[test]
    fn memory_of_signatures_is_bounded() {
        let used = Used::default();
        for n in 0..=USED_MAX as u64 {
            let mut mac = [0; MAC_BYTES];
            mac[..8].copy_from_slice(&n.to_be_bytes());
            assert!(used.add(1_000_000, mac, 1_000_000));
        }
        assert_eq!(used.0.lock().expect("lock").len(), USED_MAX);
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf '1.POST./sync-project/demo.{}' | openssl dgst -sha256 -hmac a-webhook-secret-of-ours
        let documented = "cd2cafaba98776a110175a7d44cf2666f7bd56600a546ce2ab482c752979d403";
        assert_eq!(HEXLOWER.encode(&mac(SECRET, "1", &SIGNED).expect("mac")), documented);
    }
}

#[cfg(test)]
mod proptests;
