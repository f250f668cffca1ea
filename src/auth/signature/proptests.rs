//! Signature headers made at random: none opens anything but the one that was made for the request.

use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const SECRET: &str = "a-webhook-secret-of-ours";
const SIGNED: Signed<'static> = Signed { method: "POST", path_and_query: "/build/demo?a=1", body: b"{}", now: 1_000_000, once: false };
const PIECES: &[&str] =
    &["t=", "v1=", "v0=", ",", " ", "=", "1000000", "999999999999999999999", "-1", "+1000000", "1e6", "\0", "é", "ab", "00", "t=1000000"];

fn opens(header: &str) -> bool {
    check(&[SECRET.to_owned()], &Used::default(), header, &SIGNED).is_ok()
}

proptest! {
    #[test]
    fn no_header_opens_but_the_one_that_was_made(
        pieces in vec(select(PIECES), 0..8), hex in "[0-9a-fA-Fg]{62,66}", flip in 0_usize..256, t in 999_000_i64..1_001_000, good_first: bool,
    ) {
        let real = mac(SECRET, &t.to_string(), &SIGNED).expect("mac");
        let in_time = (t - SIGNED.now).abs() <= WINDOW_S;
        let good = format!("t={t},v1={}", HEXLOWER.encode(&real));
        prop_assert_eq!(opens(&good), in_time);
        let mut wrong = real;
        wrong[flip / 8] ^= 1 << (flip % 8);
        for header in [format!("t={t},v1={}", HEXLOWER.encode(&wrong)), format!("t={t},v1={hex}"), pieces.concat(), format!("{},v1={hex}", pieces.concat())] {
            prop_assert!(!opens(&header), "{:?}", header);
        }
        // Another signature before the good one is the one that counts; what follows it changes nothing.
        let both = if good_first { format!("{good},v1={hex}") } else { format!("v1={hex},{good}") };
        prop_assert_eq!(opens(&both), in_time && good_first, "{:?}", both);
    }

    #[test]
    fn any_text_is_refused_without_a_word(header in prop_oneof!["\\PC{0,100}", ".{0,100}"]) {
        prop_assert!(!opens(&header));
    }
}
