//! The benchmarks of Portcullis: a mock upstream, our own bare reverse proxy (the floor), nginx and the product under
//! one load, measured by the CPU time of the server process. Invariant: every answer is verified; one wrong answer
//! ends the run. `cargo xtask bench` builds and starts this program.
#![expect(clippy::print_stdout, reason = "a command line of the workspace; its tables go to standard output")]

mod admission;
mod asking;
mod bot;
mod crowd;
mod digests;
mod embed;
mod evidence;
mod exercise;
mod floor;
mod gateway;
mod injection;
mod keys;
mod layout;
mod load;
mod machine;
mod meter;
mod news;
mod options;
mod outbox;
mod redact;
mod report;
mod resident;
mod retrieval;
mod scaling;
mod scholar;
mod target;
mod upstream;
mod wire;

use anyhow::{Result, bail};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str =
    "portcullis-bench gateway [--seconds N] [--rounds N] [--only small,large,stream,memory,latency]
                         [--targets floor,nginx,litellm,portcullis] [--portcullis PATH] [--litellm PATH]
                         [--json] [--results DIR]
portcullis-bench scaling [--seconds N] [--rounds N] [--portcullis PATH] [--results DIR]
portcullis-bench admission [--results DIR]   reads the output of `cargo bench -p portcullis-resilience`
portcullis-bench redact [--data DIR] [--results DIR]   over the labelled strings of the guard data
portcullis-bench embed [--data DIR] [--python PATH]   tokens a second beside ONNX Runtime
portcullis-bench retrieval [--data DIR] [--portcullis PATH] [--results DIR]   search on judged sets and on 100,000 passages
portcullis-bench asking [--seconds N] [--portcullis PATH] [--results DIR]   a hundred people ask at Signal and over HTTP
portcullis-bench injection [--portcullis PATH] [--results DIR]   instructions planted in documents, against a real small model
portcullis-bench evidence [--data DIR] [--results DIR]   which questions without an answer are refused, and which with one
portcullis-bench news [--data DIR] [--results DIR]   text of articles, near-duplicates, grouping of posts, what digests cost
portcullis-bench outbox [--portcullis PATH] [--results DIR]   a flood and a long queue at the Telegram door
portcullis-bench crowd [--portcullis PATH] [--results DIR]   500 people ask for news within a minute
portcullis-bench exercise [--portcullis PATH]   sends what a gateway is sent, and ends the product
portcullis-bench layout FILE [--portcullis PATH]   which functions serve requests, the busiest first
portcullis-bench upstream | floor ADDRESS    the servers it starts itself";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("gateway", rest)) => runtime.block_on(gateway::run(options::parse(rest)?)),
        Some(("scaling", rest)) => runtime.block_on(scaling::run(options::parse(rest)?)),
        Some(("admission", rest)) => admission::run(&options::parse(rest)?),
        Some(("redact", rest)) => redact::run(&options::parse(rest)?),
        Some(("embed", rest)) => embed::run(rest),
        Some(("retrieval", rest)) => retrieval::run(&options::parse(rest)?),
        Some(("asking", rest)) => runtime.block_on(asking::run(&options::parse(rest)?)),
        Some(("injection", rest)) => runtime.block_on(injection::run(&options::parse(rest)?)),
        Some(("evidence", rest)) => evidence::run(&options::parse(rest)?),
        Some(("news", rest)) => {
            let options = options::parse(rest)?;
            news::run(&options)?;
            runtime.block_on(digests::run(&options))
        }
        Some(("outbox", rest)) => runtime.block_on(outbox::run(&options::parse(rest)?)),
        Some(("crowd", rest)) => runtime.block_on(crowd::run(&options::parse(rest)?)),
        Some(("exercise", rest)) => runtime.block_on(exercise::run(&options::parse(rest)?)),
        Some(("layout", [file, rest @ ..])) => {
            runtime.block_on(layout::run(&options::parse(rest)?, file.as_ref()))
        }
        Some(("upstream", _)) => runtime.block_on(upstream::run()),
        Some(("floor", [upstream])) => runtime.block_on(floor::run(upstream.parse()?)),
        Some(("--help" | "help", _)) => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("usage:\n{HELP}"),
    }
}
