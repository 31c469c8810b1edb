//! What is kept, and how: the key that seals texts of people.

use crate::{
    Secrets, Settings,
    secrets::OwnKeys,
    start::{StartError, wanted},
};
use portcullis_store::Seal;

/// Name of the key that seals texts of people in the database.
const DATA_KEY: &str = "data_key";

/// The seal of these settings. With `store.encrypt` off it only opens, and no key is made for that.
pub(crate) fn seal(settings: &Settings, secrets: &Secrets) -> Result<Seal, StartError> {
    let mut retired = Vec::new();
    for name in &settings.store.retired_data_key_secrets {
        retired.extend(wanted(Some(name), "store.retired_data_key_secrets", secrets)?);
    }
    let own = OwnKeys::new(&settings.data_dir);
    if settings.store.encrypt {
        return Ok(Seal::new(own.get(DATA_KEY, secrets)?, retired));
    }
    let present = own.find(DATA_KEY, secrets)?;
    Ok(present.map_or_else(Seal::default, |key| Seal::opening(key, retired)))
}
