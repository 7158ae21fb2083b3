//! What a whole run leaves in the logs: one line for each failure, and of people, money and secrets nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::{Answer, Client};
use common::processes::{self, Process};
use common::{System, payment, until};
use serde_json::{Value, json};
use wire::Role;

/// What our own crates would tell if they were asked for everything but each call.
const FILTER: &str =
    "info,domain=debug,gateway=debug,host=debug,runtime=debug,stages=debug,store=debug,wire=debug";

/// Everything that is planted and must not be found has this in it; amounts beside it.
const SEED: &str = "Seed";
const AMOUNTS: [&str; 4] = ["8153162342.99", "815316234299", "4815.16", "481516"];

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Not a test: the gateway of the test, in the process that it starts for it.
#[test]
#[ignore = "the other test starts it"]
fn plays_the_gateway() {
    processes::play_the_gateway();
}

/// `stages all` and a gateway, with secrets in the addresses of both servers.
fn start(system: &System) -> [Process; 2] {
    let nats = system.config.nats.url.replacen("nats://", "nats://SeedUser:SeedToken@", 1);
    let postgres = system.config.postgres.url.replacen("kilat_app@", "kilat_app:SeedPassword@", 1);
    assert!(nats.contains(SEED) && postgres.contains(SEED), "{nats} {postgres}");
    let further = [
        format!("nats.url={nats}"),
        format!("postgres.url={postgres}"),
        format!("log.filter={FILTER}"),
        "log.format=json".to_owned(),
    ];
    let settings = processes::settings(system, &further);
    [Process::stages("all", &settings), Process::gateway(&settings)]
}

async fn ready(system: &System) {
    for role in Role::ALL {
        processes::ready(system, role).await;
    }
}

/// A message that nobody can judge, and each server away for a while: what is said of them has causes.
async fn run_outages(system: &System) {
    let (client, jetstream) = (system.client(), system.jetstream().await);
    let message = r#"{"v":1,"SeedName":"SeedValue","amount":"4815.16"}"#;
    jetstream.publish("pay.accepted.0.BURIED", message.into()).await.unwrap().await.unwrap();
    until("it is buried", || async { system.sql("SELECT count(*) FROM dead_letters").await == "1" }).await;
    for (id, is_postgres) in [("AWAY-1", true), ("AWAY-2", false)] {
        let body = payment(id, "SeedSource", "SeedTarget", "USD", "4815.16");
        let statuses = |status: u16| {
            let (client, body) = (client.clone(), body.clone());
            async move {
                let answer = client
                    .send(
                        "POST",
                        "/payments",
                        &[("content-type", "application/json")],
                        body.to_string().into_bytes(),
                    )
                    .await;
                answer.is_some_and(|answer| answer.status == status)
            }
        };
        match is_postgres {
            true => system.postgres.stop().await,
            false => system.nats.stop().await,
        }
        until("a payment is refused", || statuses(503)).await;
        match is_postgres {
            true => system.postgres.restart().await,
            false => system.nats.restart().await,
        }
        until("a payment is accepted", || statuses(202)).await;
        assert_eq!(system.ended(id).await["status"], "CAPTURED");
    }
    ready(system).await;
}

/// Payments that are captured and refused, as any client would make them.
async fn run_payments(system: &System) {
    system.open(&[("SeedSource", "USD", "8153162342.99"), ("SeedTarget", "EUR", "0")]).await;
    let client = system.client();
    for (id, source, status) in [("P1", "SeedSource", "CAPTURED"), ("P2", "SeedMissing", "FAILED")] {
        let mut body = payment(id, source, "SeedTarget", "USD", "4815.16");
        body["description"] = json!("SeedDescription");
        body["metadata"] = json!({ "SeedName": "SeedValue" });
        let answer = client.post("/payments", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(system.ended(id).await["status"], status);
    }
    let mut keyed = payment("P", "SeedSource", "SeedTarget", "USD", "4815.16");
    keyed.as_object_mut().unwrap().remove("id");
    let answer = client.post_with("/payments", &[("idempotency-key", "SeedKey")], &keyed).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    system.ended(answer.body["id"].as_str().unwrap()).await;
    for path in ["/accounts/SeedSource", "/balance/SeedSource", "/convert?from=USD&to=EUR&amount=4815.16"] {
        assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
    }
    let score = json!({ "account": "SeedSource", "amount": "4815.16", "currency": "USD" });
    assert_eq!(client.post("/score", &score).await.status, 200);
}

/// A request that fails: its id, method, path and body, the code it is answered with, and how many lines the
/// gateway and the stages have of it.
type Failing = (&'static str, &'static str, &'static str, Value, &'static str, [usize; 2]);

fn failing() -> Vec<Failing> {
    let pay = |amount: &str| payment("P1", "SeedSource", "SeedTarget", "USD", amount);
    let with = |field: &str, value: &str| {
        let mut body = pay("1");
        body[field] = json!(value);
        body
    };
    vec![
        ("R-field", "POST", "/payments", with("SeedField", "SeedValue"), "unknown_field", [1, 0]),
        ("R-amount", "POST", "/payments", pay("-4815.16"), "amount_not_positive", [1, 0]),
        (
            "R-account-id",
            "POST",
            "/payments",
            with("source_account", "Seed:Source"),
            "invalid_account",
            [1, 0],
        ),
        ("R-content", "POST", "/payments", pay("4815.17"), "idempotency_mismatch", [1, 0]),
        ("R-status", "GET", "/payments/NONE", Value::Null, "not_found", [1, 0]),
        ("R-account", "GET", "/accounts/SeedMissing", Value::Null, "not_found", [1, 0]),
        ("R-method", "DELETE", "/accounts/SeedSource", Value::Null, "method_not_allowed", [1, 0]),
        ("R-path", "GET", "/SeedPath?token=SeedToken", Value::Null, "not_found", [1, 0]),
        ("R-balance", "GET", "/balance/SeedMissing", Value::Null, "not_found", [1, 1]),
        ("R-quote", "GET", "/rate?base=USD&quote=SeedQuote", Value::Null, "unknown_currency", [1, 1]),
        (
            "R-deposit",
            "POST",
            "/accounts/SeedMissing/deposits",
            json!({ "id": "SeedDeposit", "amount": "4815.16" }),
            "not_found",
            [1, 1],
        ),
    ]
}

async fn ask(client: &Client, id: &str, method: &str, path: &str, body: &Value) -> Answer {
    let traceparent = format!("00-{TRACE_ID}-00f067aa0ba902b7-00");
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", id),
        ("traceparent", traceparent.as_str()),
        ("idempotency-key", "SeedKey"),
    ];
    // A key that differs from the body's id would be the only thing that is wrong.
    let headers = if method == "POST" { &headers[..3] } else { &headers[..] };
    client.send(method, path, headers, body.to_string().into_bytes()).await.expect("an answer")
}

