//! An etcd v3 server, spoken to through its JSON gateway: HTTP/1.1 on the port where gRPC is, too.
//!
//! The gateway is on by default from etcd 3.4 (`--enable-grpc-gateway`), and asks for no protocol compiler, no HTTP/2
//! and no crate but that for base64. The price is some octets, and a watch that has to be read line by line. Endpoints
//! with `https` are spoken to through TLS ([`Tls`]).
//!
//! One connection a request, one for a watch. A server that cannot be connected to, or says that it is not available, is passed over
//! for the next, beginning with the one that answered last. Anything else that goes wrong ends the request: whether it
//! was done is unknown, and the caller has to look. Limits: [`CONNECT_MAX`], [`ANSWER_MAX`], [`BODY_MAX`], [`LINE_MAX`], [`PAGE`]; at
//! each of the first four the request or watch fails. A connection that has gone silent is noticed by TCP keep-alive
//! within [`SILENCE_MAX`].

use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

mod message;
mod tls;
mod watch;

pub use config::{EtcdEndpoint as Endpoint, NotAnEtcdEndpoint as NotAnEndpoint};
pub use tls::Tls;
pub use watch::{Change, Watch, Watched};

use message::{
    AuthenticateAnswer, AuthenticateRequest, Compare, DeleteRange, GrantRequest, Int, KeyValue, LeaseId,
    Octets, Operation, Put, RangeAnswer, RangeRequest, Refusal, Txn, TxnAnswer,
};

/// How long a server may take to accept a connection.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long it may take to answer a request, whole.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Octets of an answer: a [`PAGE`] of values as long as etcd takes them, in base64, would be longer; that is refused.
pub const BODY_MAX: usize = 64 << 20;
/// Octets of a line of a watch.
pub const LINE_MAX: usize = 16 << 20;
/// Keys asked for at a time.
pub const PAGE: i64 = 1000;
/// After so long without a sign of life a connection is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// gRPC's code for "not at the moment".
const UNAVAILABLE: i64 = 14;
/// gRPC's code for a token that is missing, wrong or too old.
const UNAUTHENTICATED: i64 = 16;
const INVALID_ARGUMENT: i64 = 3;

/// Servers of one cluster.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    credentials: Option<(String, String)>,
    tls: Option<Tls>,
    token: Mutex<Option<String>>,
    /// The endpoint that answered last.
    good: AtomicUsize,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// No server could be reached, or the one that was broke off or took too long.
    Unreachable(String),
    /// The server refuses, in its own words.
    Refused(String),
    /// The answer makes no sense.
    Nonsense(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "etcd cannot be reached: {why}"),
            Self::Refused(why) => write!(f, "etcd refuses: {why}"),
            Self::Nonsense(why) => write!(f, "etcd's answer makes no sense: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision at which it was created.
    pub created: i64,
    /// The revision at which it was written last.
    pub written: i64,
    /// The lease that it goes with; 0: none.
    pub lease: i64,
}

impl From<KeyValue> for Pair {
    fn from(pair: KeyValue) -> Self {
        Self {
            key: pair.key.0,
            value: pair.value.0,
            created: pair.create_revision.0,
            written: pair.mod_revision.0,
            lease: pair.lease.0,
        }
    }
}

/// Where in whose history something was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Names the cluster: another one has another history.
    pub cluster: String,
    /// Counts the changes of all keys.
    pub revision: i64,
}

impl From<message::Header> for Position {
    fn from(header: message::Header) -> Self {
        Self { cluster: header.cluster_id.to_string(), revision: header.revision.0 }
    }
}

/// What a key must be like for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It was written last at this revision.
    WrittenAt(i64),
}

impl Client {
    /// A client; nothing is connected yet. The credentials are a user's name and password.
    pub fn new(endpoints: Vec<Endpoint>, credentials: Option<(String, String)>) -> Self {
        Self { endpoints, credentials, tls: None, token: Mutex::new(None), good: AtomicUsize::new(0) }
    }

