//! Typed clients of the processes of a stack.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A base address with a connection pool.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
}

impl Http {
    /// For a server on 127.0.0.1.
    pub fn local(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .proxy(None)
            .build();
        Self { agent: config.into(), base: format!("http://127.0.0.1:{port}") }
    }

    /// The address without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn finish(
        &self,
        method: &'static str,
        path: &str,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, Error> {
        let failed = |problem: String| Error::Http { method, url: format!("{}{path}", self.base), problem };
        let mut response = result.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        if status.is_success() { Ok(body) } else { Err(failed(format!("{status}: {}", body.trim()))) }
    }

    /// The body of a successful GET.
    ///
    /// # Errors
    /// [`Error::Http`] when there is no answer or it is not a 2xx.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Error> {
        let request = self.agent.get(format!("{}{path}", self.base)).query_pairs(query.iter().copied());
        self.finish("GET", path, request.call())
    }

    /// A successful GET's JSON.
    ///
    /// # Errors
    /// [`Error::Http`], also when the JSON is not what was expected.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Error> {
        self.parse("GET", path, &self.get(path, query)?)
    }

    /// POSTs JSON, or nothing.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn post(&self, path: &str, body: Option<&impl Serialize>) -> Result<String, Error> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let result = match body {
            Some(body) => request.send_json(body),
            None => request.send_empty(),
        };
        self.finish("POST", path, result)
    }

    /// DELETEs.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn delete(&self, path: &str) -> Result<String, Error> {
        self.finish("DELETE", path, self.agent.delete(format!("{}{path}", self.base)).call())
    }

    fn parse<T: DeserializeOwned>(&self, method: &'static str, path: &str, body: &str) -> Result<T, Error> {
        serde_json::from_str(body).map_err(|error| Error::Http {
            method,
            url: format!("{}{path}", self.base),
            problem: format!("unexpected answer: {error}"),
        })
    }
}

/// One sample of an instant query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sample {
    /// The series' labels.
    pub metric: BTreeMap<String, String>,
    /// Seconds since the epoch, and the value as text.
    value: (f64, String),
}

impl Sample {
    /// The value; NaN if it is no number.
    pub fn value(&self) -> f64 {
        self.value.1.parse().unwrap_or(f64::NAN)
    }
}

#[derive(Deserialize)]
struct QueryAnswer {
    data: QueryData,
}

#[derive(Deserialize)]
struct QueryData {
    result: Vec<Sample>,
}

/// Prometheus' HTTP API.
#[derive(Debug, Clone)]
pub struct Prometheus(pub Http);

impl Prometheus {
    /// Whether it serves queries.
    ///
    /// # Errors
    /// [`Error::Http`] while it does not.
    pub fn ready(&self) -> Result<(), Error> {
        self.0.get("/-/ready", &[]).map(drop)
    }

    /// An instant query for a vector, now.
    ///
    /// # Errors
    /// [`Error::Http`], with Prometheus' explanation where the query is wrong.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, Error> {
        self.0.get_json("/api/v1/query", &[("query", expression)]).map(|answer: QueryAnswer| answer.data.result)
    }

    /// The one value of an instant query, `None` if there is not exactly one.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub fn value(&self, expression: &str) -> Result<Option<f64>, Error> {
        let samples = self.query(expression)?;
        Ok(if let [sample] = samples.as_slice() { Some(sample.value()) } else { None })
    }
}

/// How good the scorer's model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// There is none: no scores.
    #[default]
    None,
    /// There is one, with too little history for its alarm tail.
    Provisional,
    /// There is one with a calibrated tail.
    Calibrated,
}

/// The model, as the scorer tells it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Model {
    /// How good it is.
    #[serde(default)]
    pub state: ModelState,
}

/// A service of the scorer's graph; fields this crate does not read are left out.
#[derive(Debug, Clone, Deserialize)]
pub struct GraphService {
    /// Its namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Above 1 is anomalous; `None` without a model or with too little data.
    #[serde(default)]
    pub score: Option<f64>,
    /// Log likelihood ratio of this tick's evidence, natural logarithm.
    #[serde(default)]
    pub log_likelihood_ratio: Option<f64>,
    /// The incident it belongs to.
    #[serde(default)]
    pub incident: Option<String>,
}

/// One suspect of an incident.
#[derive(Debug, Clone, Deserialize)]
pub struct Root {
    /// The service's namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The service's name.
    pub name: String,
    /// Probability in [0, 1] that its fault is the incident's cause.
    pub probability: f64,
}

