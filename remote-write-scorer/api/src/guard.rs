//! Who may change state: whoever has proved who they are, or is on this machine.
//!
//! A browser sends what it knows, passwords and certificates included, for pages of any site. It names that
//! site in `Origin`, which must be the site that it asks. Without authentication a page could make its own
//! name point to this machine and so be "the site it asks" (DNS rebinding); therefore pages must name this
//! machine by address or as `localhost` then.

use std::net::IpAddr;

use quoll_web_config::Peer;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, Uri};
use warp::{Filter, Rejection};

/// Refused, with the reason.
#[derive(Debug)]
pub(crate) struct Forbidden(pub(crate) &'static str);

impl warp::reject::Reject for Forbidden {}

/// Lets a request through that may change state; others get 403.
pub(crate) fn state_change() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::ext::optional::<Peer>()
        .and(warp::header::headers_cloned())
        .and_then(|peer: Option<Peer>, headers: HeaderMap| async move {
            check(peer.as_ref(), &headers).map_err(|reason| warp::reject::custom(Forbidden(reason)))
        })
        .untuple_one()
}

fn check(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), &'static str> {
    let authenticated = peer.is_some_and(Peer::is_authenticated);
    if !authenticated && !peer.is_some_and(Peer::is_local) {
        return Err("allowed from this machine only, or with authentication (--web-config-file)");
    }
    let Some(origin) = headers.get("origin") else { return Ok(()) };
    let host = headers.get("host").and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let same = host.is_some() && origin.as_ref().and_then(Uri::authority) == host.as_ref();
    let literal = host.as_ref().is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    });
    if same && (authenticated || literal) { Ok(()) } else { Err("refused for pages of other sites") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(peer: &str, user: Option<&str>, host: &str, origin: Option<&str>) -> bool {
        let peer = Peer { address: peer.parse().unwrap(), user: user.map(Into::into), certificate: false };
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        check(Some(&peer), &headers).is_ok()
    }

    #[test]
    fn this_machine_or_a_known_user_and_no_foreign_page() {
        let (here, there) = ("127.0.0.1:5", "192.0.2.1:5");
        assert!(verdict(here, None, "127.0.0.1:9467", None));
        assert!(verdict("[::1]:5", None, "[::1]:9467", Some("http://[::1]:9467")));
        assert!(verdict(here, None, "localhost:9467", Some("http://localhost:9467")));
        assert!(!verdict(here, None, "127.0.0.1:9467", Some("http://evil.example")));
        assert!(!verdict(here, None, "127.0.0.1:9467", Some("null")));
        assert!(!verdict(here, None, "evil.example", Some("http://evil.example")), "a name that points here");
        assert!(!verdict(there, None, "192.0.2.9:9467", None));
        assert!(verdict(there, Some("ann"), "scorer.example", None));
        assert!(verdict(there, Some("ann"), "scorer.example", Some("https://scorer.example")));
        assert!(!verdict(there, Some("ann"), "scorer.example", Some("https://evil.example")));
        assert!(check(None, &HeaderMap::new()).is_err(), "nobody knows who asks");
    }
}
