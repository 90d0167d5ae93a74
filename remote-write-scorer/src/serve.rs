//! `quoll-scorer serve`: starts everything in order and stops it without loss.
//!
//! Start: the data directory is locked, the address taken, the outbound queue opened, the inbound log
//! replayed from the last snapshot on through windows and engine; only then are requests answered. Stop (SIGTERM, SIGINT): no new
//! requests, those under way finish, what they closed is scored and queued, the state is stored, and the
//! queue sends what it can within its deadline; the rest is on disk.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use quoll_api::view::{Feedback, ScopeKey};
use quoll_api::{Api, Host, Published, Surface};
use quoll_ingest::SharedReceiver;
use quoll_queue::{Queue, QueueConfig};
use quoll_web_config::{ServeLimits, Web};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::engine::{Engine, EngineStats, Part, Queues, Settings, model_stamp, now_ms};
use crate::metrics;
use crate::sharding::{Role, process_id};
use crate::snapshot::{self, Resumed};

/// Longest wait of the engine for new steps, and so for a request to reload or stop.
const ENGINE_WAIT: Duration = Duration::from_millis(200);
/// How often the model directory is looked at.
const MODEL_WATCH: Duration = Duration::from_secs(1);
/// Time that requests under way have to finish at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Time that the queue has to send what is left.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

type Reply = mpsc::SyncSender<Result<String, String>>;

/// What requests ask of the engine's thread.
enum Wish {
    Reload,
    Feedback { scope: ScopeKey, incident: String, feedback: Feedback },
}

struct Process {
    receiver: Arc<SharedReceiver>,
    stats: Arc<Mutex<EngineStats>>,
    queues: [Option<Weak<Queue>>; 2],
    /// Silence of a leaf that is told of, in milliseconds.
    silent_ms: i64,
    wishes: Mutex<mpsc::Sender<(Wish, Reply)>>,
    stopping: Arc<AtomicBool>,
    web: Web,
}

impl Host for Process {
    fn metrics(&self) -> String {
        let engine = self.stats.lock().map(|stats| stats.clone()).unwrap_or_default();
        let [results, reports] =
            self.queues.each_ref().map(|queue| queue.as_ref().and_then(Weak::upgrade).map(|queue| queue.stats()));
        metrics::render(&self.receiver.stats(), &engine, [results.as_ref(), reports.as_ref()], self.web.counters())
    }

    /// A root without one of its leaves is ready: it must go on with the others.
    fn ready(&self) -> Result<String, String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping".to_owned());
        }
        let mut said = "ready".to_owned();
        for leaf in self.receiver.leaves() {
            let silent_ms = leaf.newest_ms.map(|newest_ms| now_ms().saturating_sub(newest_ms));
            match silent_ms {
                None => said.push_str(&format!("\nleaf {} has never reported", leaf.name)),
                Some(ms) if ms > self.silent_ms => {
                    said.push_str(&format!("\nleaf {} has reported nothing newer than {} s", leaf.name, ms / 1000));
                }
                Some(_) => {}
            }
        }
        Ok(said)
    }

    fn reload(&self) -> Result<String, String> {
        self.ask(Wish::Reload)
    }

    fn feedback(&self, scope: ScopeKey, incident: String, feedback: Feedback) -> Result<String, String> {
        self.ask(Wish::Feedback { scope, incident, feedback })
    }
}

