//! Which functions of the product serve requests: the product runs under callgrind, is sent what a gateway is sent, and
//! the symbols of every function that ran meanwhile are written, the busiest first. The linker lays them side by side
//! (`crates/portcullis/build.rs`), so that serving touches a few dense pages and not one in three of the program's.
//! Invariant: what ran only while it started or stopped is not in the list.
//!
//! Source: the Callgrind format, <https://valgrind.org/docs/manual/cl-format.html>.

use crate::{
    exercise,
    options::Options,
    target::{Target, Upstream},
};
use anyhow::{Context, Result, bail, ensure};
use portcullis_testkit::program;
use std::{collections::HashMap, fs, path::Path, process::Command, time::Duration};
use tokio::time::sleep;

/// Runs the product under callgrind and writes the list to `layout`.
pub(crate) async fn run(options: &Options, layout: &Path) -> Result<()> {
    let valgrind = program("valgrind", &["/usr/bin"]).context("valgrind is not installed")?;
    let control =
        program("callgrind_control", &["/usr/bin"]).context("callgrind_control is not installed")?;
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace");
    let wrapper = folder.path().join("under-callgrind");
    let script = format!(
        "#!/bin/sh\nexec '{}' --tool=callgrind --demangle=no --compress-strings=no --callgrind-out-file='{}' '{}' \"$@\"\n",
        valgrind.display(),
        trace.display(),
        options.portcullis.display()
    );
    fs::write(&wrapper, script)?;
    make_runnable(&wrapper)?;
    let upstream = Upstream::start()?;
    let under = Options { portcullis: wrapper, ..options.clone() };
    let target = Target::product_with(upstream.address, &under, "", &[], |_| Ok(())).await?;
    let pid = target.pids.first().context("no process")?.to_string();
    let dump = || -> Result<()> {
        ensure!(
            Command::new(&control).arg("--dump").arg(&pid).output()?.status.success(),
            "callgrind_control"
        );
        Ok(())
    };
    dump()?;
    exercise::serve(&target).await?;
    dump()?;
    let served = whole(&folder.path().join("trace.2")).await?;
    drop(target);
    let program = fs::canonicalize(&options.portcullis)?;
    let list = busiest(&served, program.to_str().context("a path that is not UTF-8")?);
    ensure!(list.len() > 500, "only {} functions ran: the program was built without symbols", list.len());
    fs::write(layout, list.join("\n") + "\n")?;
    println!("{} functions served; written to {}", list.len(), layout.display());
    Ok(())
}

/// A dump when it is complete: callgrind writes on after it was asked.
async fn whole(dump: &Path) -> Result<String> {
    for _ in 0..600 {
        let text = fs::read_to_string(dump).unwrap_or_default();
        if text.lines().next_back().is_some_and(|last| last.starts_with("totals:")) {
            return Ok(text);
        }
        sleep(Duration::from_millis(100)).await;
    }
    bail!("callgrind did not write what it saw")
}

#[cfg(unix)]
fn make_runnable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_runnable(_file: &Path) -> Result<()> {
    anyhow::bail!("valgrind runs on Unix only")
}

/// The program's functions in a callgrind dump with whole names, by the instructions they ran themselves.
fn busiest(dump: &str, program: &str) -> Vec<String> {
    let mut cost: HashMap<&str, u64> = HashMap::new();
    let (mut own, mut function, mut called) = (false, "", false);
    for line in dump.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            // Callgrind forgets whose code it is where its pages were given back; what it is called it still knows.
            own = object == program || object == "???";
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line after a call says what the callee cost, which is counted there.
            let counted = line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
            if let (false, true, Some(counted)) = (std::mem::take(&mut called), own, counted) {
                *cost.entry(function).or_default() += counted;
            }
        }
    }
    // Callgrind marks recursion and unknown places with what no symbol holds.
    let mut list: Vec<_> = cost.into_iter().filter(|(name, _)| is_symbol(name)).collect();
    list.sort_by_key(|(name, cost)| (std::cmp::Reverse(*cost), *name));
    list.into_iter().map(|(name, _)| name.to_owned()).collect()
}

fn is_symbol(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_by_what_they_cost_themselves_and_only_the_programs() {
        let dump = "# callgrind format\nversion: 1\npositions: line\nevents: Ir\n\nob=/bin/it\nfl=a.rs\nfn=_ZN1aE\n10 5\n+2 7\n\
                    cob=/lib/libc.so\ncfn=memcpy\ncalls=3 0\n11 900\n12 1\n\nfn=_ZN1bE\nfi=b.rs\n4 40\nfe=a.rs\n* 2\n\nob=/lib/libc.so\n\
                    fn=memcpy\n0 900\n\nob=/bin/it\nfn=_ZN1aE\n9 100\nfn=0x0000000000012345\n1 9\nfn=busy'2\n1 1\n";
        assert_eq!(busiest(dump, "/bin/it"), ["_ZN1aE", "_ZN1bE"]);
        assert_eq!(busiest(dump, "/bin/other"), [""; 0]);
        assert_eq!(busiest(&dump.replace("/bin/it", "???"), "/bin/it"), ["_ZN1aE", "_ZN1bE"]);
    }
}
