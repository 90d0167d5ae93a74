//! The whole stack on loopback: microsim, exporter, scorer, Alertmanager, Prometheus, a webhook receiver.
//!
//! Layout of the work directory: `logs/NAME.log`, `prometheus/{prometheus.yml,rules,data}`,
//! `alertmanager/{alertmanager.yml,data}`, `scorer/` (its data), `model/` (what training wrote),
//! `scorer.yaml`, `services.yaml` (who is who; microsim writes it, the exporter reads it), `changes.txt` (what was
//! changed in the provisioning files).
//!
//! Processes end in the reverse order of their start: who sends ends before who receives. Every
//! process listens on 127.0.0.1 only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clients::{Http, Microsim, Prometheus, Scorer};
use crate::ports::Ports;
use crate::process::{Process, Program, Supervisor};
use crate::webhook::Webhook;
use crate::{Error, checkout, config};

/// How long a process may take to get ready. microsim builds namespaces and starts a dozen processes.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Work directory; must exist.
    pub folder: PathBuf,
    /// Ports to listen on.
    pub ports: Ports,
    /// Scrape interval and the scorer's step, in seconds.
    pub step_seconds: u32,
    /// Seed of microsim's load.
    pub seed: u64,
    /// Where `exporter` gets its events: `auto`, `ebpf` or `procfs`.
    pub source: String,
    /// Whether Grafana is started too, where it is installed.
    pub grafana: bool,
    /// Executable that calls [`crate::process::become_child_if_asked`] first.
    pub launcher: PathBuf,
}

/// A running stack; ends when dropped.
#[derive(Debug)]
pub struct Stack {
    /// Simulated shop.
    pub microsim: Microsim,
    /// Prometheus.
    pub prometheus: Prometheus,
    /// The scorer.
    pub scorer: Scorer,
    /// The exporter, untyped.
    pub exporter: Http,
    /// Whether Grafana runs.
    pub grafana: bool,
    /// Receiver of notifications. After the supervisor, so that it outlives Alertmanager.
    supervisor: Supervisor,
    webhook: Webhook,
    options: Options,
    ready_at: Instant,
}

impl Stack {
    /// Starts everything and waits until all of it is ready; `said` gets one line per step.
    ///
    /// # Errors
    /// A port that is taken, a program that is missing, a process that does not start or does not get
    /// ready: each with what to look at. What was started is ended.
    pub fn start(options: Options, said: &mut dyn FnMut(String)) -> Result<Self, Error> {
        let programs = Programs::find(options.grafana)?;
        let ports = options.ports;
        ports.check_free(programs.grafana.is_some())?;
        let logs = options.folder.join("logs");
        std::fs::create_dir_all(&logs).map_err(Error::file(&logs))?;
        let webhook = Webhook::listen(ports.webhook)?;
        let changes = write_configuration(&options, &webhook.url())?;
        said(format!(
            "configuration: provisioning/ with {} values changed (listed in {})",
            changes.len(),
            options.folder.join("changes.txt").display()
        ));
        let mut stack = Self {
            microsim: Microsim(Http::local(ports.microsim)),
            prometheus: Prometheus(Http::local(ports.prometheus)),
            scorer: Scorer(Http::local(ports.scorer)),
            exporter: Http::local(ports.exporter),
            grafana: programs.grafana.is_some(),
            supervisor: Supervisor::new(options.launcher.clone(), logs),
            webhook,
            options,
            ready_at: Instant::now(),
        };
        stack.start_all(&programs, said)?;
        stack.ready_at = Instant::now();
        Ok(stack)
    }

    fn start_all(&mut self, programs: &Programs, said: &mut dyn FnMut(String)) -> Result<(), Error> {
        let microsim = self.microsim.clone();
        self.launch(&microsim_program(programs, &self.options), said, move || microsim.ready())?;
        let exporter = self.exporter.clone();
        self.launch(&exporter_program(programs, &self.options), said, move || exporter.get("/-/ready", &[]).map(drop))?;
        let alertmanager = Http::local(self.options.ports.alertmanager);
        self.launch(&alertmanager_program(programs, &self.options), said, move || {
            alertmanager.get("/-/ready", &[]).map(drop)
        })?;
        let prometheus = self.prometheus.clone();
        self.launch(&prometheus_program(programs, &self.options), said, move || prometheus.ready())?;
        // Last of the chain, so that it is the first to end: it still delivers what it has.
        let scorer = self.scorer.clone();
        self.launch(&scorer_program(programs, &self.options), said, move || scorer.ready())?;
        if let Some(program) = grafana_program(programs, &self.options)? {
            let grafana = Http::local(self.options.ports.grafana);
            self.launch(&program, said, move || grafana.get("/api/health", &[]).map(drop))?;
        }
        Ok(())
    }

