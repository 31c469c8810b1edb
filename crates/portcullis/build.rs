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

/// Each function has a section of its own, named after it: the script puts those of the list before all others.
fn in_order(list: &str) -> String {
    let sections: String = list.lines().map(|name| format!("    *(.text.{name})\n")).collect();
    format!("SECTIONS {{\n  .text.serving : {{\n{sections}  }}\n}}\nINSERT BEFORE .text;\n")
}

fn is(name: &str, value: &str) -> bool {
    env::var(name).is_ok_and(|is| is == value)
}

/// Whether the toolchain links by the linker that it brings, and nobody chose another.
fn has_own_linker() -> bool {
    let rustc = env::var("RUSTC").unwrap_or_default();
    let chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let sysroot = std::process::Command::new(rustc).args(["--print", "sysroot"]).output();
    let Some(sysroot) = sysroot.ok().and_then(|said| String::from_utf8(said.stdout).ok()) else {
        return false;
    };
    let host = env::var("HOST").unwrap_or_default();
    !chosen && Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld/ld.lld").is_file()
}
