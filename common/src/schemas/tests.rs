//! Schemas from files, and what is said of bodies.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::{Known, parse};

/// A configuration whose source has this `schema`, beside these files.
fn config(files: &[(&str, &str)], schema: &str) -> (TempDir, Config) {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let text = format!("sources.shop = {{ provider = \"none\", schema = {schema} }}\n");
    let config = parse(&text, &dir.path().join("creel.toml"), &Known::default())
        .unwrap_or_else(|problems| panic!("{problems}"));
    (dir, config)
}

#[cfg(not(feature = "schema"))]
#[test]
fn an_executable_without_schemas_says_so_where_one_is_configured() {
    let (_dir, config) = config(&[("a.json", "{}")], r#"{ file = "a.json" }"#);
    let problems = Schemas::read(&config).unwrap_err().to_string();
    assert!(problems.contains("sources.shop.schema.file"), "{problems}");
    assert!(problems.contains("feature `schema`"), "{problems}");
}

#[cfg(feature = "schema")]
mod with_schemas {
    use super::*;
    use crate::testkit::sample;
    use crate::time::Timestamp;

    fn delivery(event: Option<&str>, body: impl Into<Bytes>) -> Delivery {
        let mut delivery = sample::delivery("shop", body, Timestamp(1));
        delivery.envelope.event_type = event.map(str::to_owned);
        delivery
    }

    /// What is said of a body under a schema.
    async fn said(schema: &str, body: &str) -> String {
        let (_dir, config) = config(&[("a.json", schema)], r#"{ file = "a.json" }"#);
        let schemas = Schemas::read(&config).unwrap_or_else(|problems| panic!("{problems}"));
        let checked = schemas.of("shop").unwrap();
        match checked
            .check(&delivery(None, body.as_bytes().to_vec()))
            .await
        {
            Ok(()) => "ok".into(),
            Err(mismatch) => mismatch.to_string(),
        }
    }

    fn problems(files: &[(&str, &str)], schema: &str) -> String {
        let (_dir, config) = config(files, schema);
        Schemas::read(&config).unwrap_err().to_string()
    }

    const ORDER: &str = r##"{
        "type": "object",
        "required": ["id", "items"],
        "additionalProperties": false,
        "properties": {
            "id": { "$ref": "#/$defs/id" },
            "note": { "type": ["string", "null"], "maxLength": 3 },
            "state": { "enum": ["open", "paid"] },
            "mail": { "anyOf": [{ "type": "null" }, { "pattern": "@" }] },
            "items": { "type": "array", "items": { "properties": { "id": { "$ref": "#/$defs/id" } } } }
        },
        "$defs": { "id": { "type": "string", "minLength": 2 } }
    }"##;

    #[tokio::test]
    async fn a_mismatch_is_told_by_its_place_and_what_was_expected() {
        for (body, expected) in [
            (r#"{"id":"o1","items":[]}"#, "ok"),
            (
                r#"{"id":"o1","items":[{"id":777}]}"#,
                "schema: /items/0/id: expected string",
            ),
            (
                r#"{"id":"o1","items":[{"id":"7"}]}"#,
                "schema: /items/0/id: expected minLength 2",
            ),
            (
                r#"{"items":[]}"#,
                r#"schema: the body: expected a field "id""#,
            ),
            (
                r#"{"id":"o1","items":[],"note":777}"#,
                "schema: /note: expected string or null",
            ),
            (
                r#"{"id":"o1","items":[],"state":"sold"}"#,
                r#"schema: /state: expected enum ["open","paid"]"#,
            ),
            (
                r#"{"id":"o1","items":[],"mail":"x"}"#,
                "schema: /mail: expected `anyOf` to hold",
            ),
            (
                r#"{"id":"o1","items":[],"canary":1}"#,
                "schema: the body: expected no other fields",
            ),
            ("not json", "schema: the body: expected JSON in UTF-8"),
            ("", "schema: the body: expected JSON in UTF-8"),
        ] {
            assert_eq!(said(ORDER, body).await, expected, "{body}");
        }
    }

    #[tokio::test]
    async fn no_message_holds_a_value_of_the_body() {
        for (schema, body) in [
            (r#"{"type":"number"}"#, r#""canary""#),
            (r#"{"const":"x"}"#, r#""canary""#),
            (r#"{"pattern":"^x$"}"#, r#""canary""#),
            (
                r#"{"format":"email","$schema":"http://json-schema.org/draft-07/schema#"}"#,
                r#""canary""#,
            ),
            (r#"{"propertyNames":{"maxLength":1}}"#, r#"{"canary":1}"#),
            (r#"{"additionalProperties":false}"#, r#"{"canary":1}"#),
            (
                r#"{"uniqueItems":true,"items":{"type":"string"}}"#,
                r#"["canary","canary"]"#,
            ),
            (r#"{"not":{"type":"string"}}"#, r#""canary""#),
            (r#"{"oneOf":[{},{"type":"string"}]}"#, r#""canary""#),
            (r#"{"contains":{"type":"number"}}"#, r#"["canary"]"#),
            (
                r#"{"dependentRequired":{"canar":["x"]}}"#,
                r#"{"canar":"canary"}"#,
            ),
        ] {
            let said = said(schema, body).await;
            assert!(said.starts_with("schema: "), "{schema}: {said}");
            assert!(!said.contains("canary"), "{schema}: {said}");
        }
    }

    #[tokio::test]
    async fn a_place_is_cut_and_holds_nothing_that_a_terminal_acts_on() {
        let key = format!("\\u001b[31m{}", "k".repeat(1000));
        let said = said(
            r#"{"additionalProperties":{"type":"string"}}"#,
            &format!("{{\"{key}\":1}}"),
        )
        .await;
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(said.len() < 300, "{}", said.len());
    }

    #[tokio::test]
    async fn an_event_type_has_its_own_schema_and_the_others_that_of_all() {
        let (_dir, config) = config(
            &[
                ("number.json", r#"{"type":"number"}"#),
                ("text.json", r#"{"type":"string"}"#),
            ],
            r#"{ file = "number.json", events = { "a.b" = "text.json" } }"#,
        );
        let schemas = Schemas::read(&config).unwrap();
        let of = schemas.of("shop").unwrap();
        let fits = async |event, body: &'static str| of.check(&delivery(event, body)).await.is_ok();
        assert!(fits(Some("a.b"), "\"x\"").await && !fits(Some("a.b"), "1").await);
        assert!(fits(Some("c"), "1").await && !fits(None, "\"x\"").await);
    }

    #[tokio::test]
    async fn without_one_for_all_only_the_types_that_have_one_are_looked_at() {
        let (_dir, config) = config(
            &[("text.json", r#"{"type":"string"}"#)],
            r#"{ events = { "a.b" = "text.json" } }"#,
        );
        let schemas = Schemas::read(&config).unwrap();
        let of = schemas.of("shop").unwrap();
        assert!(of.check(&delivery(Some("c"), "1")).await.is_ok());
        assert!(of.check(&delivery(Some("a.b"), "1")).await.is_err());
        // kept all the same: only `refuse` refuses
        assert!(schemas.admit(&delivery(Some("a.b"), "1")).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_body_is_checked_to_its_end() {
        let (_dir, config) = config(
            &[("a.json", r#"{"items":{"type":"number"}}"#)],
            r#"{ file = "a.json", on_mismatch = "refuse" }"#,
        );
        let schemas = Schemas::read(&config).unwrap();
        let body = format!("[{}\"x\"]", "1,".repeat(500_000));
        let mismatch = schemas.admit(&delivery(None, body)).await.unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "schema: /500000: expected number",
            "the last of them"
        );
    }

    #[test]
    fn what_is_no_schema_is_told_with_its_file_and_its_place() {
        let told = problems(
            &[
                ("broken.json", "{\n \"type\": }"),
                ("wrong.json", r#"{"properties":{"id":{"type":"text"}}}"#),
                ("away.json", r#"{"$ref":"https://example.com/other.json"}"#),
                ("look.json", r#"{"pattern":"(?<=a)b"}"#),
            ],
            r#"{ file = "missing.json", events = { a = "broken.json", b = "wrong.json", c = "away.json", d = "look.json" } }"#,
        );
        for (path, what) in [
            ("sources.shop.schema.file", "missing.json cannot be read"),
            ("sources.shop.schema.events.a", "broken.json is not JSON: "),
            ("sources.shop.schema.events.b", "/properties/id/type: "),
            (
                "sources.shop.schema.events.c",
                "away.json is no JSON Schema",
            ),
            (
                "sources.shop.schema.events.d",
                "look.json is no JSON Schema",
            ),
        ] {
            let found = told
                .lines()
                .any(|line| line.contains(&format!(" {path} ")) && line.contains(what));
            assert!(found, "{path}: {what}\n{told}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let large = " ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1);
        let told = problems(&[("a.json", &large)], r#"{ file = "a.json" }"#);
        assert!(told.contains("is larger than 1048576 bytes"), "{told}");
    }

    #[test]
    fn schemas_are_found_beside_the_configuration() {
        let (dir, config) = config(&[("a.json", "{}")], r#"{ file = "./a.json" }"#);
        let schema = config.sources["shop"].schema.as_ref().unwrap();
        assert_eq!(
            schema.file.as_deref(),
            Some(Path::new(&dir.path().join("./a.json")))
        );
        assert!(Schemas::read(&config).is_ok());
    }
}
