//! `creel send`: a test delivery, signed the way its provider signs.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use creel_common::config::{self, Config, Source};
use creel_common::time::{Clock, SystemClock};
use creel_receiver::verify::{SampleRequest, Signed, Unsigned, Verifier};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use reqwest::ClientBuilder;
use serde::Serialize;

use crate::commands::block_on;
use crate::commands::providers::pack;
use crate::failure::{said, usage};
use crate::output::{BAD, GOOD, Output, paint, plain, progress};
use crate::rundir::RunDir;
use crate::settings::Global;

/// Sign a delivery as the provider would, and send it
///
/// Takes the source's first secret and its provider pack, so the receiver cannot tell it from a
/// genuine one. Each delivery is a new event; a body of your own may name its event itself. Exits
/// with 1 when an answer is not 2xx.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source
    source: String,
    /// Where to send it [default: the receiver's public listener, /in/<source>]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Its event type, where the provider names it in a header
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
    /// The sender's name for the event, where the provider names it in a header [default: random]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The body, from a file or `-` for standard input [default: a sample of the provider]
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// The body's content type [default: the sample's]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A further header, `Name: value`; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    #[command(flatten)]
    output: Output,
}

/// Largest body that is read from a file.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// An answer that takes longer counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Longest part of an answer that is shown.
const ANSWER_SHOWN_BYTES: usize = 4096;

#[derive(Debug, Serialize)]
struct Answer {
    id: String,
    status: u16,
    took_ms: f64,
    reply: String,
}

/// Sends, and prints the answers.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let config = global.load()?;
    let source = source(&config, &args.source)?;
    let verifier = verifier(&config, source)?;
    let target = Target::of(&config, source, args.url.as_deref(), &global.run_dir())?;
    let body = args.body_file.as_ref().map(read_body).transpose()?;
    let failed = block_on(send_all(args, &verifier, &target, body))?;
    if failed > 0 { Err(said()) } else { Ok(()) }
}

/// The source of that name.
pub fn source<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Source> {
    config.sources.get(name).ok_or_else(|| {
        let names: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        usage(format!(
            "no source `{name}`; there are {}",
            names.join(", ")
        ))
    })
}

/// Its verifier, which signs, too.
pub fn verifier(config: &Config, source: &Source) -> anyhow::Result<Verifier> {
    let registry = crate::sources::registry(config)?;
    let pack = pack(&registry, &source.provider)?;
    let mut secrets = Vec::new();
    for secret in &source.secrets {
        secrets.push(
            secret
                .from
                .resolve()
                .map_err(|error| usage(error.to_string()))?,
        );
    }
    pack.prepare(&crate::sources::keys(config, source, &secrets))
        .map_err(|error| usage(format!("sources.{}: {error}", source.name)))
}

/// Where a delivery goes, and where its signature says it goes.
pub struct Target {
    /// The request is made to this origin, path and query from the signed URL.
    origin: String,
    /// The URL as it would be entered at the provider: some sign it.
    pub signed: String,
    /// How to reach the receiver of this machine under TLS.
    here: Option<Here>,
}

/// The receiver of this machine, which speaks TLS under the name that senders know.
struct Here {
    name: Option<String>,
    address: SocketAddr,
    /// What it shows, and so what is believed.
    cert: PathBuf,
}

impl Target {
    /// Where deliveries of `source` go: to `url`, or to the receiver that is running here.
    pub fn of(
        config: &Config,
        source: &Source,
        url: Option<&str>,
        run: &RunDir,
    ) -> anyhow::Result<Self> {
        let path = format!("/in/{}", source.name);
        let public = source
            .public_url
            .as_ref()
            .or(config.receiver.public_url.as_ref());
        let (url, here) = match url {
            Some(url) => (url.to_owned(), None),
            None => {
                let address = public_address(config, run)?;
                let here = Here::of(config, public, address);
                let local = config.receiver.local_url(address);
                let name = here.as_ref().and_then(|here| here.name.as_ref());
                let origin = match name {
                    Some(name) => format!("https://{name}:{}", address.port()),
                    None => local,
                };
                (format!("{origin}{path}"), here)
            }
        };
        let origin =
            origin(&url).ok_or_else(|| usage(format!("--url {url}: not an http(s) URL")))?;
        let signed = match public {
            Some(public) if origin_only(public) => {
                format!("{}{}", public.trim_end_matches('/'), &url[origin.len()..])
            }
            Some(_) => config.url_of(source).unwrap_or_else(|| url.clone()),
            None => url.clone(),
        };
        Ok(Self {
            origin: origin.to_owned(),
            signed,
            here,
        })
    }

    /// The URL to post to, for a URL that was signed.
    pub fn request_url(&self, signed: &str) -> String {
        let path = origin(signed).map_or("/", |origin| &signed[origin.len()..]);
        format!("{}{path}", self.origin)
    }
}

impl Here {
    /// Only where the receiver speaks TLS. Its certificate is for the host of the public URL.
    fn of(config: &Config, public: Option<&String>, address: SocketAddr) -> Option<Self> {
        let tls = config.receiver.tls.as_ref()?;
        let host = public.and_then(|url| origin(url)?.strip_prefix("https://"));
        let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
        Some(Self {
            // an address needs no name
            name: name
                .filter(|name| !name.starts_with('['))
                .map(str::to_owned),
            address,
            cert: tls.cert.clone(),
        })
    }

    fn trust(&self, builder: ClientBuilder) -> anyhow::Result<ClientBuilder> {
        let cert = self.cert.display();
        let pem = std::fs::read(&self.cert).with_context(|| format!("cannot read {cert}"))?;
        let shown = reqwest::Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("cannot use {cert}"))?;
        let builder = builder.tls_certs_only(shown);
        Ok(match &self.name {
            Some(name) => builder.resolve(name, self.address),
            None => builder,
        })
    }
}

