//! From file, environment and flags to [`Settings`], or to everything that is wrong with them.

use super::{
    Settings, overrides,
    report::{Located, Report, Severity},
    schema::Schema,
    source::{Lines, Origin, Step, Tree, dotted},
};
use crate::Environment;
use portcullis_engine::{default_actions, default_tiers};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where a file is looked for when neither a flag nor `PORTCULLIS_CONFIG` names one.
const SYSTEM_FILE: &str = "/etc/portcullis/portcullis.toml";
/// The name of the file in the working folder.
const LOCAL_FILE: &str = "portcullis.toml";
/// A settings file larger than this is refused: it is not a settings file.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// What to do about a key in a settings file.
pub(super) const KEY_MEND: &str = "take it out, treat it as leaked (issue a new one), and give it as a secret: an environment variable or a file \
     in /run/secrets; settings only hold a secret's name, in keys that end in `_secret`";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config F`.
    pub config: Option<PathBuf>,
    /// `--set section.key=value` and the flags that stand for one.
    pub flags: Vec<(String, String)>,
    /// The environment.
    pub environment: Environment,
    /// The working folder; the process's own when absent.
    pub folder: Option<PathBuf>,
}

/// Why nothing could be examined.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file that was named cannot be read.
    #[error("cannot read the settings file {path}: {reason}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The settings have errors.
    #[error("the settings have errors:\n{0}")]
    Refused(Report),
}

/// The outcome of an examination.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The settings; where something was wrong, with the default in its place.
    pub settings: Settings,
    /// All problems.
    pub report: Report,
    /// Dotted key -> where it was said, for every key that was said anywhere.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads all sources and reports everything that is wrong with them.
///
/// # Errors
/// [`LoadError::Unreadable`] only.
pub fn examine(sources: &Sources) -> Result<Examined, LoadError> {
    let mut report = Report::default();
    let tree = match find_file(sources) {
        Some(path) => read_file(path, &mut report)?,
        None => Tree::empty(),
    };
    Ok(examine_tree(sources, tree, report))
}

/// The same with this text in place of the file.
pub(crate) fn examine_text(sources: &Sources, text: &str) -> Examined {
    let mut report = Report::default();
    let tree = parse(text, &mut report);
    examine_tree(sources, tree, report)
}

fn examine_tree(sources: &Sources, mut tree: Tree, mut report: Report) -> Examined {
    let vars = sources.environment.with_prefix(overrides::prefix());
    let in_file = tree.value.as_object().into_iter().flat_map(|members| members.keys().cloned());
    let schema = Schema::of_sections(&in_file.chain(overrides::sections(&vars, &sources.flags)).collect());
    report.problems.extend(overrides::environment(&schema, &mut tree, &vars));
    report.problems.extend(overrides::flags(&schema, &mut tree, &sources.flags));
    fill_rows(&mut tree);
    schema.check(&mut tree, &mut report.problems);
    let settings = build(&mut tree, &mut report.problems);
    for problem in settings.problems() {
        let origin = tree.origin(&problem.key);
        report.problems.push(Located {
            origin,
            key: problem.key,
            message: problem.message,
            mend: problem.mend,
            severity: Severity::Error,
        });
    }
    report.tidy();
    Examined { settings, report, origins: tree.origins }
}

/// Tiers and actions that are there without being named stay there, and of a named one stays what is not said of it:
/// who raises one number of `premium` keeps its buckets and its weight.
fn fill_rows(tree: &mut Tree) {
    if let Some(said) = tree.value.get_mut("tiers") {
        fill(said, serde_json::to_value(default_tiers()).unwrap_or_default());
    }
    if let Some(said) = tree.value.get_mut("actions") {
        fill(said, serde_json::to_value(default_actions()).unwrap_or_default());
    }
}

fn fill(said: &mut Value, defaults: Value) {
    match (said, defaults) {
        (Value::Object(said), Value::Object(defaults)) => {
            for (name, default) in defaults.into_iter().filter(|(_, default)| !default.is_null()) {
                let empty = if default.is_object() { Value::Object(Map::new()) } else { Value::Null };
                fill(said.entry(name).or_insert(empty), default);
            }
        }
        (said @ Value::Null, default) => *said = default,
        _ => {}
    }
}

/// The settings, if nothing is wrong with them.
///
/// # Errors
/// Both kinds of [`LoadError`].
pub fn load(sources: &Sources) -> Result<Examined, LoadError> {
    let examined = examine(sources)?;
    if examined.report.refuses() {
        return Err(LoadError::Refused(examined.report));
    }
    Ok(examined)
}

/// The first file of the order: flag, variable, working folder, system. Only the first two must exist.
pub(crate) fn find_file(sources: &Sources) -> Option<PathBuf> {
    if let Some(path) = &sources.config {
        return Some(path.clone());
    }
    if let Some(path) = sources.environment.path("PORTCULLIS_CONFIG") {
        return Some(path);
    }
    let local = sources.folder.as_deref().unwrap_or(Path::new("")).join(LOCAL_FILE);
    [local, PathBuf::from(SYSTEM_FILE)].into_iter().find(|path| path.exists())
}

fn read_file(path: PathBuf, report: &mut Report) -> Result<Tree, LoadError> {
    let unreadable = |reason: String| LoadError::Unreadable { path: path.clone(), reason };
    let meta = std::fs::metadata(&path).map_err(|error| unreadable(error.to_string()))?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(unreadable(format!("{} bytes; the limit is {MAX_FILE_BYTES}", meta.len())));
    }
    let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    report.file = Some(path.clone());
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let text =
                String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let origin = Lines::new(&text).origin(text.len());
            report.problems.push(syntax(origin, "not UTF-8 from here on", "save the file as UTF-8"));
            return Ok(Tree::empty());
        }
    };
    let mut tree = parse(&text, report);
    tree.file = Some(path);
    Ok(tree)
}

fn parse(text: &str, report: &mut Report) -> Tree {
    keys_in_text(text, report);
    let (tree, errors) = Tree::parse(text);
    for error in errors {
        // The parser names what it found and what it expected, never a value.
        let mend = "see https://toml.io; a text stands in quotes, a list in [ ], a table's name in [ ] on its own line";
        report.problems.push(syntax(error.origin, &format!("broken TOML: {}", error.message), mend));
    }
    tree
}

fn syntax(origin: Origin, message: &str, mend: &str) -> Located {
    Located {
        origin,
        key: String::new(),
        message: message.to_owned(),
        mend: mend.to_owned(),
        severity: Severity::Error,
    }
}

/// Refuses lines that hold a key, in comments too: the file is copied, committed and pasted into tickets.
fn keys_in_text(text: &str, report: &mut Report) {
    for (index, line) in text.lines().enumerate() {
        if crate::looks_like_key(line) {
            let origin = Origin::File { line: index + 1, column: 1 };
            report.problems.push(syntax(origin, "a value on this line looks like a key", KEY_MEND));
        }
    }
}

/// Types the tree. What a type of its own refuses (an address that is none) is reported and left out, until the
/// rest fits.
fn build(tree: &mut Tree, problems: &mut Vec<Located>) -> Settings {
    for _ in 0..1000 {
        let refused = match serde_path_to_error::deserialize::<_, Settings>(&tree.value) {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        let path: Vec<Step> = refused
            .path()
            .iter()
            .map_while(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(Step::Place(*index)),
                serde_path_to_error::Segment::Map { key } => Some(Step::Member(key.clone())),
                serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        let key = dotted(&path);
        problems.push(Located {
            origin: tree.origin(&key),
            message: crate::redact(&refused.inner().to_string()).into_owned(),
            mend: "see this key in docs/reference/configuration.md".to_owned(),
            key,
            severity: Severity::Error,
        });
        if !tree.remove(&path) {
            break;
        }
    }
    Settings::default()
}
