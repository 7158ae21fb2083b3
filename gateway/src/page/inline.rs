//! Puts the page's sources into one document: what a `link` or a `script` of `index.html` names stands in it.
//!
//! Modules follow a part of JavaScript's syntax alone, so that no tool is needed: an import is a line
//! `import { a, b } from "./x.js";`, and what is exported has `export` before `function`, `async function`,
//! `class` or `const`, at the start of a line. Everything else is an error that names file and line. Each module
//! becomes a function that is called once, after those that it imports, so its other names are its own. What a
//! browser does not need, indents and lines of comments, stays behind; so that no text loses any, a template ends
//! on its line.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// The document that names the others.
pub(crate) const INDEX: &str = "index.html";

const STYLE: &str = "<link rel=\"stylesheet\" href=\"";
const SCRIPT: &str = "<script type=\"module\" src=\"";

/// Whether a file is one of the page's sources, by its name.
pub(crate) fn is_source(name: &str) -> bool {
    [".html", ".css", ".js"].iter().any(|ending| name.ends_with(ending)) && !name.starts_with('.')
}

/// The sources by their names.
pub(crate) type Sources = BTreeMap<String, String>;

/// One document, and what a policy must allow for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inlined {
    pub(crate) html: String,
    /// Of each script, as a policy writes it: `'sha256-...'`.
    pub(crate) scripts: Vec<String>,
    /// Of each style, likewise.
    pub(crate) styles: Vec<String>,
}

/// What is wrong with the sources, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageError {
    file: String,
    line: usize,
    reason: String,
}

impl PageError {
    fn at(file: &str, line: usize, reason: impl Into<String>) -> PageError {
        PageError { file: file.to_owned(), line, reason: reason.into() }
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

impl std::error::Error for PageError {}

/// Makes one document of the sources; each of them must have its place in it.
pub(crate) fn inline(sources: &Sources) -> Result<Inlined, PageError> {
    let index = sources.get(INDEX).ok_or_else(|| PageError::at(INDEX, 1, "is missing"))?;
    let mut page = Inlined { html: String::new(), scripts: Vec::new(), styles: Vec::new() };
    let mut used = vec![INDEX.to_owned()];
    let mut styles = String::new();
    for (number, line) in (1..).zip(index.lines()) {
        if let Some(name) = named(line, STYLE) {
            let style = source(sources, name, (INDEX, number))?;
            style.lines().for_each(|line| push_line(&mut styles, line));
            used.push(name.to_owned());
            continue;
        }
        if !styles.is_empty() {
            embed("style", &std::mem::take(&mut styles), (INDEX, number), &mut page)?;
        }
        if let Some(name) = named(line, SCRIPT) {
            let script = bundle(sources, name, (INDEX, number), &mut used)?;
            embed("script", &script, (INDEX, number), &mut page)?;
        } else {
            page.html.push_str(line);
            page.html.push('\n');
        }
    }
    match sources.keys().find(|name| !used.contains(name)) {
        Some(name) => Err(PageError::at(name, 1, "nothing names this file: take it out, or import it")),
        None => Ok(page),
    }
}

/// What a line names that is nothing but such an element.
fn named<'l>(line: &'l str, element: &str) -> Option<&'l str> {
    line.trim().strip_prefix(element)?.split('"').next()
}

fn source<'s>(sources: &'s Sources, name: &str, (file, line): (&str, usize)) -> Result<&'s str, PageError> {
    let found = sources.get(name).map(String::as_str);
    found.ok_or_else(|| PageError::at(file, line, format!("there is no file {name}")))
}

fn embed(
    element: &str,
    text: &str,
    (file, line): (&str, usize),
    page: &mut Inlined,
) -> Result<(), PageError> {
    if text.to_ascii_lowercase().contains(&format!("</{element}")) || text.contains("<!--") {
        return Err(PageError::at(file, line, format!("what it names would end the element `{element}`")));
    }
    let (kind, hashes) = match element {
        "style" => ("", &mut page.styles),
        _ => (" type=\"module\"", &mut page.scripts),
    };
    page.html.push_str(&format!("<{element}{kind}>{text}</{element}>\n"));
    hashes.push(format!("'sha256-{}'", base64(&Sha256::digest(text))));
    Ok(())
}

/// A module and all that it needs, each once and after what it imports.
fn bundle(
    sources: &Sources,
    name: &str,
    from: (&str, usize),
    used: &mut Vec<String>,
) -> Result<String, PageError> {
    let mut bundle = Bundle { sources, text: String::new(), exports: BTreeMap::new(), open: Vec::new() };
    bundle.add(name, from)?;
    used.extend(bundle.exports.into_keys());
    Ok(bundle.text)
}

