//! The committed file of invariants, cut into its sections.

const FILE: &str = include_str!("../../sql/invariants.sql");

/// Whether rows mean that something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Invariant,
    /// They are only told.
    Note,
}

/// One section of `invariants.sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invariant {
    /// What its rows mean.
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// A SELECT of the rows that break it.
    pub(crate) query: &'static str,
}

/// Every section of the file, in its order.
pub(crate) fn all() -> Vec<Invariant> {
    sections(FILE)
}

/// Sections open with `-- name: <name> -- <sentence>` or `-- note: <name> -- <sentence>`.
fn sections(file: &'static str) -> Vec<Invariant> {
    file.split("\n-- ").filter_map(section).collect()
}

fn section(text: &'static str) -> Option<Invariant> {
    let (head, query) = text.split_once('\n')?;
    let (kind, rest) = match head.split_once(": ")? {
        ("name", rest) => (Kind::Invariant, rest),
        ("note", rest) => (Kind::Note, rest),
        _ => return None,
    };
    let (name, _sentence) = rest.split_once(" -- ")?;
    Some(Invariant { kind, name, query: query.trim() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_at_its_headings() {
        let file = "-- About the file: not a section.\n-- It goes on.\n\n-- name: first -- It holds.\nSELECT 1;\n\n-- note: second -- It is told.\nSELECT 2\nFROM x;\n";
        let expected = [
            Invariant { kind: Kind::Invariant, name: "first", query: "SELECT 1;" },
            Invariant { kind: Kind::Note, name: "second", query: "SELECT 2\nFROM x;" },
        ];
        assert_eq!(sections(file), expected);
    }

    #[test]
    fn every_heading_of_the_committed_file_is_a_section_with_a_sentence() {
        let headings =
            FILE.lines().filter(|line| line.starts_with("-- name: ") || line.starts_with("-- note: "));
        assert_eq!(headings.clone().count(), all().len());
        for heading in headings {
            assert!(heading.ends_with('.') && heading.matches(" -- ").count() == 1, "{heading}");
        }
        let mut names: Vec<&str> = all().iter().map(|invariant| invariant.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len(), "names are unique");
        for Invariant { name, query, .. } in all() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(
                query.starts_with("SELECT") && query.ends_with(';') && query.matches(';').count() == 1,
                "{name} is one SELECT"
            );
        }
    }
}
