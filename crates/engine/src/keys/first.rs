//! The first start: where there is no key at all, one with every scope is made, printed once, and kept for the local
//! command line. The file comes before the row: killed in between, the next start finds the file and finishes.

use super::{Keys, KeysError, NewKey, text};
use portcullis_domain::{Scopes, Tier};
use portcullis_store::{KeyOrigin, files};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;

/// Name of the file below `data/keys` that the local command line reads its key from.
pub const LOCAL_KEY: &str = "local.key";

/// How matters stand with the administrator's key.
#[derive(Debug)]
pub enum AdminKey {
    /// Just made: print it once.
    Made(SecretString),
    /// The secret `admin_key` declares it.
    Declared,
    /// There are keys already.
    Present,
}

impl Keys {
    /// Makes the first key where there is none.
    ///
    /// # Errors
    /// A store that is away; a file below `data_dir/keys` that cannot be written or is open to others.
    pub async fn ensure_admin_key(&self, data_dir: &Path) -> Result<AdminKey, KeysError> {
        if self.0.declared.is_some() {
            return Ok(AdminKey::Declared);
        }
        if !self.0.store.keys().list(1).await?.is_empty() {
            return Ok(AdminKey::Present);
        }
        let folder = data_dir.join("keys");
        files::private_dir(&folder)?;
        let path = folder.join(LOCAL_KEY);
        let key = match left_over(&path)? {
            Some(key) => key,
            None => {
                let (_, key) = text::fresh();
                files::write_private(&path, key.expose_secret().as_bytes())?;
                key
            }
        };
        let id = text::id_of(key.expose_secret()).unwrap_or_default().to_owned();
        let wish =
            NewKey { name: "first start".into(), tier: Tier::Premium, scopes: Scopes::ALL, expires_at: None };
        let row = self.row(id, &key, wish, KeyOrigin::First);
        if !self.0.store.keys().create_first(&row).await? {
            // Another replica was faster: its key counts, ours was never in force.
            files::remove(&path)?;
            return Ok(AdminKey::Present);
        }
        self.refresh().await?;
        Ok(AdminKey::Made(key))
    }
}

/// A key of a first start that was cut off before it was in force.
fn left_over(path: &Path) -> Result<Option<SecretString>, KeysError> {
    let found = files::read_private(path)?.and_then(|content| String::from_utf8(content).ok());
    Ok(found
        .map(|key| key.trim().to_owned())
        .filter(|key| text::id_of(key).is_some())
        .map(SecretString::from))
}
