//! The sources that need no server: files as containers mount them, the environment, a `.env` file.

use super::{Answer, MAX_SECRET_BYTES, SecretSource, SourceKind, variable};
use crate::Environment;
use secrecy::SecretString;
use std::{io, path::PathBuf};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// Prefix of variables that hold a secret under a name nobody else uses.
const PREFIX: &str = "PORTCULLIS_SECRET_";

/// `secrets.dir/<name>`.
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }
}

impl SecretSource for Files {
    fn kind(&self) -> SourceKind {
        SourceKind::File
    }

    fn read<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            match tokio::fs::read(self.dir.join(name)).await {
                Ok(bytes) => tidy(Zeroizing::new(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                // The folder may not be one, when nothing is mounted.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
                Err(error) => Err(format!("cannot read the file {name}: {}", error.kind())),
            }
        })
    }
}

/// The environment.
pub(super) struct EnvVars {
    environment: Environment,
}

impl EnvVars {
    pub(super) fn new(environment: Environment) -> Self {
        Self { environment }
    }
}

impl SecretSource for EnvVars {
    fn kind(&self) -> SourceKind {
        SourceKind::Env
    }

    fn read<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            let plain = variable(name);
            let value =
                self.environment.get(&format!("{PREFIX}{plain}")).or_else(|| self.environment.get(&plain));
            value.map_or(Ok(None), |text| tidy(Zeroizing::new(text.into_bytes())))
        })
    }
}

/// A `.env` file, read once.
pub(super) struct Dotenv {
    path: PathBuf,
    pairs: OnceCell<Result<Vec<(String, SecretString)>, String>>,
}

impl Dotenv {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pairs: OnceCell::new() }
    }

    async fn load(&self) -> Result<Vec<(String, SecretString)>, String> {
        let bytes = match tokio::fs::read(&self.path).await {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot read {}: {}", self.path.display(), error.kind())),
        };
        let mut pairs = Vec::new();
        for (index, pair) in dotenvy::from_read_iter(bytes.as_slice()).enumerate() {
            // The parser's error quotes the line, and the line is a secret: only its number is told.
            let (name, value) =
                pair.map_err(|_| format!("{}: entry {} is not NAME=value", self.path.display(), index + 1))?;
            pairs.push((name, SecretString::from(value)));
        }
        Ok(pairs)
    }
}

impl SecretSource for Dotenv {
    fn kind(&self) -> SourceKind {
        SourceKind::Dotenv
    }

    fn read<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            let pairs = self.pairs.get_or_init(|| self.load()).await.as_ref().map_err(Clone::clone)?;
            let plain = variable(name);
            let long = format!("{PREFIX}{plain}");
            let value = [&long, &plain].into_iter().find_map(|wanted| {
                pairs.iter().rev().find(|(known, _)| known == wanted).map(|(_, value)| value)
            });
            value.map_or(Ok(None), |value| {
                use secrecy::ExposeSecret;
                tidy(Zeroizing::new(value.expose_secret().as_bytes().to_vec()))
            })
        })
    }
}

/// A value as sources give it: without the line end that editors add; empty counts as absent.
fn tidy(bytes: Zeroizing<Vec<u8>>) -> Result<Option<SecretString>, String> {
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(format!("{} bytes; a secret has at most {MAX_SECRET_BYTES}", bytes.len()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "the value is not UTF-8 text".to_owned())?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}
