//! Reading a request for many payments: a list of what each would be asked for alone.

use crate::request::PaymentRequest;
use wire::object::{RequestObject, items};
use wire::{Code, Problem};

/// The most payments of one request: by default they are one batch of the intake.
pub(crate) const ITEMS_MAX: usize = 500;

/// The payments that a body asks for, in its order: each by itself read, or refused for what it is. What is
/// wrong with the list is wrong with all of them. An item has the bound of a body that comes alone, so that no
/// message outgrows its streams.
pub(crate) fn of_json(
    body: &[u8],
    item_bytes_max: usize,
) -> Result<Vec<Result<PaymentRequest, Problem>>, Problem> {
    let mut envelope = RequestObject::parse(body)?;
    let payments = envelope.require("payments")?;
    envelope.finish()?;
    let read = |item: &str| {
        if item.len() > item_bytes_max {
            let detail = format!("a payment of a batch may have at most {item_bytes_max} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        PaymentRequest::of_json(item.as_bytes(), None)
    };
    Ok(items("payments", &payments, ITEMS_MAX)?.into_iter().map(|item| read(item.get())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"id":"P","currency":"USD","amount":"1","source_account":"S","destination_account":"D"}"#;

    #[test]
    fn a_list_is_wrong_as_a_whole_and_its_items_by_themselves() {
        let list = |items: &[&str]| format!(r#"{{"payments":[{}]}}"#, items.join(","));
        let without = |field: &str| GOOD.replace(&format!("\"{field}\""), "\"other\"");
        let long = GOOD.replace("\"1\"", &format!("\"1\",\"description\":\"{}\"", "x".repeat(1_024)));
        let refused = |codes: &[Option<Code>]| Ok(codes.to_vec());
        let rows = [
            (list(&[GOOD]), refused(&[None])),
            (list(&[GOOD, "7", GOOD, "null"]), {
                refused(&[None, Some(Code::MalformedJson), None, Some(Code::MalformedJson)])
            }),
            (list(&[&without("currency"), &long, r#"{"id":"P","id":"P"}"#]), {
                refused(&[Some(Code::MissingField), Some(Code::BodyTooLarge), Some(Code::MalformedJson)])
            }),
            (list(&[&GOOD.replace('{', "{\"x\":1,")]), refused(&[Some(Code::UnknownField)])),
            (list(&[GOOD; ITEMS_MAX]), refused(&[None; ITEMS_MAX])),
            (list(&[GOOD; ITEMS_MAX + 1]), Err(Code::MalformedJson)),
            (list(&[]), Err(Code::MalformedJson)),
            (format!("[{GOOD}]"), Err(Code::MalformedJson)),
            (r#"{"payments":{}}"#.to_owned(), Err(Code::MalformedJson)),
            (list(&[GOOD, "{"]), Err(Code::MalformedJson)),
            (r#"{"payments":null}"#.to_owned(), Err(Code::MissingField)),
            ("{}".to_owned(), Err(Code::MissingField)),
            (format!(r#"{{"payments":[{GOOD}],"atomic":true}}"#), Err(Code::UnknownField)),
            (format!(r#"{{"payments":[{GOOD}],"payments":[]}}"#), Err(Code::MalformedJson)),
        ];
        for (body, expected) in rows {
            let read = of_json(body.as_bytes(), 1_024);
            let found = read.map(|items| {
                items.into_iter().map(|item| item.err().map(|problem| problem.code)).collect::<Vec<_>>()
            });
            assert_eq!(found.map_err(|problem| problem.code), expected, "{:.80}", body);
        }
    }
}
