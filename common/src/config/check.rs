//! What no single value can show: names that lead nowhere, and settings that contradict each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::body_schema;
use super::build;
use super::keys;
use super::known::{Known, ProviderFacts};
use super::places::{Places, join};
use super::problems::{About, Finding};
use super::rates;
use super::raw::Fields;
use super::reply;
use super::schema::{NAME_MAX, is_name};
use super::split;
use super::suggest::{hint, nearest, quoted, what_there_is};
use super::units::{show_duration, show_size};

/// Deliveries are committed by so many bytes at most.
const COMMIT_BYTES: u64 = 8 << 20;
/// What bounds leave besides volumes: the largest body of a pack with what is committed beside it.
const STEP_BYTES: u64 = 32 << 20;

/// Everything that is wrong with the file beyond its single values.
pub fn check(file: &Fields, places: &Places, known: &Known, directory: &Path) -> Vec<Finding> {
    let mut check = Check {
        file,
        places,
        known,
        directory,
        sources: named(file, "sources"),
        destinations: named(file, "destinations"),
        routes: file.opt("routes").unwrap_or_default(),
        findings: Vec::new(),
    };
    check.listeners();
    check.receivers();
    check.room();
    check.own_packs();
    check.beside_the_log();
    check.every_source();
    check.every_destination();
    check.every_route();
    check.names_of_routes();
    check.unused();
    check.findings
}

/// The name of a route: as given, or made of where it leads. None if that is not known.
pub fn route_name(route: &Fields) -> Option<String> {
    route.opt("name").or_else(|| {
        let source: String = route.opt("source")?;
        let destination: String = route.opt("destination")?;
        Some(format!("{source}-{destination}"))
    })
}

fn named(file: &Fields, key: &str) -> BTreeMap<String, Fields> {
    file.opt(key).unwrap_or_default()
}