fn public_address(config: &Config, run: &RunDir) -> anyhow::Result<SocketAddr> {
    let mut address = config.receiver.listen;
    if address.port() == 0 {
        address = run
            .addresses()?
            .ok_or_else(|| usage("no receiver is running here; name one with --url"))?
            .public;
    }
    Ok(config::reached(address))
}

/// `scheme://host:port` at the start of a URL.
pub fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") || rest.is_empty() {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (end > 0).then(|| &url[..scheme.len() + 3 + end])
}

/// Whether a URL has no path of its own.
pub fn origin_only(url: &str) -> bool {
    origin(url).is_some_and(|origin| url[origin.len()..].trim_matches('/').is_empty())
}

fn read_body(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?,
        ),
    };
    from.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(usage(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(body)
}

async fn send_all(
    args: &Args,
    verifier: &Verifier,
    target: &Target,
    body: Option<Vec<u8>>,
) -> anyhow::Result<u32> {
    let client = client(target)?;
    // so that another call does not repeat the events of this one
    let first = u64::from(rand::random::<u32>()) << 20;
    let bar = (args.count > 1 && !args.output.json).then(|| progress(args.count.into(), "sending"));
    let mut failed = 0;
    for number in 0..u64::from(args.count) {
        let now = i64::try_from(SystemClock::default().wall().millis())?;
        let mut sample = verifier.pack().sample(first + number, now);
        shape(args, &mut sample, body.as_ref())?;
        let signed = sign(verifier, &sample, &target.signed, now)?;
        let answer = send_one(&client, target, sample, signed).await?;
        failed += u32::from(!(200..300).contains(&answer.status));
        match &bar {
            Some(bar) => bar.suspend(|| show(args, &answer))?,
            None => show(args, &answer)?,
        }
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(failed)
}

/// Connects to where it is sent, and nowhere else.
pub fn client(target: &Target) -> anyhow::Result<reqwest::Client> {
    creel_common::tls::install_provider();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN);
    if target.origin.starts_with("http://") {
        // do not load the machine's certificates for nothing
        builder = builder.tls_certs_only([]);
    }
    if let Some(here) = &target.here {
        builder = here.trust(builder)?;
    }
    builder.build().context("cannot make an HTTP client")
}

/// Puts what the caller asked for in place of the sample's.
fn shape(args: &Args, sample: &mut SampleRequest, body: Option<&Vec<u8>>) -> anyhow::Result<()> {
    if let Some(body) = body {
        sample.body.clone_from(body);
    }
    if let Some(event) = &args.event {
        sample.event_type = Some(event.clone());
    }
    if let Some(id) = &args.id {
        sample.id.clone_from(id);
    }
    if let Some(kind) = &args.content_type {
        let value = HeaderValue::from_str(kind);
        let value = value.map_err(|_| usage("--content-type: not a header value"))?;
        sample.headers.insert(CONTENT_TYPE, value);
    }
    for line in &args.headers {
        let (name, value) = header(line)
            .ok_or_else(|| usage(format!("--header {line}: expected `Name: value`")))?;
        sample.headers.append(name, value);
    }
    Ok(())
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

/// Signs a sample for `url`.
pub fn sign(
    verifier: &Verifier,
    sample: &SampleRequest,
    url: &str,
    now: i64,
) -> anyhow::Result<Signed> {
    let unsigned = Unsigned {
        method: &sample.method,
        url,
        headers: &sample.headers,
        body: &sample.body,
        id: &sample.id,
        event_type: sample.event_type.as_deref(),
    };
    Ok(verifier.sign(&unsigned, now)?)
}

async fn send_one(
    client: &reqwest::Client,
    target: &Target,
    sample: SampleRequest,
    signed: Signed,
) -> anyhow::Result<Answer> {
    let url = target.request_url(&signed.url);
    let began = Instant::now();
    let response = client
        .request(sample.method, &url)
        .headers(signed.headers)
        .body(signed.body.unwrap_or(sample.body))
        .send()
        .await
        .with_context(|| format!("no answer from {url}"))?;
    let status = response.status().as_u16();
    let reply = response
        .bytes()
        .await
        .with_context(|| format!("no whole answer from {url}"))?;
    let shown = &reply[..reply.len().min(ANSWER_SHOWN_BYTES)];
    Ok(Answer {
        id: sample.id,
        status,
        took_ms: began.elapsed().as_secs_f64() * 1000.0,
        reply: String::from_utf8_lossy(shown).into_owned(),
    })
}

fn show(args: &Args, answer: &Answer) -> anyhow::Result<()> {
    args.output.stream(answer, |answer| {
        let colour = if (200..300).contains(&answer.status) {
            GOOD
        } else {
            BAD
        };
        format!(
            "{}  {:.1} ms  {}",
            paint(colour, &answer.status.to_string()),
            answer.took_ms,
            plain(answer.reply.trim_end())
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        assert_eq!(origin("http://a:1/in/x?y"), Some("http://a:1"));
        assert_eq!(origin("https://a"), Some("https://a"));
        for text in ["a/b", "ftp://a", "http://", "http:///x"] {
            assert_eq!(origin(text), None, "{text}");
        }
    }

    #[test]
    fn a_public_url_with_a_path_is_signed_as_it_stands() {
        assert!(origin_only("https://a.example/"));
        assert!(!origin_only("https://a.example/hooks"));
        let target = Target {
            origin: "http://127.0.0.1:1".into(),
            signed: "https://a.example/in/x".into(),
            here: None,
        };
        let url = target.request_url("https://a.example/in/x?bodySHA256=00");
        assert_eq!(url, "http://127.0.0.1:1/in/x?bodySHA256=00");
    }
}
