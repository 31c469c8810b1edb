//! Names in a collection's folder. Invariant: only names that we would write are looked at.

use crate::{
    Damage, IndexError,
    index::{
        self,
        manifest::{CURRENT, Current},
    },
};
use portcullis_store::files;
use std::path::{Path, PathBuf};

const QUARANTINE: &str = "quarantine";
const STAGING: &str = "staging-";
/// Largest `CURRENT` that is read, in bytes.
const CURRENT_BYTES: u64 = 4096;

/// The folder of a collection.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        files::private_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.0.join(format!("gen-{number}"))
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.0.join(format!("{STAGING}{}", std::process::id()))
    }

    /// Which generation is current.
    pub(super) fn current(&self) -> Result<Option<Current>, IndexError> {
        current(&self.0)
    }

    /// Numbers of the generations, rising.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, IndexError> {
        numbers(&self.0)
    }

    /// Folders in quarantine.
    pub(super) fn quarantined(&self) -> Vec<String> {
        files::entries(&self.0.join(QUARANTINE)).unwrap_or_default()
    }

    pub(super) fn quarantine_folder(&self) -> PathBuf {
        self.0.join(QUARANTINE)
    }

    /// Moves a generation aside. Where that fails it stays and is refused again at the next load.
    pub(super) fn quarantine(&self, number: u64) {
        let aside = self.0.join(QUARANTINE);
        let moved = files::private_dir(&aside).and_then(|()| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let name = format!("gen-{number}-{}", now.map_or(0, |now| now.as_millis()));
            files::rename(&self.generation(number), &aside.join(name))
        });
        if let Err(error) = moved {
            tracing::warn!(generation = number, %error, "a damaged generation could not be moved aside");
        }
    }

    /// The highest number that was ever used here.
    pub(super) fn highest(&self) -> Result<u64, IndexError> {
        let aside = self.quarantined();
        let aside =
            aside.iter().filter_map(|name| name.strip_prefix("gen-")?.split('-').next()?.parse().ok());
        let named = self.current().ok().flatten().map(|current| current.generation);
        Ok(self.numbers()?.into_iter().chain(aside).chain(named).max().unwrap_or_default())
    }

    /// Removes what writers that died left. For who holds the lock.
    pub(super) fn sweep(&self) -> Result<(), IndexError> {
        for name in files::entries(&self.0)? {
            if name.starts_with(STAGING) {
                files::remove_tree(&self.0.join(name))?;
            } else if name.starts_with(".CURRENT.") && name.ends_with(".tmp") {
                files::remove(&self.0.join(name))?;
            }
        }
        Ok(())
    }
}

fn current(folder: &Path) -> Result<Option<Current>, IndexError> {
    let bytes = files::read_private_upto(&folder.join(CURRENT), CURRENT_BYTES);
    match bytes {
        Err(files::FileError::TooLarge { .. }) => Err(Damage::of(CURRENT, "not as it was written").into()),
        other => other?.map(|bytes| Current::read(&bytes)).transpose(),
    }
}

fn numbers(folder: &Path) -> Result<Vec<u64>, IndexError> {
    let names = files::entries(folder)?;
    let number = |name: &String| {
        let number = name.strip_prefix("gen-")?.parse().ok()?;
        (*name == format!("gen-{number}")).then_some(number)
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A generation as `portcullis index list` and `verify` tell of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// Whether it is the current one.
    pub current: bool,
    /// What is damaged; empty when it is sound.
    pub damaged: Vec<Damage>,
    /// Another format or too large: why it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// Checks all generations of a folder without changing anything. A damaged `CURRENT` is told as generation 0.
///
/// # Errors
/// The file system.
pub fn generations(folder: &Path, limit: u64) -> Result<Vec<Generation>, IndexError> {
    let mut out = Vec::new();
    let named = match current(folder) {
        Ok(named) => named,
        Err(IndexError::Damaged(damage)) => {
            out.push(Generation { generation: 0, current: true, damaged: vec![damage], unread: None });
            None
        }
        Err(error) => return Err(error),
    };
    let mut all = numbers(folder)?;
    all.extend(named.as_ref().map(|named| named.generation).filter(|number| !all.contains(number)));
    for generation in all {
        let is_current = named.as_ref().is_some_and(|named| named.generation == generation);
        let sum = named.as_ref().filter(|_| is_current).map(|named| named.manifest_blake3.as_str());
        let (damaged, unread) = match index::verify(&folder.join(format!("gen-{generation}")), sum, limit) {
            Ok(damaged) => (damaged, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        out.push(Generation { generation, current: is_current, damaged, unread });
    }
    Ok(out)
}
