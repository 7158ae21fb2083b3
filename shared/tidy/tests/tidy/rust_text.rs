//! Rust source with code, comments and string literals apart. Not a parser: enough of the lexical grammar
//! that a word in a string is not taken for code, and a brace in a comment not for a block.

/// A source file, taken apart. `code` and `comments` have the lines and columns of the file; what belongs to
/// the other is blank.
pub(crate) struct RustText {
    pub(crate) code: Vec<String>,
    pub(crate) comments: Vec<String>,
    pub(crate) strings: Vec<Literal>,
    /// The line of the first `#[cfg(test)]`; tests stand at the end of a file.
    tests_from: usize,
}

/// A string literal, by the line that it opens on.
pub(crate) struct Literal {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Where the reader is.
enum Within {
    Code,
    LineComment,
    BlockComment(u32),
    Text { hashes: Option<usize> },
}

struct Reader<'t> {
    characters: Vec<char>,
    place: usize,
    code: String,
    comments: String,
    strings: Vec<Literal>,
    line: usize,
    text: &'t str,
}

impl RustText {
    pub(crate) fn of(text: &str) -> RustText {
        let mut reader = Reader {
            characters: text.chars().collect(),
            place: 0,
            code: String::new(),
            comments: String::new(),
            strings: Vec::new(),
            line: 1,
            text,
        };
        reader.read();
        let lines = |all: &str| all.lines().map(str::to_owned).collect::<Vec<_>>();
        let (code, comments) = (lines(&reader.code), lines(&reader.comments));
        let tests = code.iter().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
        let tests_from = tests.map_or(usize::MAX, |place| place + 1);
        RustText { code, comments, strings: reader.strings, tests_from }
    }

    /// The lines of code with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.iter().map(String::as_str))
    }

    /// Whether this line is among the tests at the end of the file.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        line >= self.tests_from
    }

    /// The lines whose code has this word in it, not as a part of a longer one.
    pub(crate) fn lines_with_word<'t>(&'t self, word: &'t str) -> impl Iterator<Item = usize> + 't {
        self.lines().filter(move |(_, code)| has_word(code, word)).map(|(line, _)| line)
    }
}

/// Whether the text has this word in it, not as a part of a longer one.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || character == '_')
    };
    text.match_indices(word).any(|(place, _)| {
        !is_part(text[..place].chars().next_back()) && !is_part(text[place + word.len()..].chars().next())
    })
}

