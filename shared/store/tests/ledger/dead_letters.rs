//! Dead letters: kept as they came, once per delivery, open until someone resolves them.

use crate::common::{Ledger, payment_key};
use crate::lookups::letter;
use std::collections::HashSet;
use store::DeadLetter;

#[tokio::test]
async fn a_delivery_is_buried_once() {
    let ledger = Ledger::open().await;
    let odd = DeadLetter {
        tenant: String::new(),
        id: "not an id 👻".to_owned(),
        payload: vec![0, 255, b'\'', 10],
        ..letter("X", 1, "odd")
    };
    let beyond = DeadLetter { seq: u64::MAX, ..letter("BEYOND", 0, "far") };
    for letter in [
        letter("A", 1, "first"),
        letter("A", 1, "the same delivery again"),
        letter("A", 2, "second"),
        odd,
        beyond,
    ] {
        ledger.store.bury(&letter).await.unwrap();
    }
    let rows = ledger
        .sql("SELECT tenant, id, seq, reason, encode(payload, 'hex') FROM dead_letters ORDER BY at")
        .await;
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = [
        format!("default|A|1|first|{}", hex("payload of 1")),
        format!("default|A|2|second|{}", hex("payload of 2")),
        "|not an id 👻|1|odd|00ff270a".to_owned(),
        format!("default|BEYOND|{}|far|{}", i64::MAX, hex("payload of 0")),
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let pair = |tenant: &str, id: &str| (tenant.to_owned(), id.to_owned());
    let open = ledger.store.open_dead_letters().await.unwrap();
    assert_eq!(
        open,
        HashSet::from([pair("default", "A"), pair("", "not an id 👻"), pair("default", "BEYOND")])
    );

    // The newest speaks; with it resolved the one before; with both none.
    for (resolved, told) in [("false", Some("second")), ("seq = 2", Some("first")), ("true", None)] {
        ledger.sql(&format!("UPDATE dead_letters SET resolved_at = now() WHERE {resolved}")).await;
        let dead = ledger.store.status(&payment_key("A")).await.unwrap().dead;
        assert_eq!(dead.as_ref().map(|dead| dead.reason.as_str()), told);
        assert!(dead.is_none_or(|dead| dead.stage == "reserve" && dead.payload.starts_with(b"payload of ")));
    }
    assert!(ledger.store.open_dead_letters().await.unwrap().is_empty());
}
