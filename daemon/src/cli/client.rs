//! The other end of the control socket: one connection a request.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Failure;
use crate::api::{ApiError, ErrorKind};
use crate::control::ErrorBody;
use crate::events::Event;

/// How long the daemon may take to answer. Longer than it takes to attach a device on a loaded host. Who has waited so
/// long is told so, and the command fails; a change that the daemon has begun it makes to its end.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Asks one daemon.
pub(super) struct Client<'a> {
    socket: &'a Path,
    runtime: tokio::runtime::Runtime,
}

/// What a request carries.
type Payload = Full<Bytes>;

impl<'a> Client<'a> {
    /// A client of the daemon that listens on `socket`.
    pub(super) fn new(socket: &'a Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::Refused(ApiError::new(ErrorKind::Internal, "cannot start the client", error.to_string()))
        })?;
        Ok(Self { socket, runtime })
    }

    /// What is at `path`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Payload::default())
    }

    /// The text at `path`.
    pub(super) fn get_text(&self, path: &str) -> Result<String, Failure> {
        let body = self.exchange(Method::GET, path, Payload::default())?;
        String::from_utf8(body.into()).map_err(|error| self.nonsense(&error.to_string()))
    }

    /// The answer to a request that carries text.
    pub(super) fn put_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Failure> {
        self.ask(Method::PUT, path, Payload::from(text))
    }

    /// A change that carries a value.
    pub(super) fn change(&self, method: Method, path: &str, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_vec(value).expect("requests have only string keys");
        self.exchange(method, path, Payload::from(json)).map(drop)
    }

    /// The answer to a request that carries a value.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, value: &impl Serialize) -> Result<T, Failure> {
        let json = serde_json::to_vec(value).expect("requests have only string keys");
        self.ask(Method::POST, path, Payload::from(json))
    }

    /// A change that carries nothing.
    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.exchange(Method::DELETE, path, Payload::default()).map(drop)
    }

    /// Hands the octets of an answer to `each` as they come, until it ends.
    pub(super) fn stream(
        &self,
        path: &str,
        value: &impl Serialize,
        each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.stream_from(path, value, |_| Ok(()), each)
    }

    /// The same, and shows the answer's head to `begins` before.
    pub(super) fn stream_from(
        &self,
        path: &str,
        value: &impl Serialize,
        begins: impl FnOnce(&HeaderMap) -> Result<(), Failure>,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let json = serde_json::to_vec(value).expect("requests have only string keys");
        let response = self.runtime.block_on(self.request(Method::POST, path, Payload::from(json)))?;
        begins(response.headers())?;
        let mut body = response.into_body();
        self.runtime.block_on(async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.unreachable(&error.to_string()))?;
                if let Ok(data) = frame.into_data() {
                    each(&data)?;
                }
            }
            Ok(())
        })
    }

    /// Hands each event to `each` as it comes, until the stream ends.
    pub(super) fn events(
        &self,
        follow: bool,
        mut each: impl FnMut(Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let path = format!("/v1/events?follow={follow}");
            let mut body = self.request(Method::GET, &path, Payload::default()).await?.into_body();
            let mut pending = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.unreachable(&error.to_string()))?;
                let Ok(data) = frame.into_data() else { continue };
                pending.extend_from_slice(&data);
                while let Some(end) = pending.iter().position(|&octet| octet == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    each(serde_json::from_slice(&line).map_err(|error| self.nonsense(&error.to_string()))?)?;
                }
            }
            Ok(())
        })
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, payload: Payload) -> Result<T, Failure> {
        let body = self.exchange(method, path, payload)?;
        serde_json::from_slice(&body).map_err(|error| self.nonsense(&error.to_string()))
    }

    fn exchange(&self, method: Method, path: &str, payload: Payload) -> Result<Bytes, Failure> {
        let exchange = async {
            let response = self.request(method, path, payload).await?;
            let body = response.into_body().collect().await;
            Ok(body.map_err(|error| self.unreachable(&error.to_string()))?.to_bytes())
        };
        self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_MAX, exchange)
                .await
                .unwrap_or_else(|_| Err(self.unreachable(&format!("no answer within {ANSWER_MAX:?}"))))
        })
    }

    /// Sends a request and gives its answer if that is a good one.
    async fn request(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<Response<Incoming>, Failure> {
        let resource = path.split_once('?').map_or(path, |(resource, _)| resource);
        if resource.ends_with('/') || resource.contains("//") {
            return Err(Failure::invalid("the name \"\"", "a name has at least one character"));
        }
        let stream = UnixStream::connect(self.socket).await.map_err(|error| self.cannot_connect(&error))?;
        let broken = |error: hyper::Error| self.unreachable(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends by itself with the connection; its errors reach the sender.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "tapestry")
            .body(payload)
            .expect("paths are percent-encoded");
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        match serde_json::from_slice(body) {
            Ok(ErrorBody { error }) => Failure::Refused(error),
            Err(_) => self.nonsense(&format!("status {status} without a reason")),
        }
    }

    fn cannot_connect(&self, error: &io::Error) -> Failure {
        let kind = error.kind();
        let (why, next) = if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            let next = "start one with `tapestry run -c FILE`, or name its socket with --socket PATH";
            ("no daemon listens there".to_owned(), next)
        } else if kind == io::ErrorKind::PermissionDenied {
            ("permission denied".to_owned(), "run as root, or join the group that owns the socket")
        } else {
            (error.to_string(), "check --socket PATH")
        };
        Failure::Unreachable(self.error(ErrorKind::Unavailable, why).next(next))
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::Unreachable(self.error(ErrorKind::Unavailable, why).next("look at the daemon's log"))
    }

    fn nonsense(&self, why: &str) -> Failure {
        let error = self.error(ErrorKind::Internal, format!("its answer makes no sense: {why}"));
        Failure::Refused(error.next("compare `tapestry --version` with the daemon's"))
    }

    fn error(&self, kind: ErrorKind, why: impl Into<String>) -> ApiError {
        ApiError::new(kind, format!("the daemon at {}", self.socket.display()), why)
    }
}

/// A path of segments that may hold anything.
pub(super) fn path(segments: &[&str]) -> String {
    segments.iter().fold("/v1".to_owned(), |path, segment| path + "/" + &encode(segment))
}

/// A path with a query of the given pairs; absent values are left out.
pub(super) fn query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    for (key, value) in pairs {
        if let Some(value) = value {
            let separator = if text.contains('?') { '&' } else { '?' };
            text += &format!("{separator}{key}={}", encode(value));
        }
    }
    text
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_escape_their_segment() {
        assert_eq!(path(&["ports", "a/b?c#d é"]), "/v1/ports/a%2Fb%3Fc%23d%20%C3%A9");
        assert_eq!(query("/v1/x", &[("a", None), ("b", Some("1&2")), ("c", Some("3"))]), "/v1/x?b=1%262&c=3");
    }
}
