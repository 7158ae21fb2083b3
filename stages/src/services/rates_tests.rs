use super::*;
use domain::Timestamp;
use serde_json::{Value, json};

#[test]
fn a_conversion_tells_what_arrives_and_what_the_house_keeps() {
    let rates = [("EUR.USD", "1.1"), ("EUR.JPY", "160")];
    let rates = Arc::new(RateBooks::of(&rates, Timestamp::default(), i64::MAX));
    let service = RateService { rates, spread_bps: 100 };
    // What is asked; what arrives, the gross, the fee and the spread.
    let rows = [
        ("EUR", "USD", "2", ["2.17", "2.20", "0.03"], 100),
        ("EUR", "JPY", "1", ["158", "160", "2"], 100),
        ("EUR", "EUR", "2.00", ["2.00", "2.00", "0.00"], 0),
        ("JPY", "JPY", "7", ["7", "7", "0"], 0),
        // Worth less than a minor unit, before the spread or after it.
        ("JPY", "USD", "1", ["0.00", "0.00", "0.00"], 100),
        ("EUR", "USD", "0.01", ["0.01", "0.01", "0.00"], 100),
        ("USD", "EUR", "0.01", ["0.00", "0.00", "0.00"], 100),
        ("JPY", "USD", "1.454545", ["", "", ""], 0),
    ];
    for (from, to, amount, amounts, spread_bps) in rows {
        let body = json!({ "from": from, "to": to, "amount": amount }).to_string();
        let Ok(reply) = service.convert(body.as_bytes()) else {
            assert_eq!(amounts, ["", "", ""], "{body}");
            continue;
        };
        let told: Value = serde_json::from_slice(&reply.body).unwrap();
        let found = ["converted", "gross", "fee"].map(|member| told[member].as_str().unwrap());
        assert_eq!((found, told["spread_bps"].as_u64()), (amounts, Some(spread_bps)), "{body}");
    }
}
