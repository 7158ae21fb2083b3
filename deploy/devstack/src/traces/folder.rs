//! Spans on disk, a line each: one file that grows to its bound, and the one before it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::span::Span;

/// Two of them are the most that is kept: some 60,000 spans each.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// A span of a batch has at most some 1,000 links of 90 bytes; attributes longer than that tell nobody
/// anything.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The folder of the spans that were received last.
#[derive(Debug, Clone)]
pub struct SpanFolder {
    newer: PathBuf,
    older: PathBuf,
    file_bytes_max: u64,
}

impl SpanFolder {
    /// It need not be there yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self::bounded(folder, FILE_BYTES_MAX)
    }

    fn bounded(folder: &Path, file_bytes_max: u64) -> Self {
        Self { newer: folder.join("spans.jsonl"), older: folder.join("spans.old.jsonl"), file_bytes_max }
    }

    /// Adds spans, and says how many were too large for it.
    ///
    /// # Errors
    /// When they cannot be written; those that were not are lost, and nothing half-written stays.
    pub fn append(&self, spans: &[Span]) -> io::Result<usize> {
        let mut too_large = 0;
        let mut lines = Vec::new();
        for span in spans {
            let line = serde_json::to_vec(span)?;
            if line.len() >= LINE_BYTES_MAX {
                too_large += 1;
                continue;
            }
            if lines.len() + line.len() >= LINE_BYTES_MAX {
                self.write(&lines)?;
                lines.clear();
            }
            lines.extend(line);
            lines.push(b'\n');
        }
        self.write(&lines)?;
        Ok(too_large)
    }

    /// The files are opened anew each time: somebody may have removed them.
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.newer.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::metadata(&self.newer).is_ok_and(|found| found.len() + lines.len() as u64 > self.file_bytes_max)
        {
            fs::rename(&self.newer, &self.older)?;
        }
        let mut file = File::options().create(true).read(true).append(true).open(&self.newer)?;
        let length = file.metadata()?.len();
        let written = end_line(&mut file, length).and_then(|()| file.write_all(lines));
        if written.is_err() {
            // What is left of a line is ended before the next one all the same.
            let _ = file.set_len(length);
        }
        written
    }

    /// Looks at every span whose line holds `text`, the older ones first, one line in memory at a time. What
    /// is no span is passed over: a crash leaves half a line.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(super) fn each_with(&self, text: &[&str], mut look: impl FnMut(Span)) -> io::Result<()> {
        // In this order: if the newer one becomes the older one in between, it is read twice, not missed.
        let newer = open(&self.newer)?;
        let older = open(&self.older)?;
        for file in [older, newer].into_iter().flatten() {
            each_line(BufReader::new(file), |line| {
                if let Ok(line) = std::str::from_utf8(line)
                    && text.iter().any(|text| line.contains(text))
                    && let Ok(span) = serde_json::from_str(line)
                {
                    look(span);
                }
            })?;
        }
        Ok(())
    }
}

/// Ends a line that a crash or a full disk has left open.
fn end_line(file: &mut File, length: u64) -> io::Result<()> {
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    if byte == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lines that are longer than any we write come in pieces, none of which is a span.
fn each_line(mut reader: impl BufRead, mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? > 0 {
        look(&line);
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::traces::span::{Kind, Status};
    use std::collections::BTreeMap;

    /// A span of service `risk` that begins at 1 s and takes 1 ms.
    pub(crate) fn span(trace_id: &str, span_id: &str, name: &str) -> Span {
        Span {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
            parent_span_id: None,
            service: "risk".to_owned(),
            name: name.to_owned(),
            kind: Kind::Consumer,
            start_unix_ns: 1_000_000_000,
            end_unix_ns: 1_001_000_000,
            status: Status::Unset,
            status_message: String::new(),
            attributes: BTreeMap::new(),
            resource: BTreeMap::new(),
            events: Vec::new(),
            links: Vec::new(),
        }
    }

    /// A folder that is gone with the test's process, at the latest.
    pub(crate) fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kilat-spans-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &SpanFolder) -> Vec<String> {
        let mut names = Vec::new();
        folder.each_with(&["trace"], |span| names.push(span.name)).unwrap();
        names
    }

    #[test]
    fn the_newest_spans_stay_and_the_folder_keeps_its_bound() {
        let place = scratch("rotation");
        let line_bytes = serde_json::to_vec(&span("a", "1", "000")).unwrap().len() as u64 + 1;
        let folder = SpanFolder::bounded(&place, 10 * line_bytes);
        for number in 0..95 {
            assert_eq!(folder.append(&[span("a", "1", &format!("{number:03}"))]).unwrap(), 0);
            let files =
                [&folder.newer, &folder.older].map(|path| fs::metadata(path).map_or(0, |found| found.len()));
            assert!(files.iter().all(|bytes| *bytes <= 10 * line_bytes), "{files:?}");
        }
        let expected: Vec<String> = (80..95).map(|number| format!("{number:03}")).collect();
        assert_eq!(names(&folder), expected);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_a_crash_left_and_what_is_too_large_does_not_hide_the_rest() {
        let place = scratch("remains");
        let folder = SpanFolder::new(&place);
        assert_eq!(names(&folder), [""; 0], "nothing was received yet");
        folder.append(&[span("a", "1", "first")]).unwrap();
        for remains in ["{\"trace_id\":\"a\"", "\u{0}\n", &"trace".repeat(LINE_BYTES_MAX)] {
            File::options().append(true).open(&folder.newer).unwrap().write_all(remains.as_bytes()).unwrap();
        }
        let large = span("a", "2", &"x".repeat(LINE_BYTES_MAX));
        assert_eq!(folder.append(&[large, span("a", "3", "last")]).unwrap(), 1);
        assert_eq!(names(&folder), ["first", "last"]);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn spans_that_cannot_be_written_are_told() {
        let place = scratch("full");
        // A device without room stands where the file would be.
        std::os::unix::fs::symlink("/dev/full", place.join("spans.jsonl")).unwrap();
        let folder = SpanFolder::new(&place);
        assert_eq!(folder.append(&[span("a", "1", "lost")]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        fs::remove_file(place.join("spans.jsonl")).unwrap();
        folder.append(&[span("a", "1", "kept")]).unwrap();
        assert_eq!(names(&folder), ["kept"]);
        fs::remove_dir_all(place).unwrap();
    }
}
