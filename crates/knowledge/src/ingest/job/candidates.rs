//! What is to be taken in, one after the other: files that were found, pages and where they lead, uploads. Invariant:
//! no key comes twice, and links are followed on the host of their page only.

use super::Tools;
use crate::ingest::{
    extract::{Hint, Refusal},
    find::{self, Found},
    report::IngestError,
    sources::{self, Sources},
};
use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};
use tokio::task::spawn_blocking;
use url::Url;

/// Something to take in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or folder.
    Path(PathBuf),
    /// An address.
    Page(String),
    /// Bytes that somebody sent.
    Upload {
        /// As the sender names it.
        name: String,
        /// What was sent.
        bytes: Vec<u8>,
    },
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it was found, redirects followed.
    pub final_url: String,
    /// Media type in lower case, without parameters.
    pub content_type: Option<String>,
    /// Charset that the site declares.
    pub charset: Option<String>,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFetched {
    /// In a sentence.
    pub why: String,
    /// Whether the site says that it is no more.
    pub gone: bool,
}

/// The future of a page.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, NotFetched>> + Send>>;
/// Who fetches pages: guarded, politely, within bounds.
pub type Fetch = Arc<dyn Fn(String) -> Fetching + Send + Sync>;

/// Under which uploads stand.
const UPLOADS: &str = "upload:";

/// Something that may become a document.
pub(super) struct Candidate {
    pub(super) key: String,
    pub(super) source: String,
    root: String,
    url: Option<String>,
    /// Its size, where that is known before it is opened.
    pub(super) bytes: u64,
    from: From,
}

enum From {
    File { found: Found, root: PathBuf },
    Page { depth: u8 },
    Upload(Vec<u8>),
}

/// An opened candidate.
pub(super) struct Content {
    pub(super) key: String,
    source: String,
    root: String,
    url: Option<String>,
    pub(super) hint: Hint,
    pub(super) bytes: Vec<u8>,
    /// Whether it is a page, whose bytes change while its text stays, and how far its links are followed.
    pub(super) page: bool,
    depth: u8,
}

/// What is known of a document beside its text.
pub(super) struct About {
    pub(super) source: String,
    pub(super) root: String,
    pub(super) url: Option<String>,
    /// For want of a better one.
    pub(super) title: String,
    pub(super) hashed: String,
    depth: u8,
}

impl Content {
    /// What enters the sum of a document beside its bytes.
    pub(super) fn hashed(&self) -> String {
        format!("{}\0{}", self.hint.extension, self.url.as_deref().unwrap_or_default())
    }

    pub(super) fn about(&self) -> About {
        let name = self.source.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.source);
        let title = match name.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() && !self.page => stem,
            Some(_) | None => name,
        };
        About {
            source: self.source.clone(),
            root: self.root.clone(),
            url: self.url.clone(),
            title: title.to_owned(),
            hashed: self.hashed(),
            depth: self.depth,
        }
    }
}

impl Candidate {
    /// Its bytes, or why they are not to be had and whether it is no more.
    pub(super) async fn open(self, tools: &Tools) -> Result<Result<Content, (Refusal, bool)>, IngestError> {
        let Self { key, source, root, url, from, .. } = self;
        let content =
            |bytes, hint, page, key, url, depth| Content { key, source, root, url, hint, bytes, page, depth };
        match from {
            From::File { found, root } => {
                let hint = Hint { extension: extension(&found.source), charset: None };
                let most = tools.config.max_file_bytes;
                let read = spawn_blocking(move || find::read(&found, &root, most)).await;
                let read = read.map_err(|error| IngestError::Broken(error.to_string()))?;
                Ok(read
                    .map(|bytes| content(bytes, hint, false, key, url, 0))
                    .map_err(|refusal| (refusal, false)))
            }
            From::Upload(bytes) => {
                let hint = Hint { extension: extension(&key), charset: None };
                Ok(Ok(content(bytes, hint, false, key, url, 0)))
            }
            From::Page { depth } => {
                let Some(fetch) = &tools.fetch else { return Err(IngestError::NoPages) };
                let fetched = tokio::select! {
                    biased;
                    () = tools.cancel.cancelled() => return Err(IngestError::Cancelled),
                    fetched = fetch(key) => fetched,
                };
                Ok(match fetched {
                    Ok(page) => {
                        let key = page.final_url.split('#').next().unwrap_or_default().to_owned();
                        let hint = Hint {
                            extension: media(page.content_type.as_deref(), &key),
                            charset: page.charset,
                        };
                        let mut content =
                            content(page.bytes, hint, true, key.clone(), Some(key.clone()), depth);
                        content.source = key;
                        Ok(content)
                    }
                    Err(NotFetched { why, gone }) => Err((Refusal::NotFetched(why), gone)),
                })
            }
        }
    }
}

fn extension(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_ascii_lowercase())
}

