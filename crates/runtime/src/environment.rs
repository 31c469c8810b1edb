//! The process environment, read here and nowhere else (clippy bans `env::var` in the rest of the workspace), so
//! that one grep finds everything that can influence a start. Tests pass a fixed one and run in parallel.

use std::{collections::BTreeMap, path::PathBuf};

/// Where environment variables come from.
#[derive(Clone, Debug, Default)]
pub enum Environment {
    /// The variables of this process, read at each question and never copied as a whole.
    #[default]
    Process,
    /// Exactly these variables.
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    /// Exactly these variables.
    #[must_use]
    pub fn fixed<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::Fixed(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of one variable; empty and non-UTF-8 values count as absent.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn get(&self, name: &str) -> Option<String> {
        let value = match self {
            Self::Process => std::env::var(name).ok(),
            Self::Fixed(vars) => vars.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// Variables whose names begin with `prefix`, sorted by name.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = match self {
            Self::Process => std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| name.starts_with(prefix))
                .filter_map(|(name, value)| Some((name, value.into_string().ok()?)))
                .collect(),
            Self::Fixed(vars) => vars
                .iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        };
        found.sort();
        found
    }

    /// A variable as a path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }
}