impl Reader<'_> {
    fn read(&mut self) {
        let mut within = Within::Code;
        self.code.reserve(self.text.len());
        while self.place < self.characters.len() {
            within = match within {
                Within::Code => self.code_step(),
                Within::LineComment => {
                    let ends = self.characters[self.place] == '\n';
                    self.take(1, false);
                    if ends { Within::Code } else { Within::LineComment }
                }
                Within::BlockComment(depth) => self.block_comment_step(depth),
                Within::Text { hashes } => self.string_step(hashes),
            };
        }
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(offset, character)| self.characters.get(self.place + offset) == Some(&character))
    }

    /// Moves on; what is taken is code or a comment, and blank in the other.
    fn take(&mut self, count: usize, is_code: bool) {
        for _ in 0..count {
            let Some(character) = self.characters.get(self.place).copied() else { return };
            let (to, other) = if is_code {
                (&mut self.code, &mut self.comments)
            } else {
                (&mut self.comments, &mut self.code)
            };
            to.push(character);
            other.push(if character == '\n' { '\n' } else { ' ' });
            self.line += usize::from(character == '\n');
            self.place += 1;
        }
    }

    /// Moves on over the inside of a string: blank in both.
    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let Some(character) = self.characters.get(self.place).copied() else { return };
            let blank = if character == '\n' { '\n' } else { ' ' };
            self.code.push(blank);
            self.comments.push(blank);
            if let Some(literal) = self.strings.last_mut() {
                literal.text.push(character);
            }
            self.line += usize::from(character == '\n');
            self.place += 1;
        }
    }

    fn code_step(&mut self) -> Within {
        if self.starts_with("//") {
            return Within::LineComment;
        }
        if self.starts_with("/*") {
            self.take(2, false);
            return Within::BlockComment(1);
        }
        if let Some(hashes) = self.raw_string_hashes() {
            self.take(hashes + 2, true);
            self.strings.push(Literal { line: self.line, text: String::new() });
            return Within::Text { hashes: Some(hashes) };
        }
        if self.starts_with("\"") {
            self.take(1, true);
            self.strings.push(Literal { line: self.line, text: String::new() });
            return Within::Text { hashes: None };
        }
        self.take(self.character_literal_length().unwrap_or(1), true);
        Within::Code
    }

    /// The number of `#` of a raw string that opens here.
    fn raw_string_hashes(&self) -> Option<usize> {
        let before = self.place.checked_sub(1).map(|place| self.characters[place]);
        // `br"` opens one too; the `r` of an identifier does not.
        let is_inside_a_word = before
            .is_some_and(|character| (character.is_alphanumeric() || character == '_') && character != 'b');
        if !self.starts_with("r") || is_inside_a_word {
            return None;
        }
        let hashes =
            self.characters[self.place + 1..].iter().take_while(|character| **character == '#').count();
        (self.characters.get(self.place + 1 + hashes) == Some(&'"')).then_some(hashes)
    }

    /// The length of a character literal that stands here; a lifetime is none.
    fn character_literal_length(&self) -> Option<usize> {
        if !self.starts_with("'") {
            return None;
        }
        let rest = &self.characters[self.place + 1..];
        match rest {
            ['\\', _, tail @ ..] => {
                tail.iter().position(|character| *character == '\'').map(|place| place + 4)
            }
            [_, '\'', ..] => Some(3),
            _ => None,
        }
    }

    fn block_comment_step(&mut self, depth: u32) -> Within {
        let (length, depth) = match () {
            () if self.starts_with("/*") => (2, depth + 1),
            () if self.starts_with("*/") => (2, depth - 1),
            () => (1, depth),
        };
        self.take(length, false);
        if depth == 0 { Within::Code } else { Within::BlockComment(depth) }
    }

    fn string_step(&mut self, hashes: Option<usize>) -> Within {
        let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
        if self.starts_with(&end) {
            self.take(end.len(), true);
            return Within::Code;
        }
        // Outside of raw strings a backslash takes the next character with it.
        self.skip(if hashes.is_none() && self.starts_with("\\") { 2 } else { 1 });
        Within::Text { hashes }
    }
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let source = "let a = \"x { // y\"; // s \"t\"\n/* b /* c */ { */ let d = 'e'; let f = '\"'; fn g<'h>() {}\nr#\"i \"j\" {\"# '\\'' b\"k\\\"l\" \"m\n{\" n\n#[cfg(test)]\no";
    let text = RustText::of(source);
    assert_eq!(text.code.iter().map(|line| line.trim_end()).collect::<Vec<_>>()[0], "let a = \"        \";");
    assert_eq!(text.code[1].trim(), "let d = 'e'; let f = '\"'; fn g<'h>() {}");
    assert!(text.code.iter().skip(2).all(|line| !line.contains('{')) && text.code[3].ends_with("\" n"));
    let strings: Vec<(usize, &str)> =
        text.strings.iter().map(|literal| (literal.line, literal.text.as_str())).collect();
    assert_eq!(strings, [(1, "x { // y"), (3, "i \"j\" {"), (3, "k\\\"l"), (3, "m\n{")]);
    assert_eq!(text.comments[0].trim(), "// s \"t\"");
    assert_eq!((text.is_test(4), text.is_test(5)), (false, true));
    assert_eq!((has_word("a sqlx::b", "sqlx"), has_word("my_sqlx", "sqlx")), (true, false));
}