impl Process {
    fn ask(&self, wish: Wish) -> Result<String, String> {
        let (reply, answer) = mpsc::sync_channel(1);
        let gone = "the engine has stopped";
        self.wishes.lock().map_err(|_| gone)?.send((wish, reply)).map_err(|_| gone)?;
        self.receiver.wake();
        answer.recv_timeout(Duration::from_secs(30)).map_err(|_| "the engine did not answer in time".to_owned())?
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    let set = Arc::new(config.feature_set()?);
    let _lock = lock_data_dir(config)?;
    let web = Web::open(config.web.config_file.as_deref())?;
    let listeners = listen(config)?;
    if let Some(directory) = &config.console_dir
        && !directory.join("index.html").is_file()
    {
        tracing::warn!("no console: {} has no index.html; grafana-panel/build makes one", directory.display());
    }

    let open = |queue: Option<QueueConfig>| anyhow::Ok(queue.map(Queue::open).transpose()?.map(Arc::new));
    let queues = Queues { results: open(config.queue())?, reports: open(config.report_queue())? };
    let leaves = config.leaves()?;
    let published = Arc::new(ArcSwap::from_pointee(Published::default()));
    let stats = Arc::new(Mutex::new(EngineStats::default()));
    let settings = Settings {
        set: Arc::clone(&set),
        step_ms: config.step_ms,
        incidents: config.incidents.clone(),
        model_dir: config.model_dir.clone(),
        onnxruntime: config.onnxruntime.clone(),
        idle_scope_ms: config.ingest.idle_scope_ms(),
        part: part(config)?,
    };
    let stamp = config.model_dir.as_deref().map(model_stamp);
    let started = Instant::now();
    let Resumed { receiver, scopes, journal } =
        snapshot::resume(&config.data_dir, &config.ingest, &set, config.step_ms, leaves.as_ref())
            .context("snapshots")?;
    let weak_queues = [&queues.results, &queues.reports].map(|queue| queue.as_ref().map(Arc::downgrade));
    let mut engine = Engine::new(settings, queues, Arc::clone(&published), Arc::clone(&stats), scopes, journal);

    let log_dir = config.data_dir.join("inbound");
    let receiver = receiver.with_log(&log_dir, |step| engine.replay(step))?;
    let replayed = receiver.stats().replayed_samples;
    tracing::info!(samples = replayed, seconds = started.elapsed().as_secs_f64(), "inbound log replayed");

    let receiver = Arc::new(SharedReceiver::new(receiver));
    engine.snapshot(&receiver, &config.data_dir);
    let stopping = Arc::new(AtomicBool::new(false));
    let drained = Arc::new(AtomicBool::new(false));
    let (wishes, wished) = mpsc::channel();
    let watched = config.model_dir.clone().zip(stamp);
    let engine = std::thread::Builder::new().name("engine".into()).spawn({
        let (receiver, drained) = (Arc::clone(&receiver), Arc::clone(&drained));
        let snapshots = (config.data_dir.clone(), Duration::from_millis(config.snapshot_every_ms.unsigned_abs()));
        move || run_engine(engine, &receiver, &wished, watched, &drained, &snapshots)
    })?;
    let host = Process {
        receiver: Arc::clone(&receiver),
        stats,
        queues: weak_queues,
        silent_ms: config.sharding.grace_ms.saturating_add(3 * config.step_ms),
        wishes: Mutex::new(wishes),
        stopping: Arc::clone(&stopping),
        web: web.clone(),
    };
    let api = Api::new(Arc::clone(&receiver), published, Arc::new(host), config.console_dir.clone());
    answer_requests(listeners, &api, &web, &config.web.limits, &stopping)?;

    drained.store(true, Ordering::Release);
    receiver.wake();
    let Queues { results, reports } = engine.join().map_err(|_| anyhow::anyhow!("the engine ended with a panic"))?;
    drop(api);
    for queue in [reports, results] {
        if let Some(queue) = queue.and_then(Arc::into_inner) {
            queue.shutdown(QUEUE_DEADLINE);
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// The part that the role stands for.
fn part(config: &Config) -> anyhow::Result<Part> {
    Ok(match config.role {
        Role::All => Part::All,
        Role::Root => Part::Root,
        Role::Leaf => Part::Leaf {
            leaf: config.sharding.leaf.clone().unwrap_or_default(),
            process: process_id(&config.data_dir).context("the name of this process")?,
        },
    })
}

/// One process per data directory; the lock ends with the process.
fn lock_data_dir(config: &Config) -> anyhow::Result<File> {
    let directory = &config.data_dir;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("{} is in use by another quoll-scorer", directory.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Takes every address.
fn listen(config: &Config) -> anyhow::Result<Vec<(std::net::TcpListener, Surface)>> {
    let open = |(address, surface)| {
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        Ok((listener, surface))
    };
    config.surfaces().into_iter().map(open).collect()
}

/// Serves until a signal, then lets requests under way finish.
fn answer_requests(
    listeners: Vec<(std::net::TcpListener, Surface)>,
    api: &Api,
    web: &Web,
    limits: &ServeLimits,
    stopping: &AtomicBool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, stopped) = tokio::sync::watch::channel(());
        let mut servers = tokio::task::JoinSet::new();
        for (listener, surface) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let address = listener.local_addr()?;
            let scheme = if web.encrypts() { "https" } else { "http" };
            tracing::info!("listening at {scheme}://{address}/ ({}): {surface}", web.summary());
            if !address.ip().is_loopback() && !web.authenticates() {
                tracing::warn!(%address, "whoever reaches this address is served: set a web configuration file");
            }
            let mut stopped = stopped.clone();
            let service = warp::service(api.routes(surface));
            // The channel closes when the sender is dropped: stop in both cases.
            let stopped = async move { drop(stopped.changed().await) };
            servers.spawn(quoll_web_config::serve(listener, service, web.clone(), limits.clone(), stopped));
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopping.store(true, Ordering::Relaxed);
        drop(stop);
        if tokio::time::timeout(DRAIN, servers.join_all()).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
        anyhow::Ok(())
    })?;
    // Write requests run on blocking threads: those under way are waited for.
    runtime.shutdown_timeout(DRAIN);
    Ok(())
}

/// The engine's thread: until all requests are answered and all that they closed is handled.
fn run_engine(
    mut engine: Engine,
    receiver: &SharedReceiver,
    wished: &mpsc::Receiver<(Wish, Reply)>,
    mut watched: Option<(PathBuf, ModelStamp)>,
    drained: &AtomicBool,
    (data_dir, every): &(PathBuf, Duration),
) -> Queues {
    let (mut looked, mut stored) = (Instant::now(), Instant::now());
    loop {
        let last_round = drained.load(Ordering::Acquire);
        for step in receiver.wait_closed(if last_round { Duration::ZERO } else { ENGINE_WAIT }) {
            engine.tick(step);
        }
        if last_round || stored.elapsed() >= *every {
            engine.snapshot(receiver, data_dir);
            stored = Instant::now();
        }
        if last_round {
            return engine.into_queues();
        }
        while let Ok((wish, reply)) = wished.try_recv() {
            let outcome = match wish {
                Wish::Reload => {
                    if let Some((directory, stamp)) = &mut watched {
                        *stamp = model_stamp(directory);
                    }
                    engine.reload()
                }
                Wish::Feedback { scope, incident, feedback } => {
                    let outcome = engine.feedback(&scope, &incident, feedback);
                    if outcome.is_ok() {
                        // It is in no log: stored before it is acknowledged.
                        engine.snapshot(receiver, data_dir);
                    }
                    outcome
                }
            };
            tracing::info!(?outcome, "a reload or feedback was handled");
            // The asker may have gone; what was done counts all the same.
            let _ = reply.send(outcome);
        }
        if looked.elapsed() >= MODEL_WATCH {
            looked = Instant::now();
            watch_model(&mut engine, &mut watched);
        }
    }
}

type ModelStamp = Vec<(u64, Option<std::time::SystemTime>)>;

/// Loads the model when its files have changed.
fn watch_model(engine: &mut Engine, watched: &mut Option<(PathBuf, ModelStamp)>) {
    let Some((directory, stamp)) = watched else { return };
    let now = model_stamp(directory);
    if now == *stamp || now.len() < 2 {
        return;
    }
    *stamp = now;
    match engine.reload() {
        Ok(outcome) => tracing::info!("{outcome}"),
        Err(reason) => tracing::warn!("changed model is not used: {reason}"),
    }
}
