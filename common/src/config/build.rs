//! From a file without problems to the types that every role relies on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check::route_name;
use super::known::Known;
use super::problems::{Origin, Problems, directory_of};
use super::raw::Fields;
use super::{
    Breaker, ClientTls, Config, Dedupe, Destination, EngineKind, Log, Quarantine, Receiver, Role,
    Route, Source, Start, Tls, Token, Worker, body_schema, fixed, keys, rates, reply, split,
};
use crate::retry::RetryPolicy;
use crate::secret::SecretRef;

/// The ballast, if nothing else is said.
const BALLAST_BYTES: u64 = 64 << 20;

/// The whole configuration. Only for a file in which no error was found.
pub fn build(
    file: &Fields,
    path: &Path,
    known: &Known,
    origin: Origin,
    warnings: Problems,
) -> Config {
    let sources = file.get("sources");
    let receiver = receiver(&file.get("receiver"), &file.get("log"));
    Config {
        path: path.to_owned(),
        log: log(&file.get("log")),
        dedupe: Dedupe {
            keys_max: file.get::<Fields>("dedupe").get("keys_max"),
        },
        quarantine: quarantine(&file.get("quarantine"), &file.get("log")),
        worker: worker(&file.get("worker"), &receiver),
        sources: each(file, "sources", |name, fields| {
            source(name, fields, directory_of(path))
        }),
        destinations: each(file, "destinations", destination),
        routes: file
            .get::<Vec<Fields>>("routes")
            .iter()
            .map(|fields| route(fields, &sources, known))
            .collect(),
        receiver,
        fixed: fixed::Fixed::of(file),
        origin,
        warnings,
    }
}

fn each<T>(file: &Fields, key: &str, build: impl Fn(&str, &Fields) -> T) -> BTreeMap<String, T> {
    file.get::<BTreeMap<String, Fields>>(key)
        .into_iter()
        .map(|(name, fields)| {
            let built = build(&name, &fields);
            (name, built)
        })
        .collect()
}

fn receiver(fields: &Fields, log: &Fields) -> Receiver {
    Receiver {
        listen: fields.get("listen"),
        private: fields.get("private"),
        public_url: fields.opt("public_url"),
        trusted_proxies: fields.get("trusted_proxies"),
        tls: fields.opt("tls").map(tls),
        private_tls: fields.opt("private_tls").map(tls),
        connections_max: fields.get("connections_max"),
        connections_per_address_max: fields.get("connections_per_address_max"),
        bodies_bytes_max: fields.get("bodies_max"),
        waiting_max: fields.get("waiting_max"),
        source_share: fields.get("source_share"),
        rate_per_address: rates::build(fields, &rates::PER_ADDRESS),
        first_byte_timeout: fields.get("first_byte_timeout"),
        header_timeout: fields.get("header_timeout"),
        body_timeout: fields.get("body_timeout"),
        idle_timeout: fields.get("idle_timeout"),
        drain_timeout: fields.get("drain_timeout"),
        tokens: fields
            .get::<Vec<Fields>>("tokens")
            .iter()
            .map(token)
            .collect(),
        providers: fields.opt("providers"),
        keys: keys_path(fields, log),
        keys_allow: fields.get("keys_allow"),
    }
}

fn tls(fields: Fields) -> Tls {
    Tls {
        cert: fields.get("cert"),
        key: fields.get("key"),
        client_ca: fields.opt("client_ca"),
    }
}

fn token(fields: &Fields) -> Token {
    let role: String = fields.get("role");
    Token {
        role: match role.as_str() {
            "worker" => Role::Worker,
            "operate" => Role::Operate,
            _ => Role::Read,
        },
        secret: secret(fields),
        name: fields.opt("name").unwrap_or(role),
    }
}

fn secret(fields: &Fields) -> SecretRef {
    match fields.opt("env") {
        Some(name) => SecretRef::Env(name),
        None => SecretRef::File(fields.get("file")),
    }
}

fn log(fields: &Fields) -> Log {
    Log {
        engine: match fields.get::<String>("engine").as_str() {
            "memory" => EngineKind::Memory,
            _ => EngineKind::Sled,
        },
        path: fields.get("path"),
        retention: fields.get("retention"),
        volume_bytes: fields.get("volume"),
        reserve_bytes: fields.get("reserve"),
        reserve_operate_bytes: reserve_operate(fields),
        max_bytes: fields.opt("max_bytes"),
        ballast_bytes: ballast(fields),
        attempts_bytes: fields.get("attempts"),
        cache_bytes: fields.get("cache"),
        lease: fields.get("lease"),
        lost_max: fields.get("lost_max"),
    }
}