    fn launch(
        &mut self,
        program: &Program,
        said: &mut dyn FnMut(String),
        ready: impl FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let name = program.name;
        self.supervisor.start(program)?;
        let took = self.supervisor.wait_ready(PATIENCE, ready)?;
        said(format!("{name} is ready ({:.1} s)", took.as_secs_f64()));
        Ok(())
    }

    /// When everything was ready.
    pub fn ready_at(&self) -> Instant {
        self.ready_at
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Received notifications.
    pub fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Its processes.
    pub fn supervisor(&mut self) -> &mut Supervisor {
        &mut self.supervisor
    }

    /// Fails if a process has ended by itself.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn check(&mut self) -> Result<(), Error> {
        self.supervisor.check()
    }

    /// Starts training on the last `range_seconds` of Prometheus as a niced process of its own, which
    /// the caller waits for. It writes the model directory that the scorer reads.
    ///
    /// # Errors
    /// As [`Supervisor::spawn`].
    pub fn start_training(&self, range_seconds: u64) -> Result<Process, Error> {
        let program = Program {
            niceness: 10,
            environment: vec![("ORT_DYLIB_PATH", checkout::onnxruntime()?.into())],
            ..Program::new(
                "training",
                checkout::product_binary("quoll-scorer")?,
                [
                    "train".into(),
                    "--prometheus".into(),
                    self.prometheus.0.base().to_owned(),
                    "--range".into(),
                    format!("{range_seconds}s"),
                    "--step".into(),
                    format!("{}s", self.options.step_seconds),
                    "--out".into(),
                    self.options.folder.join("model").to_string_lossy().into_owned(),
                ],
            )
        };
        self.supervisor.spawn(&program)
    }

    /// Ends everything, in the reverse order of start.
    pub fn stop(&mut self) {
        self.supervisor.stop();
    }
}

/// Executables, found before anything starts.
struct Programs {
    microsim: PathBuf,
    exporter: PathBuf,
    scorer: PathBuf,
    prometheus: PathBuf,
    alertmanager: PathBuf,
    onnxruntime: PathBuf,
    grafana: Option<PathBuf>,
}

impl Programs {
    fn find(grafana: bool) -> Result<Self, Error> {
        Ok(Self {
            microsim: checkout::product_binary("quoll-microsim")?,
            exporter: checkout::product_binary("quoll-exporter")?,
            scorer: checkout::product_binary("quoll-scorer")?,
            prometheus: checkout::system_program(&["prometheus"])?,
            alertmanager: checkout::system_program(&["prometheus-alertmanager", "alertmanager"])?,
            onnxruntime: checkout::onnxruntime()?,
            grafana: grafana.then(|| checkout::on_path(&["grafana-server"])).flatten(),
        })
    }
}

/// Arguments as written on a command line: `--name value` pairs and single words.
fn arguments(folder: &Path, words: &[&str]) -> Vec<OsString> {
    let folder = folder.to_string_lossy();
    words.iter().map(|word| OsString::from(word.replace("{}", &folder))).collect()
}

fn microsim_program(programs: &Programs, options: &Options) -> Program {
    let mut words = arguments(&options.folder, &["run", "--services-out", "{}/services.yaml", "--topology"]);
    words.push(checkout::root().join("tests/microsim/topologies/shop.yaml").into());
    words.extend(["--seed".into(), options.seed.to_string().into()]);
    words.extend(["--control".into(), format!("127.0.0.1:{}", options.ports.microsim).into()]);
    Program::new("microsim", programs.microsim.clone(), words)
}

