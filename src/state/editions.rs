//! Which edition of a layer is the newest, for each variant.

use rusqlite::params;

use super::{StateError, Store};

/// The newest edition of a layer for one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditionRow {
    /// What a project's configuration means for packages.
    pub variant: String,
    /// Names its folder.
    pub id: String,
    /// The modules that were asked for: absolute paths, sorted.
    pub files: Vec<String>,
    /// Why it could not be made.
    pub failure: Option<String>,
}

impl Store {
    /// The editions of a layer, newest first, failed ones too.
    pub async fn editions(&self, layer: String) -> Result<Vec<EditionRow>, StateError> {
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT variant, id, files, failure FROM editions WHERE layer = ?1 ORDER BY made_at DESC")?;
            let rows = statement.query_map([layer], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?)))?;
            rows.map(|row| {
                let (variant, id, files, failure) = row?;
                let files = serde_json::from_str(&files).map_err(|e| StateError::Decode(e.to_string()))?;
                Ok(EditionRow { variant, id, files, failure })
            })
            .collect()
        })
        .await
    }

    /// Makes `row` the newest edition of the layer for its variant.
    pub async fn put_edition(&self, layer: String, row: EditionRow, now: i64) -> Result<(), StateError> {
        let files = serde_json::to_string(&row.files).map_err(|e| StateError::Decode(e.to_string()))?;
        self.write(move |c| {
            c.execute(
                "INSERT INTO editions (layer, variant, id, files, failure, made_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (layer, variant) DO UPDATE
                 SET id = excluded.id, files = excluded.files, failure = excluded.failure, made_at = excluded.made_at",
                params![layer, row.variant, row.id, files, row.failure, now],
            )?;
            Ok(())
        })
        .await
    }
}
