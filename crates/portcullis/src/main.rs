//! The command line of Portcullis. `main` parses, starts the async runtime, runs one command and returns its exit
//! code; nothing here decides anything about requests.

mod cli;
mod commands;
mod output;

use std::process::ExitCode;

/// Measured against the system allocator under load: less time in `malloc`, less memory kept.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis_kernels::share_heap_of_c();
    let cli = cli::read(std::env::args_os());
    let json = cli.common.json;
    match commands::run(cli) {
        Ok(code) => code,
        Err(trouble) => trouble.tell(json),
    }
}
