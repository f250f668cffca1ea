//! The integration tests: one binary, real parts, temporary directories, port 0.
//!
//! They run the daemon as a process and talk to it as its callers do. `scripts/test` installs what they need.

mod api;
mod browser;
mod builds;
mod faults;
mod harness;
mod serving;