    /// The same, which trusts and shows these certificates where an endpoint has `https`.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The value of one key.
    ///
    /// # Errors
    /// See [`Error`]; so everywhere.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let request = RangeRequest { key: Octets::from(key), limit: Int(1), ..RangeRequest::default() };
        let answer: RangeAnswer = self.ask("/v3/kv/range", &request).await?;
        Ok(answer.kvs.into_iter().next().map(|pair| pair.value.0))
    }

    /// Every key that begins with `prefix`, all as of one moment, which is the position returned.
    pub async fn list(&self, prefix: &str) -> Result<(Vec<Pair>, Position), Error> {
        let range_end = behind(prefix);
        let mut request =
            RangeRequest { key: Octets::from(prefix), range_end, limit: Int(PAGE), revision: Int(0) };
        let mut pairs: Vec<Pair> = Vec::new();
        loop {
            let answer: RangeAnswer = self.ask("/v3/kv/range", &request).await?;
            let count = answer.kvs.len();
            pairs.extend(answer.kvs.into_iter().map(Pair::from));
            let last = pairs.last().filter(|_| answer.more && count > 0);
            let Some(last) = last else {
                let revision =
                    if request.revision == Int(0) { answer.header.revision } else { request.revision };
                return Ok((pairs, Position { revision: revision.0, ..answer.header.into() }));
            };
            // The next key there can be.
            request.key = Octets([&last.key, &[0][..]].concat());
            if request.revision == Int(0) {
                request.revision = answer.header.revision;
            }
        }
    }

    /// A lease of so many seconds.
    pub async fn grant(&self, ttl_secs: u64) -> Result<i64, Error> {
        let request = GrantRequest { ttl: Int(i64::try_from(ttl_secs).unwrap_or(i64::MAX)) };
        let LeaseId { id } = self.ask("/v3/lease/grant", &request).await?;
        if id.0 == 0 { Err(Error::Nonsense("a lease without an id".to_owned())) } else { Ok(id.0) }
    }

    /// Ends a lease, and its keys with it.
    pub async fn revoke(&self, lease: i64) -> Result<(), Error> {
        let _: serde_json::Value = self.ask("/v3/lease/revoke", &LeaseId { id: Int(lease) }).await?;
        Ok(())
    }

    /// Writes a key if it is as expected; the revision of the write, or `None`.
    pub async fn put(
        &self,
        key: &str,
        value: &str,
        lease: i64,
        expected: Expected,
    ) -> Result<Option<i64>, Error> {
        let put = Put { key: Octets::from(key), value: Octets::from(value), lease: Int(lease) };
        self.transact(key, expected, Operation::RequestPut(put)).await
    }

    /// Deletes a key if it is as expected; the revision of that, or `None`.
    pub async fn delete(&self, key: &str, expected: Expected) -> Result<Option<i64>, Error> {
        let delete = DeleteRange { key: Octets::from(key) };
        self.transact(key, expected, Operation::RequestDeleteRange(delete)).await
    }

    /// Everything that happens to keys with this prefix from `revision` on.
    pub async fn watch(&self, prefix: &str, revision: i64) -> Result<Watch, Error> {
        let create_request = message::WatchCreate {
            key: Octets::from(prefix),
            range_end: behind(prefix),
            start_revision: Int(revision),
        };
        let request = message::WatchRequest { create_request };
        let response = within(ANSWER_MAX, self.send("/v3/watch", &request)).await?;
        Ok(Watch::new(response.into_body()))
    }

    async fn transact(
        &self,
        key: &str,
        expected: Expected,
        operation: Operation,
    ) -> Result<Option<i64>, Error> {
        let (target, version, mod_revision) = match expected {
            Expected::Absent => ("VERSION", Some(Int(0)), None),
            Expected::WrittenAt(revision) => ("MOD", None, Some(Int(revision))),
        };
        let compare = Compare { result: "EQUAL", target, key: Octets::from(key), version, mod_revision };
        let answer: TxnAnswer =
            self.ask("/v3/kv/txn", &Txn { compare: [compare], success: [operation] }).await?;
        Ok(answer.succeeded.then_some(answer.header.revision.0))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T, Error> {
        within(ANSWER_MAX, async {
            let response = self.send(path, request).await?;
            let body = collect(response.into_body()).await?;
            serde_json::from_slice(&body).map_err(|error| Error::Nonsense(error.to_string()))
        })
        .await
    }

    /// Sends, and sends once more with a fresh token if the old one has been refused.
    async fn send(&self, path: &str, request: &impl Serialize) -> Result<Response<Incoming>, Error> {
        let json = serde_json::to_vec(request).expect("requests have only string keys");
        let Some((name, password)) = &self.credentials else {
            return Ok(self.offer(path, &json, None).await?);
        };
        let token = self.token.lock().expect("nothing panics while it is held").clone();
        if token.is_some() {
            match self.offer(path, &json, token).await {
                Err(rejection) if rejection.is_about_the_token() => {}
                answered => return Ok(answered?),
            }
        }
        let request = AuthenticateRequest { name, password };
        let credentials = serde_json::to_vec(&request).expect("requests have only string keys");
        let response = self.offer("/v3/auth/authenticate", &credentials, None).await?;
        let AuthenticateAnswer { token } = serde_json::from_slice(&collect(response.into_body()).await?)
            .map_err(|error| Error::Nonsense(error.to_string()))?;
        *self.token.lock().expect("nothing panics while it is held") = Some(token.clone());
        Ok(self.offer(path, &json, Some(token)).await?)
    }

    /// Offers a request to each server, until one takes it.
    async fn offer(
        &self,
        path: &str,
        json: &[u8],
        token: Option<String>,
    ) -> Result<Response<Incoming>, Rejection> {
        let first = self.good.load(Ordering::Relaxed);
        let mut refusals = Vec::new();
        for turn in 0..self.endpoints.len() {
            let index = first.wrapping_add(turn) % self.endpoints.len();
            let endpoint = &self.endpoints[index];
            // Beforehand: whoever is cut off while he waits for this one begins with the next.
            self.good.store(index + 1, Ordering::Relaxed);
            let rejection = match exchange(endpoint, self.tls.as_ref(), path, json, token.as_deref()).await {
                Ok(response) => {
                    self.good.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(rejection) => rejection,
            };
            if rejection.code == Some(UNAVAILABLE) || !rejection.was_sent {
                refusals.push(format!("{endpoint}: {}", rejection.why));
                continue;
            }
            if rejection.code.is_some() {
                self.good.store(index, Ordering::Relaxed); // It answers well, though not what we like.
            }
            return Err(rejection);
        }
        refusals.sort(); // Whoever was asked first, it is the same reason.
        let why = refusals.join("; ");
        Err(Rejection { why, code: None, was_sent: false })
    }
}

/// Why one server has not answered.
struct Rejection {
    why: String,
    /// gRPC's code, from a server that says why.
    code: Option<i64>,
    /// Whether the request may have been done.
    was_sent: bool,
}

impl Rejection {
    /// Whether another token might do. With JSON web tokens, which name the revision of users and roles that they were made
    /// at, etcd says so in words: its code is that of an argument (api/v3rpc/rpctypes/error.go).
    fn is_about_the_token(&self) -> bool {
        let is_old = ["revision of auth store is old", "user name is empty"];
        self.code == Some(UNAUTHENTICATED)
            || self.code == Some(INVALID_ARGUMENT) && is_old.iter().any(|words| self.why.contains(words))
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        if rejection.code.is_some() { Self::Refused(rejection.why) } else { Self::Unreachable(rejection.why) }
    }
}

async fn exchange(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    path: &str,
    json: &[u8],
    token: Option<&str>,
) -> Result<Response<Incoming>, Rejection> {
    let not_sent = |why: String| Rejection { why, code: None, was_sent: false };
    let stream = tokio::time::timeout(CONNECT_MAX, connect(endpoint, tls))
        .await
        .map_err(|_| not_sent(format!("no connection within {CONNECT_MAX:?}")))?
        .map_err(|error| not_sent(error.to_string()))?;
    let sent = |error: hyper::Error| Rejection { why: said(&error), code: None, was_sent: true };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(sent)?;
    // Ends by itself with the connection; its errors reach the sender.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::post(path)
        .header(hyper::header::HOST, endpoint.to_string())
        .header(hyper::header::CONTENT_TYPE, "application/json")
        // A member that is cut off from the others refuses instead of answering from its memory.
        .header("Grpc-Metadata-hasleader", "true");
    if let Some(token) = token {
        request = request.header(hyper::header::AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(json)));
    // The token is the server's word, and may be anything.
    let request = request.map_err(|error| not_sent(format!("the request cannot be written: {error}")))?;
    let response = sender.send_request(request).await.map_err(sent)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = collect(response.into_body()).await.unwrap_or_default();
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    let why = [&refusal.message, &refusal.error].into_iter().find(|text| !text.is_empty());
    let why = why.map_or_else(|| format!("status {status}"), |text| format!("{text} (status {status})"));
    let is_away = status == StatusCode::SERVICE_UNAVAILABLE;
    Err(Rejection { why, code: Some(if is_away { UNAVAILABLE } else { refusal.code }), was_sent: true })
}

/// A connection, plain or within TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(endpoint: &Endpoint, tls: Option<&Tls>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((endpoint.host(), endpoint.l4_port())).await?;
    let socket = socket2::SockRef::from(&stream);
    let tenth = SILENCE_MAX / 10;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(4 * tenth).with_interval(2 * tenth).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
    if !endpoint.is_tls() {
        return Ok(Box::new(stream));
    }
    let tls =
        tls.ok_or_else(|| io::Error::other("it wants TLS, and no authorities' certificates are given"))?;
    Ok(Box::new(tls.connect(endpoint.host(), stream).await?))
}

async fn collect(body: Incoming) -> Result<Bytes, Error> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(Error::Unreachable(error.to_string())),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Err(Error::Unreachable(format!("no answer within {limit:?}")));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| late())
}

/// hyper's errors say what went wrong in their sources only.
fn said(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// The first key that does not begin with `prefix`: its last octet that can be counted up is, and what follows is cut.
fn behind(prefix: &str) -> Octets {
    let mut octets = prefix.as_bytes().to_vec();
    while let Some(last) = octets.pop() {
        if let Some(next) = last.checked_add(1) {
            octets.push(next);
            return Octets(octets);
        }
    }
    Octets(vec![0]) // etcd's word for the end of all keys.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_flannels_does() {
        assert_eq!(behind("/coreos.com/network/subnets"), Octets::from("/coreos.com/network/subnett"));
        assert_eq!(behind("a/"), Octets::from("a0"));
        assert_eq!(behind(""), Octets(vec![0]));
    }
}
