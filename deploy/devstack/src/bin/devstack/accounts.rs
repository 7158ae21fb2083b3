//! The accounts that the README pays between: open, and funded once, wherever the services run.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// `id,currency,opening_balance`.
const ACCOUNTS: &str = include_str!("../../../demo_accounts.csv");

/// How long the services may take, all accounts together: they are ready, and recover from restarts of each other
/// in a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Opens those that are not, and puts the money of each on it, by a deposit of the same id each time: what was done
/// before is not done again. Says which of them could not be had.
pub(crate) fn open(gateway: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut rows = ACCOUNTS.lines().skip(1).map(|line| line.split(','));
    rows.try_for_each(|mut row| {
        let mut field = || row.next().unwrap_or_default();
        let (id, currency, amount) = (field(), field(), field());
        let account = serde_json::json!({ "id": id, "currency": currency });
        let deposit = serde_json::json!({ "id": format!("opening-{id}"), "amount": amount });
        post(gateway, "/accounts", &account, deadline)
            .and_then(|()| post(gateway, &format!("/accounts/{id}/deposits"), &deposit, deadline))
            .map_err(|problem| format!("account {id}: {problem}"))
    })
}

/// Until it is done; nobody's answer and an overload may pass, a refusal will not.
fn post(gateway: SocketAddr, path: &str, body: &serde_json::Value, deadline: Instant) -> Result<(), String> {
    loop {
        let problem = match devstack::http_post(gateway, path, &body.to_string()) {
            Some(200 | 201) => return Ok(()),
            Some(status @ 503) => format!("POST {path} answers {status}"),
            Some(status) => return Err(format!("POST {path} answers {status}")),
            None => format!("POST {path} is not answered"),
        };
        if Instant::now() >= deadline {
            return Err(problem);
        }
        // What is away says nothing when it is back.
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// What becomes of the accounts where a gateway answers so, and what it was asked for.
    fn opened(statuses: Vec<u16>) -> (Result<(), String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let answer = |status: u16| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                while !request.ends_with('}') {
                    let mut part = [0; 1_024];
                    let length = stream.read(&mut part).unwrap();
                    request.push_str(std::str::from_utf8(&part[..length]).unwrap());
                }
                write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n").unwrap();
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                format!("{} {body}", head.lines().next().unwrap())
            };
            statuses.into_iter().map(answer).collect()
        });
        let outcome = open(address);
        (outcome, serving.join().unwrap())
    }

    #[test]
    fn accounts_are_opened_and_funded_by_the_same_requests_each_time() {
        let rows = ACCOUNTS.lines().count() - 1;
        let first = opened(vec![201; 2 * rows]);
        assert_eq!(first, opened(vec![200; 2 * rows]));
        assert_eq!(first.0, Ok(()));
        assert_eq!(
            &first.1[..2],
            [
                r#"POST /accounts HTTP/1.1 {"currency":"USD","id":"ACC_SRC_ABC"}"#,
                r#"POST /accounts/ACC_SRC_ABC/deposits HTTP/1.1 {"amount":"100000.00","id":"opening-ACC_SRC_ABC"}"#
            ]
        );
        let late = opened([vec![503, 503], vec![201; 2 * rows]].concat());
        assert_eq!((late.0, late.1.len()), (Ok(()), 2 * rows + 2));
        let (refused, asked) = opened(vec![201, 422]);
        assert_eq!(asked.len(), 2, "a refusal will not pass");
        assert!(
            refused
                .unwrap_err()
                .contains("account ACC_SRC_ABC: POST /accounts/ACC_SRC_ABC/deposits answers 422")
        );
    }
}