struct Bundle<'s> {
    sources: &'s Sources,
    text: String,
    /// Of each module that is in the text.
    exports: BTreeMap<String, Vec<String>>,
    /// The modules whose imports are being added.
    open: Vec<String>,
}

impl Bundle<'_> {
    fn add(&mut self, name: &str, from: (&str, usize)) -> Result<(), PageError> {
        if self.exports.contains_key(name) {
            return Ok(());
        }
        if self.open.iter().any(|open| open == name) {
            return Err(PageError::at(from.0, from.1, format!("{name} imports this file in its turn")));
        }
        if let Some(other) = self.exports.keys().find(|other| identifier(other) == identifier(name)) {
            return Err(PageError::at(from.0, from.1, format!("{name} and {other} are too much alike")));
        }
        let text = source(self.sources, name, from)?;
        self.open.push(name.to_owned());
        let (mut body, mut exports, mut names) = (String::new(), Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let here = (name, number);
            let declared = match Line::of(line).map_err(|reason| PageError::at(name, number, reason))? {
                Line::Import { names, module } => {
                    self.add(module, here)?;
                    let known = self.exports.get(module).map_or(&[][..], Vec::as_slice);
                    if let Some(missing) = names.iter().find(|name| !known.iter().any(|known| known == *name))
                    {
                        return Err(PageError::at(
                            name,
                            number,
                            format!("{module} does not export {missing}"),
                        ));
                    }
                    body.push_str(&format!("const {{ {} }} = {};\n", names.join(", "), identifier(module)));
                    names
                }
                Line::Export { name, rest } => {
                    exports.push(name.to_owned());
                    push_line(&mut body, rest);
                    vec![name]
                }
                Line::Other { declared } => {
                    push_line(&mut body, line);
                    declared.into_iter().collect()
                }
            };
            for declared in declared {
                if names.contains(&declared) {
                    return Err(PageError::at(
                        name,
                        number,
                        format!("the name {declared} is taken here already"),
                    ));
                }
                names.push(declared);
            }
        }
        let (module, given) = (identifier(name), exports.join(", "));
        self.text.push_str(&format!("const {module} = (() => {{\n{body}return {{ {given} }};\n}})();\n"));
        self.exports.insert(name.to_owned(), exports);
        self.open.pop();
        Ok(())
    }
}

/// Adds a line, if there is something in it for a browser.
fn push_line(body: &mut String, line: &str) {
    let line = line.trim();
    if !line.is_empty() && !line.starts_with("//") {
        body.push_str(line);
        body.push('\n');
    }
}

/// The name of a module inside the bundle: no name of the sources has a dollar.
fn identifier(module: &str) -> String {
    module.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '$' }).collect()
}

/// A line of a module.
enum Line<'l> {
    Import { names: Vec<&'l str>, module: &'l str },
    Export { name: &'l str, rest: &'l str },
    Other { declared: Option<&'l str> },
}

impl<'l> Line<'l> {
    fn of(line: &'l str) -> Result<Line<'l>, String> {
        if let Some(import) = line.strip_prefix("import") {
            let parts = import.strip_prefix(" { ").and_then(|rest| rest.strip_suffix("\";"));
            let (names, module) = parts
                .and_then(|rest| rest.split_once(" } from \"./"))
                .ok_or("an import must read `import { a, b } from \"./x.js\";`")?;
            let names: Vec<&str> = names.split(", ").collect();
            return match names.iter().find(|name| !is_name(name)) {
                Some(name) => Err(format!("{name:?} is not a name that can be imported")),
                None => Ok(Line::Import { names, module }),
            };
        }
        if let Some(rest) = line.strip_prefix("export ") {
            let name = declared(rest).filter(|_| !rest.starts_with("let "));
            let name = name.ok_or("an export must be a function, a class or a const with a plain name")?;
            return Ok(Line::Export { name, rest });
        }
        if !line.matches('`').count().is_multiple_of(2) {
            return Err("a template must end on the line where it begins".to_owned());
        }
        if line.contains("import(") || line.contains("import.meta") {
            return Err("modules are imported at their top, and know no address of their own".to_owned());
        }
        Ok(Line::Other { declared: declared(line) })
    }
}

/// What a line at the top level declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let kinds = ["function ", "class ", "const ", "let "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    let end = rest.find(|letter: char| !is_of_a_name(letter)).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| is_name(name))
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_a_name)
}

/// In the alphabet of RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            (0..3).fold(0_usize, |bits, place| bits << 8 | usize::from(*chunk.get(place).unwrap_or(&0)));
        for place in 0..4 {
            let letter = ALPHABET[bits >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
