//! A value with its place, as the file's types hold it. Reading one never fails: what is wrong is reported, and missing
//! from then on.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Text;
use super::read::AT;
use crate::config::problem::Place;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(in crate::config) struct At<T> {
    /// Where it begins.
    pub(in crate::config) place: Place,
    /// None when it was wrong, which has been reported.
    pub(in crate::config) value: Option<T>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(AT, AtVisitor(PhantomData))
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value and its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<At<T>, A::Error> {
        let line = parts.next_element()?.unwrap_or_default();
        let col = parts.next_element()?.unwrap_or_default();
        // The reader has taken note of the error; going on is the point of this type.
        let value = parts.next_element().ok().flatten();
        Ok(At { place: Place { line, col }, value })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let schema = T::json_schema(generator);
        let kind = schema.get("type").and_then(|t| t.as_str()).unwrap_or_default();
        // A number can come out of the environment, too.
        if matches!(kind, "integer" | "number" | "boolean") {
            return json_schema!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{.+\}" }] });
        }
        schema
    }
}

/// A map from names that the user chose, in the order of the file.
#[derive(Clone, Debug)]
pub(in crate::config) struct Named<T>(pub(in crate::config) Vec<(At<Text>, At<T>)>);

impl<T> Named<T> {
    /// The names, also those whose value is wrong.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(name, _)| name.value.as_deref())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Named(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<At<T>>() })
    }
}