/// Switches the lines of the gateway off and on again.
async fn switch(client: &Client) {
    let rows: [(&[(&str, &str)], &str, u16); 5] = [
        (&[("x-forwarded-for", "192.0.2.1")], "off", 403),
        (&[], "a=b=c", 400),
        (&[("content-type", "application/json")], r#"{"filter":"off"}"#, 200),
        (&[], "off", 200),
        (&[], FILTER, 200),
    ];
    for (place, (headers, body, expected)) in rows.into_iter().enumerate() {
        let answer = client.send("PUT", "/log-level", headers, body.as_bytes().to_vec()).await.unwrap();
        assert_eq!(answer.status, expected, "{body}: {}", answer.body);
        let shown = client.get("/log-level").await.unwrap().body["filter"].as_str().unwrap().to_owned();
        let is_off = (2..4).contains(&place);
        assert_eq!(shown == "off", is_off, "after {body}: {shown}");
        let id = if is_off { "R-unheard" } else { "R-heard" };
        assert_eq!(ask(client, id, "GET", "/nothing", &Value::Null).await.status, 404);
    }
}

/// The fields of every line that tells of a request.
fn of_requests(output: &str) -> Vec<Value> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["fields"].clone()).filter(|fields| fields["request_id"].is_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_a_line_for_each_failure_and_nothing_of_people_and_money() {
    let system = System::prepare(&[]).await;
    let mut programs = start(&system);
    ready(&system).await;
    run_payments(&system).await;
    let client = system.client();
    let failing = failing();
    for (id, method, path, body, code, _) in &failing {
        let answer = ask(&client, id, method, path, body).await;
        assert_eq!((answer.code(), answer.header("x-request-id")), (*code, Some(*id)), "{}", answer.body);
        assert_eq!(answer.body["request_id"], *id);
    }
    run_outages(&system).await;
    switch(&client).await;
    let [stages, gateway] = &mut programs;
    let (stages, gateway) = (stages.stop(), gateway.stop());

    for output in [&stages, &gateway] {
        let told = output
            .lines()
            .find(|line| line.contains(SEED) || AMOUNTS.iter().any(|amount| line.contains(amount)));
        assert_eq!(told, None, "told");
        assert!(output.contains("\"DEBUG\""), "our crates were asked for everything");
    }
    assert!(stages.contains("\"buried\""), "the buried message is told of");
    let failed = |line: &&str| line.contains("\"a batch was not accepted\"") && line.contains("\"cause\"");
    assert!(gateway.lines().any(|line| failed(&line)), "a failed batch is told of with its cause");
    let [at_gateway, at_stages] = [of_requests(&gateway), of_requests(&stages)];
    for (id, _, _, _, code, counts) in &failing {
        for (lines, expected) in [&at_gateway, &at_stages].into_iter().zip(counts) {
            let found: Vec<&Value> = lines.iter().filter(|fields| fields["request_id"] == *id).collect();
            assert_eq!(found.len(), *expected, "{id}: {found:?}");
            assert!(found.iter().all(|fields| fields["code"] == *code), "{id}: {found:?}");
        }
        let traced = at_gateway.iter().find(|fields| fields["request_id"] == *id).unwrap();
        assert_eq!(traced["trace_id"], TRACE_ID, "{id}");
    }
    let heard = |id: &str| at_gateway.iter().filter(|fields| fields["request_id"] == id).count();
    assert_eq!((heard("R-heard"), heard("R-unheard")), (3, 0));
}