fn quarantine(fields: &Fields, log: &Fields) -> Quarantine {
    Quarantine {
        path: quarantine_path(fields, log),
        max_bytes: fields.get("max_bytes"),
        max_count: fields.get("max_count"),
        max_age: fields.get("max_age"),
        per_address: fields.get("per_address"),
    }
}

/// What is typed, or beside the log.
pub fn quarantine_path(fields: &Fields, log: &Fields) -> PathBuf {
    beside(log, fields.opt("path"), "quarantine")
}

/// What is typed, or beside the log.
pub fn keys_path(receiver: &Fields, log: &Fields) -> PathBuf {
    beside(log, receiver.opt("keys"), "keys")
}

fn beside(log: &Fields, typed: Option<PathBuf>, name: &str) -> PathBuf {
    typed.unwrap_or_else(|| log.get::<PathBuf>("path").with_file_name(name))
}

/// What is typed, or a quarter of the reserve.
fn reserve_operate(log: &Fields) -> u64 {
    let reserve: u64 = log.get("reserve");
    log.opt("reserve_operate").unwrap_or(reserve / 4)
}

/// What is typed, or 64 MiB, or a quarter of a reserve that is small.
pub fn ballast(log: &Fields) -> u64 {
    let reserve: u64 = log.get("reserve");
    log.opt("ballast").unwrap_or(BALLAST_BYTES.min(reserve / 4))
}

fn worker(fields: &Fields, receiver: &Receiver) -> Worker {
    let tls: Fields = fields.get("tls");
    Worker {
        receivers: fields
            .opt("receivers")
            .unwrap_or_else(|| vec![receiver.private_url(receiver.private)]),
        tls: ClientTls {
            ca: tls.opt("ca"),
            cert: tls.opt("cert"),
            key: tls.opt("key"),
        },
        token: fields.opt("token").map(|token: Fields| secret(&token)),
        concurrency: fields.get("concurrency"),
        drain_timeout: fields.get("drain_timeout"),
        processes: fields.get("processes"),
    }
}

fn source(name: &str, fields: &Fields, directory: &Path) -> Source {
    let dedupe: Fields = fields.get("dedupe");
    Source {
        name: name.to_owned(),
        provider: fields.get("provider"),
        secrets: fields
            .get::<Vec<Fields>>("secrets")
            .iter()
            .map(|fields| keys::build(fields, secret(fields), directory))
            .collect(),
        options: fields.get("options"),
        public_url: fields.opt("public_url"),
        tolerance: fields.opt("tolerance"),
        body_max: fields.opt("body_max"),
        content_types: fields.opt("content_types").unwrap_or_default(),
        allow: fields.opt("allow").unwrap_or_default(),
        rate: rates::build(fields, &rates::OF_SOURCE),
        rate_per_address: rates::build(fields, &rates::PER_ADDRESS),
        reply: fields
            .opt("reply")
            .map(|fields: Fields| reply::build(&fields)),
        quota_bytes: fields.opt("quota"),
        dedupe_window: dedupe.get("window"),
        idempotency_key: dedupe.opt("key"),
        schema: body_schema::build(fields, directory),
    }
}

fn destination(name: &str, fields: &Fields) -> Destination {
    Destination {
        name: name.to_owned(),
        kind: fields.get("type"),
        settings: fields.others.clone(),
    }
}

fn route(fields: &Fields, sources: &BTreeMap<String, Fields>, known: &Known) -> Route {
    let start: Option<String> = fields.opt("start");
    let matched: Fields = fields.get("match");
    let mut events: Vec<String> = matched.opt("event").unwrap_or_default();
    let split = split::build(fields, events.clone(), sources, known);
    if split.is_some() {
        events.clear();
    }
    Route {
        name: route_name(fields).expect("a route without problems has a source and a destination"),
        source: fields.get("source"),
        destination: fields.get("destination"),
        events,
        retry: retry(&fields.get("retry")),
        open_max: fields.get("open_max"),
        rate: fields.opt("rate"),
        breaker: breaker(&fields.get("breaker")),
        start: start.map(|start| match start.as_str() {
            "beginning" => Start::Beginning,
            _ => Start::Now,
        }),
        timeout: fields.get("timeout"),
        split,
    }
}

fn retry(fields: &Fields) -> RetryPolicy {
    RetryPolicy {
        max_attempts: fields.get("max_attempts"),
        initial: fields.get("initial"),
        max: fields.get("max"),
        multiplier: fields.get("multiplier"),
        give_up_after: fields.opt("give_up_after"),
        retry_after_max: fields.get("retry_after_max"),
    }
}

fn breaker(fields: &Fields) -> Breaker {
    Breaker {
        failures: fields.get("failures"),
        pause: fields.get("pause"),
        pause_max: fields.get("pause_max"),
    }
}
