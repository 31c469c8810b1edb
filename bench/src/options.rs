//! The command line of the benchmarks.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// A chat request of some 250 bytes, answered whole.
    Small,
    /// The same with a prompt of 400 kB.
    Large,
    /// A streamed answer of 101 events.
    Stream,
    /// Resident memory, idle and with 500 open streams.
    Memory,
    /// Added time at 100 requests a second.
    Latency,
}

impl Measure {
    /// Every measure, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [Self::Small, Self::Large, Self::Stream, Self::Latency, Self::Memory];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::Stream => "stream",
            Self::Latency => "latency",
            Self::Memory => "memory",
        }
    }
}

/// Whom it is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Our own bare reverse proxy on the same HTTP stack.
    Floor,
    /// nginx with `proxy_pass`.
    Nginx,
    /// LiteLLM's proxy, with nothing on but its one key.
    LiteLlm,
    /// The product with everything on.
    Portcullis,
}

impl Kind {
    /// Every target, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Floor, Self::Nginx, Self::LiteLlm, Self::Portcullis];

    /// Its name in tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::LiteLlm => "litellm",
            Self::Portcullis => "portcullis",
        }
    }
}

/// Parsed arguments.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Length of one measurement of one target.
    pub(crate) seconds: u64,
    /// How often the targets take turns.
    pub(crate) rounds: usize,
    pub(crate) measures: Vec<Measure>,
    pub(crate) targets: Vec<Kind>,
    /// The product's binary; beside this program by default.
    pub(crate) portcullis: PathBuf,
    /// The peer's program; left out where it is not there.
    pub(crate) litellm: Option<PathBuf>,
    /// The labelled strings and honest messages.
    pub(crate) data: PathBuf,
    /// Where tables are written.
    pub(crate) results: PathBuf,
    /// The product's configuration.
    pub(crate) profile: PathBuf,
    /// Print JSON as well.
    pub(crate) json: bool,
}

/// Parses what follows the command's name.
pub(crate) fn parse(args: &[String]) -> Result<Options> {
    let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut options = Options {
        seconds: 4,
        rounds: 5,
        measures: Measure::ALL.into(),
        targets: Kind::ALL.into(),
        portcullis: std::env::current_exe()?.with_file_name("portcullis"),
        litellm: None,
        data: bench.join("../../shared/data/guard"),
        results: bench.join("results"),
        profile: bench.join("profile.toml"),
        json: false,
    };
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let mut value = || args.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
            "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
            "--only" => options.measures = pick(value()?, &Measure::ALL, Measure::as_str)?,
            "--targets" => options.targets = pick(value()?, &Kind::ALL, Kind::as_str)?,
            "--portcullis" => options.portcullis = value()?.into(),
            "--litellm" => options.litellm = Some(value()?.into()),
            "--data" => options.data = value()?.into(),
            "--results" => options.results = value()?.into(),
            "--profile" => options.profile = value()?.into(),
            "--json" => options.json = true,
            unknown => bail!("unknown option {unknown}"),
        }
    }
    if options.seconds == 0 || options.rounds == 0 {
        bail!("--seconds and --rounds are at least 1");
    }
    Ok(options)
}

fn pick<T: Copy>(list: &str, all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>> {
    list.split(',')
        .map(|word| {
            all.iter().copied().find(|one| name(*one) == word).with_context(|| {
                let known: Vec<_> = all.iter().map(|one| name(*one)).collect();
                format!("'{word}' is none of {}", known.join(", "))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_read_and_nonsense_is_named() {
        let options = parse(&words("--seconds 2 --only small,stream --targets floor --json")).unwrap();
        assert_eq!((options.seconds, options.json), (2, true));
        assert_eq!(options.measures, [Measure::Small, Measure::Stream]);
        assert_eq!(options.targets, [Kind::Floor]);
        for bad in ["--only tiny", "--seconds", "--seconds 0", "--fast"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }
}
