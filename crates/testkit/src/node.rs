//! Node tools for tests: the official JavaScript clients of OpenAI, Anthropic and Google, in one folder of the cache.
//! What is installed is pinned with its hashes by `clients/package-lock.json`, and no package's own script runs.
//! Invariant: the folder counts as made only once its marker is written, and one process at a time makes it.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const PACKAGE: &str = include_str!("../clients/package.json");
const LOCK: &str = include_str!("../clients/package-lock.json");

const TELEGRAM: &str = include_str!("../clients/telegram/package.json");
const TELEGRAM_LOCK: &str = include_str!("../clients/telegram/package-lock.json");

/// The clients ask for newer ones, but run from here on.
const OLDEST: u32 = 20;

/// Runs a script (an ES module, which may import `openai`, `@anthropic-ai/sdk` and `@google/genai`) with arguments
/// (`process.argv` from 1 on).
///
/// # Panics
/// When an installed node does not start.
pub async fn run(script: &str, args: &[&str]) -> Option<Output> {
    let script = script.to_owned();
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    crate::blocking(move || {
        let (node, folder) = match ready() {
            Ok(ready) => ready,
            Err(problem) => {
                crate::skip("node with the official clients", &format!("cannot be had: {problem}"));
                return None;
            }
        };
        Some(command(&node, &folder, &script, &args).output().expect("node starts"))
    })
    .await
}

/// The program and the folder with its packages, made on first use.
fn ready() -> io::Result<(PathBuf, PathBuf)> {
    let node = program()?;
    let folder = installed("clients", (PACKAGE, LOCK), "the official JavaScript clients")?;
    Ok((node, folder))
}

/// A command that runs a script (an ES module) with arguments in a folder with grammY and `telegram-test-api`; nothing,
/// said in one line, where they cannot be had.
pub async fn telegram(script: &str, args: &[&str]) -> Option<Command> {
    let (script, args): (String, Vec<String>) =
        (script.to_owned(), args.iter().map(ToString::to_string).collect());
    crate::blocking(move || {
        let ready = program().and_then(|node| {
            Ok((node, installed("telegram", (TELEGRAM, TELEGRAM_LOCK), "Telegram clients in JavaScript")?))
        });
        match ready {
            Ok((node, folder)) => Some(command(&node, &folder, &script, &args)),
            Err(problem) => {
                crate::skip("node with Telegram clients", &format!("cannot be had: {problem}"));
                None
            }
        }
    })
    .await
}

fn command(node: &Path, folder: &Path, script: &str, args: &[String]) -> Command {
    let mut command = Command::new(node);
    command.args(["--input-type=module", "--eval", script, "--"]).args(args);
    command.current_dir(folder).env_remove("NODE_OPTIONS").stdin(Stdio::null());
    command
}

fn program() -> io::Result<PathBuf> {
    let node = find("node")?;
    let version = major(&node)?;
    if version < OLDEST {
        return Err(io::Error::other(format!("node {version} is too old, {OLDEST} is needed")));
    }
    Ok(node)
}

fn find(name: &str) -> io::Result<PathBuf> {
    crate::program(name, &["/usr/bin", "/usr/local/bin"])
        .ok_or_else(|| io::Error::other(format!("{name} is not installed")))
}

/// A folder of the cache with exactly the packages of a lock file; none of their scripts has run.
pub(crate) fn installed(name: &str, (package, lock_file): (&str, &str), what: &str) -> io::Result<PathBuf> {
    let npm = find("npm")?;
    let mut hasher = DefaultHasher::new();
    (package, lock_file).hash(&mut hasher);
    let home = crate::cache_dir().join("node");
    fs::create_dir_all(&home)?;
    let folder = home.join(format!("{name}-{:016x}", hasher.finish()));
    let marker = folder.join(".ready");
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if !marker.exists() {
        eprintln!("installing {what} for the tests (once, up to a minute)");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("package.json"), package)?;
        fs::write(folder.join("package-lock.json"), lock_file)?;
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        let output = Command::new(npm).args(quiet).current_dir(&folder).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(said.lines().next().unwrap_or("npm says nothing").to_owned()));
        }
        File::create(marker)?;
    }
    Ok(folder)
}

fn major(node: &Path) -> io::Result<u32> {
    let output = Command::new(node).arg("--version").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = said.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    number.ok_or_else(|| io::Error::other("node does not tell its version"))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_official_clients_are_there_and_arguments_arrive() {
        const SCRIPT: &str = r"
            import OpenAI from 'openai';
            import Anthropic from '@anthropic-ai/sdk';
            import { GoogleGenAI } from '@google/genai';
            console.log([OpenAI, Anthropic, GoogleGenAI].map((one) => typeof one).join(), ...process.argv.slice(1));
        ";
        let Some(output) = super::run(SCRIPT, &["one", "two"]).await else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.trim(), "function,function,function one two", "{output:?}");
    }
}
