use super::*;
use crate::client::testing::{Gateway, Script};

/// Seeds one account of 12.50 against a gateway with this script; the exit code and the requests it saw.
async fn seed_one(script: Vec<Script>) -> (ExitCode, Vec<String>) {
    let gateway = Gateway::start(script).await;
    let account = PlannedAccount {
        id: domain::AccountId::parse("ACC_1").unwrap(),
        currency: domain::Currency::parse("USD").unwrap(),
        minor: 1_250,
    };
    let run = Arc::new(Run { deposit_prefix: "seed-1".to_owned(), ..Run::new(vec![account]) });
    work(Arc::clone(&run), Connection::new(&gateway.targets, 0)).await;
    (run.summary().1, gateway.requests())
}

#[tokio::test]
async fn accounts_are_opened_and_funded_once_each() {
    const OPEN: &str = r#"POST /accounts {"currency":"USD","id":"ACC_1"}"#;
    const DEPOSIT: &str = r#"POST /accounts/ACC_1/deposits {"amount":"12.50","id":"seed-1-0-0"}"#;
    let created = || Script::Answer(201, "", "{}");
    let busy = || Script::Answer(503, "Retry-After: 0\r\n", r#"{"code":"unavailable"}"#);
    let rows = [
        (vec![created(), created()], ExitCode::SUCCESS, vec![OPEN, DEPOSIT]),
        (vec![Script::Answer(200, "", "{}"), created()], ExitCode::SUCCESS, vec![OPEN, DEPOSIT]),
        (
            vec![busy(), created(), Script::Cut, created()],
            ExitCode::SUCCESS,
            vec![OPEN, OPEN, DEPOSIT, DEPOSIT],
        ),
        (
            vec![Script::Answer(422, "", r#"{"code":"idempotency_mismatch"}"#)],
            ExitCode::from(EXIT_BROKEN),
            vec![OPEN],
        ),
    ];
    for (script, exit_code, requests) in rows {
        let case = format!("{script:?}");
        let (found_code, found_requests) = seed_one(script).await;
        assert_eq!(format!("{found_code:?}"), format!("{exit_code:?}"), "{case}");
        assert_eq!(found_requests, requests, "{case}");
    }
}
