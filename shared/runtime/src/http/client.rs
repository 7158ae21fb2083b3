//! Asking servers that stand beside the process: by HTTP/1.1, without TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

/// The server did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer: {0}")]
pub struct NoAnswer(String);

impl NoAnswer {
    /// For this reason.
    pub fn because(error: impl std::error::Error) -> NoAnswer {
        NoAnswer(crate::process::chain(&error))
    }
}

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The HTTP status.
    pub status: u16,
    /// The body, if it came whole and was no larger than was asked for.
    pub body: Option<Bytes>,
}

/// Asks one server. Each request has a connection of its own, which ends with it: one a second is no cost, and
/// none is found dead later. How long a request may take is for whoever asks to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClient {
    /// Host and port.
    address: String,
    /// What stands before every path.
    base: String,
}

impl HttpClient {
    /// Of the server behind this URL, which was checked when it was configured.
    pub fn new(url: &str) -> HttpClient {
        let url = Url::parse(url).ok();
        let place = |url: &Url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?));
        HttpClient {
            address: url.as_ref().and_then(place).unwrap_or_default(),
            base: url.as_ref().map_or("", |url| url.path().trim_end_matches('/')).to_owned(),
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks for this path, with its query.
    pub async fn get(&self, path: &str, answer_bytes_max: usize) -> Result<Heard, NoAnswer> {
        let request = Request::builder().method(Method::GET);
        self.send(request, path, Bytes::new(), answer_bytes_max).await
    }

    /// Sends this there.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<Heard, NoAnswer> {
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, content_type);
        self.send(request, path, body, answer_bytes_max).await
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        path: &str,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<Heard, NoAnswer> {
        let request = request.uri(format!("{}{path}", self.base)).header(HOST, &self.address);
        let request = request.body(Full::new(body)).map_err(NoAnswer::because)?;
        let stream = TcpStream::connect(&self.address).await.map_err(NoAnswer::because)?;
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(NoAnswer::because)?;
        let exchange = async {
            let answer = requests.send_request(request).await.map_err(NoAnswer::because)?;
            Ok(heard(answer, answer_bytes_max).await)
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            heard = &mut exchange => heard,
            ended = connection => {
                ended.map_err(NoAnswer::because)?;
                exchange.await
            }
        }
    }
}

async fn heard(answer: Response<Incoming>, bytes_max: usize) -> Heard {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), bytes_max).collect().await;
    Heard { status, body: body.ok().map(http_body_util::Collected::to_bytes) }
}

/// The URL as clients may see it: without what may be secret in it.
pub fn public_url(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_by_its_url_and_shown_without_secrets() {
        for (url, address, base, shown) in [
            ("http://127.0.0.1:9090", "127.0.0.1:9090", "", "http://127.0.0.1:9090"),
            ("http://h/prometheus/", "h:80", "/prometheus", "http://h/prometheus"),
            ("http://u:SECRET@[::1]:3/?token=SECRET#x", "[::1]:3", "", "http://[::1]:3"),
            ("https://h", "h:443", "", "https://h"),
        ] {
            let client = HttpClient::new(url);
            assert_eq!((client.address(), client.base.as_str()), (address, base));
            assert_eq!(public_url(url).as_deref(), Some(shown));
        }
    }
}
