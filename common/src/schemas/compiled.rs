//! One schema, compiled.

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::Mismatch;

/// Most characters of a place, and of what was expected there.
const TEXT_CHARS_MAX: usize = 200;

/// Most characters of what is wrong with a schema.
const REASON_CHARS_MAX: usize = 500;

/// A schema that was read and found to be one.
#[derive(Debug)]
pub(super) struct Compiled {
    validator: Validator,
    schema: Value,
}

impl Compiled {
    /// Compiles the text of a schema. Its `$schema` says which draft it is, else it is 2020-12.
    pub fn of(text: &[u8]) -> Result<Self, String> {
        let schema: Value =
            serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        let built = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(&schema);
        match built {
            Ok(validator) => Ok(Self { validator, schema }),
            Err(error) => Err(no_schema(&error)),
        }
    }

    pub fn check(&self, body: &[u8]) -> Result<(), Mismatch> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| mismatch("", "JSON in UTF-8"))?;
        self.validator.validate(&body).map_err(|error| {
            mismatch(
                error.instance_path().as_str(),
                &expected(&error, &self.schema),
            )
        })
    }
}

/// Why the operator's schema is none; it may be quoted.
fn no_schema(error: &ValidationError<'_>) -> String {
    let at = match error.instance_path().as_str() {
        "" => String::new(),
        at => format!("{at}: "),
    };
    let text = format!("is no JSON Schema that can be used: {at}{error}");
    text.chars().take(REASON_CHARS_MAX).collect()
}

/// What the schema wants at the place of an error, in words of the schema alone.
fn expected(error: &ValidationError<'_>, schema: &Value) -> String {
    let wanted = schema.pointer(error.schema_path().as_str());
    match error.kind() {
        Kind::Type { .. } => types(wanted),
        Kind::Required { property } => format!("a field {property}"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "no other fields".into()
        }
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => "no more items".into(),
        Kind::FalseSchema => "nothing here".into(),
        kind => match wanted {
            Some(wanted) if !holds_schemas(wanted) => format!("{} {wanted}", kind.keyword()),
            _ => format!("`{}` to hold", kind.keyword()),
        },
    }
}

/// `string`, or `string or null`.
fn types(wanted: Option<&Value>) -> String {
    match wanted {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => {
            let names: Vec<&str> = several.iter().filter_map(Value::as_str).collect();
            names.join(" or ")
        }
        _ => "another type".into(),
    }
}

/// Whether it is too much to be told in a line: schemas within the schema.
fn holds_schemas(wanted: &Value) -> bool {
    let is_table = |value: &Value| value.is_object();
    is_table(wanted)
        || wanted
            .as_array()
            .is_some_and(|all| all.iter().any(is_table))
}

fn mismatch(at: &str, expected: &str) -> Mismatch {
    Mismatch {
        at: shown(at),
        expected: shown(expected),
    }
}

fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == TEXT_CHARS_MAX {
            shown.push('…');
            break;
        }
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}
