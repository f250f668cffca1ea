//! Releases: from the output of a build to what previews serve.
//!
//! Invariant: a release is written aside, scanned, renamed, and made live by renaming one symlink.
//! Nothing in it changes afterwards; only compressed copies are added beside its files, each by rename.

mod changes;
mod compress;
mod inject;
mod maps;
mod publish;
mod retain;
mod scan;

pub use changes::compare;
pub use compress::{Compressor, Effort};
pub use inject::{Injection, stand_in};
pub use maps::{Place, SourceMaps, set_maps_aside};
pub use publish::{close_passage, hide, live_build, open_passage, publish, put_back, remove_leftovers, swap_log};
pub use retain::Retention;
pub use scan::{OutputLimits, ScanError, Scanned, UNLISTED, collect, scan};
