//! What each request carries: its id, its trace, its measure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::Response,
};
use commands::identity::Caller;
use domain::BusinessId;
use futures::FutureExt;
use ipnet::IpNet;
use streams::{Actor, CommandContext, Origin, clock};
use tracing::Instrument;

use super::rates::{self, Left};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

struct Current {
    request_id: String,
    traceparent: Option<String>,
    address: IpAddr,
    user_agent: Option<HeaderValue>,
    /// What is left of the limits that this request counted for.
    limits: Mutex<Vec<Left>>,
}

/// Whose word about the address of a caller is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Arc<[IpNet]>);

impl From<Vec<IpNet>> for Proxies {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }
}

impl Proxies {
    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who is behind the proxies: the last of those named by a proxy that is believed who is none itself.
    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let named =
            headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
        let mut at = peer.to_canonical();
        for name in named.iter().rev() {
            if !self.trusts(at) {
                return at;
            }
            // With a port, as some proxies write it.
            let address = name.parse::<IpAddr>().ok();
            let address = address.or_else(|| name.parse::<SocketAddr>().ok().map(|s| s.ip()));
            match address {
                Some(address) => at = address.to_canonical(),
                None => return at,
            }
        }
        at
    }
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The id of the request that is being answered; empty outside one.
pub(crate) fn request_id() -> String {
    CURRENT.try_with(|current| current.request_id.clone()).unwrap_or_default()
}

/// From where the request came.
pub(crate) fn caller() -> Caller {
    let text = |agent: &HeaderValue| agent.to_str().ok().map(str::to_owned);
    let caller = CURRENT.try_with(|current| Caller {
        address: current.address,
        user_agent: current.user_agent.as_ref().and_then(text),
    });
    let unknown = || Caller { address: Ipv4Addr::UNSPECIFIED.into(), user_agent: None };
    caller.unwrap_or_else(|_outside| unknown())
}

/// Notes what is left of a limit, for the headers of the answer. Outside a request there is nobody to tell.
pub(super) fn note_limit(left: Left) {
    let note = |current: &Current| {
        current.limits.lock().unwrap_or_else(PoisonError::into_inner).push(left);
    };
    CURRENT.try_with(note).unwrap_or_default();
}

/// What the events of this request are stamped with.
pub(crate) fn command(business_id: BusinessId, actor: Actor) -> CommandContext {
    CommandContext { business_id, actor, now: clock::now(), origin: origin() }
}

/// What ties the events of this request together: its id, when that is a UUID.
pub(crate) fn origin() -> Origin {
    let current =
        CURRENT.try_with(|current| (current.request_id.parse().ok(), current.traceparent.clone()));
    let (request_id, traceparent) = current.unwrap_or_default();
    let correlation_id = request_id.unwrap_or_else(clock::new_id);
    Origin { correlation_id, causation_id: None, traceparent }
}

fn current(request: &Request, proxies: &Proxies) -> Current {
    let headers = request.headers();
    let header = |name: &HeaderName, most: usize| {
        let text = headers.get(name)?.to_str().ok()?;
        let clean = text.len() <= most && text.bytes().all(|b| b.is_ascii_graphic());
        (clean && !text.is_empty()).then(|| text.to_owned())
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip());
    let address = proxies.caller(peer, headers);
    Current {
        request_id: header(&REQUEST_ID, 128).unwrap_or_else(|| clock::new_id().to_string()),
        traceparent: header(&TRACEPARENT, 64),
        address,
        user_agent: headers.get(header::USER_AGENT).cloned(),
        limits: Mutex::default(),
    }
}

/// A label with the caller's own words would make a series of each.
fn label(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Gives each request an id, echoes the caller's, carries its W3C trace context, and measures it.
pub(super) fn within<A>(
    proxies: &Proxies,
    request: Request,
    answer: impl FnOnce(Request) -> A,
) -> impl Future<Output = Response>
where
    A: Future<Output = Response>,
{
    let current = current(&request, proxies);
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = label(request.method());
    let Current { request_id, traceparent, .. } = &current;
    let route = name(matched.as_ref());
    let span = tracing::info_span!("request", method, route, request_id, traceparent);
    let began = Instant::now();
    let answering = answer(request).map(move |mut response| {
        let (route, status, took) = (name(matched.as_ref()), response.status(), began.elapsed());
        CURRENT.with(|Current { request_id, limits, .. }| {
            tracing::debug!(method, route, status = status.as_u16(), ?took, request_id, "answered");
            let headers = response.headers_mut();
            rates::tell(headers, &limits.lock().unwrap_or_else(PoisonError::into_inner));
            if let Ok(id) = HeaderValue::from_str(request_id) {
                headers.insert(REQUEST_ID, id);
            }
        });
        metrics::histogram!("apptremind_http_request_seconds", "method" => method,
            "route" => route.to_owned(), "status" => status.as_str().to_owned())
        .record(took.as_secs_f64());
        response
    });
    CURRENT.scope(current, answering).instrument(span)
}

fn name(route: Option<&MatchedPath>) -> &str {
    route.map_or("unmatched", MatchedPath::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let networks: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        Proxies::from(networks).caller(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_that_is_trusted_says_who_is_behind_it() {
        let lie = &["203.0.113.9"];
        assert_eq!(behind(&[], "198.51.100.1", lie), "198.51.100.1");
        assert_eq!(behind(&["10.0.0.0/8"], "198.51.100.1", lie), "198.51.100.1");
        assert_eq!(behind(&["10.0.0.0/8"], "10.1.2.3", lie), "203.0.113.9");
        assert_eq!(behind(&["10.0.0.0/8"], "::ffff:10.1.2.3", lie), "203.0.113.9");
        // What a client wrote itself stands before what the first trusted proxy saw.
        let chain = &["1.1.1.1, 203.0.113.9", "10.0.0.2"];
        assert_eq!(behind(&["10.0.0.0/8"], "10.0.0.1", chain), "203.0.113.9");
        assert_eq!(behind(&["10.0.0.0/8"], "10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(behind(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(behind(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }
}
