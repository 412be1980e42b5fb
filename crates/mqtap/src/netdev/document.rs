//! Options as a map of JSON, TOML or whatever else serde reads. Each value is turned into the text it has in the option string, so that both
//! forms have the same rules and the same errors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::builder;
use super::error::OptionsError;
use super::options::Options;

/// A map of plain values, in its order and with duplicates, which would be lost in a real map.
pub(super) struct Document(Vec<(String, String)>);

impl Document {
    pub(super) fn from_json(text: &str) -> Result<Self, OptionsError> {
        serde_json::from_str(text).map_err(|error| OptionsError::InvalidJson { message: error.to_string() })
    }

    pub(super) fn build(self) -> Result<Options, OptionsError> {
        builder::build(self.0)
    }
}

impl<'de> Deserialize<'de> for Options {
    /// From a map with the names of the option string. Values may have their own type or be written as text; file descriptors may also be
    /// numbers or a list of numbers; an option that is null was not given; `type` may be left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        document.build().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of netdev options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    if let Scalar(Some(value)) = value {
                        pairs.push((name, value));
                    }
                }
                Ok(Document(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A single value as text; `None` for null.
struct Scalar(Option<String>);

impl Scalar {
    fn of(value: impl fmt::Display) -> Self {
        Self(Some(value.to_string()))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true, false, or a list of numbers")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::of(text))
            }

            fn visit_bool<E>(self, on: bool) -> Result<Scalar, E> {
                Ok(Scalar::of(if on { "on" } else { "off" }))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::of(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::of(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::of(number))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }

            fn visit_none<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }

            fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Scalar, D::Error> {
                Scalar::deserialize(value)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element::<i64>()? {
                    numbers.push(number.to_string());
                }
                Ok(Scalar(Some(numbers.join(":"))))
            }
        }

        deserializer.deserialize_any(Text)
    }
}
