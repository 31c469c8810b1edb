//! Has the linker lay the functions that serve requests side by side (`layout.txt`, written by `cargo xtask layout`).
//! Invariant: what the program does does not depend on it; a name in the list that the program does not have is passed over,
//! and a linker that does not know such a script is not given it.
//!
//! Source: `INSERT` in the linker scripts of LLVM's linker, <https://lld.llvm.org/ELF/linker_script.html>.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by its environment")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo::rerun-if-changed=layout.txt");
    let folder = |name: &str| PathBuf::from(env::var_os(name).unwrap_or_default());
    if !(is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && has_own_linker()) {
        return;
    }
    let script = folder("OUT_DIR").join("layout.ld");
    let list = fs::read_to_string(folder("CARGO_MANIFEST_DIR").join("layout.txt")).unwrap_or_default();
    // Without it the program only lies as it would have.
    if fs::write(&script, in_order(&list)).is_ok() {
        for argument in ["-Xlinker", &format!("--script={}", script.display())] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// Each function has a section of its own, named after it, those that a profile calls hot with a word before the name: the
/// script puts those of the list before all others. In a build with other names than the list's it is their stems that
/// match, and every function of a stem.
fn in_order(list: &str) -> String {
    let sections = |name: &str| format!("    *(.text.hot.{name} .text.{name})\n");
    let mut all: String = list.lines().map(sections).collect();
    all.extend(list.lines().filter_map(stem).map(|stem| sections(&format!("{stem}*"))));
    format!("SECTIONS {{\n  .text.serving : {{\n{all}  }}\n}}\nINSERT BEFORE .text;\n")
}

/// A name without the compiler's sum of all types that ends it (`17h`, sixteen digits, `E`), which any change of a
/// dependency's features changes.
fn stem(name: &str) -> Option<&str> {
    const SUM: usize = 16;
    let summed = name.strip_prefix("_ZN").and_then(|_| name.len().checked_sub(SUM + 1))?;
    name.get(..summed).filter(|stem| stem.ends_with("17h"))
}

fn is(name: &str, value: &str) -> bool {
    env::var(name).is_ok_and(|is| is == value)
}

/// Whether a flag of the compiler says how to link.
fn chooses_linker(flag: &str) -> bool {
    let option = flag.strip_prefix("-C").unwrap_or(flag).trim_start();
    option.starts_with("link")
}

/// Whether the toolchain links by the linker that it brings, and nobody chose another.
fn has_own_linker() -> bool {
    let rustc = env::var("RUSTC").unwrap_or_default();
    let chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.split('\x1f').any(chooses_linker));
    let sysroot = std::process::Command::new(rustc).args(["--print", "sysroot"]).output();
    let Some(sysroot) = sysroot.ok().and_then(|said| String::from_utf8(said.stdout).ok()) else {
        return false;
    };
    let host = env::var("HOST").unwrap_or_default();
    !chosen && Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld/ld.lld").is_file()
}
