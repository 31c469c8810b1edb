//! What the figures were measured on.

use std::{fs, process::Command};

/// One line for the tables.
pub(crate) fn description() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = rustix::system::uname();
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or_else(String::new, |kib| format!(", {} GiB", kib.div_ceil(1 << 20)));
    let rustc = first_line("rustc", &["--version"]).unwrap_or_else(|| "rustc unknown".into());
    format!(
        "{cpu}, {cores} cores{memory}, {} {}, {rustc}",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy()
    )
}

/// The day, from the `date` command: this program has no other use for a calendar.
pub(crate) fn today() -> String {
    first_line("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default()
}

/// The moment, as posts write it.
pub(crate) fn now() -> String {
    first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_default()
}

/// The version nginx says it has.
pub(crate) fn nginx_version() -> Option<String> {
    let binary = portcullis_testkit::program("nginx", &["/usr/sbin", "/usr/local/sbin"])?;
    let output = Command::new(binary).arg("-v").output().ok()?;
    Some(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("nginx version: ").to_owned())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}
