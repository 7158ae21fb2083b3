//! What a dead letter is called and says. Whatever was delivered, a letter about it can be written, published
//! and found.

use domain::{PaymentKey, Tenant};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// The longest reason that is kept, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// So much of a token that names no payment is kept to be read, in characters.
const PREFIX_LENGTH: usize = 40;

/// A colon and sixteen digits.
const HASH_LENGTH: usize = 17;

/// How the names begin of what names no payment.
const INVALID: &str = "invalid:";

fn is_kept(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

/// The token by which a letter is kept: the payment's own; or for one that names no payment its beginning and
/// a hash of all of it, as `invalid:BEGINNING:HASH`, which no payment can be called. A name given here is its
/// own name.
pub fn token(token: &str) -> Cow<'_, str> {
    let is_name = |rest: &str| {
        rest.len() <= PREFIX_LENGTH + HASH_LENGTH
            && rest.bytes().all(|byte| is_kept(byte as char) || byte == b':')
    };
    if PaymentKey::from_token(token).is_ok() || token.strip_prefix(INVALID).is_some_and(is_name) {
        return Cow::Borrowed(token);
    }
    let keep = |character: char| if is_kept(character) { character } else { '_' };
    let mut text = format!("{INVALID}{}:", token.chars().take(PREFIX_LENGTH).map(keep).collect::<String>());
    for byte in Sha256::digest(token.as_bytes()).iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Cow::Owned(text)
}

/// Tenant and id by which the ledger keeps a letter about this token.
pub fn key(token: &str) -> (String, String) {
    match PaymentKey::from_token(token) {
        Ok(key) => (key.tenant.into(), key.id.into()),
        Err(_) => (Tenant::default().into(), self::token(token).into_owned()),
    }
}

/// A reason as it is kept: one line without control characters, at most [`REASON_BYTES_MAX`] long.
pub fn reason(text: &str) -> String {
    let mut clean: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    clean.truncate(clean.floor_char_boundary(REASON_BYTES_MAX));
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_a_name_that_fits_a_subject_and_a_key() {
        let long = "x".repeat(3_000);
        let rows = [
            ("PAY-1", "PAY-1", "default", "PAY-1"),
            ("acme~PAY-1", "acme~PAY-1", "acme", "PAY-1"),
            // `printf 'a b' | sha256sum`
            ("a b", "invalid:a_b:c8687a08aa5d6ed2", "default", "invalid:a_b:c8687a08aa5d6ed2"),
            ("", "invalid::e3b0c44298fc1c14", "default", "invalid::e3b0c44298fc1c14"),
        ];
        for (given, name, tenant, id) in rows {
            assert_eq!(
                (token(given).as_ref(), key(given)),
                (name, (tenant.to_owned(), id.to_owned())),
                "{given:?}"
            );
        }
        for given in [long.as_str(), "nul\0", "\u{1f47b}>*.", "a~b~c"] {
            let name = token(given);
            assert!(
                name.len() < 80
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte)),
                "{name}"
            );
        }
        assert_ne!(token(&long), token(&"x".repeat(3_001)), "the hash tells them apart");
    }

    #[test]
    fn reasons_are_one_line_and_bounded() {
        let long = "\u{e9}".repeat(REASON_BYTES_MAX);
        assert_eq!(reason("a\0b\r\nc\u{7f}"), "a b  c ");
        assert_eq!(reason(&long).len(), REASON_BYTES_MAX);
        assert_eq!(reason(&format!("x{long}")).len(), REASON_BYTES_MAX - 1, "no character is cut in two");
    }
}
