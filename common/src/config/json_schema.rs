//! The table of settings as JSON Schema, for editors.

use serde_json::{Map, Value, json};

use super::known::Known;
use super::schema::{Absent, ID_PATTERN, Key, NAME_PATTERN, Section, Shape, TEXT_MAX};
use super::settings::FILE;
use super::units::{show_duration, show_size};

/// The JSON Schema (draft 7) of a configuration file, with the names in `known` to choose from.
///
/// It knows every key, shape and bound of a number. What leads where, and the bounds of
/// durations and sizes, it leaves to [`load`](super::load).
pub fn schema(known: &Known) -> Value {
    let mut schema = Writer { known }.section(&FILE);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema
}

struct Writer<'a> {
    known: &'a Known,
}

impl Writer<'_> {
    fn section(&self, section: &Section) -> Value {
        let properties: Map<String, Value> = section
            .keys
            .iter()
            .map(|key| (key.name.to_owned(), self.key(key)))
            .collect();
        let required: Vec<&str> = section
            .keys
            .iter()
            .filter(|key| matches!(key.absent, Absent::Required))
            .map(|key| key.name)
            .collect();
        let mut schema = json!({
            "type": "object",
            "title": section.title,
            "description": section.doc,
            "properties": properties,
            "required": required,
            "additionalProperties": match section.others {
                Some(what) => json!({ "description": what }),
                None => json!(false),
            },
        });
        if !section.one_of.is_empty() {
            let one = section
                .one_of
                .iter()
                .map(|key| json!({ "required": [key] }));
            schema["oneOf"] = one.collect();
        }
        schema
    }

    fn key(&self, key: &Key) -> Value {
        let mut schema = self.shape(key.shape);
        schema["description"] = match key.absent {
            Absent::Means(meaning) => json!(format!("{} If left out: {meaning}.", key.doc)),
            _ => json!(key.doc),
        };
        if let Absent::Default(text) = key.absent {
            schema["default"] = default(text);
        }
        schema
    }

    fn shape(&self, shape: Shape) -> Value {
        match shape {
            Shape::Text | Shape::Path => {
                json!({ "type": "string", "minLength": 1, "maxLength": TEXT_MAX })
            }
            Shape::Name => json!({ "type": "string", "pattern": format!("^{NAME_PATTERN}$") }),
            Shape::Id => json!({ "type": "string", "pattern": format!("^{ID_PATTERN}$") }),
            Shape::Lines(max) => json!({ "type": "string", "maxLength": max }),
            Shape::EnvVar => json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }),
            Shape::Provider => one_of(self.known.providers.iter().map(|facts| facts.name.as_str())),
            Shape::Kind => one_of(
                self.known
                    .destinations
                    .iter()
                    .flat_map(|kinds| kinds.names()),
            ),
            Shape::Address => json!({ "type": "string", "pattern": "^.+:[0-9]+$" }),
            Shape::Network => json!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]+)?$" }),
            Shape::Url => json!({ "type": "string", "pattern": "^https?://[^?#@]+$" }),
            Shape::MediaType => {
                json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$" })
            }
            Shape::Time => json!({ "type": "string", "format": "date-time" }),
            Shape::Choice(words) => json!({ "enum": words }),
            Shape::Duration(min, max) => json!({
                "type": "string",
                "pattern": "^(?=.)([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
                "$comment": format!("{} to {}", show_duration(min), show_duration(max)),
            }),
            Shape::Size(min, max) => json!({
                "type": "string",
                "pattern": "^[0-9]+([KMGT]i?)?B$",
                "$comment": format!("{} to {}", show_size(min), show_size(max)),
            }),
            Shape::Count(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Shape::Factor(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
            Shape::Rate(min, max) => json!({ "anyOf": [
                { "type": "number", "minimum": min, "maximum": max },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?/[smh]$" },
            ] }),
            Shape::List(item, max) => self.list(*item, 0, max),
            Shape::OneOrMore(item, max) => {
                json!({ "anyOf": [self.shape(*item), self.list(*item, 1, max)] })
            }
            Shape::Texts => {
                json!({ "type": "object", "additionalProperties": self.shape(Shape::Text) })
            }
            Shape::Section(section) | Shape::Secret(section) => self.section(section),
            Shape::Switch(section) => {
                json!({ "anyOf": [{ "type": "boolean" }, self.section(section)] })
            }
            Shape::Named(section) => json!({
                "type": "object",
                "propertyNames": self.shape(Shape::Name),
                "additionalProperties": self.section(section),
            }),
        }
    }

    fn list(&self, item: Shape, min: usize, max: usize) -> Value {
        json!({ "type": "array", "items": self.shape(item), "minItems": min, "maxItems": max })
    }
}

/// One of the names, or any text where none is known.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => json!({ "type": "string", "minLength": 1 }),
        false => json!({ "enum": names }),
    }
}

/// A default as JSON.
fn default(text: &str) -> Value {
    let table: toml::Table =
        toml::from_str(&format!("it = {text}")).expect("the tests read every default");
    serde_json::to_value(&table["it"]).expect("a default holds no date and no NaN")
}