/// What the media type of a page says about its text, in the words of file names.
fn media(content_type: Option<&str>, address: &str) -> String {
    match content_type {
        Some("text/html" | "application/xhtml+xml") => "html".to_owned(),
        Some("text/markdown") => "md".to_owned(),
        Some("text/plain") if extension(address) != "md" => "txt".to_owned(),
        Some(_) | None => extension(address.split('?').next().unwrap_or_default()),
    }
}

/// What a run has been told to look at.
enum Covered {
    /// A file, or a folder with everything in it.
    Tree(String),
    /// Pages found from an address.
    Pages(String),
}

/// See the module.
pub(super) struct Queue {
    list: VecDeque<Candidate>,
    met: HashSet<String>,
    covered: Vec<Covered>,
    /// Places that could not be looked into: key, source, reason.
    pub(super) refused: Vec<(String, String, Refusal)>,
    /// Bytes of all files found.
    pub(super) bytes: u64,
    left: usize,
}

impl Queue {
    pub(super) async fn new(places: &[Place], depth: u8, tools: &Tools) -> Result<Self, IngestError> {
        let mut queue = Self {
            list: VecDeque::new(),
            met: HashSet::new(),
            covered: Vec::new(),
            refused: Vec::new(),
            bytes: 0,
            left: tools.config.max_files,
        };
        for place in places {
            match place {
                Place::Path(path) => queue.path(path.clone(), tools.config.max_files).await?,
                Place::Page(_) if tools.fetch.is_none() => return Err(IngestError::NoPages),
                Place::Page(address) => match web(address) {
                    Some(url) => {
                        queue.covered.push(Covered::Pages(url.to_string()));
                        queue.page(&url, url.as_str(), depth);
                    }
                    None => {
                        let why =
                            Refusal::NotFetched("only http and https addresses can be fetched".to_owned());
                        queue.refused.push((address.clone(), address.clone(), why));
                    }
                },
                Place::Upload { name, bytes } => {
                    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
                    let source = format!("{UPLOADS}{name}");
                    queue.bytes += bytes.len() as u64;
                    queue.push(Candidate {
                        key: source.clone(),
                        source,
                        root: UPLOADS.to_owned(),
                        url: None,
                        bytes: bytes.len() as u64,
                        from: From::Upload(bytes.clone()),
                    });
                }
            }
        }
        Ok(queue)
    }

    async fn path(&mut self, path: PathBuf, most: usize) -> Result<(), IngestError> {
        let found = spawn_blocking(move || {
            let (finds, root) = find::find(&path, most)?;
            let covered = std::fs::canonicalize(&path).unwrap_or(path);
            let sources = Sources::of(&root)?;
            Ok::<_, IngestError>((finds, root, covered, sources))
        });
        let (finds, root, covered, sources) =
            found.await.map_err(|error| IngestError::Broken(error.to_string()))??;
        let shown = root.display().to_string();
        let key = |source: &str| format!("{}/{source}", shown.trim_end_matches('/'));
        self.covered.push(Covered::Tree(covered.display().to_string()));
        for (source, refusal) in finds.refused {
            self.refused.push((key(&source), source, refusal));
        }
        for found in finds.files {
            if found.source == sources::NAME {
                continue;
            }
            self.bytes += found.bytes;
            self.push(Candidate {
                key: key(&found.source),
                source: found.source.clone(),
                root: shown.clone(),
                url: sources.url(&found.source),
                bytes: found.bytes,
                from: From::File { found, root: root.clone() },
            });
        }
        Ok(())
    }

    fn page(&mut self, url: &Url, root: &str, depth: u8) {
        let mut url = url.clone();
        url.set_fragment(None);
        self.push(Candidate {
            key: url.to_string(),
            source: url.to_string(),
            root: root.to_owned(),
            url: Some(url.to_string()),
            bytes: 0,
            from: From::Page { depth },
        });
    }

    fn push(&mut self, candidate: Candidate) {
        if self.left > 0 && self.met.insert(candidate.key.clone()) {
            self.left -= 1;
            self.list.push_back(candidate);
        }
    }

    pub(super) fn next(&mut self) -> Option<Candidate> {
        self.list.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Another address led to that key.
    pub(super) fn seen(&mut self, key: &str) {
        self.met.insert(key.to_owned());
    }

    /// Follows the links of a page as far as was asked for.
    pub(super) fn follow(&mut self, links: &[String], about: &About) {
        if about.depth == 0 {
            return;
        }
        let Some(base) = web(&about.source) else { return };
        for link in links {
            let Ok(url) = base.join(link) else { continue };
            if (url.scheme(), url.host(), url.port()) == (base.scheme(), base.host(), base.port()) {
                self.page(&url, &about.root, about.depth - 1);
            }
        }
    }

    /// Whether a document lies where this run has looked.
    pub(super) fn covers(&self, key: &str, root: &str) -> bool {
        self.covered.iter().any(|covered| match covered {
            Covered::Tree(tree) => Path::new(key).starts_with(tree),
            Covered::Pages(address) => root == address,
        })
    }
}

fn web(address: &str) -> Option<Url> {
    Url::parse(address.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
