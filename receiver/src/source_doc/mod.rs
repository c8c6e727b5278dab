//! What to tell the sender of a source: made of its pack and its settings, and of no secret.
//!
//! One [`SourceDoc`] is what programs read; [`page`](page::page) puts it into words once, and
//! [`markdown`] and [`html`] are two ways to write those down.

pub(crate) mod call;
pub mod html;
pub mod markdown;
pub mod page;
mod shell;

use creel_common::config::{self, Config};
use creel_common::log::wire::{
    CommandDoc, EventsDoc, HeaderView, LimitsDoc, RepeatsDoc, ReplyBy, ReplyDoc, RetryDoc,
    SampleDoc, SecretDoc, SourceDoc, UrlPart,
};
use http::Method;

use crate::sources::BODY_BYTES_MAX;
use crate::verify::{Ack, OptionError, Pack, Reason, Repeats, SampleRequest, Sending};

/// What stands in a URL where the secret belongs.
const SECRET_MARK: &str = "SECRET";
/// Samples are of one time, so that the same configuration gives the same text: 1 January 2026.
const SAMPLE_UNIX_MS: i64 = 1_767_225_600_000;

/// What the sender of `source` has to be told.
///
/// # Errors
/// [`OptionError`]: the source's options do not fit its pack.
pub fn of(config: &Config, source: &config::Source, pack: &Pack) -> Result<SourceDoc, OptionError> {
    let sending = pack.sending(&source.options)?;
    let facts = pack.facts();
    let registration = &facts.registration;
    let url_bare = config.url_of(source);
    let url_parts = url_parts(pack, &sending);
    let added: String = url_parts.iter().map(|part| part.text.as_str()).collect();
    let sample = pack.sample(0, SAMPLE_UNIX_MS);
    let mut notes = registration.notes.clone();
    notes.extend(basic_note(&sending));
    notes.extend(url_note(url_bare.as_deref()));
    Ok(SourceDoc {
        name: source.name.clone(),
        provider: source.provider.clone(),
        title: facts.title.clone(),
        docs: facts.docs.clone(),
        path: format!("/in/{}", source.name),
        url: url_bare.as_ref().map(|url| format!("{url}{added}")),
        url_parts,
        places: registration.places.clone(),
        methods: sending.methods.iter().map(Method::to_string).collect(),
        secret: SecretDoc {
            kind: facts.secret.clone(),
            place: registration.secret_place.clone(),
            ids: source
                .secrets
                .iter()
                .map(|secret| secret.id.clone())
                .collect(),
        },
        events: events(config, source, registration.events.clone()),
        reply: reply(source, pack),
        handshakes: facts.handshakes.clone(),
        limits: limits(config, source, pack, &sending),
        retry: RetryDoc {
            on: facts.retry.on.clone(),
            attempts: facts.retry.attempts,
            over: facts.retry.over.clone(),
            note: facts.retry.note.clone(),
        },
        repeats: repeats(source, pack),
        commands: commands(config, source, &sending, url_bare.as_deref(), &sample),
        sample: sample_doc(&sample),
        url_bare,
        notes,
    })
}

/// What a durable delivery of `source` is answered with; none: creel's own JSON.
pub fn ack(source: &config::Source, pack: &Pack) -> Option<Ack> {
    let own = source.reply.as_ref().map(|reply| Ack {
        status: reply.status,
        content_type: reply.content_type.clone().unwrap_or_default(),
        body: reply.body.clone(),
    });
    own.or_else(|| pack.ack().cloned())
}

fn url_parts(pack: &Pack, sending: &Sending) -> Vec<UrlPart> {
    let secret = sending.secret_parameter.as_ref().map(|name| UrlPart {
        text: format!("?{name}={SECRET_MARK}"),
        why: format!(
            "this sender signs nothing: the URL carries the secret. Put the source's secret, \
             percent-encoded, in the place of {SECRET_MARK}; creel keeps its digest only"
        ),
    });
    let registration = &pack.facts().registration;
    let fragment = registration.url_fragment.as_ref().map(|text| UrlPart {
        text: format!("#{text}"),
        why: registration.url_fragment_why.clone().unwrap_or_default(),
    });
    secret.into_iter().chain(fragment).collect()
}

fn basic_note(sending: &Sending) -> Option<String> {
    let note = "the secret is a user and a password: the sender has fields for them, or takes them in the URL, \
                as in `https://USER:PASSWORD@…`";
    sending.basic.then(|| note.to_owned())
}

fn url_note(url: Option<&str>) -> Option<String> {
    let note = match url {
        None => {
            "neither `receiver.public_url` nor `public_url` of this source is set: what senders use to reach \
             creel is not known here"
        }
        Some(url) if url.starts_with("http://") => {
            "the URL is http: everybody on the way reads what is sent, and many senders refuse it"
        }
        Some(_) => return None,
    };
    Some(note.to_owned())
}

fn events(config: &Config, source: &config::Source, choose: Option<String>) -> EventsDoc {
    let routes = config.routes.iter();
    let routes: Vec<_> = routes.filter(|route| route.source == source.name).collect();
    let all = routes.is_empty() || routes.iter().any(|route| route.events.is_empty());
    let mut types: Vec<String> = Vec::new();
    for event in routes.iter().flat_map(|route| &route.events) {
        if !types.contains(event) {
            types.push(event.clone());
        }
    }
    EventsDoc {
        choose,
        routes: routes.iter().map(|route| route.name.clone()).collect(),
        only: (!all).then_some(types),
    }
}

