//! The page: one document that is part of the program, or a folder that somebody works on.

mod inline;
#[cfg(test)]
mod inline_tests;

use inline::{Inlined, Sources};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs;

/// The page that was inlined when the program was built.
mod built {
    include!(concat!(env!("OUT_DIR"), "/page.rs"));
}

/// Files of a folder at most, and bytes of each: who names the wrong folder is told so.
const FILES_MAX: usize = 200;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the folder's page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenPage {
    #[error("{} cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error("{} has too many files, or too large ones", .0.display())]
    TooLarge(PathBuf),
    #[error(transparent)]
    Wrong(#[from] inline::PageError),
}

/// The document with what its answer says of it.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) html: bytes::Bytes,
    pub(crate) policy: String,
    /// In quotes, as headers have it.
    pub(crate) tag: String,
}

/// Where the page comes from.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    built: Arc<Document>,
    folder: Option<PathBuf>,
    frames: String,
}

impl Page {
    /// The page of this folder, or of the program where the folder is empty. Grafana's page may be framed.
    pub(crate) fn of(folder: &str, grafana_url: &str) -> Page {
        let frames = origin(grafana_url).unwrap_or_else(|| "'none'".to_owned());
        let built = Arc::new(Document::of(built::page(), &frames));
        Page { built, folder: (!folder.is_empty()).then(|| PathBuf::from(folder)), frames }
    }

    /// The document as it is now.
    pub(crate) async fn document(&self) -> Result<Arc<Document>, BrokenPage> {
        let Some(folder) = &self.folder else { return Ok(self.built.clone()) };
        let page = inline::inline(&read(folder).await?)?;
        Ok(Arc::new(Document::of(page, &self.frames)))
    }
}

impl Document {
    fn of(page: Inlined, frames: &str) -> Document {
        let hashes = |hashes: &[String]| match hashes {
            [] => "'none'".to_owned(),
            hashes => hashes.join(" "),
        };
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; frame-src {frames}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hashes(&page.scripts),
            hashes(&page.styles),
        );
        // What may be framed is no part of the document, and changes with a setting.
        let digest = Sha256::new().chain_update(&page.html).chain_update(&policy).finalize();
        let tag = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        Document { html: page.html.into(), policy, tag: format!("\"{tag}\"") }
    }
}

/// Scheme, host and port of a URL, as policies write them.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    (!host.is_empty() && host.chars().all(is_plain)).then(|| format!("{scheme}://{host}"))
}

async fn read(folder: &Path) -> Result<Sources, BrokenPage> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| BrokenPage::Unreadable(path, error)
    };
    let mut sources = Sources::new();
    let mut entries = fs::read_dir(folder).await.map_err(unreadable(folder))?;
    while let Some(entry) = entries.next_entry().await.map_err(unreadable(folder))? {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !inline::is_source(&name) {
            continue;
        }
        let size = fs::metadata(&path).await.map_err(unreadable(&path))?.len();
        if sources.len() >= FILES_MAX || size > FILE_BYTES_MAX {
            return Err(BrokenPage::TooLarge(folder.to_owned()));
        }
        let text = fs::read_to_string(&path).await.map_err(unreadable(&path))?;
        sources.insert(name, text);
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::inline::INDEX;
    use super::*;

    #[test]
    fn the_policy_lets_nothing_in_but_what_is_in_the_page() {
        for (grafana, frames) in [
            ("", "'none'"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://user:word@grafana.example/a/b?c", "https://grafana.example"),
            ("http://[::1]:3000/", "http://[::1]:3000"),
            ("http://h;script-src *", "'none'"),
            ("http://h 'unsafe-inline'", "'none'"),
        ] {
            let document = Page::of("", grafana).built;
            assert!(document.policy.contains(&format!("; frame-src {frames}; ")), "{}", document.policy);
            assert!(document.policy.starts_with("default-src 'none'; script-src 'sha256-"));
            assert!(!document.policy.contains("unsafe"), "{}", document.policy);
        }
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let document = Page::of("", "").built;
        let html = std::str::from_utf8(&document.html).unwrap();
        assert!(html.len() < 200 << 10, "{} bytes", html.len());
        for wrong in ["style=\"", "onclick=", "src=\"http", "<link rel=\"stylesheet\"", "@import"] {
            assert!(!html.contains(wrong), "{wrong}");
        }
        // Names of SVG and of the page's own examples are no requests.
        let names = ["http://www.w3.org/", "http://127.0.0.1:9090"];
        let others = html.match_indices("://").filter(|(place, _)| {
            let start =
                html[..*place].rfind(|letter: char| !letter.is_ascii_alphabetic()).map_or(0, |at| at + 1);
            !names.iter().any(|name| html[start..].starts_with(name))
        });
        assert_eq!(others.count(), 0);
    }

    #[tokio::test]
    async fn a_folder_is_read_each_time_and_says_what_is_wrong_with_it() {
        let folder = std::env::temp_dir().join(format!("kilat-page-{}", std::process::id()));
        let name = folder.display().to_string();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(INDEX), "<p>one</p>\n").unwrap();
        let page = Page::of(&name, "");
        let first = page.document().await.unwrap();
        std::fs::write(folder.join(INDEX), "<p>two</p>\n").unwrap();
        std::fs::write(folder.join("notes.txt"), "no part of the page").unwrap();
        let second = page.document().await.unwrap();
        assert_eq!((&first.html[..], &second.html[..]), (&b"<p>one</p>\n"[..], &b"<p>two</p>\n"[..]));
        assert_ne!(first.tag, second.tag);
        std::fs::write(folder.join("lost.js"), "").unwrap();
        let broken = page.document().await.unwrap_err().to_string();
        assert_eq!(broken, "lost.js:1: nothing names this file: take it out, or import it");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
