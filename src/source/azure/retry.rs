//! Trying again: how often and after which pause.
//!
//! Invariant: this is the only retry there is (the client's own is off), so the number of
//! attempts and the time spent are bounded here and nowhere else. Pauses double up to a
//! limit and have full jitter: what failed together must not come back together.

use std::time::Duration;

use crate::source::SourceError;

use super::failure::{Failure, Retry};

/// Attempts where the connection is refused: see [`Retry::Connect`].
const CONNECT_ATTEMPTS: u32 = 2;

/// Limits for the attempts of one operation; see `AzureOptions`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) attempts: u32,
    pub(super) base: Duration,
    pub(super) max: Duration,
}

/// The attempts of one operation, counted.
#[derive(Debug)]
pub(super) struct Tries {
    limits: Backoff,
    made: u32,
    damaged: u32,
}

impl Tries {
    pub(super) fn new(limits: Backoff) -> Self {
        Self { limits, made: 0, damaged: 0 }
    }

    /// Waits until the next attempt may start, or gives up with the error of this one.
    pub(super) async fn pause_after(&mut self, failure: Failure) -> Result<(), SourceError> {
        self.made += 1;
        let mut error = failure.error;
        if let SourceError::Corrupt { attempts, .. } = &mut error {
            self.damaged += 1;
            *attempts = self.damaged;
        }
        let Some((least, most)) = self.limits.pause(self.made, failure.retry) else { return Err(error) };
        let pause = rand::random_range(least..=most);
        tracing::debug!(attempt = self.made, pause_ms = pause.as_millis(), %error, "trying the source again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Backoff {
    /// The shortest and the longest pause after the attempt of this number, from 1 on; none
    /// if it was the last.
    fn pause(&self, made: u32, retry: Retry) -> Option<(Duration, Duration)> {
        let (limit, least) = match retry {
            Retry::Never => return None,
            Retry::Connect => (self.attempts.min(CONNECT_ATTEMPTS), Duration::ZERO),
            Retry::BackOff(asked) => (self.attempts, asked.unwrap_or_default().min(self.max)),
        };
        if made >= limit {
            return None;
        }
        let doubled = self.base.saturating_mul(2u32.saturating_pow(made - 1));
        Some((least, doubled.min(self.max).max(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SourcePath;

    const LIMITS: Backoff = Backoff { attempts: 5, base: Duration::from_millis(100), max: Duration::from_millis(300) };

    #[test]
    fn pauses_double_up_to_the_limit_and_end() {
        let longest = |made| LIMITS.pause(made, Retry::BackOff(None)).map(|(_, most)| most.as_millis());
        assert_eq!([1, 2, 3, 4, 5].map(longest), [Some(100), Some(200), Some(300), Some(300), None]);
        let huge = Backoff { attempts: u32::MAX, ..LIMITS };
        assert_eq!(huge.pause(4000, Retry::BackOff(None)), Some((Duration::ZERO, LIMITS.max)));
    }

    #[test]
    fn the_store_may_ask_for_a_longer_pause_but_not_for_any() {
        let pause = |asked| LIMITS.pause(1, Retry::BackOff(Some(Duration::from_millis(asked))));
        assert_eq!(pause(200), Some((Duration::from_millis(200), Duration::from_millis(200))));
        assert_eq!(pause(60_000), Some((LIMITS.max, LIMITS.max)));
    }

    #[test]
    fn refused_connections_get_one_more_try_and_final_errors_none() {
        assert!(LIMITS.pause(1, Retry::Connect).is_some());
        assert!(LIMITS.pause(2, Retry::Connect).is_none());
        assert!(Backoff { attempts: 0, ..LIMITS }.pause(1, Retry::Connect).is_none());
        assert!(LIMITS.pause(1, Retry::Never).is_none());
    }

    #[tokio::test]
    async fn damaged_downloads_are_counted() {
        let path = SourcePath::parse("a").unwrap();
        let damaged = || Failure::again(SourceError::Corrupt { path: path.clone(), attempts: 0, detail: "md5".to_owned() });
        let mut tries = Tries::new(Backoff { attempts: 3, base: Duration::from_millis(1), max: Duration::from_millis(1) });
        tries.pause_after(damaged()).await.unwrap();
        tries.pause_after(Failure::timeout("x", Duration::ZERO)).await.unwrap();
        let error = tries.pause_after(damaged()).await.unwrap_err();
        assert!(matches!(error, SourceError::Corrupt { attempts: 2, .. }), "{error}");
    }
}
