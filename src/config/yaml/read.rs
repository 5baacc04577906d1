//! Tree → serde. A deserializer that takes note of what is wrong and goes on, so that one run tells everything.
//!
//! - An unknown key of a struct is reported and left out; a wrong value in an `At` is reported and missing.
//! - An enum whose variants begin with `@` is chosen by the shape of the value: `@text`, `@list`, `@map`.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::scalar::Kind;
use super::{Node, Scalar, Value, quote};
use crate::config::near;
use crate::config::problem::{Faults, Place};

/// The name by which `At` makes itself known.
pub(super) const AT: &str = "@at";

/// Reads `root` as a `T`; none when it is wrong as a whole. Faults are reported either way.
pub(in crate::config) fn read<'a, T: Deserialize<'a>>(root: &'a Node, faults: &'a Faults) -> Option<T> {
    let reader = Reader { node: root, label: Label::Root, faults };
    T::deserialize(reader).map_err(|error| reader.report(error)).ok()
}

/// Why a value could not be read.
#[derive(Debug)]
pub(super) struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// What a value is called in messages.
#[derive(Clone, Copy)]
enum Label<'a> {
    Root,
    Key(&'a str),
    Item(&'a str),
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Root => f.write_str("the configuration"),
            Label::Key(key) => write!(f, "`{key}`"),
            Label::Item(list) => write!(f, "an item of `{list}`"),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    label: Label<'a>,
    faults: &'a Faults,
}

impl<'a> Reader<'a> {
    fn report(self, error: ReadError) {
        self.faults.add(self.node.place, format!("{}: {}", self.label, error.0));
    }

    fn mismatch(self, right: &str) -> ReadError {
        match self.node.describe() {
            empty if empty == "empty" => ReadError(format!("it is empty; it must be {right}")),
            wrong => ReadError(format!("{wrong} is wrong here; it must be {right}")),
        }
    }

    fn scalar(self, right: &str) -> Result<&'a Scalar, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.is_null() => Ok(scalar),
            _ => Err(self.mismatch(right)),
        }
    }

    fn items(self, right: &str) -> Result<&'a [Node], ReadError> {
        match &self.node.value {
            Value::List(items) => Ok(items),
            _ => Err(self.mismatch(right)),
        }
    }

    fn entries(self, right: &str) -> Result<&'a [(Node, Node)], ReadError> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.mismatch(right)),
        }
    }

    fn number<T: std::str::FromStr>(self, largest: impl fmt::Display) -> Result<T, ReadError> {
        let right = format!("a whole number from 0 to {largest}");
        let text = self.scalar(&right)?.unquoted();
        text.and_then(|t| t.parse().ok()).ok_or_else(|| match text {
            None => ReadError(format!("{} is a text; it must be {right}, without quotes", self.node.describe())),
            Some(_) => self.mismatch(&right),
        })
    }

    /// Which of the variants `@text`, `@list`, `@map` fits.
    fn shape(self, variants: &'static [&'static str]) -> Result<&'static str, ReadError> {
        let shape = match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => "@null",
            Value::Scalar(_) => "@text",
            Value::List(_) => "@list",
            Value::Map(_) => "@map",
        };
        variants.iter().copied().find(|v| *v == shape).ok_or_else(|| {
            let right: Vec<_> = variants.iter().map(|v| format!("a {}", v.trim_start_matches('@'))).collect();
            self.mismatch(&right.join(" or "))
        })
    }

    fn choice(self, variants: &'static [&'static str]) -> Result<&'static str, ReadError> {
        let right = variants.join(", ");
        let text = &*self.scalar(&format!("one of {right}"))?.text;
        let unknown = || format!("{} is not known; {}", quote(text), near::suggest(text, variants.iter().copied()));
        variants.iter().copied().find(|v| *v == text).ok_or_else(|| ReadError(unknown()))
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            visitor.$visit(self.number::<$type>($type::MAX)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let scalar = match &self.node.value {
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
            Value::Scalar(scalar) => scalar,
        };
        match scalar.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(b) => visitor.visit_bool(b),
            Kind::Unsigned(n) => visitor.visit_u64(n),
            Kind::Signed(n) => visitor.visit_i64(n),
            Kind::Float(n) => visitor.visit_f64(n),
            Kind::Text(text) => visitor.visit_borrowed_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar("true or false")?.unquoted() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(self.mismatch("true or false, without quotes")),
        }
    }

    whole_numbers! { deserialize_u16 visit_u16 u16 deserialize_u32 visit_u32 u32 deserialize_u64 visit_u64 u64 }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_str(&self.scalar("a text")?.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        // Keys: an empty one is an unknown one, not a wrong one.
        visitor.visit_borrowed_str(self.node.text().unwrap_or_default())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == AT {
            visitor.visit_seq(Placed { reader: self, given: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items { reader: self, left: self.items("a list")?.iter() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.entries("a map")?.iter();
        visitor.visit_map(Entries { reader: self, known: None, left, next: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let left = self.entries(&format!("a map with the keys {}", fields.join(", ")))?.iter();
        visitor.visit_map(Entries { reader: self, known: Some(fields), left, next: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let by_shape = variants.first().is_some_and(|v| v.starts_with('@'));
        let variant = if by_shape { self.shape(variants)? } else { self.choice(variants)? };
        visitor.visit_enum(Variant { reader: self, variant })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// The three parts of an `At`: line, column, value.
struct Placed<'a> {
    reader: Reader<'a>,
    given: u8,
}

impl<'de> de::SeqAccess<'de> for Placed<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Place { line, col } = self.reader.node.place;
        let number = |n: u32| -> U32Deserializer<ReadError> { n.into_deserializer() };
        self.given += 1;
        match self.given {
            1 => seed.deserialize(number(line)).map(Some),
            2 => seed.deserialize(number(col)).map(Some),
            // What its text would be is unknown; whatever would be said about it would be misleading.
            _ if self.reader.node.has_failed() => Err(ReadError(String::new())),
            _ => seed.deserialize(self.reader).map(Some).map_err(|error| {
                self.reader.report(error);
                ReadError(String::new())
            }),
        }
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    left: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.left.next() else { return Ok(None) };
        let label = match self.reader.label {
            Label::Key(key) | Label::Item(key) => Label::Item(key),
            Label::Root => Label::Root,
        };
        seed.deserialize(Reader { node, label, ..self.reader }).map(Some)
    }
}

struct Entries<'a> {
    reader: Reader<'a>,
    /// The keys of a struct; none for a map, where every key is welcome.
    known: Option<&'static [&'static str]>,
    left: std::slice::Iter<'a, (Node, Node)>,
    next: Option<&'a (Node, Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        for entry in self.left.by_ref() {
            let key = entry.0.text().unwrap_or_default();
            if let Some(known) = self.known.filter(|known| !known.contains(&key)) {
                let right = near::suggest(key, known.iter().copied());
                self.reader.faults.add(entry.0.place, format!("the key {} is not known here; {right}", tick(key)));
                continue;
            }
            self.next = Some(entry);
            let reader = Reader { node: &entry.0, label: Label::Key(key), ..self.reader };
            return seed.deserialize(reader).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.next.take() else { return Err(ReadError("a value without a key".to_owned())) };
        let label = Label::Key(key.text().unwrap_or_default());
        seed.deserialize(Reader { node, label, ..self.reader })
    }
}

/// A key in backticks, cut to a length that fits a line.
fn tick(key: &str) -> String {
    let quoted = quote(key);
    format!("`{}`", &quoted[1..quoted.len() - 1])
}

struct Variant<'a> {
    reader: Reader<'a>,
    variant: &'static str,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let variant: StrDeserializer<'_, ReadError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_seq(self.reader, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_struct(self.reader, "", fields, visitor)
    }
}
