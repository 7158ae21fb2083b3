//! Addresses without their secrets, for people to look at.

use url::Url;

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// Query parameters of a Postgres URL that hold no secret.
const PLAIN_PARAMETERS: [&str; 9] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "sslmode",
    "ssl-mode",
    "statement-cache-capacity",
    "user",
];

/// Addresses of servers, separated by commas. What stands before the place is a token or a user and a
/// password: all of it is hidden.
pub(super) fn addresses(addresses: &str) -> String {
    let each = addresses.split(',').map(|address| {
        redacted(address, |url| {
            if !url.username().is_empty() || url.password().is_some() {
                url.set_password(None)?;
                url.set_username(HIDDEN)?;
            }
            Ok(())
        })
    });
    each.collect::<Vec<_>>().join(",")
}

/// The database's URL: the name of its role is no secret, everything that might be one is hidden.
pub(super) fn database_url(text: &str) -> String {
    redacted(text, |url| if url.password().is_some() { url.set_password(Some(HIDDEN)) } else { Ok(()) })
}

fn redacted(text: &str, hide_credentials: impl FnOnce(&mut Url) -> Result<(), ()>) -> String {
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.to_owned() };
    // An @ behind the place: an unescaped secret may have been taken for a place, a path or a fragment.
    if url.path().contains('@') || url.fragment().is_some() || hide_credentials(&mut url).is_err() {
        return HIDDEN.to_owned();
    }
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if !parameters.is_empty() {
        let shown = |name: &str, value: String| {
            if PLAIN_PARAMETERS.contains(&name) { value } else { HIDDEN.to_owned() }
        };
        url.query_pairs_mut().clear().extend_pairs(parameters.into_iter().map(|(name, value)| {
            let value = shown(&name, value);
            (name, value)
        }));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_and_no_more_than_secrets_are_hidden() {
        let rows: [(fn(&str) -> String, &str, &str); 14] = [
            (addresses, "nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            (addresses, "nats://SECRET@h:4222", "nats://***@h:4222"),
            (addresses, "nats://user:SECRET@h,tls://SECRET@h2", "nats://***@h,tls://***@h2"),
            (addresses, "nats://:SECRET@h", "nats://***@h"),
            (addresses, "nats://SEC/RET@h", "***"),
            (addresses, "nats://h?token=SECRET", "nats://h?token=***"),
            (addresses, "nats://h#SECRET", "***"),
            (
                database_url,
                "postgres://kilat_app@127.0.0.1:15432/kilat",
                "postgres://kilat_app@127.0.0.1:15432/kilat",
            ),
            (database_url, "postgres://u:SECRET@h/d", "postgres://u:***@h/d"),
            (database_url, "postgres://u:SE%40CRET@h/d", "postgres://u:***@h/d"),
            (
                database_url,
                "postgres://u@h/d?sslmode=require&password=SECRET&p%61ssword=SECRET",
                "postgres://u@h/d?sslmode=require&password=***&password=***",
            ),
            (database_url, "postgres://u@h/d?sslkey=SECRET", "postgres://u@h/d?sslkey=***"),
            (database_url, "postgres://u:12/SECRET@h/d", "***"),
            (database_url, "postgres://u:SECRET", "***"),
        ];
        for (redact, text, expected) in rows {
            let shown = redact(text);
            assert_eq!(shown, expected, "{text}");
            assert!(!shown.contains("SECRET"), "{text}: {shown}");
        }
    }
}