struct Check<'a> {
    file: &'a Fields,
    places: &'a Places,
    known: &'a Known,
    directory: &'a Path,
    sources: BTreeMap<String, Fields>,
    destinations: BTreeMap<String, Fields>,
    routes: Vec<Fields>,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::error(path, message));
    }

    fn lacks(&mut self, path: String, message: &str) {
        let finding = Finding::error(path, message).about(About::Absence);
        self.findings.push(finding);
    }

    fn listeners(&mut self) {
        let Some(receiver) = self.file.opt::<Fields>("receiver") else {
            return;
        };
        let listen: Option<SocketAddr> = receiver.opt("listen");
        let private: Option<SocketAddr> = receiver.opt("private");
        // a slip in `private_tls` has its own finding
        let in_clear = !self.places.has(&receiver.at("private_tls"));
        if let Some(private) = private
            && !private.ip().is_loopback()
            && in_clear
        {
            self.error(
                receiver.at("private"),
                format!(
                    "{private} is not on loopback: without `private_tls` tokens and deliveries would cross the network in clear; listen on 127.0.0.1 or [::1]"
                ),
            );
        }
        if let (Some(listen), Some(private)) = (listen, private)
            && same_socket(listen, private)
        {
            let message = format!("port {} is that of `receiver.listen`", private.port());
            self.error(receiver.at("private"), message);
        }
        self.body_fits(&receiver);
        self.findings
            .extend(rates::check(&receiver, &[&rates::PER_ADDRESS], self.places));
    }

    /// A body larger than all bodies together could never be taken.
    fn body_fits(&mut self, receiver: &Fields) {
        let Some(all) = receiver.opt::<u64>("bodies_max") else {
            return;
        };
        for source in self.sources.values() {
            if let Some(one) = source.opt::<u64>("body_max")
                && one > all
            {
                let message = format!(
                    "{} is more than all bodies together may take (`receiver.bodies_max`, {})",
                    show_size(one),
                    show_size(all)
                );
                let finding = Finding::error(source.at("body_max"), message);
                self.findings.push(finding);
            }
        }
    }

    fn receivers(&mut self) {
        let worker: Fields = self.file.opt("worker").unwrap_or_default();
        self.client_certificate(&worker);
        let receivers: Vec<String> = worker.opt("receivers").unwrap_or_default();
        for (i, receiver) in receivers.iter().enumerate() {
            if in_clear(receiver) {
                self.findings.push(Finding::warning(
                    format!("{}[{i}]", worker.at("receivers")),
                    "http beyond this machine: the worker's token and all deliveries cross the network in clear",
                ));
            }
        }
    }

    /// A certificate and its key go together; and a receiver that asks for one is asked in vain without.
    fn client_certificate(&mut self, worker: &Fields) {
        let tls: Fields = worker.opt("tls").unwrap_or_default();
        let given = |key: &str| self.places.has(&tls.at(key));
        match (given("cert"), given("key")) {
            (true, false) => self.lacks(tls.at("key"), "is missing: `cert` needs its private key"),
            (false, true) => self.lacks(tls.at("cert"), "is missing: `key` needs its certificate"),
            (false, false) if self.places.has("receiver.private_tls") => {
                let message = "`receiver.private_tls` asks for a certificate, and `worker.tls` has none: workers and commands with this file cannot connect";
                self.findings
                    .push(Finding::warning("receiver.private_tls", message));
            }
            _ => {}
        }
    }

    /// Bounds of the log's room that contradict each other, or that nothing could come back from.
    fn room(&mut self) {
        let log: Fields = self.file.opt("log").unwrap_or_default();
        self.less_than_reserve(&log);
        let Some(volume) = log.opt::<u64>("volume") else {
            return;
        };
        self.volumes_fit(&log, volume);
        for source in self.sources.values() {
            let quota: Option<u64> = source.opt("quota");
            let body: u64 = source.opt("body_max").unwrap_or(0);
            // the volume being written does not go, and may have become larger by one commit
            let least = 2 * volume + STEP_BYTES.max(body + COMMIT_BYTES);
            if quota.is_some_and(|quota| quota < least) {
                let message = format!(
                    "must be at least {}: two volumes (`log.volume`, {}) and a little, because room comes back a volume at a time",
                    show_size(least),
                    show_size(volume)
                );
                self.findings
                    .push(Finding::error(source.at("quota"), message));
            }
        }
    }

    fn less_than_reserve(&mut self, log: &Fields) {
        let Some(reserve) = log.opt::<u64>("reserve") else {
            return;
        };
        let shown = show_size(reserve);
        if let Some(second) = log.opt::<u64>("reserve_operate")
            && second > 0
            && second >= reserve
        {
            let message = format!(
                "{} is not less than `reserve` ({shown}): intake has to stop before operators' changes do",
                show_size(second)
            );
            self.error(log.at("reserve_operate"), message);
        }
        if let Some(ballast) = log.opt::<u64>("ballast")
            && ballast > reserve
        {
            let message = format!("{} is more than `reserve` ({shown})", show_size(ballast));
            self.error(log.at("ballast"), message);
        }
    }

    fn volumes_fit(&mut self, log: &Fields, volume: u64) {
        let max: Option<u64> = log.opt("max_bytes");
        let attempts: Option<u64> = log.opt("attempts");
        let reserve: Option<u64> = log.opt("reserve");
        let (Some(max), Some(attempts), Some(_)) = (max, attempts, reserve) else {
            return;
        };
        let ballast = build::ballast(log);
        let least = 4 * volume + attempts + ballast + STEP_BYTES;
        if max < least {
            let message = format!(
                "must be at least {}: four volumes (`volume`, {}), kept attempts (`attempts`, {}), the ballast ({}) and a little for the state",
                show_size(least),
                show_size(volume),
                show_size(attempts),
                show_size(ballast)
            );
            self.error(log.at("max_bytes"), message);
        }
    }

    fn own_packs(&mut self) {
        for problem in &self.known.pack_problems {
            self.findings
                .push(Finding::error("receiver.providers", problem));
        }
    }

    /// The log's directory is the engine's alone; and what is refused there ends the process, which
    /// nothing of the quarantine or of the keys may do.
    fn beside_the_log(&mut self) {
        let log: Fields = self.file.opt("log").unwrap_or_default();
        let Some(of_log) = log.opt::<PathBuf>("path") else {
            return;
        };
        let quarantine: Fields = self.file.opt("quarantine").unwrap_or_default();
        let receiver: Fields = self.file.opt("receiver").unwrap_or_default();
        let of_log = plain(of_log);
        for (at, own) in [
            (
                quarantine.at("path"),
                build::quarantine_path(&quarantine, &log),
            ),
            (receiver.at("keys"), build::keys_path(&receiver, &log)),
        ] {
            let own = plain(own);
            if own.starts_with(&of_log) || of_log.starts_with(&own) {
                let message = "must be neither in the log's directory (`log.path`) nor around it";
                self.error(at, message);
            }
        }
    }

    fn every_source(&mut self) {
        let sources = std::mem::take(&mut self.sources);
        for source in sources.values() {
            if let Some(provider) = source.opt::<String>("provider") {
                self.provider(source, &provider);
            }
            self.findings
                .extend(keys::check(source, self.places, self.directory));
            let both = [&rates::OF_SOURCE, &rates::PER_ADDRESS];
            self.findings
                .extend(rates::check(source, &both, self.places));
            self.findings.extend(body_schema::check(source));
            self.findings.extend(reply::check(source, self.places));
        }
        self.sources = sources;
    }

    fn provider(&mut self, source: &Fields, provider: &str) {
        let known = self.known;
        if known.providers.is_empty() {
            return;
        }
        let Some(facts) = known.providers.iter().find(|facts| facts.name == provider) else {
            let names = known.providers.iter().map(|facts| facts.name.as_str());
            let message = format!(
                "unknown provider {}{}",
                quoted(provider),
                hint(provider, names)
            );
            return self.error(source.at("provider"), message);
        };
        if facts.needs_secret && !self.has_secrets(source) {
            let message = format!(
                "provider `{provider}` needs a secret, such as secrets = [{{ env = \"NAME\" }}]"
            );
            let finding = Finding::error(source.at("secrets"), message).about(About::Absence);
            self.findings.push(finding);
        }
        if !facts.verifies {
            let message =
                format!("provider `{provider}` verifies nothing: whoever knows the URL can send");
            self.findings
                .push(Finding::warning(source.at("provider"), message));
        }
        self.options(source, facts);
    }

    /// Whether any secret was meant to be given, be it wrongly: that has its own finding.
    fn has_secrets(&self, source: &Fields) -> bool {
        self.places.has(&format!("{}[0]", source.at("secrets")))
            || (self.places.has(&source.at("secrets"))
                && source.opt::<Vec<Fields>>("secrets").is_none())
    }

    fn options(&mut self, source: &Fields, facts: &ProviderFacts) {
        let given: BTreeMap<String, String> = source.opt("options").unwrap_or_default();
        let path = source.at("options");
        for name in given.keys() {
            if !facts.options.iter().any(|option| option.name == *name) {
                let names = facts.options.iter().map(|option| option.name.as_str());
                let message = format!(
                    "provider `{}` has no such option{}",
                    facts.name,
                    hint(name, names)
                );
                let finding = Finding::error(join(&path, name), message).about(About::Key);
                self.findings.push(finding);
            }
        }
        for option in facts.options.iter().filter(|option| option.required) {
            let at = join(&path, &option.name);
            if !self.places.has(&at) {
                let message = format!("provider `{}` needs this option", facts.name);
                self.findings
                    .push(Finding::error(at, message).about(About::Absence));
            }
        }
    }

    fn every_destination(&mut self) {
        let destinations = std::mem::take(&mut self.destinations);
        for destination in destinations.values() {
            if let Some(kind) = destination.opt::<String>("type") {
                self.kind(destination, &kind);
            }
        }
        self.destinations = destinations;
    }

    fn kind(&mut self, destination: &Fields, kind: &str) {
        let Some(kinds) = self.known.destinations else {
            return;
        };
        let names = kinds.names();
        if !names.contains(&kind) {
            let hint = hint(kind, names.iter().copied());
            return self.error(
                destination.at("type"),
                format!("unknown type {}{hint}", quoted(kind)),
            );
        }
        for (key, message) in kinds.check(kind, &destination.others) {
            let path = match key.as_str() {
                "" => destination.path.clone(),
                key => format!("{}.{key}", destination.path),
            };
            self.error(path, message);
        }
    }

    /// Says what no route touches, unless a slip in a route may be why.
    fn unused(&mut self) {
        let ends = |what: &str| -> Vec<String> {
            let routes = self.routes.iter();
            routes.filter_map(|route| route.opt(what)).collect()
        };
        let (from, to) = (ends("source"), ends("destination"));
        let slip = self.file.opt::<Vec<Fields>>("routes").is_none()
            || from.len() < self.routes.len()
            || to.len() < self.routes.len()
            || from.iter().any(|name| !self.sources.contains_key(name))
            || to.iter().any(|name| !self.destinations.contains_key(name));
        if slip {
            return;
        }
        for (name, source) in &self.sources {
            if !from.contains(name) {
                let message = "no route takes from it: its deliveries are kept until one does";
                let finding = Finding::warning(source.path.as_str(), message);
                self.findings.push(finding.about(About::Key));
            }
        }
        for (name, destination) in &self.destinations {
            if !to.contains(name) {
                let finding = Finding::warning(destination.path.as_str(), "no route leads to it");
                self.findings.push(finding.about(About::Key));
            }
        }
    }

    fn every_route(&mut self) {
        let routes = std::mem::take(&mut self.routes);
        for route in &routes {
            self.leads_to(route, "source");
            self.leads_to(route, "destination");
            self.retry(route);
            self.breaker(route);
            self.findings
                .extend(split::check(route, &self.sources, self.known));
        }
        self.routes = routes;
    }

    fn leads_to(&mut self, route: &Fields, what: &str) {
        let Some(typed) = route.opt::<String>(what) else {
            return;
        };
        let all = match what {
            "source" => &self.sources,
            _ => &self.destinations,
        };
        if all.contains_key(&typed) {
            return;
        }
        let names = all.keys().map(String::as_str).filter(|name| is_name(name));
        let meant = match nearest(&typed, names.clone()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => String::new(),
        };
        let message = format!(
            "no {what} {}{}{meant}",
            quoted(&typed),
            what_there_is(names)
        );
        self.error(route.at(what), message);
    }

    fn retry(&mut self, route: &Fields) {
        let retry: Fields = route.opt("retry").unwrap_or_default();
        self.not_longer(&retry, "initial", "max");
    }

    fn breaker(&mut self, route: &Fields) {
        let breaker: Fields = route.opt("breaker").unwrap_or_default();
        self.not_longer(&breaker, "pause", "pause_max");
    }

    /// Blames the one that was typed.
    fn not_longer(&mut self, fields: &Fields, short: &str, long: &str) {
        let durations: Option<(Duration, Duration)> = fields.opt(short).zip(fields.opt(long));
        let Some((first, last)) = durations else {
            return;
        };
        if first <= last {
            return;
        }
        let (first, last) = (show_duration(first), show_duration(last));
        if self.places.has(&fields.at(short)) {
            let message = format!("{first} is longer than `{long}` ({last})");
            self.error(fields.at(short), message);
        } else {
            let message = format!("{last} is shorter than `{short}` ({first})");
            self.error(fields.at(long), message);
        }
    }

    fn names_of_routes(&mut self) {
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        let routes = std::mem::take(&mut self.routes);
        for route in &routes {
            let Some(name) = route_name(route) else {
                continue;
            };
            let typed = route.opt::<String>("name").is_some();
            if !typed && name.len() > NAME_MAX {
                let message = format!(
                    "`<source>-<destination>` is longer than {NAME_MAX} characters; give the route a name"
                );
                let finding = Finding::error(route.at("name"), message).about(About::Absence);
                self.findings.push(finding);
            }
            if let Some(first) = taken.get(&name) {
                let message = match typed {
                    true => format!("{} is the name of {first} as well", quoted(&name)),
                    false => format!(
                        "without a name it is {}, and so is {first}; give one of them a `name`",
                        quoted(&name)
                    ),
                };
                let about = if typed { About::Value } else { About::Absence };
                self.findings
                    .push(Finding::error(route.at("name"), message).about(about));
                continue;
            }
            taken.insert(name, route.path.clone());
        }
        self.routes = routes;
    }
}

/// Whether the two cannot both be listened on.
fn same_socket(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && overlap
}

/// Whether what is sent to that URL can be read on the way.
fn in_clear(receiver: &str) -> bool {
    let Ok(read) = url::Url::parse(receiver) else {
        return false;
    };
    let near = match read.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    read.scheme() == "http" && !near
}

/// A dot stands for the directory that is there anyway.
fn plain(path: PathBuf) -> PathBuf {
    let parts = path.components();
    parts.filter(|part| *part != Component::CurDir).collect()
}
