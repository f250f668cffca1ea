//! Puts a configuration together: the embedded defaults, a file over them, the environment over both.
//!
//! Invariant: no error repeats a secret. Of `auth.*` and `build.registry_token` only the key is named.

use std::path::Path;

use toml::{Table, Value};

use super::environment::PREFIX;
use super::{Config, ConfigError, DEFAULTS};

/// The section whose values are never repeated.
const SECRET_SECTION: &str = "auth";
/// A key of another section of which that is true too.
const SECRET_KEY: &str = "build.registry_token";

impl Config {
    /// Loads defaults, then `file`, then the environment (`env`: names and values), and checks all.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table: Table = DEFAULTS.parse().map_err(|e: toml::de::Error| syntax("the embedded defaults", DEFAULTS, &e))?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let origin = path.display().to_string();
            let over: Table = text.parse().map_err(|e| syntax(&origin, &text, &e))?;
            overlay(&mut table, over, &origin)?;
        }
        for (name, value) in env {
            if let Some(key) = name.strip_prefix(PREFIX) {
                override_from_env(&mut table, key, &value)?;
            }
        }
        let config: Self = serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| bad_type(&e.path().to_string(), e.inner()))?;
        config.check()?;
        Ok(config)
    }
}

/// Where and what, without the line itself: it may hold a secret.
fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |at| at + 1));
    let column = before[start..].chars().count() + 1;
    ConfigError::Syntax { origin: origin.to_owned(), message: format!("line {line}, column {column}: {}", error.message().trim()) }
}

fn bad_type(path: &str, error: &toml::de::Error) -> ConfigError {
    // Serde repeats the value that it did not expect.
    if path == SECRET_KEY {
        return ConfigError::bad(SECRET_KEY, "must be text");
    }
    match path.strip_prefix(SECRET_SECTION).and_then(|rest| rest.strip_prefix('.')) {
        Some(key) => {
            let key = key.split('[').next().unwrap_or_default();
            ConfigError::bad(&format!("{SECRET_SECTION}.{key}"), "must be a list of strings")
        }
        None => ConfigError::bad(path, error.message().trim()),
    }
}

fn overlay(base: &mut Table, over: Table, origin: &str) -> Result<(), ConfigError> {
    for (section, values) in over {
        let Some(Value::Table(known)) = base.get_mut(&section) else {
            return Err(unknown(section.clone(), origin, base.keys(), &section));
        };
        let Value::Table(values) = values else {
            return Err(ConfigError::bad(&section, "is a section, written [section]"));
        };
        for (key, value) in values {
            if !known.contains_key(&key) {
                return Err(unknown(format!("{section}.{key}"), origin, known.keys(), &key));
            }
            known.insert(key, value);
        }
    }
    Ok(())
}

fn unknown<'a>(key: String, origin: &str, known: impl Iterator<Item = &'a String>, name: &str) -> ConfigError {
    // A shared start is enough of a hint; it catches plurals and cut-off units.
    let near = known.max_by_key(|candidate| common_prefix(candidate, name)).filter(|near| common_prefix(near, name) >= 3);
    let hint = near.map(|near| match key.rsplit_once('.') {
        Some((section, _)) => format!("{section}.{near}"),
        None => near.clone(),
    });
    ConfigError::UnknownKey { key, origin: origin.to_owned(), hint }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

fn override_from_env(base: &mut Table, key: &str, text: &str) -> Result<(), ConfigError> {
    let (section, name) = key.split_once("__").unwrap_or((key, ""));
    let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
    let variable = format!("{PREFIX}{key}");
    let current = base.get_mut(&section).and_then(Value::as_table_mut).and_then(|table| table.get_mut(&name));
    let Some(current) = current else {
        return Err(ConfigError::UnknownKey { key: format!("{section}.{name}"), origin: variable, hint: None });
    };
    let bad = |expected: &str| {
        ConfigError::bad(
            &format!("{section}.{name}"),
            match &*section {
                SECRET_SECTION => format!("{variable} must be {expected}"),
                _ => format!("{variable} must be {expected}, not \"{text}\""),
            },
        )
    };
    *current = match current {
        Value::Integer(_) => Value::Integer(text.trim().parse().map_err(|_| bad("a whole number"))?),
        Value::Boolean(_) => Value::Boolean(text.trim().parse().map_err(|_| bad("true or false"))?),
        Value::Array(_) => {
            let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}
