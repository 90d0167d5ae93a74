//! The far end of the chain: a receiver of Alertmanager's notifications.
//!
//! Takes Alertmanager's webhook JSON (version 4, <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>)
//! on `POST /alerts` and keeps every notification with its arrival time. What cannot be read is answered
//! 400 and counted, so that a change of format is seen as such and not as silence.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::Deserialize;
use tokio::sync::oneshot;
use warp::Filter;
use warp::http::StatusCode;

use crate::Error;

/// A notification of a thousand alerts stays far below this.
const BODY_LIMIT_BYTES: u64 = 4 << 20;

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// Whether an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It stands.
    Firing,
    /// It no longer does.
    Resolved,
}

/// One alert of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Whether it stands.
    pub status: Status,
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

impl Alert {
    /// A label's value, empty where it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Deserialize)]
struct Payload {
    alerts: Vec<Alert>,
}

/// What arrived in one request.
#[derive(Debug, Clone)]
pub struct Notification {
    /// When it arrived.
    pub received: Instant,
    /// What it says.
    pub alerts: Vec<Alert>,
}

impl Notification {
    /// Reads a webhook's body.
    ///
    /// # Errors
    /// Whatever is wrong with the JSON.
    pub fn parse(body: &[u8], received: Instant) -> Result<Self, serde_json::Error> {
        let Payload { alerts } = serde_json::from_slice(body)?;
        Ok(Self { received, alerts })
    }
}

#[derive(Debug, Default)]
struct Inbox {
    notifications: Mutex<Vec<Notification>>,
    unreadable: AtomicUsize,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Vec<Notification>> {
        self.notifications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running receiver; ends when dropped.
#[derive(Debug)]
pub struct Webhook {
    inbox: Arc<Inbox>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    port: u16,
}

impl Webhook {
    /// Listens on 127.0.0.1; port 0 takes any free one.
    ///
    /// # Errors
    /// [`Error::PortTaken`] where the port cannot be listened on.
    pub fn listen(port: u16) -> Result<Self, Error> {
        let taken = |_| Error::PortTaken { port, user: "webhook receiver" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(taken)?;
        let inbox = Arc::new(Inbox::default());
        let (stop, stopped) = oneshot::channel();
        let routes = routes(Arc::clone(&inbox));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                // Fails only for a listener that is not in non-blocking mode.
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = warp::serve(routes).incoming(listener).run() => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { inbox, stop: Some(stop), thread: Some(thread), port })
    }

    /// The address for Alertmanager's configuration.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alerts", self.port)
    }

    /// All notifications from number `first` on, in order of arrival.
    pub fn since(&self, first: usize) -> Vec<Notification> {
        self.inbox.lock().get(first..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// How many notifications have arrived.
    pub fn count(&self) -> usize {
        self.inbox.lock().len()
    }

    /// How many requests could not be read.
    pub fn unreadable(&self) -> usize {
        self.inbox.unreadable.load(Ordering::Relaxed)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn routes(inbox: Arc<Inbox>) -> impl Filter<Extract = (StatusCode,), Error = warp::Rejection> + Clone {
    warp::path!("alerts")
        .and(warp::post())
        .and(warp::body::content_length_limit(BODY_LIMIT_BYTES))
        .and(warp::body::bytes())
        .map(move |body: warp::hyper::body::Bytes| match Notification::parse(&body, Instant::now()) {
            Ok(notification) => {
                inbox.lock().push(notification);
                StatusCode::OK
            }
            Err(_) => {
                inbox.unreadable.fetch_add(1, Ordering::Relaxed);
                StatusCode::BAD_REQUEST
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.25 sends it.
    const BODY: &str = r#"{"receiver":"quoll","status":"firing","alerts":[{"status":"firing",
        "labels":{"alertname":"QuollRootCause","incident":"7","service":"cart","service_name":"cart"},
        "annotations":{"probability":"0.9300"},"startsAt":"2026-01-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z",
        "generatorURL":"","fingerprint":"0123456789abcdef"}],"groupLabels":{"incident":"7"},"commonLabels":{},
        "commonAnnotations":{},"externalURL":"http://h:9093","version":"4","groupKey":"{}","truncatedAlerts":0}"#;

    #[test]
    fn a_notification_is_kept_and_what_is_none_is_refused_and_counted() {
        let webhook = Webhook::listen(0).unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let post = |body: &str| agent.post(webhook.url()).send(body).unwrap().status().as_u16();
        assert_eq!(post("not json"), 400);
        assert_eq!(post(BODY), 200);
        assert_eq!((webhook.count(), webhook.unreadable()), (1, 1));
        let alert = &webhook.since(0)[0].alerts[0];
        assert_eq!((alert.status, alert.label("service_name"), alert.label("nothing")), (Status::Firing, "cart", ""));
        assert!(webhook.since(1).is_empty() && webhook.since(5).is_empty());
    }

    #[test]
    fn a_resolved_alert_is_read_as_such() {
        let body = BODY.replace("\"firing\"", "\"resolved\"");
        let notification = Notification::parse(body.as_bytes(), Instant::now()).unwrap();
        assert_eq!(notification.alerts[0].status, Status::Resolved);
    }
}
