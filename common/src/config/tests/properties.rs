//! Whatever is typed, reading it ends, and ends with an answer.

use proptest::prelude::*;

use super::*;

/// A file that gives every section something, with what breaks it easily.
const FULL: &str = r#"
[receiver]
listen = "0.0.0.0:8080"
trusted_proxies = ["10.0.0.0/8", "::1"]
bodies_max = "256MiB"
tokens = [{ role = "worker", file = "token", name = "w" }]
[log]
engine = "memory"
retention = "1h30m"
[worker]
receivers = ["http://127.0.0.1:8081/"]
token = { env = "TOKEN" }
[sources.a]
provider = "hmac"
secrets = [{ env = "A" }, { file = 'b' }]
options = { header = "X-Ä" }
dedupe = { window = "0s", key = "header:X" }
[destinations."b.c"]
type = "http"
url = "http://x"
headers = { a = 1.5, b = [1979-05-27, true] }
[[routes]]
source = "a"
destination = "b.c"
match = { event = "push" }
retry = { max_attempts = 8, give_up_after = "3d", multiplier = 1.5 }
rate = "1/s"
"#;

/// Reads, and shows what is wrong in every form.
fn survive(text: &str) {
    let path = Path::new("creel.toml");
    for known in [known(), Known::default()] {
        let problems = match parse(text, path, &known) {
            Ok(config) => config.warnings,
            Err(problems) => {
                assert!(problems.has_errors());
                problems
            }
        };
        let lines = text.lines().count() + 1;
        assert!(
            problems
                .iter()
                .all(|problem| problem.line.is_some_and(|line| line <= lines))
        );
        assert_eq!(
            problems.to_string().lines().count(),
            problems.iter().count() + 1
        );
        assert!(problems.excerpts(true).contains(&problems.heading()));
        serde_json::to_string(&problems).unwrap();
    }
}

#[test]
fn the_file_that_is_broken_here_is_in_order_itself() {
    parse_text(FULL).unwrap();
}

proptest! {
    #[test]
    fn arbitrary_text_gets_an_answer(text in any::<String>()) {
        survive(&text);
    }

    #[test]
    fn text_that_looks_like_a_file_gets_an_answer(text in "([a-z\\[\\]{}=.,\"'# \n0-9\r\té]|secrets|routes|sources|\"\"\"|= ){0,60}") {
        survive(&text);
    }

    #[test]
    fn a_file_that_is_cut_filled_or_swapped_gets_an_answer(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, "[ -~é\n]{0,8}"), 1..4),
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, length, filling) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len() - 1).max(at);
            text.splice(at..end, filling.chars());
        }
        survive(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_value_of_any_kind_anywhere_gets_an_answer(
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "1", "-1", "1.5", "inf", "nan", "true", "1979-05-27", "\"\"", "\"x\"", "[]", "{}",
            "[[]]", "[{}]", "{ a = 1 }", "\"7d\"", "\"1GiB\"", "0xffffffffffffffffffffffff",
        ]),
    ) {
        let lines: Vec<&str> = FULL.lines().collect();
        let settings: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].contains(" = ")).collect();
        let chosen = settings[at.index(settings.len())];
        let (key, _) = lines[chosen].split_once(" = ").unwrap();
        let typed = format!("{key} = {value}");
        let mut changed = lines.clone();
        changed[chosen] = &typed;
        survive(&changed.join("\n"));
    }
}