fn reply(source: &config::Source, pack: &Pack) -> ReplyDoc {
    let by = match (&source.reply, pack.ack()) {
        (Some(_), _) => ReplyBy::Source,
        (None, Some(_)) => ReplyBy::Pack,
        (None, None) => ReplyBy::Creel,
    };
    let refused = pack.refusal_status(Reason::NoMatch);
    match ack(source, pack) {
        Some(ack) => ReplyDoc {
            status: ack.status,
            content_type: Some(ack.content_type).filter(|kind| !kind.is_empty()),
            body: ack.body,
            by,
            refused,
        },
        None => ReplyDoc {
            status: 200,
            content_type: Some("application/json".to_owned()),
            body: r#"{"id":"…","duplicate":false}"#.to_owned(),
            by,
            refused,
        },
    }
}

fn limits(config: &Config, source: &config::Source, pack: &Pack, sending: &Sending) -> LimitsDoc {
    let facts = pack.facts();
    let largest = source.body_max.or(facts.body_max);
    LimitsDoc {
        body_bytes_max: largest.unwrap_or(BODY_BYTES_MAX),
        content_types: source.content_types.clone(),
        allow: source.allow.iter().map(ToString::to_string).collect(),
        rate: source.rate.map(in_words),
        rate_per_address: source
            .rate_per_address
            .or(config.receiver.rate_per_address)
            .map(in_words),
        body_timeout_ms: millis(config.receiver.body_timeout),
        deadline_ms: facts.deadline_ms,
        signs_time: sending.signs_time,
        tolerance_ms: source.tolerance.map(millis),
    }
}

fn repeats(source: &config::Source, pack: &Pack) -> RepeatsDoc {
    let facts = pack.facts();
    let by_pack = match facts.repeats {
        Repeats::Id => {
            let places = facts.id.iter().map(|place| format!("`{place}`"));
            Some(places.collect::<Vec<_>>().join(", else "))
        }
        Repeats::Items => Some("the ids of its events".to_owned()),
        Repeats::Signed => Some("what was signed".to_owned()),
        Repeats::Option | Repeats::Unknown => None,
    };
    let by_option = ["id_header", "id_json"].iter().find_map(|name| {
        let value = source.options.get(*name)?;
        Some(format!("option `{name}` ({value})"))
    });
    let window_ms = millis(source.dedupe_window);
    let by_source = source.idempotency_key.as_ref();
    let by_source = by_source.map(|place| format!("`{place}`"));
    let known_by = by_source.or(by_option).or(by_pack);
    RepeatsDoc {
        known_by: known_by.filter(|_| window_ms > 0),
        window_ms,
    }
}

fn sample_doc(sample: &SampleRequest) -> SampleDoc {
    let headers = sample.headers.iter().map(|(name, value)| HeaderView {
        name: name.to_string(),
        value: Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        value_base64: None,
    });
    SampleDoc {
        method: sample.method.to_string(),
        event_type: sample.event_type.clone(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&sample.body).into_owned(),
    }
}

fn commands(
    config: &Config,
    source: &config::Source,
    sending: &Sending,
    url: Option<&str>,
    sample: &SampleRequest,
) -> Vec<CommandDoc> {
    let name = &source.name;
    let command = |command: String, what: &str| CommandDoc {
        command,
        what: what.to_owned(),
    };
    let mut commands = Vec::new();
    if sending.signable {
        commands.push(command(
            format!("creel send {name}"),
            "signs a sample as the sender would, and sends it to the receiver on this machine: 2xx says that it is durable",
        ));
        commands.push(command(
            format!("creel doctor {name}"),
            "sends a signed request through the public URL, and says what proxies made of it",
        ));
    }
    let local = format!("http://{}/in/{name}", config.receiver.listen);
    let what = match source.secrets.is_empty() {
        true => "sends the sample from any machine",
        false => {
            "asks from any machine whether the URL leads here: without a signature the answer is the refusal of \
             `replies`, and `creel quarantine list` shows the request"
        }
    };
    commands.push(command(shell::curl(url.unwrap_or(&local), sample), what));
    commands
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn in_words(rate: creel_common::config::Rate) -> String {
    format!("{} a second, {} at once", rate.per_second, rate.burst)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use creel_common::config::{Known, parse};

    use super::*;
    use crate::verify::Registry;

    #[test]
    fn networks_and_rates_are_among_the_limits() {
        let text = "[sources.s]\nprovider = \"none\"\nallow = [\"10.1.0.0/16\"]\nrate = \"50/s\"\n";
        let config = parse(text, Path::new("creel.toml"), &Known::default()).unwrap();
        let registry = Registry::built_in();
        let doc = of(&config, &config.sources["s"], registry.get("none").unwrap()).unwrap();
        assert_eq!(doc.limits.allow, ["10.1.0.0/16"]);
        assert_eq!(doc.limits.rate.as_deref(), Some("50 a second, 100 at once"));
        assert_eq!(doc.limits.rate_per_address, None);
    }
}