fn exporter_program(programs: &Programs, options: &Options) -> Program {
    let listen = format!("127.0.0.1:{}", options.ports.exporter);
    // Only the shop: what else runs on this machine would be judged, too.
    let words = ["--listen", &listen, "--source", &options.source, "--services", "{}/services.yaml"];
    let words = [&words[..], &["--plain-processes", "none"]].concat();
    Program::new("exporter", programs.exporter.clone(), arguments(&options.folder, &words))
}

fn scorer_program(programs: &Programs, options: &Options) -> Program {
    let mut words = arguments(&options.folder, &["serve", "--config", "{}/scorer.yaml"]);
    words.extend(["--onnxruntime".into(), programs.onnxruntime.clone().into()]);
    Program::new("scorer", programs.scorer.clone(), words)
}

fn alertmanager_program(programs: &Programs, options: &Options) -> Program {
    let listen = format!("--web.listen-address=127.0.0.1:{}", options.ports.alertmanager);
    let words = [
        "--config.file={}/alertmanager/alertmanager.yml",
        "--storage.path={}/alertmanager/data",
        "--cluster.listen-address=",
        &listen,
    ];
    Program::new("alertmanager", programs.alertmanager.clone(), arguments(&options.folder, &words))
}

fn prometheus_program(programs: &Programs, options: &Options) -> Program {
    let listen = format!("--web.listen-address=127.0.0.1:{}", options.ports.prometheus);
    let words = [
        "--config.file={}/prometheus/prometheus.yml",
        "--storage.tsdb.path={}/prometheus/data",
        "--web.enable-remote-write-receiver",
        &listen,
    ];
    Program::new("prometheus", programs.prometheus.clone(), arguments(&options.folder, &words))
}

/// Grafana with our datasource, dashboards and panel; `None` where it is not installed.
fn grafana_program(programs: &Programs, options: &Options) -> Result<Option<Program>, Error> {
    let Some(path) = programs.grafana.clone() else { return Ok(None) };
    let folder = options.folder.join("grafana");
    let (root, provisioning, plugins) = (checkout::root(), folder.join("provisioning"), folder.join("plugins"));
    config::write_grafana(&root.join("provisioning"), &provisioning, &options.ports, &root.join("dashboards"))?;
    std::fs::create_dir_all(&plugins).map_err(Error::file(&plugins))?;
    let panel = plugins.join("quoll-blastradius-panel");
    std::os::unix::fs::symlink(root.join("grafana-panel/dist"), &panel).map_err(Error::file(&panel))?;
    let environment = vec![
        ("GF_PATHS_DATA", folder.join("data").into()),
        ("GF_PATHS_PLUGINS", plugins.into()),
        ("GF_PATHS_PROVISIONING", provisioning.into()),
        ("GF_SERVER_HTTP_ADDR", "127.0.0.1".into()),
        ("GF_SERVER_HTTP_PORT", options.ports.grafana.to_string().into()),
        ("GF_PLUGINS_ALLOW_LOADING_UNSIGNED_PLUGINS", "quoll-blastradius-panel".into()),
        ("GF_AUTH_ANONYMOUS_ENABLED", "true".into()),
        ("GF_ANALYTICS_REPORTING_ENABLED", "false".into()),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false".into()),
    ];
    Ok(Some(Program { environment, ..Program::new("grafana", path, ["--homepath", "/usr/share/grafana"]) }))
}

fn write_configuration(options: &Options, webhook_url: &str) -> Result<Vec<String>, Error> {
    let provisioning = checkout::root().join("provisioning");
    let prometheus = config::prometheus(&provisioning, &options.ports, options.step_seconds)?;
    config::write(&options.folder.join("prometheus/prometheus.yml"), &prometheus.text())?;
    config::copy_rules(&provisioning, &options.folder.join("prometheus"))?;
    let alertmanager = config::alertmanager(&provisioning, webhook_url)?;
    config::write(&options.folder.join("alertmanager/alertmanager.yml"), &alertmanager.text())?;
    let console = checkout::console();
    let scorer =
        config::scorer(&provisioning, &options.ports, options.step_seconds, &options.folder, console.as_deref())?;
    config::write(&options.folder.join("scorer.yaml"), &scorer.text())?;
    let changes = [prometheus.changes(), alertmanager.changes(), scorer.changes()].concat();
    config::write(&options.folder.join("changes.txt"), &(changes.join("\n") + "\n"))?;
    Ok(changes)
}
