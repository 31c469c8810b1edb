//! Keys of our own, which nobody has to invent: given by the adapter, else kept in `data/keys/` (0600), else made at
//! the first start. Losing them invalidates every API key, makes audit identities unlinkable and leaves sealed texts
//! closed for good: whoever keeps backups of the database keeps a copy of them too, elsewhere.

use super::Secrets;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
pub use portcullis_engine::keys::LOCAL_KEY;
use portcullis_store::files::{self, FileError};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Names of our own keys and what each is for.
pub const OWN_KEYS: [(&str, &str); 5] = [
    ("api_key_pepper", "keyed hash of API keys; changing it invalidates every key"),
    (
        "audit_id_key",
        "keyed hash of caller ids in the audit trail; changing it breaks the link to older lines",
    ),
    (
        "audit_sign_key",
        "signs the checkpoints of the audit trail; before changing it, name its public key in audit.retired_sign_keys",
    ),
    (
        "data_key",
        "seals texts of people in the database; before changing it, name its secret in store.retired_data_key_secrets",
    ),
    (WEBHOOK_KEY, "by it Telegram is recognised when it brings messages; may be changed at any time"),
];

/// Name of the secret by which Telegram is recognised, where `telegram.webhook_secret` names no other.
pub const WEBHOOK_KEY: &str = "telegram_webhook_secret";

/// Name of the secret that declares an admin key instead of having one made.
pub const ADMIN_KEY: &str = "admin_key";

/// A key of our own is at least this long, in bytes.
const MIN_BYTES: usize = 32;

/// Where our own keys are kept.
#[derive(Clone, Debug)]
pub struct OwnKeys {
    folder: PathBuf,
}

/// Why a key of our own cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// Given, but too short to be safe.
    #[error(
        "the secret `{name}` has {found} bytes; it needs at least {MIN_BYTES}. Mend: `openssl rand -base64 32`"
    )]
    TooShort {
        /// Which.
        name: &'static str,
        /// How long it is.
        found: usize,
    },
    /// The folder or a file in it cannot be used.
    #[error("{0}")]
    Folder(#[from] FileError),
    /// A key file that is not what we wrote.
    #[error(
        "the file {0} below data/keys is damaged; restore it from a backup, or remove it to have it made anew"
    )]
    Damaged(String),
}

impl OwnKeys {
    /// Keys below that data folder.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("keys") }
    }

    /// The key of that name: from the adapter, from its file, or newly made.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub fn get(&self, name: &'static str, secrets: &Secrets) -> Result<SecretString, OwnKeyError> {
        let key = match secrets.get(name) {
            Some(given) => given,
            None => self.read_or_make(name)?,
        };
        let found = key.expose_secret().len();
        if found < MIN_BYTES {
            return Err(OwnKeyError::TooShort { name, found });
        }
        Ok(key)
    }

    /// The key of that name, where there is one already.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub fn find(&self, name: &'static str, secrets: &Secrets) -> Result<Option<SecretString>, OwnKeyError> {
        match secrets.get(name) {
            Some(given) => Ok(Some(given)),
            None => self.read(name),
        }
    }

    /// The key that the local command line uses, if there is one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn local(&self) -> Result<Option<SecretString>, OwnKeyError> {
        self.read(LOCAL_KEY)
    }

    fn read_or_make(&self, name: &'static str) -> Result<SecretString, OwnKeyError> {
        if let Some(kept) = self.read(name)? {
            return Ok(kept);
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        rand::fill(bytes.as_mut_slice());
        self.make(name, &SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_slice())))?;
        self.read(name)?.ok_or(OwnKeyError::Damaged(name.to_owned()))
    }

    fn read(&self, file: &str) -> Result<Option<SecretString>, OwnKeyError> {
        let Some(bytes) = files::read_private(&self.folder.join(file))? else { return Ok(None) };
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| OwnKeyError::Damaged(file.to_owned()))?;
        Ok(Some(SecretString::from(text.trim_end())))
    }

    /// Writes the key unless there is one: of two processes that start at once, both use the same.
    fn make(&self, file: &str, key: &SecretString) -> Result<(), OwnKeyError> {
        files::private_dir(&self.folder)?;
        files::make_private(&self.folder.join(file), key.expose_secret().as_bytes())?;
        Ok(())
    }
}