/// An open incident.
#[derive(Debug, Clone, Deserialize)]
pub struct Incident {
    /// Its id, the alerts' label `incident`.
    pub id: String,
    /// Suspects, the likeliest first.
    #[serde(default)]
    pub roots: Vec<Root>,
    /// Plain words, if the scorer has any.
    #[serde(default)]
    pub explanation: Vec<String>,
}

/// `GET /api/v1/graph` of the scorer.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Graph {
    /// End of the last tick, milliseconds since the epoch.
    #[serde(default)]
    pub tick_ms: Option<i64>,
    /// The model.
    #[serde(default)]
    pub model: Model,
    /// Services.
    #[serde(default)]
    pub services: Vec<GraphService>,
    /// Calls, only counted here.
    #[serde(default)]
    pub edges: Vec<serde_json::Value>,
    /// Open incidents.
    #[serde(default)]
    pub incidents: Vec<Incident>,
}

impl Graph {
    /// That service.
    pub fn service(&self, namespace: Option<&str>, name: &str) -> Option<&GraphService> {
        self.services.iter().find(|service| service.name == name && service.namespace.as_deref() == namespace)
    }
}

/// The scorer's HTTP API.
#[derive(Debug, Clone)]
pub struct Scorer(pub Http);

impl Scorer {
    /// Whether it takes samples.
    ///
    /// # Errors
    /// [`Error::Http`] while it does not.
    pub fn ready(&self) -> Result<(), Error> {
        self.0.get("/-/ready", &[]).map(drop)
    }

    /// The graph of the only scope.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub fn graph(&self) -> Result<Graph, Error> {
        self.0.get_json("/api/v1/graph", &[])
    }

    /// Loads the model directory again.
    ///
    /// # Errors
    /// [`Error::Http`], with the reason where the model is refused.
    pub fn reload(&self) -> Result<(), Error> {
        self.0.post("/-/reload", None::<&()>).map(drop)
    }
}

/// A fault, as microsim takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The service that breaks.
    pub service: String,
    /// `latency`, `errors`, `cpu`, `memory`, `crash`, `hang` or `slow-accept`.
    pub kind: String,
    /// How long, unless repaired before.
    pub seconds: f64,
    /// How badly, in microsim's unit for the kind; its default if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<f64>,
}

/// microsim's control API.
#[derive(Debug, Clone)]
pub struct Microsim(pub Http);

/// The simulated shop.
#[derive(Debug, Clone, Deserialize)]
pub struct Topology {
    /// Its services.
    pub services: Vec<TopologyService>,
    /// Who calls whom.
    pub edges: Vec<TopologyEdge>,
}

/// A service of the shop; fields this crate does not read are left out.
#[derive(Debug, Clone, Deserialize)]
pub struct TopologyService {
    /// Its name.
    pub name: String,
    /// Its namespace, as the exporter is told.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Whether it stands for the users, and cannot be broken.
    #[serde(default)]
    pub load_generator: bool,
}

impl Topology {
    /// Services that can be broken.
    pub fn breakable(&self) -> impl Iterator<Item = &TopologyService> {
        self.services.iter().filter(|service| !service.load_generator)
    }

    /// The namespace of a service.
    pub fn namespace_of(&self, name: &str) -> Option<&str> {
        self.services.iter().find(|service| service.name == name)?.namespace.as_deref()
    }
}

/// A call of the shop.
#[derive(Debug, Clone, Deserialize)]
pub struct TopologyEdge {
    /// Who calls.
    pub client: String,
    /// Who is called.
    pub server: String,
}

impl Microsim {
    /// Whether all services and the load generator run.
    ///
    /// # Errors
    /// [`Error::Http`] while they do not.
    pub fn ready(&self) -> Result<(), Error> {
        self.0.get("/-/ready", &[]).map(drop)
    }

    /// Services and calls.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub fn topology(&self) -> Result<Topology, Error> {
        self.0.get_json("/topology", &[])
    }

    /// Breaks a service.
    ///
    /// # Errors
    /// [`Error::Http`], with microsim's reason where it refuses.
    pub fn inject(&self, fault: &Fault) -> Result<(), Error> {
        self.0.post("/faults", Some(fault)).map(drop)
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub fn repair(&self) -> Result<(), Error> {
        self.0.delete("/faults").map(drop)
    }
}
