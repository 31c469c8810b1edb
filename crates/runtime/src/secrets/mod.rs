//! Secrets: one adapter, several sources, first hit wins. Every secret has a lower-case name (`openai_api_key`);
//! settings hold names only, in keys that end in `_secret` or `_secrets`.
//!
//! Invariants: values live in `SecretString` (zeroized when dropped, never in `Debug`), are read here and nowhere
//! else, and no error or log line holds one. Source: requirements S0-14 and S4-KEYS.

mod own;
mod sources;
mod template;

pub use own::{ADMIN_KEY, LOCAL_KEY, OWN_KEYS, OwnKeyError, OwnKeys, WEBHOOK_KEY};
pub use template::{env_template, known_secrets};

use portcullis_domain::Problem;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sources::{Dotenv, EnvVars, Files};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    pin::Pin,
};

/// A secret longer than this is refused: it is not a secret but a wrong file.
pub(crate) const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Where secrets are read from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsConfig {
    /// Sources in the order they are asked; the first that has a secret wins. Default `["file", "env", "dotenv"]`.
    pub sources: Vec<SourceKind>,
    /// Folder in which the source `file` looks for a file named like the secret. Default `"/run/secrets"`.
    pub dir: PathBuf,
    /// File the source `dotenv` reads, relative to the working folder. Default `".env"`.
    pub dotenv: PathBuf,
}

impl Default for SecretsConfig {
    fn default() -> Self {
        Self {
            sources: SourceKind::ALL.to_vec(),
            dir: PathBuf::from("/run/secrets"),
            dotenv: PathBuf::from(".env"),
        }
    }
}

impl SecretsConfig {
    /// Contradictions.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        if self.sources.is_empty() {
            let mend = "name at least one of \"file\", \"env\", \"dotenv\"";
            out.push(Problem::new(format!("{prefix}.sources"), "is empty", mend));
        }
        let distinct: BTreeSet<_> = self.sources.iter().collect();
        if distinct.len() < self.sources.len() {
            out.push(Problem::new(
                format!("{prefix}.sources"),
                "names a source twice",
                "name each source once",
            ));
        }
    }
}

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A file of that name in `secrets.dir`, as container secrets are mounted.
    File,
    /// `PORTCULLIS_SECRET_<NAME>` or `<NAME>` in the environment.
    Env,
    /// The same names in the file `secrets.dotenv`.
    Dotenv,
}

impl SourceKind {
    /// Every source, in the default order.
    pub const ALL: [Self; 3] = [Self::File, Self::Env, Self::Dotenv];

    /// The name in settings and in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Env => "env",
            Self::Dotenv => "dotenv",
        }
    }
}

/// What a source says: the secret, that it has none of that name, or why it cannot tell. The reason never holds a
/// value.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<SecretString>, String>> + Send + 'a>>;

/// A place that keeps secrets.
pub trait SecretSource: Send + Sync {
    /// Which kind it is.
    fn kind(&self) -> SourceKind;
    /// The secret of that name.
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a>;
}

/// A secret and where it came from.
#[derive(Clone, Debug)]
struct Found {
    value: SecretString,
    source: SourceKind,
}

/// The secrets of one start, read once. Cheap to ask, impossible to print.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    found: BTreeMap<String, Found>,
    /// Names that a source could not tell about, with the reason.
    broken: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads the named secrets from the configured sources, in their order.
    pub async fn read(
        config: &SecretsConfig,
        environment: &crate::Environment,
        names: impl IntoIterator<Item = String>,
    ) -> Self {
        let sources: Vec<Box<dyn SecretSource>> = config
            .sources
            .iter()
            .map(|kind| -> Box<dyn SecretSource> {
                match kind {
                    SourceKind::File => Box::new(Files::new(config.dir.clone())),
                    SourceKind::Env => Box::new(EnvVars::new(environment.clone())),
                    SourceKind::Dotenv => Box::new(Dotenv::new(config.dotenv.clone())),
                }
            })
            .collect();
        let mut secrets = Self::default();
        for name in names {
            secrets.read_one(&sources, name).await;
        }
        secrets
    }

    async fn read_one(&mut self, sources: &[Box<dyn SecretSource>], name: String) {
        if !is_name(&name) {
            let reason =
                "a secret's name is lower-case letters, digits and `_`, at most 64, such as `openai_api_key`";
            self.broken.insert(name, reason.to_owned());
            return;
        }
        for source in sources {
            match source.read(&name).await {
                Ok(Some(value)) => {
                    self.found.insert(name, Found { value, source: source.kind() });
                    return;
                }
                Ok(None) => {}
                Err(reason) => {
                    // A source that is there but broken must not be passed over in silence: the next one may hold
                    // an old value.
                    self.broken.insert(name, format!("source `{}`: {reason}", source.kind().as_str()));
                    return;
                }
            }
        }
    }

    /// Exactly these secrets; for tests and for embedding.
    #[must_use]
    pub fn fixed<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let found = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Found { value: value.into(), source: SourceKind::Env }));
        Self { found: found.collect(), broken: BTreeMap::new() }
    }

    /// The secret of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<SecretString> {
        self.found.get(name).map(|found| found.value.clone())
    }

    /// Whether there is a secret of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Names and sources of what was read, for the audit trail. Never a value.
    pub fn reads(&self) -> impl Iterator<Item = (&str, SourceKind)> {
        self.found.iter().map(|(name, found)| (name.as_str(), found.source))
    }

    /// Names that could not be read, with the reason.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &str)> {
        self.broken.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }
}

/// A place in the settings that names a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Dotted key in the settings.
    pub key: String,
    /// The secret's name.
    pub name: String,
}

/// Every secret that these settings name, found by the ending of the key: `_secret` holds one name, `_secrets`
/// several. A new setting that follows the rule needs no line here.
#[must_use]
pub fn references(settings: &impl Serialize) -> Vec<SecretRef> {
    let mut out = Vec::new();
    if let Ok(value) = serde_json::to_value(settings) {
        collect("", &value, &mut out);
    }
    out
}

fn collect(path: &str, value: &Value, out: &mut Vec<SecretRef>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match member {
                    Value::String(text) if name.ends_with("_secret") && !text.is_empty() => {
                        out.push(SecretRef { key, name: text.clone() });
                    }
                    Value::Array(items) if name.ends_with("_secrets") => {
                        let names = items.iter().filter_map(Value::as_str);
                        out.extend(names.map(|text| SecretRef { key: key.clone(), name: text.to_owned() }));
                    }
                    Value::Object(_) | Value::Array(_) => collect(&key, member, out),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{path}[{index}]"), item, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How to give a secret, for error messages.
#[must_use]
pub fn how_to_give(name: &str, config: &SecretsConfig) -> String {
    let ways = config.sources.iter().map(|source| match source {
        SourceKind::File => format!("put it into {}/{name}", config.dir.display()),
        SourceKind::Env => format!("set {} in the environment", variable(name)),
        SourceKind::Dotenv => format!("write {}=… into {}", variable(name), config.dotenv.display()),
    });
    ways.collect::<Vec<_>>().join(", or ")
}

/// The plain variable of a secret.
#[must_use]
pub fn variable(name: &str) -> String {
    name.to_uppercase()
}

/// Lower-case words joined by `_`: a name can be a file name and a variable, and never a path.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests;
