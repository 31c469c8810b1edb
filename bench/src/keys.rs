//! Many API keys for the scaling benchmark, written into the store of a stopped server as its own command would.
//! Invariant: the keys are good ones, with digests under the pepper of that installation.

use anyhow::{Context, Result, bail};
use ring::hmac;
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes `count` keys below `folder` (the server's working folder) and gives their texts.
pub(crate) fn insert(folder: &Path, count: usize) -> Result<Vec<String>> {
    let data = folder.join("data");
    let pepper = fs::read_to_string(data.join("keys/api_key_pepper")).context("the pepper")?;
    let hasher = hmac::Key::new(hmac::HMAC_SHA256, pepper.trim().as_bytes());
    let (mut keys, mut sql) = (Vec::with_capacity(count), String::from("BEGIN;\n"));
    for index in 0..count {
        let id: String = (0..12).map(|at| char::from(ALPHABET[index >> (5 * at).min(60) & 31])).collect();
        let key = format!("pcl_{id}_{index:0>43}");
        let mut digest = String::new();
        for byte in hmac::sign(&hasher, key.as_bytes()).as_ref() {
            let _ = write!(digest, "{byte:02x}");
        }
        let _ = writeln!(
            sql,
            "INSERT INTO api_keys (id, name, digest, tier, scopes, routes, labels, origin, created_at, changed_seq) \
             VALUES ('{id}', 'bench', x'{digest}', 'premium', 'chat pin', '[]', '{{}}', 'bench', 0, {});",
            index + 1000
        );
        keys.push(key);
    }
    let _ = writeln!(sql, "UPDATE meta SET value = {} WHERE name = 'changes';\nCOMMIT;", count + 1000);
    run(&data.join("portcullis.db"), &sql)?;
    // Says how the file was when the server closed it: a file that others wrote to would be taken for a damaged one, and its
    // backup put in its place.
    fs::remove_file(data.join("portcullis.db.state")).context("the state of the store")?;
    Ok(keys)
}

/// Through Python's own SQLite: it is where the official clients of the tests are, and no further dependency.
fn run(database: &Path, sql: &str) -> Result<()> {
    const SCRIPT: &str = "import sqlite3,sys;sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(database)
        .stdin(Stdio::piped())
        .spawn()
        .context("python3 is needed to write many keys")?;
    python.stdin.take().context("no input")?.write_all(sql.as_bytes())?;
    if !python.wait()?.success() {
        bail!("the keys could not be written");
    }
    Ok(())
}
