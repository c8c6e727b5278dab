//! What a file that is not in order is told.

use super::*;

/// What is told about a file, without its heading and places: `path: message`.
fn told(text: &str) -> Vec<String> {
    let problems = match parse_text(text) {
        Ok(config) => config.warnings,
        Err(problems) => problems,
    };
    let line = |problem: &Problem| {
        let warning = match problem.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        format!("{}: {warning}{}", problem.path, problem.message)
    };
    problems.iter().map(line).collect()
}

#[test]
fn everything_is_told_at_once_with_its_line() {
    let text = r#"
[receiver]
private = "0.0.0.0:8081"
[log]
retention = 7
volumes = "1GiB"
[sources.github]
provider = "githb"
[sources.pay]
provider = "stripe"
[destinations.archive]
type = "file"
[destinations.audit]
type = "postgress"
[[routes]]
source = "github"
destination = "audti"
"#;
    assert_eq!(
        report(text),
        "\
creel.toml has 7 problems
  creel.toml:3   receiver.private         0.0.0.0:8081 is not on loopback: without `private_tls` tokens and deliveries would cross the network in clear; listen on 127.0.0.1 or [::1]
  creel.toml:5   log.retention            expected a duration with its unit, such as \"7d\" or \"250ms\", found an integer
  creel.toml:6   log.volumes              unknown key; did you mean `volume`?
  creel.toml:8   sources.github.provider  unknown provider `githb`; did you mean `github`?
  creel.toml:9   sources.pay.secrets      provider `stripe` needs a secret, such as secrets = [{ env = \"NAME\" }]
  creel.toml:14  destinations.audit.type  unknown type `postgress`; did you mean `postgres`?
  creel.toml:17  routes[0].destination    no destination `audti`; there are archive, audit; did you mean `audit`?"
    );
}

/// The slips that the reference shows, in its first example.
#[test]
fn the_report_in_the_reference_is_a_real_one() {
    let reference = include_str!("../../../../docs/CONFIG.md");
    let example = reference.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let slipped = example
        .replacen("provider =", "provdier =", 1)
        .replacen("destination = \"builds\"", "destination = \"bulids\"", 1)
        .replacen("max = \"1h\"", "max = 3600", 1);
    let problems = parse(&slipped, Path::new("creel.toml"), &Known::default()).unwrap_err();
    let shown = format!("```\ncreel: {problems}\n```");
    assert!(reference.contains(&shown), "{shown}");
}

#[test]
fn a_terminal_is_shown_the_lines() {
    let text = "[log]\nretention = 7 # days\n";
    assert_eq!(
        parse_text(text).unwrap_err().excerpts(false),
        "\
error: log.retention: expected a duration with its unit, such as \"7d\" or \"250ms\", found an integer
 --> creel.toml:2:13
  |
2 | retention = 7 # days
  |             ^

creel.toml has 1 problem"
    );
}

#[test]
fn a_program_is_given_every_part() {
    let problems = parse_text("[log]\n  retentoin = 7\n").unwrap_err();
    assert_eq!(
        serde_json::to_value(&problems).unwrap(),
        serde_json::json!({
            "file": "creel.toml",
            "problems": [{
                "severity": "error",
                "line": 2,
                "column": 3,
                "path": "log.retentoin",
                "message": "unknown key; did you mean `retention`?",
            }],
        })
    );
}

#[test]
fn what_is_no_toml_is_told_with_what_is_wrong_before_it() {
    let text = "\
[log]
volumes = 1
retention = \"7d
lease = \"60s\"
cache =
[receiver]
listne = 1
";
    assert_eq!(
        report(text),
        "\
creel.toml has 3 problems
  creel.toml:2  log.volumes  unknown key; did you mean `volume`?
  creel.toml:3               not TOML: invalid basic string, expected `\"`
  creel.toml:5               not TOML: string values must be quoted, expected literal string"
    );
}

#[test]
fn a_key_given_twice_is_told() {
    assert_eq!(
        report("[log]\nlease = \"1s\"\n# again\nlease = \"2s\"\n"),
        "creel.toml has 1 problem\n  creel.toml:4  not TOML: duplicate key"
    );
}

#[test]
fn unknown_keys_are_told_at_every_level() {
    assert_eq!(
        told(
            r#"
recevier = {}
[log]
entirely-unlike = 1
[sources.none]
provider = "none"
dedupe = { windw = "1h" }
[destinations.d]
type = "file"
[[routes]]
source = "none"
destination = "d"
retry = { max_attempt = 1 }
"#
        ),
        [
            "recevier: unknown key; did you mean `receiver`?",
            "log.entirely-unlike: unknown key; there are engine, path, retention, volume, reserve, reserve_operate, max_bytes, ballast, attempts, cache, lease, lost_max",
            "sources.none.provider: warning: provider `none` verifies nothing: whoever knows the URL can send",
            "sources.none.dedupe.windw: unknown key; did you mean `window`?",
            "routes[0].retry.max_attempt: unknown key; did you mean `max_attempts`?",
        ]
    );
}

#[test]
fn wrong_types_are_told() {
    assert_eq!(
        told(
            r#"
routes = { }
[receiver]
listen = 8080
trusted_proxies = "10.0.0.0/8"
connections_max = "many"
[sources]
a = "github"
[sources.hmac]
provider = true
options = { header = 1 }
"#
        ),
        [
            "routes: expected an array, found a table",
            "receiver.listen: expected an address such as \"127.0.0.1:8080\", found an integer",
            "receiver.trusted_proxies: expected an array, found a string",
            "receiver.connections_max: expected a whole number, found a string",
            "sources.a: expected a table, found a string",
            "sources.hmac.provider: expected a string, found a boolean",
            "sources.hmac.options.header: expected a string, found an integer",
        ]
    );
}

#[test]
fn durations_sizes_and_rates_need_their_unit() {
    assert_eq!(
        told(
            r#"
[log]
retention = "7 days"
lease = "60"
volume = "1G"
reserve = 0
[[routes]]
source = "s"
destination = "d"
rate = "fast"
"#
        )[..5],
        [
            "log.retention: expected a duration such as \"1h30m\" or \"250ms\", found `7 days`",
            "log.lease: expected a duration such as \"1h30m\" or \"250ms\", found `60`",
            "log.volume: expected a size such as \"512KiB\" or \"1GiB\", found `1G`",
            "log.reserve: expected a size with its unit, such as \"1GiB\", found an integer",
            "routes[0].source: no source `s`",
        ]
    );
    assert!(
        report("[[routes]]\nrate = \"fast\"")
            .contains("expected a rate such as \"100/s\" or \"30/m\", found `fast`")
    );
}

#[test]
fn what_is_missing_is_told_at_its_section() {
    let text =
        "\n[sources.github]\n\n[destinations.x]\n\n[[routes]]\n[[routes]]\nsource = \"github\"\n";
    assert_eq!(
        report(text),
        "\
creel.toml has 5 problems
  creel.toml:2  sources.github.provider  is missing
  creel.toml:4  destinations.x.type      is missing
  creel.toml:6  routes[0].source         is missing
  creel.toml:6  routes[0].destination    is missing
  creel.toml:7  routes[1].destination    is missing"
    );
}

#[test]
fn listeners_are_checked() {
    let private = |typed: &str| told(&format!("[receiver]\nprivate = \"{typed}\""));
    assert!(private("127.9.9.9:0").is_empty());
    assert!(private("[::1]:8081").is_empty());
    assert!(private("192.168.0.1:8081")[0].contains("is not on loopback: without `private_tls`"));
    assert!(private("[::]:8081")[0].contains("is not on loopback"));
    assert_eq!(
        private("127.0.0.1:8080"),
        ["receiver.private: port 8080 is that of `receiver.listen`"]
    );
    assert_eq!(
        private("localhost:8081"),
        [
            "receiver.private: expected an address such as \"127.0.0.1:8080\", found `localhost:8081`; did you mean \"127.0.0.1:8081\"?"
        ]
    );
    assert!(told("[receiver]\nlisten = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"").is_empty());
    assert_eq!(told("[receiver]\nlisten = \"0.0.0.0:8081\"").len(), 1);
}

#[test]
fn tls_opens_the_private_listener_and_wants_both_sides() {
    let open = "[receiver]\nprivate = \"0.0.0.0:8081\"\n[receiver.private_tls]\ncert = \"c\"\nkey = \"k\"\n";
    let slip = told(open);
    assert!(slip.contains(&"receiver.private_tls.client_ca: is missing".to_owned()));
    assert!(
        !slip.iter().any(|line| line.contains("loopback")),
        "{slip:?}"
    );
    let open = format!("{open}client_ca = \"a\"\n");
    let lonely = told(&open);
    assert_eq!(lonely.len(), 1);
    assert!(
        lonely[0].starts_with("receiver.private_tls: warning: `receiver.private_tls` asks for")
    );
    let half = told(&format!("{open}[worker.tls]\ncert = \"w\"\n"));
    assert_eq!(
        half,
        ["worker.tls.key: is missing: `cert` needs its private key"]
    );
    let whole = format!("{open}[worker.tls]\ncert = \"w\"\nkey = \"k\"\n");
    assert!(told(&whole).is_empty());
    let config = parse(&whole, Path::new("/etc/creel.toml"), &known()).unwrap();
    let tls = config.receiver.private_tls.as_ref().unwrap();
    assert_eq!(tls.key, Path::new("/etc/k"));
    assert_eq!(config.worker.receivers, ["https://127.0.0.1:8081"]);
    assert_eq!(
        config.receiver.local_url(config.receiver.listen),
        "http://127.0.0.1:8080"
    );
}

#[test]
fn a_reload_changes_certificates_and_not_whether_there_is_tls() {
    let read = |text: &str| parse(text, Path::new("creel.toml"), &known()).unwrap();
    let clear = read("[receiver]\n");
    let first = read("[receiver.tls]\ncert = \"a\"\nkey = \"b\"\n");
    let second = read("[receiver.tls]\ncert = \"c\"\nkey = \"d\"\n");
    assert!(first.needs_restart(&second).is_empty());
    for (old, new) in [(&clear, &first), (&first, &clear)] {
        let told = old.needs_restart(new).to_string();
        assert!(told.contains("receiver.tls"), "{told}");
    }
}

#[test]
fn urls_are_checked() {
    for (typed, why) in [
        ("hooks.example.com", "relative URL without a base"),
        ("ftp://hooks.example.com", "neither http nor https"),
        ("https:hooks.example.com", "neither http nor https"),
        ("https://", "empty host"),
        (
            "https://u:p@hooks.example.com",
            "holds a user or a password",
        ),
        (
            "https://hooks.example.com/?token=1",
            "has a query or a fragment",
        ),
        ("https://hooks.example.com/#a", "has a query or a fragment"),
        (
            "https://hooks.exa mple.com/",
            "invalid international domain name",
        ),
        ("https://hooks.example.com/ ", "has white space"),
    ] {
        let told = told(&format!("[receiver]\npublic_url = \"{typed}\""));
        assert_eq!(told.len(), 1, "{typed}");
        assert!(told[0].contains(why), "{typed}: {told:?}");
    }
}

#[test]
fn names_are_checked_where_they_are_given() {
    let long = "a".repeat(65);
    let text = format!(
        "[sources.GitHub]\nprovider = \"github\"\nsecrets = [{{ env = \"A\" }}]\n[sources.\"a b\"]\nprovider = \"none\"\n[destinations.{long}]\ntype = \"file\"\n[destinations.-x]\ntype = \"file\"\n"
    );
    let told = told(&text);
    let wrong = |path: &str| {
        let start = format!("{path}: `");
        told.iter().any(|line| {
            line.starts_with(&start) && line.contains("` is no name: lower-case letters")
        }) || told
            .iter()
            .any(|line| line.starts_with(&start) && line.contains("…` is no name"))
    };
    assert!(wrong("sources.GitHub"), "{told:?}");
    assert!(wrong("sources.\"a b\""), "{told:?}");
    assert!(wrong(&format!("destinations.{long}")), "{told:?}");
    assert!(wrong("destinations.-x"), "{told:?}");
    assert!(parse_text(&format!("[destinations.{}]\ntype = \"file\"", &long[1..])).is_ok());
    assert!(parse_text("[destinations.\"0.a_b-c\"]\ntype = \"file\"").is_ok());
}

const TWO_ENDS: &str = "
[sources.a]
provider = \"stripe\"
secrets = [{ env = \"A\" }]
[destinations.b]
type = \"file\"
";

#[test]
fn two_routes_of_one_name_are_refused() {
    let route = "[[routes]]\nsource = \"a\"\ndestination = \"b\"\n";
    assert_eq!(
        told(&format!("{TWO_ENDS}{route}{route}")),
        [
            "routes[1].name: without a name it is `a-b`, and so is routes[0]; give one of them a `name`"
        ]
    );
    assert_eq!(
        told(&format!("{TWO_ENDS}{route}{route}name = \"a-b\"\n")),
        ["routes[1].name: `a-b` is the name of routes[0] as well"]
    );
    assert!(told(&format!("{TWO_ENDS}{route}{route}name = \"other\"\n")).is_empty());
}

#[test]
fn a_route_whose_own_name_would_be_too_long_needs_one() {
    let (a, b) = ("a".repeat(40), "b".repeat(40));
    let text = TWO_ENDS
        .replace(".a]", &format!(".{a}]"))
        .replace(".b]", &format!(".{b}]"));
    let text = format!("{text}[[routes]]\nsource = \"{a}\"\ndestination = \"{b}\"\n");
    assert_eq!(
        told(&text),
        [
            "routes[0].name: `<source>-<destination>` is longer than 64 characters; give the route a name"
        ]
    );
    assert!(told(&format!("{text}name = \"short\"")).is_empty());
}

#[test]
fn a_pause_that_starts_longer_than_it_may_get_is_refused() {
    let route = |more: &str| {
        told(&format!(
            "{TWO_ENDS}[[routes]]\nsource = \"a\"\ndestination = \"b\"\n{more}"
        ))
    };
    assert_eq!(
        route("retry = { initial = \"2h\" }"),
        ["routes[0].retry.initial: 2h is longer than `max` (1h)"]
    );
    assert_eq!(
        route("retry = { max = \"500ms\" }"),
        ["routes[0].retry.max: 500ms is shorter than `initial` (1s)"]
    );
    assert_eq!(
        route("breaker = { pause_max = \"1s\" }"),
        ["routes[0].breaker.pause_max: 1s is shorter than `pause` (5s)"]
    );
    assert_eq!(
        route("match = { event = [] }"),
        ["routes[0].match.event: is empty; leave it out to take all"]
    );
    assert_eq!(
        route("start = \"begining\""),
        ["routes[0].start: unknown word `begining`; did you mean `beginning`?"]
    );
}

#[test]
fn a_body_larger_than_all_bodies_is_refused() {
    let text = TWO_ENDS.replace("\"stripe\"", "\"stripe\"\nbody_max = \"512MiB\"");
    assert_eq!(
        told(&text)[1],
        "sources.a.body_max: 512MiB is more than all bodies together may take (`receiver.bodies_max`, 256MiB)"
    );
}

#[test]
fn a_burst_without_its_rate_is_a_slip_and_an_empty_allow_list_too() {
    let of_source = |more: &str| {
        let text = TWO_ENDS.replace("\"stripe\"", &format!("\"stripe\"\n{more}"));
        told(&text).swap_remove(1)
    };
    assert_eq!(
        of_source("burst = 5\nrate_per_address = 7"),
        "sources.a.burst: says nothing without `rate` beside it"
    );
    assert_eq!(
        of_source("rate = 5\nburst = 5\nburst_per_address = 7"),
        "sources.a.burst_per_address: says nothing without `rate_per_address` beside it"
    );
    assert_eq!(
        of_source("allow = []"),
        "sources.a.allow: is empty; leave it out to take all"
    );
    assert_eq!(
        told("[receiver]\nburst_per_address = 5"),
        ["receiver.burst_per_address: says nothing without `rate_per_address` beside it"]
    );
}

#[test]
fn a_provider_is_asked_for_what_it_needs_and_knows() {
    let source = |more: &str| {
        told(&format!(
            "[sources.a]\n{more}\n[destinations.b]\ntype = \"file\"\n[[routes]]\nsource = \"a\"\ndestination = \"b\"\n"
        ))
    };
    assert_eq!(
        source("provider = \"hmac\"\noptions = { headr = \"X\" }"),
        [
            "sources.a.secrets: provider `hmac` needs a secret, such as secrets = [{ env = \"NAME\" }]",
            "sources.a.options.header: provider `hmac` needs this option",
            "sources.a.options.headr: provider `hmac` has no such option; did you mean `header`?",
        ]
    );
    assert_eq!(source("provider = \"stripe\"\nsecrets = []").len(), 1);
    assert_eq!(
        source("provider = \"none\""),
        [
            "sources.a.provider: warning: provider `none` verifies nothing: whoever knows the URL can send"
        ]
    );
}

#[test]
fn a_kind_is_asked_about_its_settings() {
    let destination = |more: &str| told(&format!("[destinations.\"b.c\"]\n{more}\n"));
    assert_eq!(
        destination("type = \"http\"")[0],
        "destinations.\"b.c\".url: is missing"
    );
    let text = "[destinations.b]\ntype = \"http\"\n\nurl = \"ftp://x\"\n";
    assert!(
        report(text).contains("creel.toml:4  destinations.b.url  is neither http nor https"),
        "{}",
        report(text)
    );
    assert_eq!(
        destination("type = \"http\"\nurl = \"http://x\"\nbig = 99999999999999999999")[1],
        "destinations.\"b.c\".big: holds a number that is too large"
    );
}

#[test]
fn an_executable_that_knows_no_names_takes_any() {
    let text = "[sources.a]\nprovider = \"new\"\n[destinations.b]\ntype = \"newer\"\nx = 1\n[[routes]]\nsource = \"a\"\ndestination = \"b\"\n";
    let config = parse(text, Path::new("creel.toml"), &Known::default()).unwrap();
    assert_eq!(config.destinations["b"].settings["x"].as_integer(), Some(1));
    assert_eq!(told(text).len(), 2);
}

#[test]
fn what_no_route_touches_is_warned_about() {
    assert_eq!(
        told(TWO_ENDS),
        [
            "sources.a: warning: no route takes from it: its deliveries are kept until one does",
            "destinations.b: warning: no route leads to it",
        ]
    );
    assert!(parse_text(TWO_ENDS).is_ok());
}

#[test]
fn a_receiver_across_the_network_in_clear_is_warned_about() {
    assert_eq!(
        told(
            "[worker]\nreceivers = [\"http://localhost:1\", \"https://a.example\", \"http://[::1]:1\", \"http://10.0.0.1:8081\"]"
        ),
        [
            "worker.receivers[3]: warning: http beyond this machine: the worker's token and all deliveries cross the network in clear"
        ]
    );
}

#[test]
fn problems_and_warnings_are_counted_apart() {
    let report = report(&format!("{TWO_ENDS}[log]\nlost_max = 0\n"));
    assert!(
        report.starts_with("creel.toml has 1 problem and 2 warnings\n"),
        "{report}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("creel.toml");
    let told = |path: &Path| load(path, &known()).unwrap_err().to_string();
    let missing = told(&path);
    assert!(
        missing.contains("cannot be read: No such file"),
        "{missing}"
    );
    assert!(told(directory.path()).contains("cannot be read: Is a directory"));
    std::fs::write(&path, b"[log]\n# \xff\n").unwrap();
    assert!(told(&path).ends_with("is not UTF-8: line 2"));
    std::fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert!(told(&path).contains("is larger than"));
    std::fs::write(&path, EXAMPLE).unwrap();
    assert!(load(&path, &known()).is_ok());
}

#[test]
fn a_slip_in_a_required_key_is_told_once() {
    assert_eq!(
        told("[sources.a]\nprovdier = \"stripe\"\n"),
        [
            "sources.a: warning: no route takes from it: its deliveries are kept until one does",
            "sources.a.provdier: unknown key; did you mean `provider`?",
        ]
    );
}

#[test]
fn what_is_found_later_is_told_with_its_line_in_the_order_of_the_file() {
    let config = parse_text(EXAMPLE).unwrap();
    let mut problems = config
        .origin
        .warning("destinations.archive.path", "is on another disk");
    problems.merge(
        config
            .origin
            .error("sources.github.secrets[1]", "is no key"),
    );
    problems.merge(config.origin.error("worker.token", "is not given"));
    assert_eq!(
        problems.to_string(),
        "\
creel.toml has 2 problems and 1 warning
  creel.toml:1   worker.token               is not given
  creel.toml:14  sources.github.secrets[1]  is no key
  creel.toml:23  destinations.archive.path  warning: is on another disk"
    );
    let mut none = Problems::default();
    none.merge(problems.clone());
    assert_eq!(none.to_string(), problems.to_string());
}

#[test]
fn bounds_that_could_never_be_kept_are_told() {
    let told_of = |log: &str, source: &str| {
        told(&format!(
            "[log]\n{log}\n[sources.s]\nprovider = \"hmac\"\nsecrets = [{{ env = \"S\" }}]\noptions = {{ header = \"h\" }}\n{source}\n\
             [destinations.d]\ntype = \"file\"\n[[routes]]\nsource = \"s\"\ndestination = \"d\"\n"
        ))
    };
    let nothing: [&str; 0] = [];
    assert_eq!(
        told_of("reserve_operate = \"1GiB\"\nballast = \"2GiB\"", ""),
        [
            "log.reserve_operate: 1GiB is not less than `reserve` (1GiB): intake has to stop before operators' changes do",
            "log.ballast: 2GiB is more than `reserve` (1GiB)",
        ]
    );
    assert_eq!(
        told_of(
            "reserve = \"0B\"\nreserve_operate = \"0B\"\nballast = \"0B\"",
            ""
        ),
        nothing
    );
    assert_eq!(
        told_of("max_bytes = \"4GiB\"", ""),
        [
            "log.max_bytes: must be at least 4704MiB: four volumes (`volume`, 1GiB), kept attempts (`attempts`, 512MiB), the ballast (64MiB) and a little for the state"
        ]
    );
    assert_eq!(told_of("max_bytes = \"4704MiB\"", ""), nothing);
    let small = "volume = \"4MiB\"";
    assert_eq!(
        told_of(small, "quota = \"39MiB\""),
        [
            "sources.s.quota: must be at least 40MiB: two volumes (`log.volume`, 4MiB) and a little, because room comes back a volume at a time"
        ]
    );
    assert_eq!(told_of(small, "quota = \"40MiB\""), nothing);
    assert_eq!(
        told_of(small, "quota = \"40MiB\"\nbody_max = \"64MiB\""),
        [
            "sources.s.quota: must be at least 80MiB: two volumes (`log.volume`, 4MiB) and a little, because room comes back a volume at a time"
        ]
    );
    assert_eq!(
        told_of(small, "quota = 40"),
        ["sources.s.quota: expected a size with its unit, such as \"1GiB\", found an integer"]
    );
}

#[test]
fn a_quarantine_in_or_around_the_log_is_refused() {
    for text in [
        "[quarantine]\npath = \"data/q\"",
        "[quarantine]\npath = \".\"",
        "[log]\npath = \"quarantine\"",
    ] {
        let told = told(text);
        let expected = "quarantine.path: must be neither in the log's directory";
        assert!(told[0].starts_with(expected), "{text}: {told:?}");
    }
    assert!(told("[quarantine]\npath = \"data-refused\"").is_empty());
}
