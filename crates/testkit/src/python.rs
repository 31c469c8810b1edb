//! Python tools for tests (official clients, schemathesis, gitleaks, the small model), each in its own virtual
//! environment in the cache folder. Invariant: an environment counts as made only once its marker is written, and one
//! process at a time makes it.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The official clients of OpenAI, Anthropic, Google and Z.ai (OpenAI-shaped, with a null for whatever is left out),
/// with the sha256 of every file that may be installed.
const CLIENTS: &str = include_str!("python/clients.txt");
/// A Telegram client that sends forms, with what it needs to receive webhooks.
pub const PYTHON_TELEGRAM_BOT: &str = "python-telegram-bot[webhooks]==22.8";
/// A Telegram client that checks the type of everything it gets.
pub const AIOGRAM: &str = "aiogram==3.31.0";
/// The official messages of OTLP, as Python classes that refuse what is not in the schema.
pub const OPENTELEMETRY_PROTO: &str = "opentelemetry-proto==1.45.2";
/// Tries an OpenAPI description against a server (`bin/st`).
pub const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// A virtual environment with `packages` (pip requirement lines), made on first use; the path of its folder.
/// Programs are in `bin/`, the interpreter is `bin/python`.
pub async fn venv(name: &str, packages: &[&str]) -> Option<PathBuf> {
    venv_with(name, packages, &[]).await
}

/// The same, with further packages whose own requirements are left out.
pub async fn venv_with(name: &str, packages: &[&str], bare: &[&str]) -> Option<PathBuf> {
    let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    made(name, Wanted { packages: own(packages), bare: own(bare), locked: "" }).await
}

/// What an environment holds.
#[derive(Hash)]
struct Wanted {
    packages: Vec<String>,
    /// Without what they require.
    bare: Vec<String>,
    /// The text of a requirements file that names the sha256 of all it names.
    locked: &'static str,
}

async fn made(name: &str, wanted: Wanted) -> Option<PathBuf> {
    let name = name.to_owned();
    crate::blocking(move || match ready(&name, &wanted) {
        Ok(folder) => Some(folder),
        Err(problem) => {
            crate::skip(&format!("python environment '{name}'"), &format!("cannot be made: {problem}"));
            None
        }
    })
    .await
}

fn ready(name: &str, wanted: &Wanted) -> io::Result<PathBuf> {
    let python = crate::program("python3", &["/usr/bin", "/usr/local/bin"])
        .ok_or_else(|| io::Error::other("python3 is not installed"))?;
    let mut hasher = DefaultHasher::new();
    (&python, wanted).hash(&mut hasher);
    let home = crate::cache_dir().join("venv");
    fs::create_dir_all(&home)?;
    let folder = home.join(format!("{name}-{:016x}", hasher.finish()));
    let marker = folder.join(".ready");
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if !marker.exists() {
        eprintln!("installing the Python environment {name} for the tests (once, up to a minute)");
        drop(fs::remove_dir_all(&folder));
        run(Command::new(&python).args(["-m", "venv"]).arg(&folder))?;
        let install = |flags: &[&str], list: &[String]| {
            let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-input"];
            run(Command::new(folder.join("bin/pip")).args(quiet).args(flags).args(list))
        };
        if !wanted.locked.is_empty() {
            let list = folder.join("requirements.txt");
            fs::write(&list, wanted.locked)?;
            install(&["--require-hashes", "--requirement"], &[list.display().to_string()])?;
        }
        for (flags, list) in [(&[][..], &wanted.packages), (&["--no-deps"][..], &wanted.bare)] {
            if !list.is_empty() {
                install(flags, list)?;
            }
        }
        File::create(marker)?;
    }
    Ok(folder)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Err(io::Error::other(said.lines().last().unwrap_or("no output").to_owned()))
}

/// Runs a script with arguments in an environment that has the official OpenAI client.
pub async fn openai_client(script: &str, args: &[&str]) -> Option<Output> {
    client(script, args).await
}

/// Runs a script with arguments in an environment that has the official client of Z.ai.
pub async fn zai_client(script: &str, args: &[&str]) -> Option<Output> {
    client(script, args).await
}

/// Runs a script with arguments in an environment that has the official Anthropic client.
pub async fn anthropic_client(script: &str, args: &[&str]) -> Option<Output> {
    client(script, args).await
}

/// Runs a script with arguments in an environment that has the official Google client.
pub async fn google_client(script: &str, args: &[&str]) -> Option<Output> {
    client(script, args).await
}

async fn client(script: &str, args: &[&str]) -> Option<Output> {
    let wanted = Wanted { packages: Vec::new(), bare: Vec::new(), locked: CLIENTS };
    let venv = made("clients", wanted).await?;
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let script = script.to_owned();
    let run = move || {
        let mut command = Command::new(venv.join("bin/python"));
        command.arg("-c").arg(script).args(args).stdin(Stdio::null()).output()
    };
    Some(crate::blocking(run).await.expect("python runs"))
}

/// The folder of installed packages of an environment.
#[must_use]
pub fn site_packages(venv: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(venv.join("lib")).ok()?.flatten();
    versions.map(|entry| entry.path().join("site-packages")).find(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_environment_is_made_once_and_runs() {
        let Some(first) = venv("empty", &[]).await else { return };
        let begun = fs::metadata(first.join(".ready")).unwrap().modified().unwrap();
        assert_eq!(venv("empty", &[]).await.as_ref(), Some(&first));
        assert_eq!(fs::metadata(first.join(".ready")).unwrap().modified().unwrap(), begun);
        let output = Command::new(first.join("bin/python")).args(["-c", "print(6*7)"]).output().unwrap();
        assert_eq!(output.stdout, b"42\n");
        assert!(site_packages(&first).is_some());
    }
}
