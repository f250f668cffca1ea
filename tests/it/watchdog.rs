//! What systemd is told: ready, alive, stopping, and nothing while the daemon does not work.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use crate::harness::{Options, eventually, guard};

/// `WatchdogSec=` of the test; the daemon gives several signs of life in it.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest wait for something to be told: SQLite waits 5 s for a lock, and the machine may be busy.
const TOLD_MAX: Duration = Duration::from_mins(1);

/// The manager's end of `$NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message; `None` where there is none for that long.
    fn next(&self, wait: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(wait)).expect("timeout");
        let mut message = [0; 1024];
        match self.0.recv(&mut message) {
            Ok(length) => Some(String::from_utf8_lossy(&message[..length]).trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until it is told `expected`.
    fn until(&self, expected: &str) {
        let deadline = Instant::now() + TOLD_MAX;
        while self.next(TOLD_MAX).is_none_or(|message| message != expected) {
            assert!(Instant::now() < deadline, "{expected} is not told");
        }
    }

    /// Waits until a whole period passes without a sign of life.
    fn until_silent(&self) {
        let deadline = Instant::now() + TOLD_MAX;
        while self.next(PERIOD).is_some() {
            assert!(Instant::now() < deadline, "the signs of life go on");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_state_store_gives_no_sign_of_life() {
    let dir = guard::temp_dir();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).expect("bind"));
    let options = Options::default().env("NOTIFY_SOCKET", path.display()).env("WATCHDOG_USEC", PERIOD.as_micros());
    let daemon = options.cold_store().start().await;
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    let mut other = Connection::open(daemon.data().join("state.db")).expect("open");
    let lock = other.transaction_with_behavior(TransactionBehavior::Exclusive).expect("lock");
    manager.until_silent();
    eventually("the reason in the log", async || daemon.log().contains("no sign of life is given").then_some(())).await;
    drop(lock);
    manager.until("WATCHDOG=1");
    let stopping = tokio::task::spawn_blocking(|| daemon.stop().0);
    manager.until("STOPPING=1");
    assert_eq!(stopping.await.expect("stop"), Some(0));
}

#[tokio::test]
async fn without_a_watchdog_nothing_is_fed() {
    let dir = guard::temp_dir();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).expect("bind"));
    let daemon = Options::default().env("NOTIFY_SOCKET", path.display()).cold_store().start().await;
    manager.until("READY=1");
    assert_eq!(manager.next(PERIOD), None);
    drop(daemon);
}
