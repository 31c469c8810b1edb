//! The real servers and tools that tests start, from the system's package manager. Only what is missing is
//! installed, and only where that can be done without asking: as root, or with a sudo that needs no password.

use crate::{out, sys};
use std::path::Path;
use std::process::Command;

/// One program: how it is recognised and the Debian package that brings it.
struct Component {
    program: &'static str,
    package: &'static str,
}

const COMPONENTS: &[Component] = &[
    Component { program: "redis-server", package: "redis-server" },
    Component { program: "redis-cli", package: "redis-tools" },
    Component { program: "postgres", package: "postgresql" },
    Component { program: "nginx", package: "nginx-light" },
    Component { program: "promtool", package: "prometheus" },
    Component { program: "faketime", package: "faketime" },
    Component { program: "curl", package: "curl" },
    Component { program: "python3", package: "python3-venv" },
    Component { program: "node", package: "nodejs" },
    Component { program: "npm", package: "npm" },
];

/// Installs what is missing and gives the names of what still is.
pub(crate) fn install() -> Vec<String> {
    let wanted: Vec<&Component> = missing();
    if wanted.is_empty() {
        return Vec::new();
    }
    let packages: Vec<&str> = wanted.iter().map(|c| c.package).collect();
    out::line(&format!("installing {}", packages.join(" ")));
    let done = apt(&["update"]).and_then(|()| {
        let mut args = vec!["install", "-y", "--no-install-recommends"];
        args.extend(&packages);
        apt(&args)
    });
    let why = done.err().unwrap_or_else(|| "the package did not bring it".to_owned());
    missing().iter().map(|c| format!("{} ({why})", c.program)).collect()
}

fn missing() -> Vec<&'static Component> {
    COMPONENTS.iter().filter(|c| !present(c.program)).collect()
}

fn present(program: &str) -> bool {
    sys::which(program).is_some() || (program == "postgres" && postgres_folder())
}

/// Debian keeps the server's programs off the path, one folder a version.
fn postgres_folder() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|entry| entry.path().join("bin/postgres")).any(|path| path.is_file())
}

fn apt(args: &[&str]) -> Result<(), String> {
    if sys::which("apt-get").is_none() {
        return Err("no apt-get here".to_owned());
    }
    let root = sys::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if root {
        sys::command("apt-get")
    } else if Path::new("/usr/bin/sudo").exists() {
        let mut sudo = sys::command("sudo");
        sudo.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    } else {
        return Err("neither root nor sudo".to_owned());
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q").args(args);
    sys::output(&mut command).map(drop).map_err(|error| format!("{error:#}").chars().take(200).collect())
}
