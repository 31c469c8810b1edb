//! Has the linker lay the functions that serve requests side by side (`layout.txt`, written by `cargo xtask layout`).
//! Invariant: what the program does does not depend on it; a name in the list that the program does not have is passed over,
//! and a linker that does not know the argument is not given it.
//!
//! Source: `--symbol-ordering-file` of LLVM's linker, <https://lld.llvm.org>.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "cargo speaks to a build script by its environment and output"
)]

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=layout.txt");
    let layout = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("layout.txt");
    if is("PROFILE", "release")
        && is("TARGET", "x86_64-unknown-linux-gnu")
        && has_own_linker()
        && layout.is_file()
    {
        for argument in ["--no-warn-symbol-ordering", &format!("--symbol-ordering-file={}", layout.display())]
        {
            println!("cargo::rustc-link-arg-bins=-Xlinker");
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
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
