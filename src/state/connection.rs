//! The two database threads, and the migrations.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Savepoint};
use tokio::sync::oneshot;

/// Schema versions: entry `n` brings a database from version `n` to `n + 1`.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("editions.sql"), include_str!("feedback.sql")];
/// How long one statement waits for another process (an operator's sqlite3 shell) to let go.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Mode of the database's files.
const PRIVATE: u32 = 0o600;
/// Writes that share one commit at most.
const GROUP_COMMIT_MAX: usize = 64;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum StateError {
    #[error("state.db: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("state.db holds something unreadable: {0}")]
    Decode(String),
    #[error("state.db is of version {found}, this previewd knows up to {known}: it was written by a newer one")]
    TooNew { found: i64, known: i64 },
    #[error("another project has the host name that this one would get")]
    LabelTaken,
    #[error("the state threads have stopped")]
    Stopped,
}

/// Runs inside of the open transaction, and returns what tells the caller once that is committed.
type WriteJob = Box<dyn FnOnce(&mut rusqlite::Transaction<'_>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), StateError>) + Send>;
type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// The handle to both threads; they end when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    writes: mpsc::Sender<WriteJob>,
    reads: mpsc::Sender<ReadJob>,
}

impl Store {
    /// Opens (or makes) the database, brings it up to date, and starts its threads.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        keep_private(path);
        let mut writer = Connection::open(path)?;
        configure(&writer)?;
        migrate(&mut writer)?;
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        let (writes, write_jobs) = mpsc::channel();
        let (reads, read_jobs) = mpsc::channel::<ReadJob>();
        spawn("state-write", move || write_loop(writer, &write_jobs))?;
        spawn("state-read", move || read_jobs.into_iter().for_each(|job| job(&reader)))?;
        Ok(Self { writes, reads })
    }

    /// Runs `work` on the writing thread in a savepoint of its own; `Ok` means committed and synced.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Savepoint<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (sender, receiver) = oneshot::channel();
        let job: WriteJob = Box::new(move |transaction| {
            let result = in_savepoint(transaction, work);
            Box::new(move |committed| {
                // A caller that went away does not need the answer.
                let _ = sender.send(committed.and(result));
            })
        });
        self.writes.send(job).map_err(|_| StateError::Stopped)?;
        receiver.await.map_err(|_| StateError::Stopped)?
    }

    /// Runs `work` on the reading thread; it sees the last committed state.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (sender, receiver) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            let _ = sender.send(work(connection));
        });
        self.reads.send(job).map_err(|_| StateError::Stopped)?;
        receiver.await.map_err(|_| StateError::Stopped)?
    }

    /// Whether both threads answer: what health and the watchdog ask.
    pub async fn probe(&self) -> Result<(), StateError> {
        // Changes nothing, but takes the lock that a change needs: a transaction alone takes none.
        self.write(|connection| Ok(connection.execute("DELETE FROM projects WHERE 0", [])?)).await?;
        self.read(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StateError> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop).map_err(|_| StateError::Stopped)
}

/// The state is ours alone, though others (nginx) may read the directory: SQLite gives its other files the mode of this one.
/// What cannot be opened is told by who opens it next.
fn keep_private(path: &Path) {
    let _ = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path);
    let _ = fs::set_permissions(path, Permissions::from_mode(PRIVATE));
}

fn configure(connection: &Connection) -> Result<(), StateError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StateError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StateError::TooNew { found, known });
    }
    for (version, sql) in (0_i64..).zip(MIGRATIONS).filter(|(version, _)| *version >= found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn in_savepoint<T>(transaction: &mut rusqlite::Transaction<'_>, work: impl FnOnce(&Savepoint<'_>) -> Result<T, StateError>) -> Result<T, StateError> {
    let savepoint = transaction.savepoint()?;
    let value = work(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

fn write_loop(mut connection: Connection, jobs: &mpsc::Receiver<WriteJob>) {
    while let Ok(first) = jobs.recv() {
        let group: Vec<WriteJob> = std::iter::once(first).chain(jobs.try_iter().take(GROUP_COMMIT_MAX - 1)).collect();
        let mut replies = Vec::with_capacity(group.len());
        let committed = connection.transaction().and_then(|mut transaction| {
            replies.extend(group.into_iter().map(|job| job(&mut transaction)));
            transaction.commit()
        });
        let failure = committed.err().map(|e| e.to_string());
        if let Some(message) = &failure {
            tracing::error!(error = %message, "the state could not be committed");
        }
        for reply in replies {
            reply(failure.clone().map_or(Ok(()), |message| Err(StateError::Decode(message))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_write_takes_only_itself_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let insert = |id: &'static str| store.write(move |c| Ok(c.execute("INSERT INTO projects (id, label, created_at) VALUES (?1, ?1, 0)", [id])?));
        let (first, again, second) = tokio::join!(insert("a"), insert("a"), insert("b"));
        assert!(first.is_ok() && second.is_ok());
        assert!(matches!(again, Err(StateError::Sqlite(_))));
        let count: i64 = store.read(|c| Ok(c.query_row("SELECT count(*) FROM projects", [], |r| r.get(0))?)).await.expect("read");
        assert_eq!(count, 2);
    }

    #[tokio::test]
    async fn nobody_else_reads_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        fs::write(&path, "").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        let store = Store::open(&path).expect("open");
        store.probe().await.expect("probe");
        let modes = |file: &str| fs::metadata(dir.path().join(file)).expect(file).permissions().mode() & 0o777;
        assert_eq!([modes("state.db"), modes("state.db-wal"), modes("state.db-shm")], [PRIVATE; 3]);
    }

    #[tokio::test]
    async fn a_probe_needs_what_a_change_needs() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        let store = Store::open(&path).expect("open");
        let mut other = Connection::open(&path).expect("open");
        let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).expect("lock");
        assert!(store.probe().await.is_err());
        drop(lock);
        store.probe().await.expect("free again");
    }

    #[test]
    fn a_newer_database_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        drop(Store::open(&path).expect("open"));
        let connection = Connection::open(&path).expect("open");
        connection.pragma_update(None, "user_version", 99).expect("pragma");
        let error = Store::open(&path).expect_err("too new");
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
