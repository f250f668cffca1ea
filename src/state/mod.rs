//! The one door to durable state: SQLite in WAL mode, `synchronous=FULL`.
//!
//! One thread writes, one reads; callers send a closure and await its result, so that no
//! async thread ever blocks on the disk. Writes that arrive while another is being synced
//! share the next commit. Invariant: when a write returns `Ok`, it survives `kill -9`.

mod builds;
mod claims;
mod connection;
mod editions;
mod environments;
mod outbox;
mod projects;
mod renders;
mod rows;

pub use builds::{BuildRow, LearntLayout, RollBack};
pub use claims::{Claim, Finish};
pub use connection::{StateError, Store};
pub use editions::EditionRow;
pub use environments::Environment;
pub use outbox::{Announce, Occasion, Outgoing};
pub use projects::{Accept, Accepted, PendingCounts, ProjectFilter, ProjectRow, Snapshot};
pub use renders::{NotedRender, RenderRow};
