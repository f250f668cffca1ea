//! From columns to domain types.

use rusqlite::Row;

use crate::domain::Revision;

/// Parses a text column into a domain type.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    text.parse().map_err(|e: T::Err| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, e.to_string().into()))
}

/// The same, where there may be nothing.
pub(super) fn parse_option<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>> {
    match row.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parse(row, index).map(Some),
    }
}

/// A revision as a column holds it.
pub(super) fn sql_revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// A revision.
pub(super) fn revision(row: &Row<'_>, index: usize) -> rusqlite::Result<Revision> {
    row.get::<_, i64>(index).map(|n| Revision(n.unsigned_abs()))
}
